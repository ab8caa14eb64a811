"""The deployer: it holds the keys to all else, so nothing but sshd listens on the LAN, and nobody leads there."""

from __future__ import annotations

import pytest

from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.node import Node

pytestmark = pytest.mark.group("deployer")


def test_nothing_but_sshd_listens_on_tcp(node: Node, facts: Facts) -> None:
    others = [
        f"{one.process or 'the kernel'} on {one.address}:{one.port}"
        for one in facts.listeners
        if one.protocol == "tcp" and not one.local and one.process not in ("sshd", "systemd")
    ]
    assert not others, f"{node.name} also serves: {', '.join(others)}"


@pytest.mark.outside("the specs that run there ask by UDP themselves", own=True)
def test_nothing_listens_on_udp(node: Node, facts: Facts) -> None:
    others = [
        f"{one.process or 'the kernel'} on {one.address}:{one.port}"
        for one in facts.listeners
        if one.protocol == "udp" and not one.local
    ]
    assert not others, f"{node.name} also serves: {', '.join(others)}"


def test_it_does_not_depend_on_the_pair_for_its_address(node: Node, facts: Facts, inventory: Inventory) -> None:
    """Static, so that the pair can be repaired from here."""
    assert facts.lease is None, f"{node.name} has its address by DHCP from {facts.lease and facts.lease.server}"
