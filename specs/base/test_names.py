"""Names: what a node is called, whom it knows without DNS, whom it asks, and what it is told."""

from __future__ import annotations

import pytest

from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.node import Node
from specs.base.looks import everybody


@pytest.mark.parametrize("where", ["kernel", "file"])
def test_the_node_has_its_name(node: Node, where: str, facts: Facts) -> None:
    found = facts.names.get(where)
    place = {"kernel": "uname -n", "file": "/etc/hostname"}[where]
    assert found == node.name, f"{node.name} calls itself {found} ({place})"


def test_the_node_knows_its_complete_name(node: Node, facts: Facts, inventory: Inventory) -> None:
    found, wanted = facts.names.get("full"), inventory.fqdn(node.name)
    assert found == wanted, f"{node.name}: hostname -f says {found}, not {wanted}"


@pytest.mark.parametrize("key", ["CHASSIS", "LOCATION"])
def test_it_says_what_and_where_it_is(node: Node, key: str, facts: Facts, inventory: Inventory) -> None:
    wanted = {"CHASSIS": "embedded", "LOCATION": inventory.cluster.location}[key]
    found = facts.machine.get(key)
    assert found == wanted, f"{node.name}: /etc/machine-info has {key}={found}, not {wanted}"


@pytest.mark.each("other", everybody)
def test_the_hosts_file_knows(node: Node, other: str, facts: Facts, inventory: Inventory) -> None:
    """Without DNS too: complete, short and `.local`."""
    address = str(inventory.node(other).address)
    for name in (inventory.fqdn(other), other, f"{other}.local"):
        found = facts.hosts.get(name)
        assert found == (address,), f"{node.name}: /etc/hosts has {name} at {found or 'no address'}, not {address}"


def test_localhost_is_the_node_itself(node: Node, facts: Facts) -> None:
    found = facts.hosts.get("localhost", ())
    assert "127.0.0.1" in found, f"{node.name}: /etc/hosts has localhost at {found or 'no address'}"


def test_short_names_are_searched_in_the_clusters_domain(node: Node, facts: Facts, inventory: Inventory) -> None:
    found, wanted = facts.resolver.get("search", ()), (inventory.cluster.subdomain,)
    assert found == wanted, f"{node.name}: resolv.conf searches {found or 'nowhere'}, not {wanted[0]}"


def test_it_asks_the_clusters_name_servers(node: Node, facts: Facts, inventory: Inventory) -> None:
    """A name server asks itself first, then its partner; everybody else asks the primary first."""
    names = [inventory.dns.primary, inventory.dns.secondary]
    itself = ["127.0.0.1"] if node.name in names else []
    wanted = (*itself, *(str(inventory.node(name).address) for name in names if name != node.name))
    found = facts.resolver.get("nameserver", ())
    assert found == wanted, f"{node.name}: resolv.conf asks {', '.join(found) or 'nobody'}, not {', '.join(wanted)}"


def test_it_soon_asks_the_other_server(node: Node, facts: Facts) -> None:
    """resolv.conf(5): 5 s by default before the next server is asked, which looks like an outage."""
    options = dict(option.partition(":")[::2] for option in facts.resolver.get("options", ()))
    timeout = int(options.get("timeout") or 5)
    assert timeout <= 2, f"{node.name}: its resolver waits {timeout} s for a dead name server, 2 at most"


@pytest.mark.each("other", everybody)
def test_dns_tells_it_where(node: Node, other: str, facts: Facts, inventory: Inventory) -> None:
    """Asked through the node's own resolver, with the hosts file left aside."""
    name, wanted = inventory.fqdn(other), {str(inventory.node(other).address)}
    found = facts.lookups.get(name, frozenset())
    assert found == wanted, f"{node.name}: DNS says {name} is {', '.join(sorted(found)) or 'not there'}, not {wanted}"


@pytest.mark.parametrize("service", ["dns1", "dns2", "float", "dgw"])
def test_dns_tells_it_where_the_service_is(node: Node, service: str, facts: Facts, inventory: Inventory) -> None:
    wanted = {
        "dns1": inventory.node(inventory.dns.primary).address,
        "dns2": inventory.node(inventory.dns.secondary).address,
        "float": inventory.network.floating,
        "dgw": inventory.network.gateway,
    }[service]
    name = inventory.fqdn(service)
    found = facts.lookups.get(name, frozenset())
    assert found == {str(wanted)}, f"{node.name}: DNS says {name} is {sorted(found) or 'not there'}, not {wanted}"


@pytest.mark.each("other", everybody)
def test_dns_completes_the_short_name(node: Node, other: str, facts: Facts, inventory: Inventory) -> None:
    name, wanted = inventory.fqdn(other), {str(inventory.node(other).address)}
    found = facts.short_lookups.get(name, frozenset())
    assert found == wanted, f"{node.name}: the short name {other} leads to {sorted(found) or 'nothing'}, not {wanted}"
