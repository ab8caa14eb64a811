"""`inventory.yaml` in, a frozen `Inventory` out; or every mistake at once, each with its line and remedy.

Three passes: the YAML with its lines, each section against its model, and then what sections say about each
other.  A part that is broken in one pass is left out of the next, so one mistake is not reported twice.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cluster import fields
from cluster.errors import InputError
from cluster.fields import FAULTS, SERVICES, show
from cluster.model import (
    Artifact,
    Claim,
    Cluster,
    Dhcp,
    DhcpPlan,
    Dns,
    Group,
    Inventory,
    Model,
    NetworkPlan,
    Node,
    Ntp,
    Operator,
    Power,
    Record,
    Reservation,
    Users,
    Vrrp,
)
from cluster.yamlmarks import Document, Key, YamlError, read

__all__ = [
    "FAULTS",
    "SERVICES",
    "Artifact",
    "Claim",
    "Cluster",
    "Dhcp",
    "Dns",
    "Group",
    "Inventory",
    "InventoryError",
    "NetworkPlan",
    "Node",
    "Ntp",
    "Operator",
    "Power",
    "Record",
    "Reservation",
    "Users",
    "Vrrp",
    "default_path",
    "load",
    "parse",
]

M = TypeVar("M", bound=BaseModel)

SERVING_GROUP = "lanservices"  # whose provisioner sets up DHCP, DNS, the floating address and NTP
SECTIONS: dict[str, type[Model]] = {
    "cluster": Cluster,
    "network": NetworkPlan,
    "users": Users,
    "dhcp": DhcpPlan,
    "dns": Dns,
    "vrrp": Vrrp,
    "ntp": Ntp,
    "power": Power,
}
NAMED: dict[str, type[Model]] = {"groups": Group, "nodes": Node, "artifacts": Artifact}
OPTIONAL = ("artifacts", "claims")
DERIVED_NAMES = (
    "dns1",
    "dns2",
    "dgw",
    "float",
    "localhost",
)  # that the zones or /etc/hosts give to something else


class InventoryError(InputError):
    """An inventory that cannot be used: one line per mistake, as `file:line: key: what is wrong; remedy`."""


def default_path() -> Path:
    """`inventory.yaml` at the root of the project."""
    return Path(__file__).resolve().parent.parent / "inventory.yaml"


def load(path: Path | str | None = None) -> Inventory:
    """Read and check an inventory (by default the project's own); raises InventoryError, and nothing else."""
    file = default_path() if path is None else Path(path)
    shown = _shown(file)
    try:
        file = file.resolve()
        data = file.read_bytes()
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # ValueError: a NUL in the name; RuntimeError: a loop
        why = getattr(error, "strerror", None) or "not a usable file name"
        raise InventoryError(f"{shown}: cannot be read: {why}; name the inventory file with --inventory") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InventoryError(f"{shown}:{line}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from error
    return parse(text, file, shown=shown)


def parse(text: str, path: Path, *, shown: str | None = None) -> Inventory:
    """Check the text of an inventory as if it were read from `path`; raises InventoryError."""
    shown = shown or _shown(path)
    try:
        document = read(text.removeprefix("\ufeff"))
    except YamlError as error:
        raise InventoryError(f"{shown}:{error.line}: {_line(str(error))}") from error
    reader = _Reader(document, shown)
    inventory = reader.inventory(path)
    if reader.mistakes or inventory is None:
        raise InventoryError("\n".join(message for _, message in sorted(reader.mistakes)))
    return inventory


def _shown(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        path = path.absolute().relative_to(Path.cwd())
    return _line(str(path))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class _Reader:
    """One document on its way to an inventory, with the mistakes found so far."""

    def __init__(self, document: Document, shown: str) -> None:
        self.document = document
        self.shown = shown
        self.mistakes: list[tuple[int, str]] = []
        for mistake in document.mistakes:
            self._report(mistake.line, mistake.key, mistake.message)

    def wrong(self, key: Key, message: str) -> None:
        """Report a mistake at a key, on the line where that key (or the nearest around it) was written."""
        self._report(self.document.line(key), key, message)

    def _report(self, line: int, key: Key, message: str) -> None:
        dotted = ".".join(_line(str(part)) for part in key)
        where = f"{self.shown}:{line}: " + (f"{dotted}: " if dotted else "")
        self.mistakes.append((line, where + message))

    def inventory(self, path: Path) -> Inventory | None:
        """The inventory, or None where a section was unusable; `mistakes` then says why."""
        data = self.document.data
        if not isinstance(data, dict):
            what = "is empty" if data is None else "is not a mapping"
            self.wrong((), f"{what}; write the sections of an inventory: {', '.join(_top())}")
            return None
        for name in data:
            if name not in _top():
                self.wrong((name,), _unknown(name, _top()))
        for name in _top():
            if name not in data and name not in OPTIONAL:
                self._report(1, (name,), f"missing; add a section `{name}:`")
        sections = {n: self._model(m, data[n], (n,)) for n, m in SECTIONS.items() if n in data}
        named = {n: self._named(m, data.get(n), n) for n, m in NAMED.items() if n in data or n in OPTIONAL}
        claims = self._claims(data.get("claims"))
        self._relations(sections, named, claims)
        if self.mistakes:
            return None
        plan, network = sections["dhcp"], sections["network"]
        nodes = {n: node for n, node in named["nodes"].items() if isinstance(node, Node)}
        assert isinstance(plan, DhcpPlan) and isinstance(network, NetworkPlan)
        reservations = _reservations(plan, network, nodes)
        whole: dict[str, Any] = {
            **sections,
            **{name: MappingProxyType(values) for name, values in named.items()},
            "dhcp": Dhcp.model_construct(**dict(plan), reservations=MappingProxyType(reservations)),
            "dns": _complete(sections["dns"], sections["cluster"]),
            "claims": tuple(claims.values()),
            "path": path,
        }
        return Inventory.model_construct(**whole)

    def _model(self, model: type[M], value: Any, key: Key, **known: Any) -> M | None:
        if not isinstance(value, dict):
            what = "is empty" if value is None else f"is {show(value)}, not a mapping"
            self.wrong(key, f"{what}; write its keys: {', '.join(k for k in model.model_fields if k not in known)}")
            return None
        try:
            return model.model_validate({**value, **known})
        except ValidationError as error:
            for one in error.errors(include_url=False, include_input=True):
                loc = tuple(one["loc"])
                at = key if loc[:1] == ("name",) and "name" in known else key + loc
                self.wrong(at, _complaint(model, loc, one, hidden=set(known)))
            return None

    def _named(self, model: type[M], value: Any, section: str) -> dict[str, M]:
        if value is None and section in OPTIONAL:
            return {}
        if not isinstance(value, dict) or (not value and section not in OPTIONAL):
            what = "is empty" if not value else f"is {show(value)}, not a mapping"
            self.wrong((section,), f"{what}; write one line for each: name: {{...}}")
            return {}
        found: dict[str, M] = {}
        for name, inner in value.items():
            key = (section, name)
            if isinstance(inner, dict) and "name" in inner and "name" in model.model_fields:
                self.wrong((*key, "name"), "unknown key; the name is the word before the colon, remove this one")
                continue
            extra = {"name": name} if "name" in model.model_fields else {}
            one = self._model(model, inner, key, **extra)
            if one is not None:
                found[name] = one
        return found

    def _claims(self, value: Any) -> dict[int, Claim]:
        if value is None:
            return {}
        if not isinstance(value, list):
            self.wrong(("claims",), "is not a list; write each claim as - {losing: ..., service: ..., budget: ...}")
            return {}
        found: dict[int, Claim] = {}
        for n, inner in enumerate(value):
            claim = self._model(Claim, inner, ("claims", n))
            if claim is not None:
                name = claim.name or f"losing-{claim.losing}-{claim.service}"
                found[n] = claim.model_copy(update={"name": name})
        return found

    def _relations(
        self,
        sections: Mapping[str, BaseModel | None],
        named: Mapping[str, Mapping[str, Any]],
        claims: dict[int, Claim],
    ) -> None:
        """What sections say about each other."""
        nodes: Mapping[str, Node] = named.get("nodes", {})
        groups: Mapping[str, Group] = named.get("groups", {})
        # A name that is there but whose line is wrong is not also reported as unknown.
        written = {n: list(self.document.data[n]) if isinstance(self.document.data.get(n), dict) else []
                   for n in ("nodes", "groups")}  # fmt: skip
        for node in nodes.values():
            if node.group not in written["groups"]:
                self.wrong(("nodes", node.name, "group"), _unknown(node.group, groups, "group"))
            if node.name in DERIVED_NAMES:
                self.wrong(("nodes", node.name), "this name is given to something else by DNS; choose another")
        network = sections.get("network")
        fixed = self._fixed(network if isinstance(network, NetworkPlan) else None, nodes)
        for section in ("dhcp", "dns"):
            plan = sections.get(section)
            if isinstance(plan, (DhcpPlan, Dns)):
                self._serving((section, "primary"), plan.primary, nodes, written["nodes"])
                self._serving((section, "secondary"), plan.secondary, nodes, written["nodes"])
                if plan.primary == plan.secondary:
                    self.wrong((section, "secondary"), f"is {show(plan.primary)} like the primary; name its partner")
        dhcp, dns, vrrp, ntp = (sections.get(n) for n in ("dhcp", "dns", "vrrp", "ntp"))
        if isinstance(dhcp, DhcpPlan):
            self._pool(dhcp, network if isinstance(network, NetworkPlan) else None, fixed)
            for n, name in enumerate(dhcp.reserve):
                if name != "gateway" and name not in written["groups"]:
                    self.wrong(("dhcp", "reserve", n), _unknown(name, [*groups, "gateway"], "group"))
        if isinstance(dns, Dns):
            cluster = sections.get("cluster")
            self._records(dns, cluster if isinstance(cluster, Cluster) else None)
        if isinstance(vrrp, Vrrp):
            for name in vrrp.priorities:
                self._serving(("vrrp", "priorities", name), name, nodes, written["nodes"])
            self._priorities(vrrp)
        if isinstance(ntp, Ntp):
            for n, name in enumerate(ntp.servers):
                self._serving(("ntp", "servers", n), name, nodes, written["nodes"])
        seen: dict[str, int] = {}
        for n, claim in claims.items():
            if claim.losing not in written["nodes"]:
                self.wrong(("claims", n, "losing"), _unknown(claim.losing, nodes, "node"))
            if claim.name in seen:
                first = self.document.line(("claims", seen[claim.name]))
                self.wrong(("claims", n), f"claim {claim.name} is already on line {first}; remove one or name it")
            seen.setdefault(claim.name, n)

    def _fixed(self, network: NetworkPlan | None, nodes: Mapping[str, Node]) -> dict[IPv4Address, str]:
        """Every fixed address and whose it is; reports what is used twice or does not fit the network."""
        addresses: list[tuple[Key, str, IPv4Address]] = []
        macs: list[tuple[Key, str, str]] = []
        names: dict[str, Key] = {}
        if network:
            op = network.operator
            addresses += [
                (("network", "gateway"), "the gateway", network.gateway),
                (("network", "floating"), "the floating address", network.floating),
                (("network", "operator", "address"), "the operator", op.address),
            ]
            macs += [
                (("network", "gateway_mac"), "the gateway", network.gateway_mac),
                (("network", "operator", "mac"), "the operator", op.mac),
            ]
            names[op.name] = ("network", "operator", "name")
        for node in nodes.values():
            addresses.append((("nodes", node.name, "address"), node.name, node.address))
            macs.append((("nodes", node.name, "mac"), node.name, node.mac))
            if node.name in names:
                self.wrong(("nodes", node.name), f"the operator has this name too ({_at(self, names[node.name])})")
        fixed: dict[IPv4Address, str] = {}
        for key, whose, address in addresses:
            if network:
                self._inside(key, address, network)
            if address in fixed:
                self.wrong(key, f"{address} already belongs to {fixed[address]}; give one of them another address")
            fixed.setdefault(address, whose)
        owner: dict[str, str] = {}
        for key, whose, mac in macs:
            if mac in owner:
                self.wrong(key, f"{mac} already belongs to {owner[mac]}; copy the MAC from the computer itself")
            owner.setdefault(mac, whose)
        return fixed

    def _inside(self, key: Key, address: IPv4Address, network: NetworkPlan) -> None:
        cidr = network.cidr
        if address not in cidr:
            self.wrong(key, f"{address} is outside the network {cidr}; choose one from {cidr[1]} to {cidr[-2]}")
        elif address in (cidr.network_address, cidr.broadcast_address):
            which = "network" if address == cidr.network_address else "broadcast"
            self.wrong(key, f"{address} is the {which} address of {cidr}; choose one from {cidr[1]} to {cidr[-2]}")

    def _pool(self, dhcp: DhcpPlan, network: NetworkPlan | None, fixed: Mapping[IPv4Address, str]) -> None:
        if network:
            self._inside(("dhcp", "pool_first"), dhcp.pool_first, network)
            self._inside(("dhcp", "pool_last"), dhcp.pool_last, network)
        if dhcp.pool_first > dhcp.pool_last:
            self.wrong(("dhcp", "pool_last"), f"lies before pool_first {dhcp.pool_first}; exchange the two")
        else:
            for address in sorted(a for a in fixed if dhcp.pool_first <= a <= dhcp.pool_last):
                pool = f"{dhcp.pool_first} to {dhcp.pool_last}"
                self.wrong(
                    ("dhcp", "pool_first"),
                    f"the pool {pool} contains {address} of {fixed[address]}; move the pool or that address",
                )
        if dhcp.port == dhcp.peer_port and dhcp.primary == dhcp.secondary:
            self.wrong(("dhcp", "peer_port"), "is the same as port; use another")
        if dhcp.default_lease > dhcp.max_lease:
            self.wrong(("dhcp", "default_lease"), "is longer than max_lease; shorten it or raise max_lease")

    def _serving(self, key: Key, name: str, nodes: Mapping[str, Node], written: Iterable[str]) -> None:
        if name not in written:
            self.wrong(key, _unknown(name, nodes, "node"))
        elif name in nodes and nodes[name].group != SERVING_GROUP:
            have = [n.name for n in nodes.values() if n.group == SERVING_GROUP]
            self.wrong(
                key,
                f"{name} is in group {nodes[name].group}, but only {SERVING_GROUP} serves this; "
                + (f"use one of: {', '.join(have)}" if have else f"put it into group {SERVING_GROUP}"),
            )

    def _priorities(self, vrrp: Vrrp) -> None:
        if len(vrrp.priorities) < 2:
            self.wrong(("vrrp", "priorities"), "name two nodes at least, else nobody can take over; add the partner")
        owner: dict[int, str] = {}
        for name, priority in vrrp.priorities.items():
            if priority in owner:
                self.wrong(
                    ("vrrp", "priorities", name),
                    f"{priority} is already the priority of {owner[priority]}; give each node its own",
                )
            owner.setdefault(priority, name)

    def _records(self, dns: Dns, cluster: Cluster | None) -> None:
        for n, record in enumerate(dns.records):
            key: Key = ("dns", "records", n)
            if (record.type == "MX") != (record.priority is not None):
                self.wrong(
                    (*key, "priority"),
                    "missing; an MX record needs one, for instance priority: 10"
                    if record.type == "MX"
                    else "only an MX record has one; remove it",
                )
            check = {"A": fields.address, "MX": fields.record_name, "CNAME": fields.record_name}.get(record.type)
            try:
                if check:
                    check(record.value)
            except ValueError as error:
                self.wrong((*key, "value"), str(error))
            if cluster:
                name = _absolute(record.name, cluster)
                if name != cluster.zone and not name.endswith("." + cluster.zone):
                    self.wrong((*key, "name"), f"{show(record.name)} is outside the zone {cluster.zone}; correct it")


def _top() -> tuple[str, ...]:
    return (
        "cluster",
        "network",
        "users",
        "groups",
        "nodes",
        "dhcp",
        "dns",
        "vrrp",
        "ntp",
        "power",
        *OPTIONAL,
    )


def _at(reader: _Reader, key: Key) -> str:
    return f"line {reader.document.line(key)}; rename one"


def _unknown(name: str, known: Iterable[str], what: str = "key") -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=2)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return f"unknown {what} {show(name)}; {remedy}" if what != "key" else f"unknown key; {remedy}"


def _complaint(model: type[BaseModel], loc: Key, error: Mapping[str, Any], *, hidden: set[str]) -> str:
    kind = error["type"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    inner = _model_at(model, loc[:-1])
    keys = [k for k in inner.model_fields if k not in hidden] if inner else []
    if kind == "extra_forbidden":
        return _unknown(str(loc[-1]), keys)
    if kind == "missing":
        return f"missing; add `{loc[-1]}: ...`"
    if kind in ("model_type", "dict_type", "mapping_type", "model_attributes_type"):
        here = _model_at(model, loc)
        return f"is {show(error['input'])}, not a mapping; write " + (
            f"its keys: {', '.join(here.model_fields)}" if here else "name: value pairs"
        )
    if kind in ("tuple_type", "list_type"):
        return f"is {show(error['input'])}, not a list; write it as [...]"
    if kind == "too_short":
        return "is empty; name one at least"
    return f"{error['msg'].lower()}; correct the value"


def _model_at(model: type[BaseModel], loc: Key) -> type[BaseModel] | None:
    """The model that the fields at `loc` belong to."""
    here: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int) or here is None:
            continue
        field = here.model_fields.get(part)
        here = next(_models(field.annotation), None) if field else None
    return here


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)


def _absolute(name: str, cluster: Cluster) -> str:
    return name.removesuffix(".") if name.endswith(".") else f"{name}.{cluster.subdomain}"


def _complete(dns: BaseModel | None, cluster: BaseModel | None) -> Dns:
    assert isinstance(dns, Dns) and isinstance(cluster, Cluster)
    records = tuple(
        r.model_copy(
            update={
                "name": _absolute(r.name, cluster),
                "value": _absolute(r.value, cluster) if r.type in ("MX", "CNAME") else r.value,
            }
        )
        for r in dns.records
    )
    return dns.model_copy(update={"records": records})


def _reservations(dhcp: DhcpPlan, network: NetworkPlan, nodes: Mapping[str, Node]) -> dict[str, Reservation]:
    found = {"dgw": Reservation(network.gateway_mac, network.gateway)} if "gateway" in dhcp.reserve else {}
    return found | {n.name: Reservation(n.mac, n.address) for n in nodes.values() if n.group in dhcp.reserve}
