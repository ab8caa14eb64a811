"""Addresses: each is answered by exactly the computer that the inventory gives it to, and names lead to them."""

from __future__ import annotations

import pytest

from cluster.inventory import Inventory
from cluster.node import Node


@pytest.mark.group("*")
@pytest.mark.outside("no computer hears its own answers", own=True)
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


def test_the_node_knows_every_other_by_name(node: Node, known: dict[str, set[str]], inventory: Inventory) -> None:
    strange = []
    for other in inventory.nodes.values():
        found = known.get(inventory.fqdn(other.name), set())
        if found != {str(other.address)}:
            strange.append(f"{inventory.fqdn(other.name)} for {sorted(found) or 'nothing'}, not {other.address}")
    assert not strange, f"{node.name} takes {'; '.join(strange)}"
