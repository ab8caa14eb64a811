"""Time while something is wrong: a server that lies is outvoted, and a lost uplink leaves one reference for all.

RFC 5905 section 11.2.1, chrony.conf(5).  Disruptive: each fault is made once, everything is looked at while it lasts,
and the specs judge what was seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from chaos.faults import Skew, TimeSource
from chaos.lasting import lasting
from cluster.errors import ClusterError, ProbeFailed
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.probes import clock
from cluster.probes.clock import NtpReply
from cluster.wait import WaitTimeout, until
from specs.lanservices.looks import Followed, followed, must, origin, outcome, references
from specs.lanservices.test_ntp import MAX_APART_S, lies
from specs.lanservices.upstream import STRATUM, Upstream
from specs.profiles import affordable

pytestmark = [pytest.mark.disruptive]

LIE_S = 5
POLLS = 16
"""How many polls a node may take to notice: half of its samples (RFC 5905 section 11.2.1) are then of the new kind."""

Seen = Mapping[str, Followed | ClusterError]
Measured = Callable[[str, object], None]


def look(fleet: Fleet, inventory: Inventory) -> Seen:
    """Whom every node follows now."""
    return fleet.each(followed, inventory.debian, limit=16)


def wait_s(inventory: Inventory) -> float:
    """The time of so many polls, at their longest interval."""
    return POLLS * 2.0**inventory.ntp.maxpoll


def clients(inventory: Inventory) -> list[str]:
    """Who follows the servers."""
    return [name for name in inventory.debian if name not in inventory.ntp.servers]


def settled(seen: Seen, inventory: Inventory) -> bool:
    """All have the time from one place, and nobody holds anybody for a liar."""
    found = {origin(name, seen, inventory) for name in seen}
    sources = [source for one in seen.values() for source in must(one).sources]
    return len(found) == 1 and not any(s.state == "~" or (s.state == "x" and lies(s)) for s in sources)


# ---------------------------------------------------------------- a server that lies


@dataclass(frozen=True)
class Lie:
    """One server told a false time: what all others followed meanwhile, and what its partners told."""

    liar: str
    address: str
    looks: list[Seen] = field(default_factory=list)
    told: list[Mapping[str, NtpReply | ClusterError]] = field(default_factory=list)
    """What the other servers told, each time."""
    seconds: float = 0.0
    """Until every client had rejected it, or it was given up."""

    def rejected_by(self, name: str) -> bool:
        """Whether a node holds the liar for a falseticker, at the end."""
        states = {source.name: source.state for source in must(self.looks[-1][name]).sources}
        return states.get(self.address) == "x"


@pytest.fixture(scope="module")
def lie(inventory: Inventory, fleet: Fleet) -> Lie:
    """The reference for all lies; if none is, the first server."""
    affordable(inventory, wait_s(inventory), "rejecting a server that lies")
    liar = (*references(look(fleet, inventory)), *inventory.ntp.servers)[0]
    honest = [name for name in inventory.ntp.servers if name != liar]
    found = Lie(liar, str(inventory.nodes[liar].address))

    def noticed() -> bool:
        found.looks.append(look(fleet, inventory))
        found.told.append({name: outcome(clock.query, _address(inventory, name)) for name in honest})
        return all(found.rejected_by(name) for name in clients(inventory))

    with lasting(inventory, fleet, Skew(liar, "chrony", str(LIE_S))):
        began = time.monotonic()
        with suppress(WaitTimeout):  # the specs say who did not notice
            until(noticed, deadline=wait_s(inventory), what="the lie is rejected", every=0.25)
        seconds = time.monotonic() - began
        noticed()
    with suppress(WaitTimeout):  # else the steady specs say what is not as before
        until(
            lambda: settled(look(fleet, inventory), inventory),
            deadline=wait_s(inventory),
            what="one time for all",
            every=0.25,
        )
    return Lie(found.liar, found.address, found.looks, found.told, seconds)


def _address(inventory: Inventory, name: str) -> str:
    return str(inventory.nodes[name].address)


@pytest.mark.semantics("ntp-falseticker", "ntp-majority")
@pytest.mark.each("client", clients)
def test_a_client_rejects_a_server_that_lies(client: str, lie: Lie, record_property: Measured) -> None:
    """Three that agree outvote one: the partner and two witnesses."""
    record_property("until all had rejected it", f"{lie.seconds:.1f} s")
    states = {source.name: source.state for source in must(lie.looks[-1][client]).sources}
    assert lie.rejected_by(client), (
        f"{client} does not hold {lie.liar}, {LIE_S} s ahead, for a falseticker after {lie.seconds:.1f} s: {states}"
    )


@pytest.mark.semantics("ntp-falseticker", "ntp-majority")
@pytest.mark.each("client", clients)
def test_it_goes_on_with_an_honest_server(client: str, lie: Lie, inventory: Inventory) -> None:
    selected = [source.name for source in must(lie.looks[-1][client]).sources if source.selected]
    honest = {_address(inventory, name) for name in inventory.ntp.servers if name != lie.liar}
    assert set(selected) & honest, f"{client} follows {selected or 'nobody'} while {lie.liar} lies, no honest server"


@pytest.mark.semantics("ntp-falseticker", "ntp-nodes")
@pytest.mark.each("follower", lambda inventory: list(inventory.debian))
def test_nobody_follows_the_lie(follower: str, lie: Lie) -> None:
    """In no look: neither before the others outvote the liar, nor where nobody can, as for its partner."""
    if follower == lie.liar:
        pytest.skip(f"{follower} is the one that lies")
    far = [one.tracking for seen in lie.looks if isinstance(one := seen[follower], Followed)]
    most = max((max(abs(one.offset), abs(one.last_offset)) for one in far), default=None)
    assert most is not None, f"{follower} could not be asked while {lie.liar} lied"
    assert most < MAX_APART_S, f"{follower} went {most:.3f} s with the {LIE_S} s of {lie.liar}, {MAX_APART_S} s at most"


@pytest.mark.semantics("ntp-falseticker", "ntp-bounds")
def test_the_other_servers_go_on_telling_the_time(lie: Lie) -> None:
    assert any(lie.told), f"there is no server of time but {lie.liar}"
    for told in lie.told:
        for name, reply in told.items():
            offset = must(reply).offset
            assert abs(offset) < MAX_APART_S, (
                f"{name} told a time {offset:+.3f} s off while {lie.liar} lied, {MAX_APART_S} s at most"
            )


# ---------------------------------------------------------------- an uplink that is lost


@dataclass(frozen=True)
class Uplink:
    """The servers were given real time, lost it, and came to be without: what all followed each time."""

    address: str
    linked: Seen
    linked_s: float
    cut: Seen
    unreachable_s: float
    """How long after the cut no server reached it any more."""
    alone: Seen
    alone_s: float
    """How long after they had forgotten it all nodes had the time from one place."""


@pytest.fixture(scope="module")
def uplink(inventory: Inventory, fleet: Fleet, lie: Lie) -> Iterator[Uplink]:
    """After the lie, so that each fault is alone."""
    affordable(inventory, wait_s(inventory), "losing an uplink")
    operator = str(inventory.network.operator.address)
    servers, end = inventory.ntp.servers, wait_s(inventory)
    try:
        upstream = Upstream(operator)
    except ProbeFailed as error:
        pytest.skip(f"cannot be the uplink from here: {error}")

    def all_from(place: str) -> bool:
        seen = look(fleet, inventory)
        strata = [must(one).tracking.stratum for one in seen.values()]  # a client hears of a change at its next poll
        return {origin(n, seen, inventory) for n in seen} == {place} and max(strata) < inventory.ntp.local_stratum

    def unreached() -> bool:
        seen = look(fleet, inventory)
        return not any(s.reach for name in servers for s in must(seen[name]).sources if s.name == operator)

    def timed(what: str, probe: Callable[[], object]) -> tuple[Seen, float]:
        began = time.monotonic()
        with suppress(WaitTimeout):  # the specs say what did not come
            until(probe, deadline=end, what=what, every=0.25)
        return look(fleet, inventory), time.monotonic() - began

    with upstream:
        with lasting(inventory, fleet, *(TimeSource(name, operator) for name in servers)):
            linked, linked_s = timed("time from the uplink", lambda: all_from(operator))
            upstream.cut()
            cut, unreachable_s = timed("the uplink is missed", unreached)
        alone, alone_s = timed("one reference", lambda: settled(look(fleet, inventory), inventory))
    yield Uplink(operator, linked, linked_s, cut, unreachable_s, alone, alone_s)


@pytest.mark.semantics("ntp-orphan-stratum")
@pytest.mark.each("one", lambda inventory: list(inventory.debian))
def test_real_time_comes_before_the_reference(
    one: str, uplink: Uplink, inventory: Inventory, record_property: Measured
) -> None:
    record_property("until all had real time", f"{uplink.linked_s:.1f} s")
    found = outcome(origin, one, uplink.linked, inventory)
    assert found == uplink.address, (
        f"{one} has its time from {found} {uplink.linked_s:.1f} s after the servers had an uplink, not from there"
    )
    stratum = must(uplink.linked[one]).tracking.stratum
    assert STRATUM < stratum < inventory.ntp.local_stratum, (
        f"{one} has stratum {stratum} with real time of stratum {STRATUM}; the reference has "
        f"{inventory.ntp.local_stratum}"
    )


@pytest.mark.semantics("ntp-orphan")
@pytest.mark.each("one", lambda inventory: list(inventory.debian))
def test_a_cut_uplink_moves_nobody(one: str, uplink: Uplink) -> None:
    """The servers hold what they had, or each other's: their error grows by millionths, so it is good for hours.

    Only when it may have grown too large (chrony.conf(5), local distance) one of them becomes the orphan reference.
    """
    tracking = must(uplink.cut[one]).tracking
    assert tracking.leap == "Normal", f"{one} is {tracking.leap} {uplink.unreachable_s:.1f} s after the cut"
    offset = max(tracking.offset, tracking.last_offset, key=abs)
    assert abs(offset) < MAX_APART_S, f"{one} went {offset:+.3f} s off after the cut, {MAX_APART_S} s at most"


@pytest.mark.semantics("ntp-orphan", "ntp-orphan-stratum")
@pytest.mark.each("one", lambda inventory: list(inventory.debian))
def test_without_real_time_all_agree_on_one_reference(
    one: str, uplink: Uplink, inventory: Inventory, record_property: Measured
) -> None:
    record_property("until all had it from one reference", f"{uplink.alone_s:.1f} s")
    found = references(uplink.alone)
    assert len(found) == 1 and found[0] in inventory.ntp.servers, (
        f"{uplink.alone_s:.1f} s after the uplink was forgotten the reference is {' and '.join(found) or 'nobody'}"
    )
    place = outcome(origin, one, uplink.alone, inventory)
    assert place == found[0], f"{one} has its time from {place}, not from the one reference, {found[0]}"
    stratum = must(uplink.alone[found[0]]).tracking.stratum
    assert stratum == inventory.ntp.local_stratum, f"{found[0]} has stratum {stratum}"
