"""TFTP: reading a file from a server, and asking whether it would take one (RFC 1350, 2347, 2348, 2349).

Packets and the transfer are pure; `read` and `write_request` drive them over one socket.  The protocol has no
nonce: what belongs together is told by the two ports alone (RFC 1350 section 4), so each transfer has a new one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from cluster.errors import ProbeFailed
from cluster.probes import wire
from cluster.wait import Deadline

PORT = 69
RRQ, WRQ, DATA, ACK, ERROR, OACK = range(1, 7)  # RFC 1350 section 5, RFC 2347
UNDEFINED, NOT_FOUND, ACCESS, _FULL, _ILLEGAL, UNKNOWN_ID, _EXISTS, _NO_USER, BAD_OPTION = range(9)
BLOCK = 512  # bytes in a full block without the blksize option: RFC 1350 section 2
RETRANSMIT_S = 1.0  # RFC 1350 leaves it to the implementation; clients in use wait one to five seconds
LARGEST = 64 * 1024 * 1024  # bytes we take at most: a server that never ends must not fill our memory


class Refused(ProbeFailed):
    """The server answered with an error packet; `code` is that of RFC 1350 section 5 (8: RFC 2347)."""

    def __init__(self, what: str, code: int, text: str) -> None:
        super().__init__(f"{what}: error {code}: {text}", reason="refused-by-server")
        self.code, self.text = code, text


# ------------------------------------------------------------------ packets


@dataclass(frozen=True)
class Data:
    """One block of the file; block numbers begin at 1 and wrap after 65535."""

    block: int
    content: bytes


@dataclass(frozen=True)
class Ack:
    """The receiver has everything up to this block."""

    block: int


@dataclass(frozen=True)
class Error:
    """The end of a transfer that failed."""

    code: int
    text: str


@dataclass(frozen=True)
class OptionAck:
    """The options that the server took, names in lower case (RFC 2347)."""

    options: Mapping[str, str]


Packet = Data | Ack | Error | OptionAck


def request(kind: int, name: str, *, mode: str = "octet", options: Mapping[str, str] | None = None) -> bytes:
    """A read (RRQ) or write (WRQ) request; raises ValueError for what cannot be put into one."""
    words = [name, mode, *(word for pair in (options or {}).items() for word in pair)]
    if any("\0" in word for word in words):
        raise ValueError(f"a NUL ends a word of a TFTP request: {words!r}")
    return kind.to_bytes(2) + b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


def ack(block: int) -> bytes:
    """An acknowledgement."""
    return ACK.to_bytes(2) + (block & 0xFFFF).to_bytes(2)


def error(code: int, text: str) -> bytes:
    """An error packet, which is never answered."""
    return ERROR.to_bytes(2) + code.to_bytes(2) + text.encode("utf-8", "surrogateescape") + b"\0"


def parse(data: bytes) -> Packet:
    """Read what a server sends; raises Malformed for requests and for what is no TFTP packet."""
    if len(data) < 2:
        raise wire.Malformed(f"TFTP packet of {len(data)} bytes")
    kind = int.from_bytes(data[:2])
    if kind == OACK:
        return OptionAck(_options(data[2:]))
    if kind not in (DATA, ACK, ERROR):
        raise wire.Malformed(f"TFTP opcode {kind} is no answer")
    if len(data) < 4:
        raise wire.Malformed(f"TFTP opcode {kind} is cut short")
    number = int.from_bytes(data[2:4])
    if kind == DATA:
        return Data(number, data[4:])
    if kind == ACK:
        return Ack(number)
    # The text should end in a NUL; servers that leave it out are understood.
    return Error(number, data[4:].split(b"\0", 1)[0].decode("utf-8", "replace"))


def _options(area: bytes) -> dict[str, str]:
    if area and not area.endswith(b"\0"):
        raise wire.Malformed("TFTP options without their end")
    words = [word.decode("ascii", "replace") for word in area.split(b"\0")[:-1]]
    if len(words) % 2:
        raise wire.Malformed(f"TFTP option {words[-1]!r} without a value")
    return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}


# ------------------------------------------------------------------ a transfer, without sockets or clocks


class Reading:
    """One file on its way to us: give it each packet, send what it returns, until `done`.

    Raises Refused for an error packet and Malformed for an answer that breaks the protocol; both end it.
    """

    def __init__(self, name: str, *, blksize: int | None = None, tsize: bool = False) -> None:
        wanted = {} if blksize is None else {"blksize": str(blksize)}
        self.name, self.wanted = name, wanted | ({"tsize": "0"} if tsize else {})
        self.request = request(RRQ, name, options=self.wanted)
        self.options: dict[str, str] = {}
        self.done = False
        self.blocks = 0
        self._size = BLOCK
        self._parts: list[bytes] = []
        self._taken = 0
        self._begun = False

    @property
    def content(self) -> bytes:
        """What has come so far."""
        return b"".join(self._parts)

    def receive(self, data: bytes) -> bytes | None:
        """Take in a packet of the server; what to send next, None for a duplicate that needs no answer."""
        packet = parse(data)
        if isinstance(packet, Error):
            raise Refused(self.name, packet.code, packet.text)
        if isinstance(packet, OptionAck):
            return self._agree(packet.options)
        if isinstance(packet, Ack):
            raise wire.Malformed(f"{self.name}: an acknowledgement, though we only read")
        return self._take(packet)

    def _agree(self, options: Mapping[str, str]) -> bytes | None:
        if self._begun:
            return ack(0) if not self.blocks else None  # our answer to it was lost
        if strange := sorted(set(options) - set(self.wanted)):
            raise wire.Malformed(f"{self.name}: the server takes options nobody asked for: {', '.join(strange)}")
        for name, value in options.items():
            if not (value.isascii() and value.isdigit()):
                raise wire.Malformed(f"{self.name}: option {name} is {value!r}, not a number")
        if "blksize" in options:
            # RFC 2348: the server may take less than was asked for, never more.
            self._size = int(options["blksize"])
            if not 8 <= self._size <= int(self.wanted["blksize"]):
                raise wire.Malformed(f"{self.name}: blksize {self._size}, asked for {self.wanted['blksize']}")
        self.options, self._begun = dict(options), True
        return ack(0)

    def _take(self, packet: Data) -> bytes | None:
        expected = self.blocks + 1
        if packet.block != expected & 0xFFFF or self.done:
            # The server repeats a block whose acknowledgement was lost; anything older is passed over, since to
            # answer it would double all that follows (RFC 1123 section 4.2.3.1).
            return ack(packet.block) if self.blocks and packet.block == self.blocks & 0xFFFF else None
        if len(packet.content) > self._size:
            raise wire.Malformed(f"{self.name}: a block of {len(packet.content)} bytes, agreed were {self._size}")
        self._begun, self.blocks = True, expected
        self._parts.append(packet.content)
        self._taken += len(packet.content)
        if self._taken > LARGEST:
            raise ProbeFailed(f"{self.name}: more than {LARGEST} bytes", reason="too-large")
        self.done = len(packet.content) < self._size
        return ack(packet.block)


# ------------------------------------------------------------------ looks


@dataclass(frozen=True)
class File:
    """A file that was read: `source` is the address that sent it, `options` what the server agreed to."""

    content: bytes
    source: str
    options: Mapping[str, str]
    blocks: int
    seconds: float


def read(
    server: str,
    name: str,
    *,
    blksize: int | None = None,
    tsize: bool = False,
    port: int = PORT,
    deadline: float | Deadline = 3.0,
) -> File:
    """Read a file in mode octet.

    `blksize`: ask for blocks of that many bytes (8 to 65464, RFC 2348); `tsize`: ask how large it is (RFC 2349).
    Raises Refused, Malformed, ProbeFailed (`timeout`, `too-large`, or of the socket).
    """
    began, end = time.monotonic(), Deadline.of(deadline)
    what = f"tftp {server}: {name}"
    reading = Reading(name, blksize=blksize, tsize=tsize)
    peer: tuple[str, int] | None = None
    with _socket() as sock:
        last, to = reading.request, (server, port)
        _send(sock, last, to, what)
        while not reading.done:
            got = _next(sock, last, to, end, f"{what}: {reading.blocks} blocks so far")
            data, source = got
            if peer is None:
                peer = to = source  # the server's port of this transfer: RFC 1350 section 4
            elif source != peer:
                _send(sock, error(UNKNOWN_ID, "unknown transfer"), source, what)
                continue
            try:
                answer = reading.receive(data)
            except wire.Malformed as problem:
                _send(sock, error(_ILLEGAL, "not understood"), peer, what)
                raise wire.Malformed(f"{what}: {problem}") from problem
            except Refused as refusal:
                raise Refused(what, refusal.code, refusal.text) from refusal
            if answer is not None:
                last = answer
                _send(sock, last, to, what)
    assert peer is not None
    return File(reading.content, peer[0], reading.options, reading.blocks, time.monotonic() - began)


def write_request(server: str, name: str, *, port: int = PORT, deadline: float | Deadline = 3.0) -> Error | None:
    """Ask to write a file, and send nothing of it; the server's refusal, None where it would have taken it.

    A server that agrees is told at once that we give up; it may have made an empty file by then.
    Raises Malformed, ProbeFailed (`timeout`, or of the socket).
    """
    end, what = Deadline.of(deadline), f"tftp {server}: write {name}"
    with _socket() as sock:
        asked = request(WRQ, name)
        _send(sock, asked, (server, port), what)
        data, source = _next(sock, asked, (server, port), end, what)
        packet = parse(data)
        if isinstance(packet, Error):
            return packet
        _send(sock, error(UNDEFINED, "given up"), source, what)
        if isinstance(packet, Data):
            raise wire.Malformed(f"{what}: the server sends data")
        return None


@contextmanager
def held(server: str, name: str, *, port: int = PORT, deadline: float | Deadline = 3.0) -> Iterator[str]:
    """A file's first block asked for and not acknowledged: the server is busy with us for as long as this lasts.

    Gives the address that it is served from.  The server repeats the block for some seconds and then gives up.
    Raises as `read`.
    """
    end, what = Deadline.of(deadline), f"tftp {server}: {name}"
    reading = Reading(name)
    with _socket() as sock:
        _send(sock, reading.request, (server, port), what)
        data, source = _next(sock, reading.request, (server, port), end, what)
        try:
            reading.receive(data)
            yield source[0]
        finally:
            _send(sock, error(UNDEFINED, "given up"), source, what)


def _socket() -> socket.socket:
    """Not connected: a reply from another address than the one asked is to be seen, not dropped by the kernel."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", 0))
    return sock


def _send(sock: socket.socket, data: bytes, to: tuple[str, int], what: str) -> None:
    try:
        sock.sendto(data, to)
    except OSError as problem:
        raise wire.failed(problem, what) from problem


def _next(
    sock: socket.socket, last: bytes, to: tuple[str, int], end: Deadline, what: str
) -> tuple[bytes, tuple[str, int]]:
    """The next packet; what we sent last is sent again as often as the server stays silent."""
    while True:
        sock.settimeout(max(min(RETRANSMIT_S, end.left), 0.001))
        try:
            return sock.recvfrom(65535)
        except TimeoutError:
            if end.passed:
                raise ProbeFailed(f"{what}: no answer in time", reason="timeout") from None
            _send(sock, last, to, what)
        except OSError as problem:
            raise wire.failed(problem, what) from problem
