"""`inventory.yaml` in, a frozen `Inventory` out; or every mistake at once, each with its line and remedy.

Three passes: the YAML with its lines, each section against its model, and then what sections say about each
other.  A part that is broken in one pass is left out of the next, so one mistake is not reported twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cluster import relations
from cluster.errors import InputError
from cluster.fields import FAULTS, SERVICES, Opening, show
from cluster.model import (
    PRODUCTION,
    Artifact,
    Authority,
    Backup,
    Claim,
    ClaimLine,
    Cluster,
    Dhcp,
    DhcpPlan,
    Distcc,
    Dns,
    Group,
    Http,
    Inventory,
    K3s,
    Model,
    Mpi,
    NetworkPlan,
    Nightly,
    Node,
    Ntp,
    Operator,
    Power,
    Profile,
    Record,
    Reservation,
    Tftp,
    Tools,
    Users,
    Vrrp,
)
from cluster.yamlmarks import Document, Key, YamlError, read

__all__ = [
    "FAULTS",
    "PRODUCTION",
    "SERVICES",
    "Artifact",
    "Authority",
    "Backup",
    "Claim",
    "ClaimLine",
    "Cluster",
    "Dhcp",
    "Distcc",
    "Dns",
    "Group",
    "Http",
    "Inventory",
    "InventoryError",
    "K3s",
    "Mpi",
    "NetworkPlan",
    "Nightly",
    "Node",
    "Ntp",
    "Opening",
    "Operator",
    "Power",
    "Profile",
    "Record",
    "Reservation",
    "Tftp",
    "Users",
    "Vrrp",
    "default_path",
    "load",
    "parse",
]

M = TypeVar("M", bound=BaseModel)

SECTIONS: dict[str, type[Model]] = {
    "cluster": Cluster,
    "network": NetworkPlan,
    "users": Users,
    "dhcp": DhcpPlan,
    "dns": Dns,
    "vrrp": Vrrp,
    "ntp": Ntp,
    "tftp": Tftp,
    "http": Http,
    "mpi": Mpi,
    "distcc": Distcc,
    "authority": Authority,
    "tools": Tools,
    "k3s": K3s,
    "backup": Backup,
    "nightly": Nightly,
    "power": Power,
}
NAMED: dict[str, type[Model]] = {"groups": Group, "nodes": Node, "artifacts": Artifact, "profiles": Profile}
OPTIONAL = ("k3s", "profiles", "artifacts", "claims")


class InventoryError(InputError):
    """An inventory that cannot be used: one line per mistake, as `file:line: key: what is wrong; remedy`."""


def default_path() -> Path:
    """`inventory.yaml` at the root of the project."""
    return Path(__file__).resolve().parent.parent / "inventory.yaml"


def load(path: Path | str | None = None, profile: str = PRODUCTION) -> Inventory:
    """Read and check an inventory (by default the project's own), and apply a profile's timers.

    Raises InventoryError, or InputError for a profile that is not there, and nothing else.
    """
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
    return parse(text, file, shown=shown).under(profile)


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
                self.wrong((name,), relations.unknown(name, _top(), "key"))
        for name in _top():
            if name not in data and name not in OPTIONAL:
                self._report(1, (name,), f"missing; add a section `{name}:`")
        sections = {n: self._model(m, data[n], (n,)) for n, m in SECTIONS.items() if _given(data, n)}
        named = {n: self._named(m, data.get(n), n) for n, m in NAMED.items() if n in data or n in OPTIONAL}
        claims = self._claims(data.get("claims"))
        for key, message in relations.mistakes(self._parts(sections, named, claims)):
            self.wrong(key, message)
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
            "claims": tuple(one for claim in claims.values() for one in claim.each(nodes.values())),
            "path": path,
        }
        return Inventory.model_construct(**whole)

    def _parts(
        self, sections: Mapping[str, Model | None], named: Mapping[str, Mapping[str, Any]], claims: dict[int, ClaimLine]
    ) -> relations.Parts:
        given = {n: sections.get(n) for n in ("cluster", "network", "dhcp", "dns", "vrrp", "ntp", "http", "k3s")}
        written = {n: self.document.data.get(n) for n in ("groups", "nodes", "artifacts")}
        whole: dict[str, Any] = {
            **given,
            "profiles": named.get("profiles", {}),
            **{n: named.get(n, {}) for n in written},
            **{f"written_{n}": frozenset(names) if isinstance(names, dict) else frozenset()
               for n, names in written.items()},
        }  # fmt: skip
        whole["written_k3s"] = self.document.data.get("k3s") is not None
        return relations.Parts(claims=claims, line=self.document.line, **whole)

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

    def _claims(self, value: Any) -> dict[int, ClaimLine]:
        if value is None:
            return {}
        if not isinstance(value, list):
            self.wrong(("claims",), "is not a list; write each claim as - {losing: ..., service: ..., budget: ...}")
            return {}
        found: dict[int, ClaimLine] = {}
        for n, inner in enumerate(value):
            claim = self._model(ClaimLine, inner, ("claims", n))
            if claim is not None:
                found[n] = claim
        return found


def _given(data: Mapping[str, Any], section: str) -> bool:
    """Whether a section is there; one that may be left out may be empty as well."""
    return section in data and not (section in OPTIONAL and data[section] is None)


def _top() -> tuple[str, ...]:
    services = ("dhcp", "dns", "vrrp", "ntp", "tftp", "http", "mpi", "distcc")
    return (
        "cluster",
        "network",
        "users",
        "groups",
        "nodes",
        *services,
        "authority",
        "tools",
        "backup",
        "nightly",
        "power",
        *OPTIONAL,
    )


def _complaint(model: type[BaseModel], loc: Key, error: Mapping[str, Any], *, hidden: set[str]) -> str:
    kind = error["type"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    inner = _model_at(model, loc[:-1])
    keys = [k for k in inner.model_fields if k not in hidden] if inner else []
    if kind == "extra_forbidden":
        return relations.unknown(str(loc[-1]), keys, "key")
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


def _complete(dns: BaseModel | None, cluster: BaseModel | None) -> Dns:
    assert isinstance(dns, Dns) and isinstance(cluster, Cluster)
    records = tuple(
        r.model_copy(
            update={
                "name": relations.absolute(r.name, cluster),
                "value": relations.absolute(r.value, cluster) if r.type in ("MX", "CNAME") else r.value,
            }
        )
        for r in dns.records
    )
    return dns.model_copy(update={"records": records})


def _reservations(dhcp: DhcpPlan, network: NetworkPlan, nodes: Mapping[str, Node]) -> dict[str, Reservation]:
    found = {"dgw": Reservation(network.gateway_mac, network.gateway)} if "gateway" in dhcp.reserve else {}
    if "operator" in dhcp.reserve:
        found[network.operator.name] = Reservation(network.operator.mac, network.operator.address)
    return found | {n.name: Reservation(n.mac, n.address) for n in nodes.values() if n.group in dhcp.reserve}
