"""DHCP with one server dead, silent or out of time, and its return; each fault is made once, for all its specs.

dhcpd(8), dhcpd.conf(5), server/dhcp.c and server/failover.c of ISC DHCP 4.4; draft-ietf-dhc-failover-12.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.probes import dhcp
from cluster.probes.dhcp import Lease
from specs.lanservices import doubting_dhcp as doubting
from specs.lanservices import failing_dhcp as failing
from specs.lanservices.doubting_dhcp import Refusal, Silence
from specs.lanservices.failing_dhcp import ALONE, Outage, Recovered
from specs.lanservices.looks import dhcp_clock, must, servers
from specs.lanservices.test_dhcp_pair import REFUSED_S
from specs.looks import Place

pytestmark = pytest.mark.disruptive
Tell = Callable[[str, object], None]
MISBALANCE = 0.15  # of the pool: dhcpd.conf(5), max-lease-misbalance


@pytest.fixture(scope="module")
def place(inventory: Inventory, fleet: Fleet) -> Place:
    """Where the harness stands."""
    return Place(inventory, fleet)


@pytest.fixture(scope="module")
def outage(place: Place) -> Outage:
    """The secondary's dhcpd was killed, and is back."""
    return failing.outage(place)


@pytest.fixture(scope="module")
def recovered(outage: Outage) -> Recovered:
    """Its partner took over everything by order, and it came back without its lease file."""
    if outage.recovered is None:
        pytest.skip(f"needs --profile short: MCLT is {outage.mclt:g} s, and a peer waits for that long")
    return outage.recovered


# ---------------------------------------------------------------- while one is dead


@pytest.mark.semantics("dhcp-partner-down")
def test_partner_down_is_refused_while_the_partner_lives(outage: Outage) -> None:
    assert f"{outage.dead} may live" in outage.refused, (
        f"partner-down was not refused: {outage.refused or 'it was done'}"
    )


@pytest.mark.semantics("dhcp-interrupted")
def test_the_survivor_knows_that_it_is_alone(outage: Outage) -> None:
    peer = must(outage.peer)
    mine, partner = peer.mine, peer.partner
    assert (mine, partner) == (ALONE, "normal"), f"{outage.survivor} is {mine}, and took its partner to be {partner}"


@pytest.mark.semantics("dhcp-survivor-renews")
@pytest.mark.parametrize("how", ["rebound", "rebooted"])
def test_the_survivor_renews_a_lease_of_the_dead_server(outage: Outage, how: str, inventory: Inventory) -> None:
    again, survivor = must(getattr(outage, how)), servers(inventory)[outage.survivor]
    assert (again.address, again.server) == (outage.kept.address, survivor), (
        f"{outage.kept.address} of {outage.dead}, {how}: {again.server} gave {again.address}"
    )


@pytest.mark.semantics("dhcp-own-half", "dhcp-margin")
def test_new_clients_are_given_addresses_of_the_survivors_own_half(outage: Outage, record_property: Tell) -> None:
    """An empty half would be no fault: clients of the dead server's half then wait for it."""
    own = [address for address, state in outage.halves.items() if state == "free"]
    record_property(f"addresses of its own that {outage.survivor} had alone", len(own))
    if not own:
        pytest.skip(f"{outage.survivor} had no address of its own left, so nothing could be given")
    given = {must(one).address for one in outage.new}
    strange = {address: outage.halves.get(address, "not of the pool") for address in sorted(given.difference(own))}
    assert not strange, f"{outage.survivor}, alone, gave {strange} to new clients, which are not of its half"


