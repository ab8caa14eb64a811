"""DHCP: what clients get from each of the two servers, asked on the wire by synthetic ones.

RFC 2131, RFC 2132, dhcpd.conf(5).  Every lease taken here is given back, and the specs check that it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import NamedTuple

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node
from cluster.probes import dhcp
from cluster.probes.dhcp import Lease, Offer
from specs.lanservices.looks import Leases, must, servers

Offers = tuple[Offer, ...]
Reservations = dict[str, Offers]


def offer_of(node: Node, offers: Offers) -> Offer:
    """The node's own offer among all."""
    mine = [offer for offer in offers if offer.server == node.address]
    others = sorted({offer.server for offer in offers})
    assert mine, f"{node.name} ({node.address}) offered nothing; offers came from {others or 'nobody'}"
    return mine[0]


def in_pool(address: str, inventory: Inventory) -> bool:
    """Whether an address is one of the dynamic pool."""
    return inventory.dhcp.pool_first <= IPv4Address(address) <= inventory.dhcp.pool_last


class Option(NamedTuple):
    """One DHCP option and what it must be (names as in dhcp-options(5))."""

    name: str
    expected: object


def options(inventory: Inventory, node: Plan) -> Iterator[Option]:
    """What a client of this cluster is told."""
    lan = inventory.network
    pair = tuple(str(inventory.nodes[n].address) for n in (inventory.dns.primary, inventory.dns.secondary))
    yield Option("subnet-mask", str(lan.cidr.netmask))
    yield Option("broadcast-address", str(lan.cidr.broadcast_address))
    yield Option("routers", (str(lan.gateway),))
    yield Option("domain-name-servers", pair)
    yield Option("domain-name", inventory.cluster.subdomain)
    yield Option("ntp-servers", tuple(str(inventory.nodes[n].address) for n in inventory.ntp.servers))
    yield Option("tftp-server-name", str(lan.floating))
    yield Option("bootfile-name", inventory.tftp.boot_file)
    yield Option("dhcp-server-identifier", str(node.address))


# ---------------------------------------------------------------- each server answers, and only they


@pytest.mark.group("lanservices")
def test_the_server_offers_an_address_of_the_pool(node: Node, dhcp_offers: Offers, inventory: Inventory) -> None:
    offer = offer_of(node, dhcp_offers)
    plan = inventory.dhcp
    assert in_pool(offer.address, inventory), (
        f"{node.name} offers {offer.address}, the pool is {plan.pool_first} to {plan.pool_last}"
    )


@pytest.mark.semantics("dhcp-no-rogue", "dhcp-bootstrap-silent")
def test_only_the_expected_servers_answer(
    dhcp_offers: Offers, dhcp_reservations: Reservations, inventory: Inventory
) -> None:
    everything = (*dhcp_offers, *(offer for offers in dhcp_reservations.values() for offer in offers))
    expected = set(servers(inventory).values())
    rogues = {f"{o.server} (from {o.src}, {o.server_mac})" for o in everything if {o.server, o.src} - expected}
    assert not rogues, f"a rogue DHCP server answers on this LAN: {', '.join(sorted(rogues))}"


@pytest.mark.group("lanservices")
def test_the_offer_comes_from_the_node_itself(node: Node, dhcp_offers: Offers, inventory: Inventory) -> None:
    offer = offer_of(node, dhcp_offers)
    mac = inventory.node(node.name).mac
    assert offer.src == node.address, f"the offer of {node.name} was sent from {offer.src}, not {node.address}"
    assert offer.server_mac == mac, f"the offer of {node.name} came from {offer.server_mac}, its own is {mac}"


@pytest.mark.semantics("dhcp-options")
@pytest.mark.group("lanservices")
@pytest.mark.each("option", options)
def test_an_offer_tells_the_right_option(node: Node, option: Option, dhcp_offers: Offers) -> None:
    told = offer_of(node, dhcp_offers).options.get(option.name)
    assert told == option.expected, f"{option.name} from {node.name}: {told!r}, the inventory says {option.expected!r}"


@pytest.mark.semantics("dhcp-same")
def test_both_servers_tell_the_same_options(dhcp_offers: Offers) -> None:
    """All but what names the server, and the times, which depend on whose client it was."""
    own = {"dhcp-server-identifier", "dhcp-lease-time", "dhcp-renewal-time", "dhcp-rebinding-time"}
    told = {o.server: {k: v for k, v in o.options.items() if k not in own} for o in dhcp_offers}
    for server, mine in told.items():
        for other, theirs in told.items():
            differ = {k: (mine.get(k), theirs.get(k)) for k in mine | theirs if mine.get(k) != theirs.get(k)}
            assert not differ, f"{server} and {other} tell clients different things: {differ}"


