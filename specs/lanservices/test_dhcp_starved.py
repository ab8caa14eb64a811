"""DHCP when an address is found in use, and when no address is free: who is still served, and what comes back.

RFC 2131, dhcpd.conf(5).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.probes import dhcp
from specs.lanservices.failing_dhcp import SHORT_S
from specs.lanservices.looks import must
from specs.lanservices.starving_dhcp import Starved, ours
from specs.lanservices.starving_dhcp import starved as starve
from specs.lanservices.test_dhcp_failover import check_union
from specs.looks import Place

pytestmark = pytest.mark.disruptive
PING_S = 1.0  # dhcpd.conf(5), ping-timeout
EARLY_S = 0.05  # timers of a server may be a little early


@pytest.fixture(scope="module")
def starved(inventory: Inventory, fleet: Fleet) -> Starved:
    """An address was declined and all free ones were taken, and are given back."""
    if inventory.dhcp.mclt <= SHORT_S:
        pytest.skip(
            f"needs the timers of production: new leases end after {inventory.dhcp.mclt:g} s, before all is seen"
        )
    return starve(Place(inventory, fleet))


@pytest.mark.semantics("dhcp-decline")
def test_an_address_found_in_use_is_set_aside_by_both(starved: Starved) -> None:
    wrong = {name: state for name, state in starved.set_aside.items() if state != "abandoned"}
    assert not wrong, f"{starved.declined.address}, which was declined, is {wrong}"


@pytest.mark.semantics("dhcp-decline")
def test_an_address_found_in_use_is_offered_to_nobody(starved: Starved) -> None:
    said = {offer.server: offer.address for offer in starved.offered}
    assert said, "nobody offered anything"
    assert starved.declined.address not in said.values(), f"{starved.declined.address}, which was declined: {said}"


@pytest.mark.semantics("dhcp-ping")
@pytest.mark.parametrize("client", ["declined", "known"])
def test_a_server_looks_whether_an_address_is_in_use(
    starved: Starved, client: str, record_property: Callable[[str, object], None]
) -> None:
    """It pings the address first, so a newcomer waits for its offer."""
    lease = getattr(starved, client)
    first = min(offer.seconds for offer in lease.offers if offer.server == lease.server)
    record_property(f"an offer by {lease.server} took, s", f"{first:.3f}")
    assert first >= PING_S - EARLY_S, f"{lease.server} offered {lease.address} after {first:.3f} s, without a ping"


@pytest.mark.semantics("dhcp-one-client-on-wire", "dhcp-one-client-in-files")
def test_every_address_is_one_clients(starved: Starved, inventory: Inventory) -> None:
    """All that were free are held by as many clients, and both files say so."""
    plan = inventory.dhcp
    for name, entries in starved.taken.items():
        macs = [entry.mac for entry in ours(entries).values()]
        assert len(set(macs)) == len(macs), f"{name} gave several addresses to one client"
        states = dhcp.states(entries, plan.pool_first, plan.pool_last)
        left = [address for address, state in states.items() if state == "free"]
        assert macs and not left, f"{name} leased {len(macs)} of {len(states)} addresses, and has {left} left"
    holders = [{a: e.mac for a, e in ours(entries).items()} for entries in starved.taken.values()]
    doubled = {
        a: [one.get(a) for one in holders]
        for a in holders[0]
        if len({one.get(a, holders[0][a]) for one in holders}) > 1
    }
    assert not doubled, f"active for two clients at once: {doubled}"


@pytest.mark.semantics("dhcp-full")
def test_a_newcomer_is_offered_nothing(starved: Starved) -> None:
    said = {offer.server: offer.address for offer in starved.newcomer}
    assert not said, f"every address was taken, and yet a newcomer was offered {said}"


@pytest.mark.semantics("dhcp-full")
@pytest.mark.parametrize("how", ["renewed", "rebooted"])
def test_a_known_client_keeps_its_address(starved: Starved, how: str) -> None:
    again = must(getattr(starved, how))
    assert again.address == starved.known.address, f"{starved.known.address}, {how}, became {again.address}"


@pytest.mark.semantics("dhcp-full", "dhcp-reservations")
@pytest.mark.each("reserved", lambda inventory: list(inventory.dhcp.reservations))
def test_a_reservation_is_still_offered(starved: Starved, reserved: str, inventory: Inventory) -> None:
    said = {offer.server: offer.address for offer in starved.reserved[reserved]}
    wanted = str(inventory.dhcp.reservations[reserved].address)
    assert said and set(said.values()) == {wanted}, f"{reserved} is offered {said or 'nothing'}, reserved is {wanted}"


@pytest.mark.semantics("dhcp-given-back")
def test_all_is_given_back(starved: Starved) -> None:
    check_union(starved.after)
    left = {name: sorted(ours(entries)) for name, entries in starved.after.items() if ours(entries)}
    assert not left, f"what had been taken is still held: {left}"


@pytest.mark.semantics("dhcp-full")
def test_a_newcomer_is_served_again(starved: Starved) -> None:
    must(starved.returned)