@pytest.mark.semantics("dhcp-mclt")
@pytest.mark.parametrize("which", ["new", "renewed"])
def test_a_new_lease_lasts_for_mclt_at_most(outage: Outage, which: str, record_property: Tell) -> None:
    """Each time: the partner acknowledged nothing, so nothing may be promised beyond MCLT from now (server/dhcp.c).

    A lease that it did acknowledge may be extended as far as it did, and MCLT more.
    """
    given: tuple[Lease | ClusterError, ...] = getattr(outage, which)
    if which == "renewed" and not given:
        pytest.skip("needs --profile short: dhcpd extends a lease after a quarter of it only (dhcp-cache-threshold)")
    lasted = [must(one).lease_s for one in given]
    record_property(f"{which} leases, s", ", ".join(f"{seconds:g}" for seconds in lasted))
    too_long = [seconds for seconds in lasted if seconds > outage.mclt]
    assert not too_long, f"{outage.survivor}, alone, leases for {too_long} s; MCLT is {outage.mclt:g} s"


@pytest.mark.semantics("dhcp-one-client-on-wire")
def test_everybody_has_an_address_of_their_own(outage: Outage) -> None:
    held = [outage.kept.address, *(must(one).address for one in outage.new)]
    assert len(set(held)) == len(held), f"{outage.survivor}, alone, gave an address to two clients: {held}"


# ---------------------------------------------------------------- once it is back


def test_the_pair_is_normal_again(outage: Outage) -> None:
    last = {name: history[-1] for name, history in outage.histories.items()}
    wrong = {name: f"{state.mine}, partner {state.partner}" for name, state in last.items() if not state.normal}
    assert not wrong, f"after {outage.dead} came back: {wrong}"
    mine = [state.mine for state in outage.histories[outage.survivor]]
    assert ALONE in mine, f"{outage.survivor} wrote down {mine}, never that it was alone"


@pytest.mark.semantics("dhcp-balance-of-pool")
def test_the_halves_are_even_after_the_balancing(outage: Outage, inventory: Inventory, record_property: Tell) -> None:
    """The pool is balanced when both become normal; they may differ by twice max-lease-misbalance then."""
    plan = inventory.dhcp
    states = [*dhcp.states(outage.after[plan.primary], plan.pool_first, plan.pool_last).values()]
    free, backup = states.count("free"), states.count("backup")
    record_property("free and backup after balancing", f"{free} and {backup}")
    most = 2 * round(MISBALANCE * (free + backup)) + 2 * len(outage.new)  # what we gave back meanwhile
    assert abs(free - backup) <= most, f"{free} free and {backup} backup addresses differ by more than {most}"


@pytest.mark.semantics("dhcp-one-client-in-files", "dhcp-given-back")
def test_nothing_is_held_twice_or_by_our_clients(outage: Outage) -> None:
    check_union(outage.after)


def check_union(after: failing.Files) -> None:
    """Fails where an address is active for two clients in both files together, or for one of ours."""
    held: dict[str, set[str]] = {}
    for entries in after.values():
        for address, entry in entries.items():
            if entry.state == "active":
                held.setdefault(address, set()).add(str(entry.mac))
    doubled = {address: sorted(macs) for address, macs in held.items() if len(macs) > 1}
    assert not doubled, f"active for two clients at once: {doubled}"
    left = {address: sorted(macs) for address, macs in held.items() if macs & failing.MACS}
    assert not left, f"our clients still hold {left}"


# ---------------------------------------------------------------- partner-down, and a peer that lost its lease file


@pytest.mark.semantics("dhcp-partner-down")
def test_after_the_order_the_survivor_gives_away_the_other_half(outage: Outage, recovered: Recovered) -> None:
    """MCLT after it, when no lease of the dead server's can still be running that it was not told of."""
    assert recovered.wanted not in recovered.early, f"{outage.survivor}, only alone, offered {recovered.wanted} already"
    given = must(recovered.late)
    assert given.address == recovered.wanted, (
        f"{outage.survivor}, asked for {recovered.wanted} of {outage.dead} after partner-down, gave {given.address}"
    )


@pytest.mark.semantics("dhcp-recover")
def test_a_peer_without_its_lease_file_recovers_step_by_step(outage: Outage, recovered: Recovered) -> None:
    states = [state.mine for state in outage.histories[outage.dead]]
    steps = [state for n, state in enumerate(states) if states[n - 1 : n] != [state]]
    assert steps == ["recover", "recover-wait", "recover-done", "normal"], f"{outage.dead} went through {steps}"
    others = [state.mine for state in outage.histories[outage.survivor]]
    assert others.count("partner-down") and others[-1] == "normal", f"{outage.survivor} meanwhile: {others}"


