"""The firewall: what the inventory opens comes in, from where it may, and nothing else does.

Here the rules that the node's kernel holds are asked about packets, and compared with the sockets that listen; that
the wire agrees is what test_ports.py scans for.
"""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node
from cluster.probes import nft
from specs.base import expected

OUTSIDE = "198.51.100.1"  # of nobody: RFC 5737


@pytest.fixture(scope="module")
def table(node: Node, facts: Facts) -> nft.Table:
    """The node's rules."""
    try:
        found = facts.firewall
    except ValueError as error:
        pytest.fail(f"{node.name}: {error}: what does it let in?", pytrace=False)
    assert found is not None, f"{node.name} has no table inet {nft.TABLE}: everything is open"
    return found


def sources(inventory: Inventory, node: Plan) -> list[str]:
    """Who could knock: nodes of each group, a stranger on the LAN, somebody beyond the router, other LANs of ours.

    A group is one, so that what a node costs does not grow with the others.
    """
    groups = [name for name in inventory.groups if addresses(name, inventory, node.name)]
    return [*groups, "stranger", "outside", *map(str, inventory.groups[node.group].ssh_from)]


def addresses(source: str, inventory: Inventory, node: str) -> dict[str, str]:
    """Where packets from there come from, by what it is called: every other node of a group, or one address."""
    if source in inventory.groups:
        return {one.name: str(one.address) for one in inventory.group(source) if one.name != node}
    if source == "stranger":
        return {source: str(inventory.dhcp.pool_first)}
    if source == "outside":
        return {source: OUTSIDE}
    return {source: str(next(one for one in IPv4Network(source).hosts() if one not in inventory.network.cidr))}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.each("source", sources)
def test_it_lets_in_what_is_declared(
    node: Node, source: str, protocol: str, table: nft.Table, inventory: Inventory
) -> None:
    strange = []
    for name, address in addresses(source, inventory, node.name).items():
        wanted = expected.reachable_ports(inventory, inventory.node(node.name), address, protocol)
        found = table.ports(nft.packet(protocol, address, interface=inventory.network.interface))
        if found != wanted:
            strange.append(f"{name} in on {protocol} {nft.shown(found)}; declared is {nft.shown(wanted)}")
    assert not strange, f"{node.name} lets {', and '.join(strange)}"


def test_it_refuses_at_once(node: Node, table: nft.Table, inventory: Inventory) -> None:
    """Who tries a wrong port hears so, instead of waiting for a timeout."""
    stranger = str(inventory.dhcp.pool_first)
    found = table.verdict(nft.packet("tcp", stranger, interface=inventory.network.interface, port=9))
    assert found == "reject", f"{node.name} answers a connection to a closed port with {found}, not reject"


def test_answers_come_in(node: Node, table: nft.Table, inventory: Inventory) -> None:
    packet = nft.packet("tcp", OUTSIDE, interface=inventory.network.interface, port=40000, ct_state="established")
    found = table.verdict(packet)
    assert found == "accept", f"{node.name} does not let answers in ({found}): it can ask nobody anything"


def test_it_talks_with_itself(node: Node, table: nft.Table) -> None:
    found = table.verdict(nft.packet("tcp", "127.0.0.1", interface="lo", port=9))
    assert found == "accept", f"{node.name} does not let in what it says to itself: {found}"


def test_it_can_be_pinged(node: Node, table: nft.Table, inventory: Inventory) -> None:
    stranger = str(inventory.dhcp.pool_first)
    packet = nft.packet("icmp", stranger, interface=inventory.network.interface, icmp_type="echo-request")
    assert table.verdict(packet) == "accept", f"{node.name} cannot be pinged from the LAN"


def test_ipv6_stays_out(node: Node, table: nft.Table, inventory: Inventory) -> None:
    """It is switched off; if something switches it on, it must not lead around the rules."""
    port = inventory.groups[inventory.node(node.name).group].ssh_ports[0]
    packet = nft.packet("tcp", "fe80::1", interface=inventory.network.interface, port=port, meta_nfproto="ipv6")
    packet = {name: value for name, value in packet.items() if not name.startswith("ip.")}
    found = table.verdict(packet)
    assert found == "drop", f"{node.name}: IPv6 meets {found}, not drop"


def test_what_is_refused_is_logged_within_limits(node: Node, table: nft.Table) -> None:
    """A log that anybody on the LAN can fill would be a way to fill the disk."""
    loud = [rule for chain in table.chains.values() for rule in chain.rules if any("log" in one for one in rule)]
    assert loud, f"{node.name} does not log what it refuses"
    endless = [rule for rule in loud if not any("limit" in one for one in rule)]
    assert not endless, f"{node.name} logs without a limit"


def declared(inventory: Inventory, node: Plan) -> list[str]:
    """Every port that a node of the group opens to the LAN."""
    ssh = [f"tcp/{port}" for port in inventory.groups[node.group].ssh_ports]
    return [*ssh, *map(str, inventory.open_ports(node))]


@pytest.mark.each("port", declared)
def test_somebody_serves_what_is_open(node: Node, port: str, facts: Facts) -> None:
    """A port that is open for nobody is one that the next program may take unseen."""
    protocol, _, number = port.partition("/")
    found = [one for one in facts.listeners if (one.protocol, one.port) == (protocol, int(number)) and not one.local]
    assert found, f"{node.name}: {port} is open, but nothing listens there"
