"""Reads dhcpd.leases(5): every lease, and the failover state that a peer has written down.

A real tokenizer and parser: strings with escapes, comments, nested blocks.  The file is a log, so the last
entry for an address or peer is the one that counts.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import NamedTuple

from cluster.errors import ProbeFailed


class LeaseFileError(ProbeFailed):
    """A lease file that cannot be read; the message names the line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"dhcpd.leases, line {line}: {message}", reason="lease-file")
        self.line = line


@dataclass(frozen=True)
class FailoverState:
    """One peer's view of a failover pair: state names as in dhcpd.leases(5), since when (epoch s)."""

    mine: str
    partner: str
    mine_since: float | None = None
    partner_since: float | None = None

    @property
    def normal(self) -> bool:
        """Whether both sides are in the state `normal`."""
        return self.mine == self.partner == "normal"


@dataclass(frozen=True)
class LeaseEntry:
    """The last entry of one address; times are epoch s (`never` is infinite), None where not told."""

    address: str
    state: str
    mac: str | None
    uid: bytes | None
    hostname: str | None
    starts: float | None
    ends: float | None
    tstp: float | None
    tsfp: float | None
    cltt: float | None
    next_state: str | None


@dataclass(frozen=True)
class LeaseFile:
    """A whole file: leases by address, failover states by peer name."""

    leases: Mapping[str, LeaseEntry]
    failover: Mapping[str, FailoverState]


class _Token(NamedTuple):
    line: int
    text: str
    string: bytes | None  # the value of a quoted string


class _Statement(NamedTuple):
    line: int
    words: list[_Token]
    block: list[_Statement] | None


_ESCAPE = re.compile(rb"\\([0-7]{3}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_PLAIN = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b"}
_TOKEN = re.compile(r'\s+|#[^\n]*|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<mark>[{};])|(?P<word>[^\s{};"#]+)')
_DEPTH = 16  # dhcpd itself writes at most three levels


def _unescape(found: re.Match[bytes]) -> bytes:
    code = found.group(1)
    if len(code) == 3 and code[:1] != b"x":
        return bytes((int(code, 8) & 255,))
    if len(code) == 3:
        return bytes((int(code[1:], 16),))
    return _PLAIN.get(code, code)


def _tokens(text: str, growing: bool) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            if growing and "\n" not in text[at:]:
                return
            raise LeaseFileError(line, "a string is not closed")
        if string := found.group("string"):
            raw = string[1:-1].encode("utf-8", "surrogateescape")
            yield _Token(line, string, _ESCAPE.sub(_unescape, raw))
        elif word := found.group("mark") or found.group("word"):
            yield _Token(line, word, None)
        line += text.count("\n", at, found.end())
        at = found.end()


def _parse(text: str, growing: bool) -> list[_Statement]:
    stack: list[tuple[int, list[_Token], list[_Statement]]] = [(0, [], [])]
    words: list[_Token] = []
    line = 1
    for token in _tokens(text, growing):
        line = token.line
        if token.text == "{":
            if not words or len(stack) > _DEPTH:
                raise LeaseFileError(line, "a block without a name" if not words else "too many blocks")
            stack.append((words[0].line, words, []))
            words = []
        elif token.text == "}":
            if len(stack) == 1:
                raise LeaseFileError(line, "a } too many")
            if words:
                raise LeaseFileError(line, f"no ; after {words[-1].text!r}")
            began, head, block = stack.pop()
            stack[-1][2].append(_Statement(began, head, block))
        elif token.text == ";":
            if words:
                stack[-1][2].append(_Statement(words[0].line, words, None))
            words = []
        else:
            words.append(token)
    if growing:
        return stack[0][2]
    if len(stack) > 1:
        raise LeaseFileError(line, f"the file ends within the block of line {stack[-1][0]}")
    if words:
        raise LeaseFileError(line, f"the file ends within the statement {words[0].text!r}")
    return stack[0][2]


def leases(text: str, *, growing: bool = False) -> LeaseFile:
    """Read the text of dhcpd.leases (IPv4); raises LeaseFileError naming the line.

    `growing`: the file of a running server, which may be in the middle of writing its last entry; an entry
    that is cut off by the end of the file does not count yet.
    """
    found: dict[str, LeaseEntry] = {}
    peers: dict[str, FailoverState] = {}
    for statement in _parse(text, growing):
        match [word.text for word in statement.words]:
            case ["lease", address] if statement.block is not None:
                found[address] = _lease(address, statement)
            case ["failover", "peer", _, "state"] if statement.block is not None:
                peers[_string(statement.words[2])] = _failover(statement)
            case ["lease" | "failover", *_]:
                raise LeaseFileError(statement.line, f"not a {statement.words[0].text} entry")
    return LeaseFile(found, peers)


