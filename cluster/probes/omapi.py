"""dhcpd's own view of its failover pair, asked of the running daemon: OMAPI, by omshell(1) on the node itself.

Lease files say what a daemon wrote down last; this is what it does now.  What is sent to omshell and what it
answers are pure; the key travels on standard input only, never in a command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.errors import ProbeFailed
from cluster.node import Node
from cluster.wait import Deadline

KEY = "omapi"
"""The name of the key, here and in dhcpd.conf."""

# dhcpd(8), THE FAILOVER-STATE OBJECT, by the names of dhcpd.leases(5).
STATES = {
    1: "startup",
    2: "normal",
    3: "communications-interrupted",
    4: "partner-down",
    5: "potential-conflict",
    6: "recover",
    7: "paused",
    8: "shutdown",
    9: "recover-done",
    10: "resolution-interrupted",
    11: "conflict-done",
    254: "recover-wait",
}
PARTNER_DOWN = 4
ROLES = {0: "primary", 1: "secondary"}
_LINE = re.compile(r'^(?:> )*(?P<name>[a-z][a-z-]*) = (?P<value>"[^"\n]*"|[0-9a-f]{2}(?::[0-9a-f]{2})*)$')
NOT_FOUND = "can't open object: not found"
_REFUSED = re.compile(r"^(?:> )*(?:can't [a-z ]*object|not connected)\b.*")


@dataclass(frozen=True)
class Peer:
    """One peer's live view of the pair; states are named as in dhcpd.leases(5), durations in s, times epoch s.

    `buckets`: which of the 256 hash buckets (RFC 3074) the primary serves, one bit each; None in a secondary that has
    not met its primary since it started, which tells it.
    """

    name: str
    mine: str
    partner: str
    role: str
    mclt: float
    max_response_delay: float
    load_balance_max: float
    buckets: bytes | None
    mine_since: float
    partner_since: float

    def serves(self, bucket: int) -> bool:
        """Whether this peer serves the clients of a hash bucket while both live."""
        if self.buckets is None:
            return False
        of_primary = bool(self.buckets[bucket >> 3] & (1 << (bucket & 7)))
        return of_primary == (self.role == "primary")


def dialogue(pair: str, key: str, port: int, *then: str) -> str:
    """What omshell is told: connect with the key (HMAC-SHA256, base64), open the pair's object, then more."""
    return "\n".join((*_connect(key, port), "new failover-state", f'set name = "{pair}"', "open", *then, ""))


def _connect(key: str, port: int) -> tuple[str, ...]:
    return "key-algorithm HMAC-SHA256", f"key {KEY} {key}", f"port {port}", "connect"


def parse(text: str) -> Peer:
    """Read what omshell printed for a failover-state object, the last time if it did so more than once.

    A value that it shows as it was typed (`local-state = 4`) is no answer of the server's.  Raises ProbeFailed:
    `refused` with omshell's own words, `omapi` where something is missing or odd.
    """
    _refused(text)
    found = {said["name"]: said["value"] for said in map(_LINE.match, text.splitlines()) if said}
    try:
        return Peer(
            name=found["name"].strip('"'),
            mine=_named(STATES, found, "local-state"),
            partner=STATES.get(_number(found, "partner-state"), "unknown-state"),
            role=_named(ROLES, found, "hierarchy"),
            mclt=float(_number(found, "mclt")),
            max_response_delay=float(_number(found, "max-response-delay")),
            load_balance_max=float(_number(found, "load-balance-max-secs")),
            buckets=_bytes(found, "load-balance-hba", 32) if "load-balance-hba" in found else None,
            mine_since=float(_number(found, "local-stos")),
            partner_since=float(_number(found, "partner-stos")),
        )
    except KeyError as error:
        raise ProbeFailed(f"OMAPI: a failover state without {error.args[0]}", reason="omapi") from None


def _refused(text: str) -> None:
    """Raise what omshell complains about first, if it does."""
    for line in text.splitlines():
        if _REFUSED.match(line):
            raise ProbeFailed(f"OMAPI: {line.replace('> ', '').strip()}", reason="refused")


def _named(names: Mapping[int, str], found: Mapping[str, str], name: str) -> str:
    number = _number(found, name)
    if number not in names:
        raise ProbeFailed(f"OMAPI: {name} is {number}, which dhcpd(8) does not know", reason="omapi")
    return names[number]


def _number(found: Mapping[str, str], name: str) -> int:
    return int.from_bytes(_bytes(found, name, 4))


def _bytes(found: Mapping[str, str], name: str, size: int) -> bytes:
    try:
        raw = bytes.fromhex(found[name].replace(":", ""))
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise ProbeFailed(f"OMAPI: {name} is {found[name]!r}, not {size} bytes", reason="omapi")
    return raw


def failover(node: Node, pair: str, key: str, port: int, *, deadline: float | Deadline = 5.0) -> Peer:
    """What the dhcpd of a node says now of its failover pair; raises ProbeFailed (as `parse`) and NodeError."""
    return _ask(node, dialogue(pair, key, port), deadline)


def order_partner_down(node: Node, pair: str, key: str, port: int, *, deadline: float | Deadline = 5.0) -> Peer:
    """Tell the dhcpd of a node that its partner is down (dhcpd(8)); what it then says.  Nothing is checked here."""
    end = Deadline.of(deadline)
    _ask(node, dialogue(pair, key, port, f"set local-state = {PARTNER_DOWN}", "update"), end)
    return failover(node, pair, key, port, deadline=end)


def held_addresses(
    node: Node, key: str, port: int, addresses: Iterable[str], *, deadline: float | Deadline = 5.0
) -> frozenset[str]:
    """Which of these addresses the dhcpd of a node may lease, whoever has them; raises ProbeFailed and NodeError."""
    asked = tuple(addresses)
    lines = [line for one in asked for line in ("new lease", f"set ip-address = {one}", "open", "close")]
    done = node.run(["omshell"], input="\n".join((*_connect(key, port), *lines, "")).encode(), deadline=deadline)
    try:
        return parse_leases(done.text + done.err.decode("utf-8", "replace"), len(asked))
    except ProbeFailed as error:
        raise ProbeFailed(f"{node.name}: {error}", reason=error.reason) from error


def parse_leases(text: str, asked: int) -> frozenset[str]:
    """The addresses of the leases that omshell could open, of so many it was asked for; raises ProbeFailed."""
    found = set[str]()
    # Each answer ends with `close`, which leaves no object; what comes before the first one is the connection's.
    blocks = re.split(r"^(?:> )*obj: <null>$", text, flags=re.MULTILINE)[1:-1]
    for block in blocks:
        lines = {m["name"]: m["value"] for m in map(_LINE.match, block.splitlines()) if m}
        if "state" in lines:
            found.add(".".join(str(byte) for byte in _bytes(lines, "ip-address", 4)))
        elif NOT_FOUND not in block:
            raise ProbeFailed(f"OMAPI: no answer about a lease: {' '.join(block.split())!r}", reason="refused")
    if len(blocks) != asked:
        _refused(text.replace(NOT_FOUND, ""))
        raise ProbeFailed(f"OMAPI: {len(blocks)} answers to {asked} questions", reason="omapi")
    return frozenset(found)


def _ask(node: Node, said: str, deadline: float | Deadline) -> Peer:
    done = node.run(["omshell"], input=said.encode(), deadline=deadline)
    try:
        return parse(done.text + done.err.decode("utf-8", "replace"))
    except ProbeFailed as error:
        raise ProbeFailed(f"{node.name}: {error}", reason=error.reason) from error
