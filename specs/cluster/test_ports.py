"""What is open on the wire is what the inventory opens: every TCP port of every node and its UDP services, by nmap.

From two places: the operator's, and the deployer, a node of the other groups' LAN, which some of them trust.  What it
may reach on a node that trusts it is all that listens there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from cluster.errors import ProbeFailed
from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Fleet, Node
from cluster.probes import nft, nmap
from specs.base import expected

pytestmark = pytest.mark.slow

SCAN_S = 25  # 2 s in the lab; a Pi B+ answers 65,535 times in about 15
OPERATOR = "operator"
SCANNING_GROUP = "deployer"  # whose provisioner installs nmap
MAYBE = ("open", "open|filtered")  # a UDP service may keep silent when it does not understand

Scan = Callable[[str, str], nmap.Ports]


def places(inventory: Inventory, node: Plan) -> list[str]:
    """Where a node is scanned from: the operator's place, and the deployer unless it is that itself."""
    return [OPERATOR, *(one.name for one in inventory.group(SCANNING_GROUP)[:1] if one.name != node.name)]


def udp_services(inventory: Inventory, node: str) -> set[int]:
    """The UDP ports that a node opens."""
    return {one.port for one in inventory.open_ports(node) if one.protocol == "udp"}


@pytest.fixture(scope="session")
def scan(fleet: Fleet, inventory: Inventory) -> Scan:
    """What a scan of a node sees from a place; each is made once."""
    # Where a node serves nothing by UDP, all that others serve is tried.
    every = {port for name in inventory.nodes for port in udp_services(inventory, name)}

    @cache
    def once(name: str, place: str) -> nmap.Ports:
        node = inventory.node(name)
        udp = udp_services(inventory, name) or every
        if place == OPERATOR:
            return nmap.scan(str(node.address), udp, seconds=SCAN_S)
        command = nmap.command(str(node.address), udp, seconds=SCAN_S)
        return nmap.parse(fleet[place].run(command, sudo=True, deadline=SCAN_S + 5, check=True).out, str(node.address))

    def seen(name: str, place: str) -> nmap.Ports:
        try:
            return once(name, place)
        except ProbeFailed as error:
            if error.reason in ("missing", "permission"):
                pytest.skip(f"cannot scan from here: {error}")
            raise

    return seen


def allowed(inventory: Inventory, node: Plan, place: str, protocol: str) -> tuple[nft.Range, ...]:
    """The ports that the inventory opens to a place."""
    source = inventory.network.operator.address if place == OPERATOR else inventory.node(place).address
    return expected.reachable_ports(inventory, node, str(source), protocol)


@pytest.mark.each("place", places)
def test_exactly_the_declared_tcp_ports_are_open(
    node: Node, place: str, facts: Facts, scan: Scan, inventory: Inventory
) -> None:
    wanted = allowed(inventory, inventory.node(node.name), place, "tcp")
    if wanted == nft.EVERY:
        wanted = nft.ranges(one.port for one in facts.listeners if one.protocol == "tcp" and not one.local)
    found = nft.ranges(nmap.opened(scan(node.name, place), "tcp"))
    assert found == wanted, f"{node.name}: tcp ports open to {place}: {nft.shown(found)}, not {nft.shown(wanted)}"


@pytest.mark.each("place", places)
def test_the_declared_udp_services_are_open(node: Node, place: str, scan: Scan, inventory: Inventory) -> None:
    """A refused one is told to be closed.  Nothing follows from silence, because refusals are limited (icmp(7))."""
    found, declared = scan(node.name, place), udp_services(inventory, node.name)
    closed = sorted(declared - set(nmap.opened(found, "udp", MAYBE)))
    assert not closed, f"{node.name}: udp ports closed to {place}: {closed}; the inventory opens them"
    answering = sorted(set(nmap.opened(found, "udp")) - declared)
    trusted = allowed(inventory, inventory.node(node.name), place, "udp") == nft.EVERY
    assert trusted or not answering, f"{node.name}: udp ports open to {place}: {answering}; the inventory does not"
