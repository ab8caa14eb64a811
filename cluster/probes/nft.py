"""What a node's firewall lets in: one nftables table, read from `nft -j list table`, asked about packets; pure.

Only the kinds of rule that a host's input filter is made of are known.  Anything else raises ValueError: a rule that
is not understood must not be taken for a closed one.  libnftables-json(5) describes the form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import Any

TABLE = "rpicluster"  # ours, of the family inet; nobody else's is ever touched
COMMAND = f"nft -j list table inet {TABLE}"
VERDICTS = ("accept", "drop", "reject")
ELSEWHERE = ("jump", "goto", "return")
#: What `packet` knows of a packet.  A rule about anything else might match or not.
FIELDS = frozenset(
    {"meta.iif", "meta.iifname", "meta.nfproto", "meta.pkttype", "meta.l4proto", "ct.state", "ip.saddr", "ip.protocol",
     "tcp.sport", "tcp.dport", "udp.sport", "udp.dport", "icmp.type"}
)  # fmt: skip
COMPARISONS = ("==", "!=", "in")
HARMLESS = ("counter", "log", "limit", "comment")  # what decides nothing; a limit is taken as not yet reached

Packet = Mapping[str, str | int]
Range = tuple[int, int]
EVERY: tuple[Range, ...] = ((0, 65535),)


@dataclass(frozen=True)
class Chain:
    """Rules in their order, each a list of statements; `hook` and `policy` where packets enter by themselves."""

    rules: Sequence[Sequence[Mapping[str, Any]]]
    hook: str | None = None
    priority: int = 0
    policy: str | None = None


@dataclass(frozen=True)
class Table:
    """A table: its chains, and the elements of its named sets."""

    chains: Mapping[str, Chain]
    sets: Mapping[str, Sequence[Any]]

    def verdict(self, packet: Packet) -> str:
        """What becomes of a packet that comes in: accept, drop or reject."""
        hooked = [chain for chain in self.chains.values() if chain.hook == "input"]
        for chain in sorted(hooked, key=lambda chain: chain.priority):
            said = self._walk(chain, packet, depth=0) or chain.policy or "accept"
            if said != "accept":
                return said
        return "accept"  # of every chain, or there is none: nothing is filtered

    def ports(self, packet: Packet) -> tuple[Range, ...]:
        """The ports, as ranges in order, to which the packet could go; it says protocol and source."""
        field = f"{packet['meta.l4proto']}.dport"
        edges = sorted({0, *self._edges(field), 65536})
        return _joined(
            (low, high - 1) for low, high in pairwise(edges) if self.verdict({**packet, field: low}) == "accept"
        )

    def _walk(self, chain: Chain, packet: Packet, depth: int) -> str | None:
        assert depth <= 16, "nft refuses chains that call each other without an end"
        for rule in chain.rules:
            for statement in rule:
                ((kind, value),) = statement.items()
                if kind == "match":
                    if not self._matches(value, packet):
                        break
                elif kind in VERDICTS:
                    return str(kind)
                elif kind == "return":
                    return None
                elif kind in ("jump", "goto"):
                    said = self._walk(self.chains[value["target"]], packet, depth + 1)
                    if said is not None or kind == "goto":
                        return said
        return None

    def _matches(self, match: Mapping[str, Any], packet: Packet) -> bool:
        """Whether a packet has the field and it compares; one that it has not never matches."""
        name = _field(match["left"])
        if name not in packet:
            return False
        inside = any(_is(packet[name], value) for value in self._values(match["right"]))
        return not inside if match["op"] == "!=" else inside

    def _values(self, right: Any) -> Iterator[Any]:
        """The values on the right of a comparison, sets taken apart."""
        if isinstance(right, str) and right.startswith("@"):
            yield from (element for value in self.sets[right[1:]] for element in self._values(value))
        elif isinstance(right, list):
            yield from (element for value in right for element in self._values(value))
        elif isinstance(right, dict) and "set" in right:
            yield from self._values(right["set"])
        elif isinstance(right, dict) and "elem" in right:
            yield from self._values(right["elem"]["val"])
        else:
            yield right

    def check(self) -> None:
        """Raise ValueError for a rule of a kind that is not known here."""
        for statement in (one for chain in self.chains.values() for rule in chain.rules for one in rule):
            ((kind, value),) = statement.items()
            if kind == "match":
                name = _field(value["left"])
                if name not in FIELDS:
                    raise ValueError(f"a rule about an unknown field: {name}")
                if value["op"] not in COMPARISONS:
                    raise ValueError(f"a rule with an unknown comparison: {name} {value['op']}")
                for one in self._values(value["right"]):
                    if isinstance(one, dict) and set(one) not in ({"prefix"}, {"range"}):
                        raise ValueError(f"a rule with an unknown value: {json.dumps(one)}")
            elif kind not in (*VERDICTS, *HARMLESS, *ELSEWHERE):
                raise ValueError(f"a rule with an unknown statement: {kind}")

    def _edges(self, field: str) -> Iterator[int]:
        """Where ports begin to be treated otherwise: what holds at one edge holds up to the next."""
        for chain in self.chains.values():
            for rule in chain.rules:
                for match in (one["match"] for one in rule if "match" in one):
                    if _field(match["left"]) == field:
                        for value in self._values(match["right"]):
                            low, high = value["range"] if isinstance(value, dict) else (value, value)
                            yield from (low, high + 1)


def _field(left: Mapping[str, Any]) -> str:
    ((kind, value),) = left.items()
    if kind == "payload" and "protocol" in value:
        return f"{value['protocol']}.{value['field']}"
    if kind in ("meta", "ct") and set(value) == {"key"}:
        return f"{kind}.{value['key']}"
    raise ValueError(f"a rule about an unknown field: {json.dumps(left)}")


def _is(found: str | int, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        if "prefix" in wanted:
            return IPv4Address(found) in IPv4Network(f"{wanted['prefix']['addr']}/{wanted['prefix']['len']}")
        low, high = wanted["range"]
        kind: Any = type(low) if isinstance(low, int) else IPv4Address
        return bool(kind(low) <= kind(found) <= kind(high))
    if isinstance(wanted, str) and wanted.endswith("*"):
        return fnmatchcase(str(found), wanted)
    return bool(found == wanted)


def parse(text: str) -> Table | None:
    """The table in the output of `COMMAND`, None where that is empty: nft found none.  Raises ValueError."""
    if not text.strip():
        return None
    chains: dict[str, Chain] = {}
    rules: dict[str, list[Sequence[Mapping[str, Any]]]] = {}
    sets: dict[str, Sequence[Any]] = {}
    for item in json.loads(text)["nftables"]:
        ((kind, value),) = item.items()
        if kind == "chain":
            own = rules.setdefault(value["name"], [])
            chains[value["name"]] = Chain(own, value.get("hook"), value.get("prio", 0), value.get("policy"))
        elif kind == "rule":
            rules[value["chain"]].append(value["expr"])
        elif kind == "set":
            sets[value["name"]] = value.get("elem", [])
        elif kind not in ("metainfo", "table", "counter"):
            raise ValueError(f"a table with an unknown part: {kind}")
    table = Table(chains, sets)
    table.check()
    return table


def packet(protocol: str, source: str, *, interface: str, port: int | None = None, **more: str | int) -> Packet:
    """A first packet from `source` to the node itself, without a port unless it is given."""
    fields: dict[str, str | int] = {
        "meta.iif": interface,
        "meta.iifname": interface,
        "meta.nfproto": "ipv4",
        "meta.pkttype": "host",
        "meta.l4proto": protocol,
        "ct.state": "new",
        "ip.saddr": source,
        "ip.protocol": protocol,
    }
    if protocol in ("tcp", "udp"):
        fields[f"{protocol}.sport"] = 40000
    if port is not None:
        fields[f"{protocol}.dport"] = port
    return {**fields, **{name.replace("_", "."): value for name, value in more.items()}}


def ranges(ports: Iterable[int]) -> tuple[Range, ...]:
    """Numbers as ranges, in order, neighbours joined."""
    return _joined((port, port) for port in sorted(set(ports)))


def _joined(parts: Iterable[Range]) -> tuple[Range, ...]:
    found: list[Range] = []
    for low, high in parts:
        if found and low == found[-1][1] + 1:
            found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
    return tuple(found)


def shown(found: Iterable[Range]) -> str:
    """Ranges as people write them: `22, 1080, 6000-6063`."""
    return ", ".join(f"{low}-{high}" if high > low else str(low) for low, high in found) or "nothing"
