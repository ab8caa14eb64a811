"""What the sections of an inventory say about each other: addresses, names and roles that must fit together.

Each rule is a generator of mistakes and knows only values and keys; lines are only quoted, by `Parts.line`.
A section that is broken in itself is None here and keeps its rules quiet, so one mistake is told once.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from cluster import fields
from cluster.fields import show
from cluster.model import (
    K3S,
    PRODUCTION,
    Artifact,
    ClaimLine,
    Cluster,
    DhcpPlan,
    Dns,
    Group,
    Http,
    K3s,
    NetworkPlan,
    Node,
    Ntp,
    Profile,
    Vrrp,
)
from cluster.yamlmarks import Key

Mistakes = Iterator[tuple[Key, str]]

COMPUTE_GROUP = "compute"  # whose provisioner sets up K3s
SERVING_GROUP = "lanservices"  # whose provisioner sets up DHCP, DNS, the floating address and NTP
SSH_PORT = 22  # of fresh nodes, and the one that the harness uses ever after
DERIVED_NAMES = ("dns1", "dns2", "dgw", "float", "localhost")  # DNS or /etc/hosts give these to something else


@dataclass(frozen=True)
class Parts:
    """The parts that are right in themselves; `written_*` are all names that stand in the file, right or not."""

    cluster: Cluster | None
    network: NetworkPlan | None
    dhcp: DhcpPlan | None
    dns: Dns | None
    vrrp: Vrrp | None
    ntp: Ntp | None
    http: Http | None
    k3s: K3s | None
    groups: Mapping[str, Group]
    nodes: Mapping[str, Node]
    artifacts: Mapping[str, Artifact]
    profiles: Mapping[str, Profile]
    claims: Mapping[int, ClaimLine]
    written_groups: frozenset[str]
    written_nodes: frozenset[str]
    written_artifacts: frozenset[str]
    written_k3s: bool
    line: Callable[[Key], int]


def mistakes(parts: Parts) -> Mistakes:
    """Every mistake between sections: the key to blame and the complaint."""
    yield from _nodes(parts)
    yield from _interfaces(parts)
    yield from _firewall(parts)
    for key, _, address in _addresses(parts):
        yield from _inside(key, address, parts.network)
    yield from _twice(_addresses(parts), "give one of them another address")
    yield from _twice(_macs(parts), "copy the MAC from the computer itself")
    for section, plan in (("dhcp", parts.dhcp), ("dns", parts.dns)):
        if plan is not None:
            yield from _serving((section, "primary"), plan.primary, parts)
            yield from _serving((section, "secondary"), plan.secondary, parts)
            if plan.primary == plan.secondary:
                yield (section, "secondary"), f"is {show(plan.primary)} like the primary; name its partner"
    if parts.dhcp is not None:
        yield from _dhcp(parts.dhcp, parts)
        yield from _profiles(parts.dhcp, parts)
    if parts.dns is not None:
        yield from _records(parts.dns, parts.cluster)
    if parts.vrrp is not None:
        yield from _priorities(parts.vrrp, parts)
    if parts.ntp is not None:
        yield from _ntp(parts.ntp, parts)
    if parts.k3s is not None:
        yield from _k3s(parts.k3s, parts)
    yield from _artifacts(parts)
    yield from _claims(parts)


def unknown(name: str, known: Iterable[str], what: str) -> str:
    """A complaint about a name that is not among the known ones, with the near ones if there are any."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=2)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return f"unknown {what}; {remedy}" if what == "key" else f"unknown {what} {show(name)}; {remedy}"


def absolute(name: str, cluster: Cluster) -> str:
    """A record's name, complete and without a last dot."""
    return name.removesuffix(".") if name.endswith(".") else f"{name}.{cluster.subdomain}"


def _nodes(parts: Parts) -> Mistakes:
    operator = parts.network.operator.name if parts.network else None
    for node in parts.nodes.values():
        key: Key = ("nodes", node.name)
        if node.group not in parts.written_groups:
            yield (*key, "group"), unknown(node.group, parts.groups, "group")
        if node.name in DERIVED_NAMES:
            yield key, "this name is given to something else by DNS; choose another"
        if node.name == operator:
            yield (
                key,
                f"the operator has this name too (line {parts.line(('network', 'operator', 'name'))}); rename one",
            )


