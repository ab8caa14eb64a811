"""The floating address: one owner, seen on the wire; and a standby that would take over.

RFC 3768 (VRRP version 2), keepalived.conf(5).  The wire decides: who advertises, who answers ARP.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import pytest

from cluster.errors import ClusterError
from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes import tcp, wire
from cluster.probes.vrrp import GROUP, Advertisement
from specs.lanservices.looks import Standing, answer, must, servers

Standings = dict[str, Standing | ClusterError]
Heard = tuple[Advertisement, ...]
Owners = dict[str, frozenset[str]]
MISSED_PART = 0.25  # of an interval: how late an advertisement may be heard; a busy Pi B+ is 50 ms late


def ours(heard: Heard, inventory: Inventory) -> Heard:
    """The advertisements of our virtual router."""
    return tuple(a for a in heard if a.vrid == inventory.vrrp.virtual_router_id)


def the_advertiser(heard: Heard, inventory: Inventory) -> str:
    """The name of the node that advertises; fails unless there is exactly one."""
    vrid = inventory.vrrp.virtual_router_id
    sources = sorted({a.src for a in ours(heard, inventory)})
    if not sources:
        others = sorted({a.vrid for a in heard})
        pytest.fail(f"nobody advertises virtual router {vrid}" + (f"; heard only {others}" if others else ""))
    names = {address: name for name, address in servers(inventory).items()}
    if len(sources) > 1:
        who = ", ".join(f"{names.get(s, 'a stranger')} ({s})" for s in sources)
        pytest.fail(f"split brain: virtual router {vrid} is advertised by {who}")
    if sources[0] not in names:
        pytest.fail(f"virtual router {vrid} is advertised by a stranger: {sources[0]}")
    return names[sources[0]]


# ---------------------------------------------------------------- on the wire


@pytest.mark.semantics("vrrp-one-advertiser", "vrrp-password-no-proof")
def test_exactly_one_node_advertises(advertisements: Heard, inventory: Inventory) -> None:
    the_advertiser(advertisements, inventory)


@pytest.mark.semantics("vrrp-one-advertiser")
def test_the_advertiser_is_the_one_of_the_highest_priority(
    advertisements: Heard, inventory: Inventory, standings: Standings
) -> None:
    name = the_advertiser(advertisements, inventory)
    priorities = {n: s.instance.priority for n, s in standings.items() if isinstance(s, Standing)}
    best = max(priorities, key=lambda n: priorities[n])
    assert name == best, f"{name} (priority {priorities.get(name)}) advertises, not {best} ({priorities[best]})"


@pytest.mark.semantics("vrrp-same-settings")
def test_advertisements_carry_the_priority_of_the_live_configuration(
    advertisements: Heard, inventory: Inventory, standings: Standings
) -> None:
    name = the_advertiser(advertisements, inventory)
    told = {a.priority for a in ours(advertisements, inventory)}
    live = must(standings[name]).instance.priority
    assert told == {live}, f"{name} advertises priority {sorted(told)}, its configuration says {live}"


@pytest.mark.semantics("vrrp-same-settings")
def test_advertisements_carry_the_floating_address(advertisements: Heard, inventory: Inventory) -> None:
    the_advertiser(advertisements, inventory)
    told = {a.addresses for a in ours(advertisements, inventory)}
    expected = {(str(inventory.network.floating),)}
    assert told == expected, f"advertised: {sorted(told)}, the inventory says {sorted(expected)}"


@pytest.mark.semantics("vrrp-same-settings")
def test_advertisements_tell_the_interval_of_the_inventory(advertisements: Heard, inventory: Inventory) -> None:
    the_advertiser(advertisements, inventory)
    told = {a.interval_s for a in ours(advertisements, inventory)}
    assert told == {inventory.vrrp.advert}, f"advertised: {sorted(told)} s, the inventory: {inventory.vrrp.advert} s"


def test_advertisements_come_at_their_interval(advertisements: Heard, inventory: Inventory) -> None:
    the_advertiser(advertisements, inventory)
    times = [a.t for a in ours(advertisements, inventory)]
    gaps = [round(b - a, 3) for a, b in pairwise(times)]
    advert = inventory.vrrp.advert
    assert gaps, f"one advertisement in {2.25 * advert:g} s: they do not come every {advert:g} s"
    wrong = [gap for gap in gaps if abs(gap - advert) > MISSED_PART * advert]
    assert not wrong, f"advertisements {wrong} s apart, the inventory says every {advert:g} s"


@pytest.mark.semantics("vrrp-password-no-proof")
def test_nobody_else_claims_the_address(advertisements: Heard, inventory: Inventory) -> None:
    """Other virtual routers may live on a LAN; not with our address, and not on our nodes."""
    vrid, floating = inventory.vrrp.virtual_router_id, str(inventory.network.floating)
    nodes = set(servers(inventory).values())
    others = {(a.src, a.vrid) for a in advertisements if a.vrid != vrid and (a.src in nodes or floating in a.addresses)}
    assert not others, f"{floating} belongs to virtual router {vrid}, but others advertise: {sorted(others)}"


@pytest.mark.semantics("vrrp-one-arp-owner")
def test_exactly_one_hardware_address_answers_arp(arp_owners: Owners, inventory: Inventory) -> None:
    floating = str(inventory.network.floating)
    names = {node.mac: name for name, node in inventory.nodes.items()}
    found = sorted(f"{mac} ({names.get(mac, 'a stranger')})" for mac in arp_owners[floating])
    assert found, f"nobody answers ARP for {floating}"
    assert len(found) == 1, f"{floating} is answered by {len(found)}: {', '.join(found)}"


@pytest.mark.semantics("vrrp-one-arp-owner")
def test_the_hardware_address_is_that_of_the_advertiser(
    advertisements: Heard, arp_owners: Owners, inventory: Inventory
) -> None:
    name = the_advertiser(advertisements, inventory)
    answered = sorted(arp_owners[str(inventory.network.floating)])
    told = {a.mac for a in ours(advertisements, inventory)}
    mac = inventory.node(name).mac
    assert told == {mac}, f"{name} advertises from {told}, the inventory says {mac}"
    assert answered == [mac], f"{name} ({mac}) advertises, but ARP is answered by {answered}"


# ---------------------------------------------------------------- on the nodes


@pytest.mark.semantics("vrrp-one-holder")
def test_exactly_one_node_has_the_address(standings: Standings, inventory: Inventory) -> None:
    floating = str(inventory.network.floating)
    having = [name for name, standing in standings.items() if floating in must(standing).addresses]
    assert len(having) == 1, f"{floating} is configured on {having or 'no node'}, not on exactly one"


@pytest.mark.semantics("vrrp-one-holder")
@pytest.mark.group("lanservices")
def test_the_address_is_where_the_advertiser_is(
    node: Node, advertisements: Heard, standings: Standings, inventory: Inventory
) -> None:
    master, floating = the_advertiser(advertisements, inventory), str(inventory.network.floating)
    has = floating in must(standings[node.name]).addresses
    if node.name == master:
        assert has, f"{master} advertises, but does not have {floating} configured"
    else:
        assert not has, f"{node.name} has {floating} configured, but {master} advertises it"


@pytest.mark.semantics("vrrp-standby-listens")
@pytest.mark.group("lanservices")
def test_keepalived_runs(node: Node, standings: Standings) -> None:
    state = must(standings[node.name]).active
    assert state == "active", f"keepalived on {node.name} is {state}: it could not take over"


@pytest.mark.semantics("vrrp-standby-listens")
@pytest.mark.group("lanservices")
def test_the_node_listens_to_advertisements(node: Node, standings: Standings) -> None:
    standing = must(standings[node.name])
    assert wire.VRRP in standing.protocols, f"nothing on {node.name} has a socket for VRRP (protocol {wire.VRRP})"
    assert GROUP in standing.groups, f"{node.name} has not joined {GROUP}, so it hears no advertisement"


@dataclass(frozen=True)
class Setting:
    """One setting of the live instance; `expected` from the inventory, None where both must only agree."""

    name: str
    expected: object = None


def settings(inventory: Inventory, node: object = None) -> list[Setting]:
    """What both nodes must have in common."""
    plan = inventory.vrrp
    return [
        Setting("vrid", plan.virtual_router_id),
        Setting("advert_int", plan.advert),
        Setting("addresses", (str(inventory.network.floating),)),
        Setting("interface", inventory.network.interface),
        Setting("auth_type", "pass"),
        Setting("version"),
        Setting("preempt_delay", plan.preempt_delay),
        Setting("nopreempt"),
    ]


@pytest.mark.group("lanservices")
@pytest.mark.each("setting", lambda inventory, node: [s for s in settings(inventory) if s.expected is not None])
def test_the_live_configuration_is_that_of_the_inventory(node: Node, setting: Setting, standings: Standings) -> None:
    live = getattr(must(standings[node.name]).instance, setting.name)
    assert live == setting.expected, f"{setting.name} on {node.name}: {live}, the inventory says {setting.expected}"


@pytest.mark.group("lanservices")
def test_the_priority_is_that_of_the_inventory(node: Node, standings: Standings, inventory: Inventory) -> None:
    live, plan = must(standings[node.name]).instance.priority, inventory.vrrp.priorities[node.name]
    assert live == plan, f"priority of {node.name}: {live}, the inventory says {plan}"


@pytest.mark.semantics("vrrp-tracked")
@pytest.mark.group("lanservices")
@pytest.mark.each("service", lambda inventory, node: inventory.vrrp.tracks)
def test_it_gives_up_priority_for_a_lost_service(
    node: Node, service: str, standings: Standings, inventory: Inventory
) -> None:
    tracks = {track.name: track.weight for track in must(standings[node.name]).instance.tracks}
    assert service in tracks, f"keepalived on {node.name} does not mind whether {service} is lost; it tracks {tracks}"
    wanted = -inventory.vrrp.weight
    assert tracks[service] == wanted, f"losing {service} counts {tracks[service]} on {node.name}, not {wanted}"


@pytest.mark.group("lanservices")
def test_the_router_id_is_that_of_the_inventory(node: Node, standings: Standings, inventory: Inventory) -> None:
    live, plan = must(standings[node.name]).router_id, inventory.vrrp.router_id
    assert live == plan, f"router_id of {node.name}: {live}, the inventory says {plan}"


@pytest.mark.semantics("vrrp-same-settings")
@pytest.mark.each("setting", settings)
def test_both_nodes_have_the_same_live_configuration(setting: Setting, standings: Standings) -> None:
    live = {name: getattr(must(standing).instance, setting.name) for name, standing in standings.items()}
    assert len(set(live.values())) == 1, f"{setting.name} differs: {live}"


@pytest.mark.semantics("vrrp-same-settings")
def test_both_nodes_have_the_same_password(standings: Standings) -> None:
    digests = {name: must(standing).instance.auth_sha256 for name, standing in standings.items()}
    without = [name for name, digest in digests.items() if digest is None]
    if without:
        pytest.fail(f"no auth_pass on {', '.join(without)}")
    if len(set(digests.values())) != 1:  # never shown: eight letters can be found from their digest
        pytest.fail(f"auth_pass differs between {' and '.join(digests)}: they do not believe each other")


@pytest.mark.semantics("vrrp-nopreempt")
@pytest.mark.group("lanservices")
def test_the_node_begins_as_backup(node: Node, standings: Standings) -> None:
    """One that begins as MASTER takes the address at once, whatever nopreempt and preempt_delay say."""
    live = must(standings[node.name]).instance
    asked = "nopreempt" if live.nopreempt else f"preempt_delay {live.preempt_delay:g}"
    assert live.state == "BACKUP", f"{node.name} begins as {live.state}, so that its {asked} means nothing"


# ---------------------------------------------------------------- what is behind it


class Behind(NamedTuple):
    """A service that answers on the address: its name in ids, and its port."""

    name: str
    protocol: str
    port: int


def behind(inventory: Inventory, node: object) -> list[Behind]:
    """Every service behind the address."""
    http = inventory.http.port
    return [
        Behind("dns-udp", "udp", 53),
        Behind("dns-tcp", "tcp", 53),
        Behind("tftp", "udp", 69),
        Behind("ntp", "udp", 123),
        Behind("http", "tcp", http),
    ]


@pytest.mark.semantics("vrrp-bound")
@pytest.mark.group("lanservices")
@pytest.mark.each("service", behind)
def test_the_service_is_there_when_the_address_comes(
    node: Node, service: Behind, facts: Facts, standings: Standings, inventory: Inventory
) -> None:
    """Bound to all addresses, or to this one; named binds each that the node has, and must look for new ones."""
    floating, standing = str(inventory.network.floating), must(standings[node.name])
    here = [one for one in facts.listeners if (one.protocol, one.port) == (service.protocol, service.port)]
    bound = {one.address for one in here}
    assert bound, f"{node.name}: nothing listens on {service.protocol} port {service.port}"
    if bound & {"0.0.0.0", "*", floating}:
        return
    follows = floating not in standing.addresses and standing.follows and {one.process for one in here} == {"named"}
    assert follows, f"{node.name}: {service.name} is bound to {', '.join(sorted(bound))}, not to {floating}"


@pytest.mark.each("port", lambda inventory: [22, 53])
def test_a_connection_to_the_address_is_accepted(port: int, inventory: Inventory) -> None:
    tcp.connect(str(inventory.network.floating), port, 2.0)


@pytest.mark.each("transport", lambda inventory: ["udp", "tcp"])
def test_dns_answers_on_the_address(transport: str, inventory: Inventory) -> None:
    floating, name = str(inventory.network.floating), f"{inventory.fqdn('float')}."
    got = answer(floating, name, "A", tcp=transport == "tcp")
    assert got.records == (floating,), f"{name} over {transport} at {floating}: {got.rcode} {got.records}"
