"""Addresses: each is answered by exactly the computer that the inventory gives it to, and names lead to them."""

from __future__ import annotations

import pytest

from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node


def test_the_address_belongs_to_the_node_alone(
    node: Node, arp_owners: dict[str, frozenset[str]], inventory: Inventory
) -> None:
    expected, found = inventory.node(node.name).mac, sorted(arp_owners[node.address])
    assert found, f"nobody answers ARP for {node.address} of {node.name}"
    assert found == [expected], f"{node.address} of {node.name} ({expected}) is answered by {found}"


@pytest.fixture(scope="module")
def known(node: Node, inventory: Inventory) -> dict[str, set[str]]:
    """What the node itself makes of every node's complete name: one command for all."""
    names = [inventory.fqdn(name) for name in inventory.nodes]
    lines = node.run(["getent", "ahostsv4", *names], deadline=10.0).text.splitlines()
    found: dict[str, set[str]] = {name: set() for name in names}
    current = ""
    for words in map(str.split, lines):
        current = words[2] if len(words) > 2 else current  # the name stands only with the first of its lines
        found.setdefault(current, set()).add(words[0])
    return found


def everybody(inventory: Inventory, node: Plan) -> list[Plan]:
    """Every node of the inventory."""
    return list(inventory.nodes.values())


@pytest.mark.each("other", everybody)
def test_the_node_knows_every_other_by_name(
    node: Node, other: Plan, known: dict[str, set[str]], inventory: Inventory
) -> None:
    name, expected = inventory.fqdn(other.name), {str(other.address)}
    found = known.get(name, set())
    assert found == expected, f"{node.name} takes {name} for {sorted(found) or 'nothing'}, not {other.address}"
