"""The network of a node: its own address and no other, the way out, and no IPv6."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.node import Node
from specs.base import expected


@pytest.fixture(scope="module")
def link(node: Node, facts: Facts, inventory: Inventory) -> dict[str, Any]:
    """The node's interface on the LAN."""
    found = facts.links.get(inventory.network.interface)
    assert found is not None, f"{node.name} has no {inventory.network.interface}; it has {', '.join(facts.links)}"
    return found


def test_the_address_and_its_mask(node: Node, facts: Facts, inventory: Inventory) -> None:
    found = facts.addresses(inventory.network.interface)
    wanted = inventory.network.cidr.prefixlen
    assert node.address in found, f"{node.name} has {', '.join(found) or 'no address'}, not {node.address}"
    assert found[node.address] == wanted, f"{node.name}: {node.address}/{found[node.address]}, not /{wanted}"


def test_no_address_that_is_not_its_own(node: Node, facts: Facts, inventory: Inventory) -> None:
    """An address left behind by a fault, or a second lease, makes two computers answer for one."""
    may = {node.address}
    if node.name in inventory.vrrp.priorities:
        may.add(str(inventory.network.floating))
    others = sorted(set(facts.addresses(inventory.network.interface)) - may)
    assert not others, f"{node.name} also has {', '.join(others)}"


def test_the_mac_is_the_inventorys(node: Node, link: dict[str, Any], inventory: Inventory) -> None:
    found, wanted = link.get("address"), inventory.node(node.name).mac
    assert found == wanted, f"{node.name} has MAC {found}, the inventory says {wanted}: its reservation will not fit"


def test_the_link_is_up(node: Node, link: dict[str, Any]) -> None:
    flags = set(link.get("flags", ()))
    assert {"UP", "LOWER_UP"} <= flags, f"{node.name}: {link['ifname']} is {' '.join(sorted(flags))}"


def test_frames_have_the_lans_size(node: Node, link: dict[str, Any]) -> None:
    """A node of another MTU drops what the others send, and only large packets show it."""
    assert link.get("mtu") == 1500, f"{node.name}: {link['ifname']} has MTU {link.get('mtu')}, not 1500"


def test_one_way_out(node: Node, facts: Facts, inventory: Inventory) -> None:
    found = [route.get("gateway", "no gateway") for route in facts.routes if route["dst"] == "default"]
    wanted = str(inventory.network.gateway)
    if not found and facts.container and inventory.groups[inventory.node(node.name).group].addressing == "static":
        pytest.skip("a container of a lab, which has no router")
    assert found == [wanted], f"{node.name}: its default route is {' and '.join(found) or 'missing'}, not {wanted}"


def test_the_lan_is_on_the_link(node: Node, facts: Facts, inventory: Inventory) -> None:
    wanted, interface = str(inventory.network.cidr), inventory.network.interface
    found = [route for route in facts.routes if route["dst"] == wanted and route.get("dev") == interface]
    assert found, f"{node.name} has no route to {wanted} on {interface}"


def test_no_ipv6_address(node: Node, link: dict[str, Any]) -> None:
    found = [info["local"] for info in link.get("addr_info", ()) if info["family"] == "inet6"]
    assert not found, f"{node.name} has IPv6 addresses: {', '.join(found)}"


@pytest.mark.each("setting", lambda inventory, node: expected.settings(inventory))
def test_the_kernel_setting(node: Node, setting: expected.Setting, facts: Facts) -> None:
    if facts.container and not setting.ours:
        pytest.skip(f"{setting.name} is the host's where the node is a container")
    found = facts.sysctl.get(setting.name)
    if found is None:
        pytest.skip(f"the kernel of {node.name} has no {setting.name}")
    assert found == setting.value, f"{node.name}: {setting.name} = {found}, not {setting.value}"


@pytest.mark.each("module", lambda inventory, node: expected.blacklisted(inventory, node))
def test_the_module_stays_out(node: Node, module: str, facts: Facts) -> None:
    assert module in facts.blacklist, f"{node.name}: {module} is not blacklisted: it comes with its hardware"
    if not facts.container:  # whose modules are the host's
        assert module not in facts.modules, f"{node.name} has loaded {module}"