def _interfaces(parts: Parts) -> Mistakes:
    for name, group in parts.groups.items():
        if group.system == "debian" and "interface" in group.model_fields_set:
            yield ("groups", name, "interface"), "is for routers; that of other nodes is network.interface"


def _firewall(parts: Parts) -> Mistakes:
    """What each group lets in: known groups, no port twice, and all that its nodes serve."""
    for group in parts.groups.values():
        key: Key = ("groups", group.name)
        for n, name in enumerate(group.trust):
            if name not in parts.written_groups:
                yield (*key, "trust", n), unknown(name, parts.groups, "group")
        known = {port: name for name, ports in fields.SERVICE_PORTS.items() for port in ports}
        if parts.http is not None:
            known[fields.Opening("tcp", parts.http.port)] = "http"
        if SSH_PORT not in group.ssh_ports:
            yield (*key, "ssh_ports"), f"lacks {SSH_PORT}, by which the harness logs in; add it"
        elif group.system == "openwrt" and group.ssh_ports[0] != SSH_PORT:
            yield (*key, "ssh_ports"), f"of a router, only the first is opened; put {SSH_PORT} there"
        for n, one in enumerate(group.open):
            if isinstance(one, fields.Opening) and one.protocol == "tcp" and one.port in group.ssh_ports:
                yield (*key, "open", n), f"{one} is a port of SSH, which is open already; remove it"
            if isinstance(one, fields.Opening) and one in known:
                yield (*key, "open", n), f"{one} is the port of {known[one]}; write {known[one]}"
    serving = parts.groups.get(SERVING_GROUP)
    if serving is not None:
        if missing := [name for name in fields.SERVICE_PORTS if name not in serving.open]:
            yield (
                ("groups", SERVING_GROUP, "open"),
                f"lacks {', '.join(missing)}, which its nodes serve; clients would be refused, add it",
            )
        if SERVING_GROUP not in serving.trust:
            yield (
                ("groups", SERVING_GROUP, "trust"),
                f"lacks {SERVING_GROUP}: failover, transfers and advertisements come from the partner; add it",
            )


def _addresses(parts: Parts) -> Iterator[tuple[Key, str, IPv4Address]]:
    """Every fixed address, and whose it is."""
    if lan := parts.network:
        yield ("network", "gateway"), "the gateway", lan.gateway
        yield ("network", "floating"), "the floating address", lan.floating
        yield ("network", "operator", "address"), "the operator", lan.operator.address
    for node in parts.nodes.values():
        yield ("nodes", node.name, "address"), node.name, node.address


def _macs(parts: Parts) -> Iterator[tuple[Key, str, str]]:
    if lan := parts.network:
        yield ("network", "gateway_mac"), "the gateway", lan.gateway_mac
        yield ("network", "operator", "mac"), "the operator", lan.operator.mac
    for node in parts.nodes.values():
        yield ("nodes", node.name, "mac"), node.name, node.mac


def _twice(things: Iterable[tuple[Key, str, Any]], remedy: str) -> Mistakes:
    owner: dict[Any, str] = {}
    for key, whose, thing in things:
        if thing in owner:
            yield key, f"{thing} already belongs to {owner[thing]}; {remedy}"
        owner.setdefault(thing, whose)


def _inside(key: Key, address: IPv4Address, lan: NetworkPlan | None) -> Mistakes:
    if lan is None:
        return
    cidr = lan.cidr
    choose = f"choose one from {cidr[1]} to {cidr[-2]}"
    if address not in cidr:
        yield key, f"{address} is outside the network {cidr}; {choose}"
    elif address in (cidr.network_address, cidr.broadcast_address):
        which = "network" if address == cidr.network_address else "broadcast"
        yield key, f"{address} is the {which} address of {cidr}; {choose}"


def _dhcp(plan: DhcpPlan, parts: Parts) -> Mistakes:
    first, last = plan.pool_first, plan.pool_last
    yield from _inside(("dhcp", "pool_first"), first, parts.network)
    yield from _inside(("dhcp", "pool_last"), last, parts.network)
    if first > last:
        yield ("dhcp", "pool_last"), f"lies before pool_first {first}; exchange the two"
    for _, whose, address in sorted(_addresses(parts), key=lambda one: one[2]):
        if first <= address <= last:
            yield (
                ("dhcp", "pool_first"),
                f"the pool {first} to {last} contains {address} of {whose}; move the pool or that address",
            )
    for key in ("port", "peer_port"):
        if plan.omapi_port == getattr(plan, key):
            yield ("dhcp", "omapi_port"), f"is {plan.omapi_port} like {key}; choose another"
    if plan.default_lease > plan.max_lease:
        yield ("dhcp", "default_lease"), "is longer than max_lease; shorten it or raise max_lease"
    for n, name in enumerate(plan.reserve):
        if name not in ("gateway", "operator") and name not in parts.written_groups:
            yield ("dhcp", "reserve", n), unknown(name, [*parts.groups, "gateway", "operator"], "group")