@pytest.mark.semantics("dhcp-lost-file")
def test_it_is_silent_until_mclt_is_over(
    outage: Outage, recovered: Recovered, inventory: Inventory, record_property: Tell
) -> None:
    """On the wire, from its first word to its partner until it is done; the file's times are whole seconds."""
    history = outage.histories[outage.dead]
    began, done = (
        next(state.mine_since for state in history if state.mine == name) for name in ("recover", "recover-done")
    )
    assert began is not None and done is not None
    assert done - began <= outage.mclt + 2.0, f"{outage.dead} recovered for {done - began:g} s"
    address = servers(inventory)[outage.dead]
    looks = [(at, seen) for at, seen in recovered.offered if began <= at < done]
    record_property(f"{outage.dead} silent, s", f"{done - began:g}, seen by {len(looks)} clients")
    assert looks, "nobody asked for an address meanwhile"
    early = [at - began for at, seen in looks if address in seen]
    assert not early, f"{outage.dead}, which had lost its lease file, made offers {early} s after it came back"
    assert any(address in seen for _, seen in recovered.offered), f"{outage.dead} never made an offer again"


# ---------------------------------------------------------------- one only seems to be there


@pytest.fixture(scope="module")
def silence(place: Place) -> Silence:
    """The secondary's dhcpd stood still until that was noticed."""
    limit = place.inventory.dhcp.max_response_delay
    if limit > failing.SHORT_S / 2:
        pytest.skip(f"needs --profile short: the silence of a peer is noticed after {limit:g} s")
    return doubting.silence(place)


@pytest.mark.semantics("dhcp-secs")
def test_who_has_waited_is_served_by_the_other_at_once(silence: Silence, inventory: Inventory) -> None:
    assert silence.patient == {servers(inventory)[silence.survivor]}, (
        f"a client that has waited was offered an address by {sorted(silence.patient) or 'nobody'}"
    )


@pytest.mark.semantics("dhcp-secs-zero")
def test_who_never_says_that_it_waits_is_served_once_the_silence_is_noticed(
    silence: Silence, record_property: Tell
) -> None:
    took = silence.impatient
    if isinstance(took, ClusterError):
        raise took
    record_property("a client with `secs` 0 waited, s", f"{took:.1f} of {silence.limit:g}")
    assert silence.tries > 1, (
        f"a client of {silence.dead} was served at once by {silence.survivor}, which is not its own"
    )


# ---------------------------------------------------------------- their clocks differ


@pytest.fixture(scope="module")
def refusal(place: Place) -> Refusal:
    """The clock of the secondary's dhcpd was far ahead."""
    if place.inventory.dhcp.mclt <= failing.SHORT_S:
        pytest.skip("needs the timers of production: with shorter ones it is the same again")
    return doubting.refusal(place)


@pytest.mark.semantics("dhcp-clocks-refused")
def test_peers_whose_clocks_differ_refuse_each_other(refusal: Refusal) -> None:
    """Both run and hear each other, and neither takes the other for its partner."""
    said = {name: one.mine for name, one in refusal.peers.items()}
    assert set(said.values()) == {ALONE}, f"with clocks {doubting.AHEAD_S} s apart the peers are {said}"


@pytest.mark.semantics("dhcp-clocks")
def test_the_difference_is_seen_from_outside(refusal: Refusal, inventory: Inventory) -> None:
    ahead = {name: dhcp_clock(refusal.leases, name) for name in servers(inventory)}
    apart = ahead[inventory.dhcp.secondary][1] - ahead[inventory.dhcp.primary][0]
    assert apart > REFUSED_S, f"a clock {doubting.AHEAD_S} s ahead is seen as {apart:.1f} s at most"


def test_nothing_is_left_of_two_clocks(refusal: Refusal) -> None:
    check_union(refusal.after)