# ---------------------------------------------------------------- a whole exchange with each


def lease_of(node: Node, leases: Leases) -> Lease:
    """The lease that our client took from the node."""
    return must(leases.taken[node.name])


@pytest.mark.semantics("dhcp-exchange")
@pytest.mark.group("lanservices")
def test_a_client_gets_a_lease_from_the_server(node: Node, dhcp_leases: Leases, inventory: Inventory) -> None:
    lease = lease_of(node, dhcp_leases)
    assert lease.server == node.address, f"asked {node.name}, but {lease.server} acknowledged"
    assert in_pool(lease.address, inventory), f"{node.name} gave {lease.address}, which is outside the pool"


@pytest.mark.group("lanservices")
def test_the_address_given_is_the_one_offered(node: Node, dhcp_leases: Leases) -> None:
    lease = lease_of(node, dhcp_leases)
    offered = {offer.address for offer in lease.offers if offer.server == lease.server}
    assert lease.address in offered, f"{node.name} offered {sorted(offered)}, but gave {lease.address}"


@pytest.mark.semantics("dhcp-options")
@pytest.mark.group("lanservices")
@pytest.mark.each("option", options)
def test_a_lease_tells_the_right_option(node: Node, option: Option, dhcp_leases: Leases) -> None:
    told = lease_of(node, dhcp_leases).options.get(option.name)
    assert told == option.expected, f"{option.name} from {node.name}: {told!r}, the inventory says {option.expected!r}"


@pytest.mark.semantics("dhcp-options")
@pytest.mark.group("lanservices")
def test_the_lease_time_is_within_its_bounds(node: Node, dhcp_leases: Leases, inventory: Inventory) -> None:
    """A new client of a failover pair gets MCLT at first, later up to the maximum (dhcpd.conf(5), mclt)."""
    plan, told = inventory.dhcp, lease_of(node, dhcp_leases).lease_s
    least = min(plan.mclt, plan.default_lease)
    assert least <= told <= plan.max_lease, f"{node.name} leases for {told:g} s, not {least:g} to {plan.max_lease:g} s"


@pytest.mark.group("lanservices")
def test_renewal_and_rebinding_come_before_the_end(node: Node, dhcp_leases: Leases) -> None:
    """Where the server does not say, a client takes 0.5 and 0.875 of the lease (RFC 2131 section 4.4.5)."""
    lease = lease_of(node, dhcp_leases)
    renew = lease.options.get("dhcp-renewal-time", 0.5 * lease.lease_s)
    rebind = lease.options.get("dhcp-rebinding-time", 0.875 * lease.lease_s)
    assert isinstance(renew, (int, float)) and isinstance(rebind, (int, float))
    assert 0 < renew < rebind < lease.lease_s, f"{node.name}: renew {renew}, rebind {rebind}, end {lease.lease_s:g} s"


@pytest.mark.semantics("dhcp-one-client-on-wire")
def test_two_clients_have_two_addresses(dhcp_leases: Leases) -> None:
    given = {name: lease.address for name, lease in dhcp_leases.taken.items() if isinstance(lease, Lease)}
    assert len(set(given.values())) == len(given), f"two clients at once were given the same address: {given}"


# ---------------------------------------------------------------- the life of a lease


@pytest.mark.semantics("dhcp-renew")
@pytest.mark.group("lanservices")
def test_a_lease_is_renewed_by_its_server(node: Node, dhcp_leases: Leases) -> None:
    """Asked by unicast; a server may give what is left instead of the whole time again (dhcp-cache-threshold)."""
    lease = lease_of(node, dhcp_leases)
    again = must(dhcp_leases.lives[node.name].renewed)
    assert (again.address, again.server) == (lease.address, lease.server), (
        f"{node.name}, asked to renew {lease.address}, was answered by {again.server} with {again.address}"
    )


@pytest.mark.semantics("dhcp-rebind")
@pytest.mark.group("lanservices")
def test_a_lease_is_rebound_by_either_server(node: Node, dhcp_leases: Leases, inventory: Inventory) -> None:
    lease, again = lease_of(node, dhcp_leases), must(dhcp_leases.lives[node.name].rebound)
    assert again.address == lease.address, f"{again.server} rebinds {lease.address} of {node.name} to {again.address}"
    assert again.server in servers(inventory).values(), f"{lease.address} was rebound by a stranger, {again.server}"


@pytest.mark.semantics("dhcp-init-reboot")
@pytest.mark.group("lanservices")
def test_a_client_that_was_rebooted_keeps_its_address(node: Node, dhcp_leases: Leases) -> None:
    lease, again = lease_of(node, dhcp_leases), must(dhcp_leases.lives[node.name].rebooted)
    assert again.address == lease.address, f"after a reboot, {lease.address} of {node.name} became {again.address}"


