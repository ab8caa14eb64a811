"""Time: both servers and the floating address serve it, and every node follows them.

RFC 5905, chronyc(1).  Servers are asked over the wire; what a node follows, only the node knows.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node
from cluster.probes.clock import ALARM, MAX_STRATUM, SERVER, NtpReply, Source
from specs.lanservices.looks import LOCAL_REFERENCE, Clock, Followed, must, origin, references

# chronyd compares sources to what it can tell apart, on a quiet LAN some microseconds: that is no lie.
LIE_S = 0.001

Replies = dict[str, NtpReply | ClusterError]
Clocks = dict[str, Clock | ClusterError]

# Above this root distance a client may not follow a server: MAXDIST, RFC 5905 figure 29.
MAX_DISTANCE_S = 1.5
# A LAN keeps clocks within a few ms; TLS, Kerberos and make notice a second.  Ours: far from both.
MAX_APART_S = 0.1


def lies(source: Source) -> bool:
    """Whether a source tells another time than its node has, by more than clocks differ."""
    return abs(source.offset) >= LIE_S


class Server(str):
    """An address with the name that stands in a test's id."""

    name: str

    def __new__(cls, name: str, address: str) -> Server:
        self = super().__new__(cls, address)
        self.name = name
        return self


def servers_of_time(inventory: Inventory) -> Iterator[Server]:
    """Each server of time, and the floating address."""
    for name in inventory.ntp.servers:
        yield Server(name, str(inventory.nodes[name].address))
    yield Server("floating", str(inventory.network.floating))


@pytest.mark.each("server", servers_of_time)
class TestOnTheWire:
    """What a client on the LAN gets from each server, and on the floating address."""

    @pytest.mark.semantics("ntp-answer")
    def test_it_answers_as_a_server(self, server: Server, ntp_replies: Replies) -> None:
        mode = must(ntp_replies[server]).mode
        assert mode == SERVER, f"{server.name} answers in mode {mode}, a server in mode {SERVER}"

    @pytest.mark.semantics("ntp-answer")
    def test_it_is_synchronised(self, server: Server, ntp_replies: Replies) -> None:
        leap = must(ntp_replies[server]).leap
        assert leap != ALARM, f"{server.name} says its clock is not synchronised (leap {leap})"

    @pytest.mark.semantics("ntp-answer")
    def test_its_stratum_can_be_followed(self, server: Server, ntp_replies: Replies) -> None:
        stratum = must(ntp_replies[server]).stratum
        assert 1 <= stratum < MAX_STRATUM, f"{server.name} has stratum {stratum}: no client follows it"

    @pytest.mark.semantics("ntp-bounds")
    def test_its_root_distance_can_be_followed(self, server: Server, ntp_replies: Replies) -> None:
        distance = must(ntp_replies[server]).root_distance
        assert 0 <= distance < MAX_DISTANCE_S, (
            f"{server.name}: root distance {distance:.3f} s, {MAX_DISTANCE_S} at most"
        )

    @pytest.mark.semantics("ntp-bounds")
    def test_its_dispersion_is_small(self, server: Server, ntp_replies: Replies) -> None:
        dispersion = must(ntp_replies[server]).root_dispersion
        assert 0 <= dispersion < 1.0, f"{server.name}: root dispersion {dispersion:.3f} s"

    @pytest.mark.semantics("ntp-bounds")
    def test_it_agrees_with_our_own_clock(self, server: Server, ntp_replies: Replies) -> None:
        offset = must(ntp_replies[server]).offset
        assert abs(offset) < MAX_APART_S, (
            f"{server.name} is {offset:+.3f} s from this machine's clock, {MAX_APART_S} s at most: one of them is off"
        )

    @pytest.mark.semantics("ntp-bounds")
    def test_it_agrees_with_the_other_servers(self, server: Server, ntp_replies: Replies) -> None:
        mine = must(ntp_replies[server])
        for address, other in ntp_replies.items():
            if isinstance(other, NtpReply):
                apart = mine.offset - other.offset
                assert abs(apart) < MAX_APART_S + (mine.delay + other.delay) / 2, (
                    f"{server.name} is {apart:+.3f} s from {address}, {MAX_APART_S} s at most"
                )


def asked(inventory: Inventory, node: Plan) -> tuple[str, ...]:
    """The nodes that a node is to have as sources: the servers, and for a client the witnesses, too."""
    return inventory.ntp.asked_by(node.name)


@pytest.mark.semantics("ntp-sources", "ntp-majority")
@pytest.mark.each("source", asked)
def test_a_node_has_the_source(node: Node, source: str, clocks: Clocks, inventory: Inventory) -> None:
    sources = [one.name for one in must(clocks[node.name]).sources]
    address = str(inventory.nodes[source].address)
    assert address in sources, f"{node.name} does not ask {source} ({address}); it asks {sources or 'nobody'}"


@pytest.mark.semantics("ntp-sources", "ntp-majority")
@pytest.mark.each("source", asked)
def test_a_node_reaches_the_source(node: Node, source: str, clocks: Clocks, inventory: Inventory) -> None:
    address = str(inventory.nodes[source].address)
    reach = {one.name: one.reach for one in must(clocks[node.name]).sources}
    assert address in reach, f"{node.name} does not ask {source}"
    assert reach[address], f"{node.name} got no answer from {source} ({address}) in its last eight polls"


@pytest.mark.semantics("ntp-selected")
def test_a_node_follows_one_source(node: Node, clocks: Clocks, inventory: Inventory) -> None:
    clock = must(clocks[node.name])
    selected = [source.name for source in clock.sources if source.selected]
    if node.name in inventory.ntp.servers and clock.tracking.refid == LOCAL_REFERENCE:
        return  # the one that is the reference for all while no real time can be reached
    states = {source.name: source.state for source in clock.sources}
    assert len(selected) == 1, f"{node.name} has selected {selected or 'no source'}; states: {states}"


