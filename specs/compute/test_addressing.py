"""Compute nodes have their addresses, name servers and time servers from the cluster's own DHCP pair.

What the pair offers is seen on the wire (specs/lanservices); here is what the nodes made of it.
"""

from __future__ import annotations

import pytest

from cluster.facts import Facts, Lease
from cluster.inventory import Inventory
from cluster.node import Node

pytestmark = pytest.mark.group("compute")


@pytest.fixture(scope="module")
def lease(node: Node, facts: Facts) -> Lease:
    """The lease that the node holds."""
    assert facts.lease is not None, f"{node.name} holds no DHCP lease: whence its address?"
    return facts.lease


def test_its_address_is_leased(node: Node, lease: Lease) -> None:
    assert lease.address == node.address, f"{node.name} has a lease for {lease.address}, not {node.address}"


def test_the_lease_comes_from_the_pair(node: Node, lease: Lease, inventory: Inventory) -> None:
    pair = {str(inventory.node(name).address): name for name in (inventory.dhcp.primary, inventory.dhcp.secondary)}
    assert lease.server in pair, f"{node.name} has its lease from {lease.server}, which is none of {pair}"


def test_the_lease_is_not_too_long(node: Node, lease: Lease, inventory: Inventory) -> None:
    most = inventory.dhcp.max_lease
    assert 0 < lease.seconds <= most, f"{node.name} has a lease of {lease.seconds} s, {most:.0f} at most"


def test_the_gateway_is_leased(node: Node, lease: Lease, inventory: Inventory) -> None:
    wanted = (str(inventory.network.gateway),)
    assert lease.routers == wanted, f"{node.name} was told the router {lease.routers or 'none'}, not {wanted[0]}"


def test_the_name_servers_are_leased(node: Node, lease: Lease, inventory: Inventory) -> None:
    wanted = {str(inventory.node(name).address) for name in (inventory.dns.primary, inventory.dns.secondary)}
    assert set(lease.dns) == wanted, f"{node.name} was told the name servers {lease.dns or 'none'}, not {wanted}"


def test_the_time_servers_are_leased(node: Node, lease: Lease, inventory: Inventory) -> None:
    wanted = {str(inventory.node(name).address) for name in inventory.ntp.servers}
    assert set(lease.ntp) == wanted, f"{node.name} was told the time servers {lease.ntp or 'none'}, not {wanted}"


def test_the_domain_is_leased(node: Node, lease: Lease, inventory: Inventory) -> None:
    wanted = inventory.cluster.subdomain
    assert lease.domain == wanted, f"{node.name} was told the domain {lease.domain or 'none'}, not {wanted}"


def test_nothing_else_gives_it_an_address(node: Node, facts: Facts, inventory: Inventory) -> None:
    """A static address beside the lease would hide a DHCP pair that is dead."""
    interface = inventory.network.interface
    infos = facts.links.get(interface, {}).get("addr_info", ())
    fixed = [info["local"] for info in infos if info["family"] == "inet" and not info.get("dynamic")]
    assert not fixed, f"{node.name}: {', '.join(fixed)} on {interface} is static, not leased"


def test_its_route_comes_with_the_lease(node: Node, facts: Facts) -> None:
    found = [route.get("protocol") for route in facts.routes if route["dst"] == "default"]
    assert found == ["dhcp"], f"{node.name}: its default route was set by {found or 'nobody'}, not by DHCP"