# ---------------------------------------------------------------- reservations


@pytest.mark.semantics("dhcp-reservations")
@pytest.mark.group("lanservices")
@pytest.mark.each("reserved", lambda inventory, node: list(inventory.dhcp.reservations))
def test_a_reservation_is_offered(
    node: Node, reserved: str, dhcp_reservations: Reservations, inventory: Inventory
) -> None:
    offer = offer_of(node, dhcp_reservations[reserved])
    expected = str(inventory.dhcp.reservations[reserved].address)
    assert offer.address == expected, f"{node.name} offers {offer.address} to {reserved}, reserved is {expected}"


@pytest.mark.semantics("dhcp-same")
@pytest.mark.each("reserved", lambda inventory: list(inventory.dhcp.reservations))
def test_both_servers_have_the_same_reservation(reserved: str, dhcp_reservations: Reservations) -> None:
    told = {offer.server: offer.address for offer in dhcp_reservations[reserved]}
    assert len(set(told.values())) == 1, f"{reserved} is offered different addresses: {told or 'none'}"


# ---------------------------------------------------------------- the failover pair


@pytest.mark.semantics("dhcp-normal")
@pytest.mark.group("lanservices")
@pytest.mark.each("side", lambda inventory, node: ["mine", "partner"])
def test_the_pair_is_in_the_normal_state(node: Node, side: str, dhcp_leases: Leases) -> None:
    state = getattr(must(dhcp_leases.failover[node.name]), side)
    whose = "its own" if side == "mine" else "its partner's"
    assert state == "normal", f"{node.name} reports {whose} failover state as {state}, not normal"


@pytest.mark.semantics("dhcp-release")
@pytest.mark.group("lanservices")
def test_what_was_released_is_free_again(node: Node, dhcp_leases: Leases) -> None:
    """Free for either peer, in the files of both: a released lease waits for the partner to agree (dhcpd.conf(5))."""
    address = lease_of(node, dhcp_leases).address
    said = {name: must(file).get(address) for name, file in dhcp_leases.files.items()}
    stuck = {name: entry.state for name, entry in said.items() if entry and entry.state not in ("free", "backup")}
    assert not stuck, f"{address}, released to {node.name}, is not free: {stuck}"


@pytest.mark.semantics("dhcp-given-back")
@pytest.mark.group("lanservices")
def test_what_was_taken_is_given_back(node: Node, dhcp_leases: Leases) -> None:
    entries = must(dhcp_leases.files[node.name])
    taken = {lease.address: lease.mac for lease in dhcp_leases.taken.values() if isinstance(lease, Lease)}
    held = {a: mac for a, mac in taken.items() if a in entries and entries[a].state == "active"}
    assert not held, f"the lease file of {node.name} still holds what our clients released: {held}"


@pytest.mark.semantics("dhcp-one-client-in-files")
def test_no_address_is_held_by_two_clients(dhcp_leases: Leases) -> None:
    """The safety property of failover: over both lease files together, one client an address."""
    holders: dict[str, set[str]] = {}
    for entries in dhcp_leases.files.values():
        for address, entry in (entries if not isinstance(entries, ClusterError) else {}).items():
            if entry.state == "active" and entry.mac is not None:
                holders.setdefault(address, set()).add(entry.mac)
    doubled = {address: sorted(macs) for address, macs in holders.items() if len(macs) > 1}
    assert not doubled, f"active for two clients at once: {doubled}"


@pytest.mark.group("lanservices")
def test_every_lease_is_of_the_pool(node: Node, dhcp_leases: Leases, inventory: Inventory) -> None:
    outside = sorted(a for a in must(dhcp_leases.files[node.name]) if not in_pool(a, inventory))
    assert not outside, f"the lease file of {node.name} has addresses outside the pool: {outside}"


@pytest.mark.semantics("dhcp-margin", "dhcp-balance-of-pool")
@pytest.mark.group("lanservices")
def test_the_server_has_addresses_left(
    node: Node, dhcp_leases: Leases, inventory: Inventory, record_property: Callable[[str, object], None]
) -> None:
    """Each peer gives new clients only what is free (primary) or backup (secondary) to it.

    How many are its own is told, not judged: it follows from when the halves were balanced last (dhcpd.conf(5),
    max-balance).
    """
    plan = inventory.dhcp
    states = dhcp.states(must(dhcp_leases.files[node.name]), plan.pool_first, plan.pool_last)
    left = [state for state in states.values() if state in ("free", "backup")]
    own = left.count("free" if node.name == plan.primary else "backup")
    record_property("addresses left for new clients", f"{own} of its own, {len(left)} with its partner's")
    assert left, f"the pool is empty on {node.name}: states are {sorted(set(states.values()))}"
