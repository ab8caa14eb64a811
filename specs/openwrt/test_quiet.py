"""The bootstrap router: once the pair serves, it serves nothing itself, and never gave a compute node an address."""

from __future__ import annotations

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes.dhcp import Offer
from specs.lanservices.looks import must, servers
from specs.openwrt.looks import Router

pytestmark = pytest.mark.group("openwrt")

SILENT = ("! timeout", "! refused")  # what else is wrong with an answer, there was one

Offers = dict[str, tuple[Offer, ...]]


@pytest.fixture(scope="module")
def router(node: Node, all_routers: dict[str, Router | ClusterError]) -> Router:
    """What the router says of itself."""
    return must(all_routers[node.name])


@pytest.mark.semantics("dhcp-bootstrap-silent")
@pytest.mark.parametrize(
    ("protocol", "port", "service"),
    [("udp", 67, "DHCP"), ("udp", 53, "DNS"), ("tcp", 53, "DNS"), ("udp", 69, "TFTP")],
    ids=["dhcp", "dns-udp", "dns-tcp", "tftp"],
)
def test_it_no_longer_serves(node: Node, protocol: str, port: int, service: str, router: Router) -> None:
    assert (protocol, port) not in router.listeners, f"{node.name} still serves {service} on {protocol} port {port}"


@pytest.mark.semantics("dhcp-bootstrap-silent")
def test_it_stays_silent_when_it_boots(node: Node, router: Router) -> None:
    assert not router.enabled, f"{node.name} would serve again after a reboot: dnsmasq is enabled"


@pytest.mark.semantics("dhcp-bootstrap-silent")
def test_it_offers_no_addresses(
    node: Node, bootstrap_offers: Offers, all_routers: dict[str, Router | ClusterError], inventory: Inventory
) -> None:
    """To those it gave addresses to at first: it never answered anybody else, so strangers would not notice."""
    expected = set(servers(inventory).values())
    offered = [f"{name} by {o.server}" for name, offers in bootstrap_offers.items() for o in offers]
    assert any(o.server in expected for offers in bootstrap_offers.values() for o in offers), (
        f"nobody offers the static nodes anything, so it is not seen who would: {', '.join(offered) or 'no offers'}"
    )
    rogue = [f"{name} is offered {o.address}" for name, offers in bootstrap_offers.items() for o in offers
             if node.address in (o.server, o.src)]  # fmt: skip
    assert not rogue, f"{node.name} is a rogue DHCP server: {', '.join(rogue)}"


@pytest.mark.semantics("dhcp-bootstrap-silent")
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_it_answers_no_names(node: Node, protocol: str, router_names: dict[tuple[str, str], str]) -> None:
    said = router_names[node.name, protocol]
    assert said in SILENT, f"{node.name} still answers DNS over {protocol}: {said}"


def test_it_gave_addresses_to_the_static_nodes_only(node: Node, router: Router, inventory: Inventory) -> None:
    """Its lease file outlives reboots, so this tells of the first set-up, too."""
    if not router.leases:
        pytest.skip(f"{node.name} remembers no lease, so it is not seen whom it gave addresses")
    wanted = {one.mac: str(one.address) for one in inventory.bootstrapped.values()}
    strange = [f"{mac} had {address}" for mac, address in router.leases.items() if wanted.get(mac) != address]
    names = {one.mac: name for name, one in inventory.nodes.items()}
    assert not strange, f"{node.name} gave addresses to others: " + ", ".join(
        f"{one} ({names.get(one.split()[0], 'a stranger')})" for one in strange
    )