def of_a_client(inventory: Inventory, node: Plan) -> list[str]:
    """All that a client may ask, in one line; a server itself asks the pool too."""
    return [] if node.name in inventory.ntp.servers else [" and ".join(asked(inventory, node))]


@pytest.mark.semantics("ntp-sources")
@pytest.mark.each("only", of_a_client)
def test_a_client_asks_nobody_else(node: Node, only: str, clocks: Clocks, inventory: Inventory) -> None:
    known = {str(inventory.nodes[name].address) for name in inventory.ntp.asked_by(node.name)}
    others = sorted({source.name for source in must(clocks[node.name]).sources} - known)
    assert not others, f"{node.name} also asks {others}, not only {only}"


@pytest.mark.semantics("ntp-majority")
def test_a_client_has_three_to_vote(node: Node, clocks: Clocks, inventory: Inventory) -> None:
    """Of two that differ, nobody can say who lies; a server has its own clock for that (`ntp.max_change`)."""
    if node.name in inventory.ntp.servers:
        return
    fit = [source.name for source in must(clocks[node.name]).sources if source.reach and not lies(source)]
    assert len(fit) >= 3, f"{node.name} has only {fit} to compare; a server that lies could not be outvoted"


@pytest.mark.semantics("ntp-falseticker")
def test_no_source_is_a_falseticker(node: Node, clocks: Clocks) -> None:
    false = [source.name for source in must(clocks[node.name]).sources if source.state == "x" and lies(source)]
    assert not false, f"{node.name} holds {false} for falsetickers: they tell another time than the others"


def test_a_node_is_synchronised(node: Node, clocks: Clocks) -> None:
    leap = must(clocks[node.name]).tracking.leap
    assert leap in ("Normal", "Insert second", "Delete second"), f"chronyd on {node.name} says: {leap}"


def test_a_node_has_a_usable_stratum(node: Node, clocks: Clocks) -> None:
    stratum = must(clocks[node.name]).tracking.stratum
    assert 1 <= stratum < MAX_STRATUM, f"{node.name} has stratum {stratum}"


@pytest.mark.semantics("ntp-nodes")
def test_a_node_is_near_its_source(node: Node, clocks: Clocks) -> None:
    """Both what it last measured, and what it has not corrected yet: chronyd counts from where it wants to be."""
    tracking = must(clocks[node.name]).tracking
    offset = max(tracking.offset, tracking.last_offset, key=abs)
    assert abs(offset) < MAX_APART_S, f"{node.name} measured itself {offset:+.3f} s off, {MAX_APART_S} s at most"


@pytest.mark.semantics("ntp-nodes")
def test_a_clock_agrees_with_the_others(node: Node, clocks: Clocks) -> None:
    """Each clock is known to lie between two bounds from ours; two that cannot overlap are apart."""
    mine = must(clocks[node.name])
    for name, other in clocks.items():
        if isinstance(other, Clock):
            apart = max(mine.ahead_at_least - other.ahead_at_most, other.ahead_at_least - mine.ahead_at_most)
            assert apart < MAX_APART_S, (
                f"{node.name} and {name} are at least {apart:.3f} s apart, {MAX_APART_S} at most"
            )


# ---------------------------------------------------------------- one time for all


def real_sources(clocks: Clocks, inventory: Inventory) -> dict[str, int]:
    """The sources outside of the cluster that some server reaches, with their strata."""
    ours = {str(node.address) for node in inventory.nodes.values()}
    servers = [one for name in inventory.ntp.servers if isinstance(one := clocks[name], Followed)]
    return {s.name: s.stratum for one in servers for s in one.sources if s.name not in ours and s.reach and s.stratum}


@pytest.mark.semantics("ntp-orphan")
def test_without_an_uplink_one_server_is_the_reference(clocks: Clocks, inventory: Inventory) -> None:
    """And none is where real time can be reached."""
    found, real = references(clocks), real_sources(clocks, inventory)
    if real:
        assert not found, f"{' and '.join(found)} tell the time of their own clocks, although {sorted(real)} answer"
    else:
        assert len(found) == 1, f"the reference for all is {' and '.join(found) or 'nobody'}, not one server"
        assert found[0] in inventory.ntp.servers, f"the reference for all is {found[0]}, no server of time"


@pytest.mark.semantics("ntp-orphan-stratum")
def test_its_stratum_is_above_any_real_one(clocks: Clocks, inventory: Inventory) -> None:
    """So that whoever hears both takes the real time."""
    strata = {name: must(clocks[name]).tracking.stratum for name in references(clocks)}
    wrong = {name: stratum for name, stratum in strata.items() if stratum != inventory.ntp.local_stratum}
    assert not wrong, f"strata of references: {wrong}, the inventory says {inventory.ntp.local_stratum}"
    above = {name: s for name, s in real_sources(clocks, inventory).items() if s >= inventory.ntp.local_stratum}
    assert not above, f"real sources at or above the reference's stratum {inventory.ntp.local_stratum}: {above}"


@pytest.mark.semantics("ntp-orphan")
def test_a_node_has_its_time_from_where_all_have_it(node: Node, clocks: Clocks, inventory: Inventory) -> None:
    mine, first = origin(node.name, clocks, inventory), origin(inventory.ntp.servers[0], clocks, inventory)
    if mine not in inventory.nodes and first not in inventory.nodes:
        return  # real sources, of which there may be several
    assert mine == first, f"{node.name} has its time from {mine} in the end, {inventory.ntp.servers[0]} from {first}"