def states(entries: Mapping[str, LeaseEntry], first: IPv4Address, last: IPv4Address) -> dict[str, str]:
    """The binding state of every address from `first` to `last`: what a file does not mention is `free`.

    dhcpd leaves out of a file that it writes anew what was never used (write_leases in server/mdb.c), and such an
    address is the primary's.
    """
    addresses = (str(IPv4Address(number)) for number in range(int(first), int(last) + 1))
    return {address: entries[address].state if address in entries else "free" for address in addresses}


def failover_state(text: str, peer: str | None = None, *, growing: bool = False) -> FailoverState:
    """The failover state of `peer`, or of the only peer; raises LeaseFileError, also when there is none.

    `growing` as in `leases`.
    """
    peers = leases(text, growing=growing).failover
    if peer is None and len(peers) == 1:
        return next(iter(peers.values()))
    if peer is None or peer not in peers:
        known = ", ".join(peers) or "none"
        raise LeaseFileError(text.count("\n") + 1, f"no failover peer {peer!r} is recorded; there are: {known}")
    return peers[peer]


def failover_history(text: str, peer: str, *, growing: bool = False) -> tuple[FailoverState, ...]:
    """Every state that `peer`'s entries tell, oldest first and none twice in a row; raises LeaseFileError.

    The file reaches back to when dhcpd last wrote it anew: at its start, and each hour (dhcpd.leases(5)).
    """
    found: list[FailoverState] = []
    for statement in _parse(text, growing):
        words = statement.words
        if [word.text for word in words[:2]] == ["failover", "peer"] and len(words) == 4 and _string(words[2]) == peer:
            state = _failover(statement)
            if not found or (found[-1].mine, found[-1].partner) != (state.mine, state.partner):
                found.append(state)
    return tuple(found)


def _string(token: _Token) -> str:
    return token.text if token.string is None else token.string.decode("utf-8", "surrogateescape")


def _failover(statement: _Statement) -> FailoverState:
    sides: dict[str, tuple[str, float | None]] = {}
    for inner in statement.block or []:
        words = [word.text for word in inner.words]
        if words[0] in ("my", "partner") and words[1:2] == ["state"] and len(words) >= 3:
            since = _time(inner, words[4:]) if words[3:4] == ["at"] else None
            sides[words[0]] = (words[2], since)
    if set(sides) != {"my", "partner"}:
        raise LeaseFileError(statement.line, "a failover entry without both states")
    (mine, since), (partner, partner_since) = sides["my"], sides["partner"]
    return FailoverState(mine, partner, since, partner_since)


def _lease(address: str, statement: _Statement) -> LeaseEntry:
    try:
        IPv4Address(address)
    except AddressValueError:
        raise LeaseFileError(statement.line, f"not an address: {address!r}") from None
    times: dict[str, float] = {}
    state = next_state = mac = hostname = None
    uid: bytes | None = None
    for inner in statement.block or []:
        words = [word.text for word in inner.words]
        match words:
            case ["starts" | "ends" | "tstp" | "tsfp" | "atsfp" | "cltt", *rest]:
                times[words[0]] = _time(inner, rest)
            case ["binding", "state", name]:
                state = name
            case ["next", "binding", "state", name]:
                next_state = name
            case ["hardware", _, value]:
                mac = value.lower()
            case ["uid", _]:
                uid = _uid(inner)
            case ["client-hostname", _]:
                hostname = _string(inner.words[1])
            case ["abandoned"]:
                state = "abandoned"
    if state is None:
        raise LeaseFileError(statement.line, f"lease {address} has no binding state")
    return LeaseEntry(
        address, state, mac, uid, hostname, times.get("starts"), times.get("ends"),
        times.get("tstp"), times.get("tsfp"), times.get("cltt"), next_state,
    )  # fmt: skip


def _uid(statement: _Statement) -> bytes:
    """A client identifier is written as a string or as colon-separated hexadecimal."""
    token = statement.words[1]
    if token.string is not None:
        return token.string
    try:
        return bytes(int(part, 16) for part in token.text.split(":"))
    except ValueError:
        raise LeaseFileError(statement.line, f"not a uid: {token.text!r}") from None


def _time(statement: _Statement, words: list[str]) -> float:
    """A date as dhcpd writes it: `never`, `epoch N`, or `weekday year/month/day hour:minute:second`, UTC."""
    try:
        match words:
            case ["never"]:
                return float("inf")
            case ["epoch", seconds]:
                return float(int(seconds))
            case [_, day, clock]:
                return float(calendar.timegm(time.strptime(f"{day} {clock}", "%Y/%m/%d %H:%M:%S")))
    except (ValueError, OverflowError):
        pass
    raise LeaseFileError(statement.line, f"not a date: {' '.join(words)!r}")