def _profiles(plan: DhcpPlan, parts: Parts) -> Mistakes:
    for name, profile in parts.profiles.items():
        if name == PRODUCTION:
            yield ("profiles", name), "is the name of the sections themselves; choose another"
        under = plan.model_copy(update=profile.timers("dhcp"))
        if under.default_lease > under.max_lease and plan.default_lease <= plan.max_lease:
            yield ("profiles", name, "dhcp"), "makes default_lease longer than max_lease; set both"


def _serving(key: Key, name: str, parts: Parts) -> Mistakes:
    """A node named to serve something must be there, and in the group that is set up for it."""
    if name not in parts.written_nodes:
        yield key, unknown(name, parts.nodes, "node")
    elif name in parts.nodes and parts.nodes[name].group != SERVING_GROUP:
        have = [node.name for node in parts.nodes.values() if node.group == SERVING_GROUP]
        remedy = f"use one of: {', '.join(have)}" if have else f"put it into group {SERVING_GROUP}"
        yield key, f"{name} is in group {parts.nodes[name].group}, but only {SERVING_GROUP} serves this; {remedy}"


def _ntp(plan: Ntp, parts: Parts) -> Mistakes:
    for n, name in enumerate(plan.servers):
        yield from _serving(("ntp", "servers", n), name, parts)
    for n, name in enumerate(plan.witnesses):
        key: Key = ("ntp", "witnesses", n)
        if name not in parts.written_nodes:
            yield key, unknown(name, parts.nodes, "node")
        elif name in plan.servers:
            yield key, f"{name} is a server of time already; name another node"
    if len(plan.witnesses) == 1:
        yield ("ntp", "witnesses"), "one that hears two servers differ cannot tell who lies; name two at least, or none"
    if plan.minpoll > plan.maxpoll:
        yield ("ntp", "minpoll"), "is more than maxpoll; lower it or raise maxpoll"
    for name, profile in parts.profiles.items():
        under = plan.model_copy(update=profile.timers("ntp"))
        if under.minpoll > under.maxpoll and plan.minpoll <= plan.maxpoll:
            yield ("profiles", name, "ntp"), "makes minpoll more than maxpoll; set both"


def _k3s(plan: K3s, parts: Parts) -> Mistakes:
    """Its nodes are there and of the group that is set up for it, and so are its artifacts."""
    named: list[tuple[Key, str]] = [(("k3s", "server"), plan.server)]
    named += [(("k3s", "agents", n), name) for n, name in enumerate(plan.agents)]
    for key, name in named:
        group = name if name in parts.written_groups and key[1] == "agents" else None
        if group is None and name not in parts.written_nodes:
            known = [*parts.nodes, *(parts.groups if key[1] == "agents" else ())]
            yield key, unknown(name, known, "node")
        elif (group or (parts.nodes[name].group if name in parts.nodes else COMPUTE_GROUP)) != COMPUTE_GROUP:
            yield key, f"{name} is not of group {COMPUTE_GROUP}, which alone is set up for K3s; name nodes of it"
    wanted: list[tuple[Key, str]] = [(("k3s", "binary"), plan.binary)]
    wanted += [(("k3s", "images", n), name) for n, name in enumerate(plan.images)]
    for key, name in wanted:
        if name not in parts.written_artifacts:
            yield key, unknown(name, parts.artifacts, "artifact")


def _artifacts(parts: Parts) -> Mistakes:
    files: dict[str, str] = {}
    for name, artifact in parts.artifacts.items():
        if artifact.url is not None and artifact.sha256 is None:
            yield ("artifacts", name, "url"), "what is downloaded needs a hash to be compared with; add `sha256: ...`"
        if artifact.file in files:
            yield (
                ("artifacts", name, "file"),
                f"{artifact.file} is already the file of {files[artifact.file]}; give it one of its own",
            )
        files.setdefault(artifact.file, name)


