"""The bootstrap router's configuration is what the inventory says, and only keys open it."""

from __future__ import annotations

from contextlib import suppress

import pytest

from cluster import artifacts
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes.door import Door
from cluster.probes.uci import Package
from specs.lanservices.looks import must
from specs.openwrt.looks import Router

pytestmark = pytest.mark.group("openwrt")


@pytest.fixture(scope="module")
def router(node: Node, all_routers: dict[str, Router | ClusterError]) -> Router:
    """What the router says of itself."""
    return must(all_routers[node.name])


def package(router: Router, name: str) -> Package:
    """A file of its configuration."""
    return router.packages.get(name, Package(name, ()))


def test_it_is_openwrt(node: Node, router: Router, inventory: Inventory) -> None:
    """What stands in for it shows that our part works, not that OpenWrt does what its documentation says."""
    if router.stand_in:
        why = ""
        with suppress(KeyError):
            try:
                artifacts.find(inventory, "openwrt")
            except artifacts.ArtifactMissing as missing:
                why = f": {missing}"
        pytest.skip(f"{node.name} is a stand-in, OpenWrt itself is not verified{why}")
    assert "DISTRIB_ID='OpenWrt'" in router.release, f"{node.name} is no OpenWrt: {router.release or 'it says nothing'}"


def test_its_name(node: Node, router: Router) -> None:
    found = package(router, "system").section("system").options.get("hostname")
    assert found == node.name, f"{node.name} is configured to be called {found}"


def test_its_address(node: Node, router: Router, inventory: Inventory) -> None:
    lan, found = inventory.network, package(router, "network").section("interface", "lan").options
    wanted = {"proto": "static", "ipaddr": node.address, "netmask": str(lan.cidr.netmask), "gateway": str(lan.gateway),
              "device": inventory.interface(node.name)}  # fmt: skip
    differ = {key: found.get(key) for key in wanted if found.get(key) != wanted[key]}
    assert not differ, f"{node.name}: its LAN has {differ}, not { ({key: wanted[key] for key in differ}) }"


def test_it_knows_exactly_the_static_nodes(node: Node, router: Router, inventory: Inventory) -> None:
    """Whom it would give addresses to: never a compute node."""
    hosts = {s.options.get("mac", ""): s.options.get("ip", "") for s in package(router, "dhcp").of("host")}
    wanted = {one.mac: str(one.address) for one in inventory.bootstrapped.values()}
    assert hosts == wanted, f"{node.name} would give addresses to {hosts}, the inventory says {wanted}"
    dynamic = [s.name for s in package(router, "dhcp").of("dhcp") if s.options.get("dynamicdhcp") != "0"]
    assert not dynamic, f"{node.name} would give addresses to anybody on {', '.join(dynamic)}"


@pytest.mark.semantics("dhcp-bootstrap-silent")
def test_it_is_told_to_be_silent(node: Node, router: Router) -> None:
    dhcp = package(router, "dhcp")
    assert dhcp.section("dnsmasq").options.get("port") == "0", f"{node.name} is not told to answer no names"
    awake = [s.name for s in dhcp.of("dhcp") if s.options.get("ignore") != "1"]
    assert not awake and dhcp.of("dhcp"), f"{node.name} is not told to give no addresses on {', '.join(awake) or 'lan'}"


def test_it_is_told_of_the_time_servers(node: Node, router: Router, inventory: Inventory) -> None:
    found = package(router, "system").section("timeserver", "ntp").lists.get("server", ())
    wanted = tuple(str(inventory.node(name).address) for name in inventory.ntp.servers)
    assert found == wanted, f"{node.name} is told the time servers {found or 'none'}, not {wanted}"


def test_only_keys_open_it(node: Node, router_doors: dict[str, Door | ClusterError]) -> None:
    seen = must(router_doors[node.name])
    assert seen.offered == {"publickey"}, f"{node.name} offers root {sorted(seen.offered) or 'a way in without a key'}"
    assert seen.accepted == {"publickey"}, f"{node.name} lets root in by {sorted(seen.accepted) or 'nothing'}"


def test_what_was_there_is_kept(node: Node, router: Router) -> None:
    assert "config-first.tar.gz" in router.backups, (
        f"{node.name} has no copy of the configuration it was found with; there are: {router.backups or 'none'}"
    )
