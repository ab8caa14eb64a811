"""Names: what a node is called, whom it knows without DNS, whom it asks, and what it is told."""

from __future__ import annotations

import pytest

from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.node import Node


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


def test_the_hosts_file_knows_every_node(node: Node, facts: Facts, inventory: Inventory) -> None:
    """By three names each; one spec for all, so that its cost for a node does not grow with the others."""
    strange = []
    for other in inventory.nodes.values():
        for name in (inventory.fqdn(other.name), other.name, f"{other.name}.local"):
            found = facts.hosts.get(name)
            if found != (str(other.address),):
                strange.append(f"{name} at {found or 'no address'}, not {other.address}")
    assert not strange, f"{node.name}: /etc/hosts has {'; '.join(strange)}"


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


def test_dns_tells_it_where_every_node_is(node: Node, facts: Facts, inventory: Inventory) -> None:
    """Asked through the node's own resolver, with the hosts file left aside."""
    strange = []
    for other in inventory.nodes.values():
        name, found = inventory.fqdn(other.name), facts.lookups.get(inventory.fqdn(other.name), frozenset())
        if found != {str(other.address)}:
            strange.append(f"{name} is {', '.join(sorted(found)) or 'not there'}, not {other.address}")
    assert not strange, f"{node.name}: DNS says {'; '.join(strange)}"


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


def test_dns_completes_short_names(node: Node, facts: Facts, inventory: Inventory) -> None:
    strange = []
    for other in inventory.nodes.values():
        found = facts.short_lookups.get(inventory.fqdn(other.name), frozenset())
        if found != {str(other.address)}:
            strange.append(f"the short name {other.name} leads to {sorted(found) or 'nothing'}, not {other.address}")
    assert not strange, f"{node.name}: {'; '.join(strange)}"