def _records(dns: Dns, cluster: Cluster | None) -> Mistakes:
    checks = {"A": fields.address, "MX": fields.record_name, "CNAME": fields.record_name}
    for n, record in enumerate(dns.records):
        key: Key = ("dns", "records", n)
        if record.type == "MX" and record.priority is None:
            yield (*key, "priority"), "missing; an MX record needs one, for instance priority: 10"
        if record.type != "MX" and record.priority is not None:
            yield (*key, "priority"), "only an MX record has one; remove it"
        try:
            checks.get(record.type, fields.text)(record.value)
        except ValueError as error:
            yield (*key, "value"), str(error)
        if cluster and not f".{absolute(record.name, cluster)}".endswith(f".{cluster.zone}"):
            yield (*key, "name"), f"{show(record.name)} is outside the zone {cluster.zone}; correct it"


def _priorities(vrrp: Vrrp, parts: Parts) -> Mistakes:
    owner: dict[int, str] = {}
    for name, priority in vrrp.priorities.items():
        key: Key = ("vrrp", "priorities", name)
        yield from _serving(key, name, parts)
        if priority in owner:
            yield key, f"{priority} is already the priority of {owner[priority]}; give each node its own"
        owner.setdefault(priority, name)
    if len(vrrp.priorities) < 2:
        yield ("vrrp", "priorities"), "name two nodes at least, else nobody can take over; add the partner"
        return
    if (least := min(vrrp.priorities.values()) - vrrp.weight * len(vrrp.tracks)) < 1:
        yield (
            ("vrrp", "priorities"),
            f"a node that lost {', '.join(vrrp.tracks)} would have priority {least}; raise all by {1 - least} at least",
        )


def _claims(parts: Parts) -> Mistakes:
    seen: dict[str, int] = {}
    for n, claim in parts.claims.items():
        peopled = {node.group for node in parts.nodes.values()}
        if claim.losing not in parts.written_nodes | peopled:
            yield ("claims", n, "losing"), unknown(claim.losing, [*parts.nodes, *sorted(peopled)], "node")
        if claim.peer is not None and claim.peer not in parts.written_nodes:
            yield ("claims", n, "peer"), unknown(claim.peer, parts.nodes, "node")
        yield from _possible(n, claim, parts)
        yield from _of_k3s(n, claim, parts)
        for name in [one.name for one in claim.each(parts.nodes.values())]:
            if name in seen:
                first = parts.line(("claims", seen[name]))
                yield ("claims", n), f"claim {name} is already on line {first}; remove one or name it"
                break
            seen[name] = n


def _possible(n: int, claim: ClaimLine, parts: Parts) -> Mistakes:
    """Only a fault that can be made of each node that is lost can be claimed about."""
    lost = dict.fromkeys(one.losing for one in claim.each(parts.nodes.values()))
    known = [parts.nodes[name] for name in lost if name in parts.nodes]
    systems = {node.name: parts.groups[node.group].system for node in known if node.group in parts.groups}
    for name, system in systems.items():
        if claim.fault == "wake" and system != "openwrt":
            yield ("claims", n, "losing"), f"{name} is no router, and only a router can wake; name one"
            break
        if claim.fault == "rogue" and system == "openwrt":
            yield ("claims", n, "losing"), f"{name} is a router, which cannot be made rogue; write fault: wake"
            break
    if claim.peer in lost:
        yield ("claims", n, "peer"), f"{claim.peer} cannot be parted from itself; name a node that is not lost"


def _of_k3s(n: int, claim: ClaimLine, parts: Parts) -> Mistakes:
    """Only what there is can be claimed about, and a server that is lost does nothing about its loss."""
    if not parts.written_k3s and (claim.k3s or K3S in claim.service):
        key = "k3s" if claim.k3s else "service"
        yield ("claims", n, key), f"there is no section {K3S} to claim something about; remove one or add the other"
    if parts.k3s is None or not claim.k3s:
        return
    named = set(parts.k3s.agents)
    agents = {node.name for node in parts.nodes.values() if named & {node.name, node.group}} - {parts.k3s.server}
    lost = [one.losing for one in claim.each(parts.nodes.values())]
    if strange := [name for name in lost if name not in agents]:
        yield ("claims", n, "losing"), f"{strange[0]} is no agent of K3s, which alone can be missed; name one"
