"""NTP (RFC 5905): one query to a server, and readers for what `chronyc -c` prints."""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from dataclasses import dataclass

from cluster.errors import ProbeFailed
from cluster.probes import wire
from cluster.wait import Deadline

PORT = 123
CLIENT, SERVER = 3, 4  # modes, RFC 5905 figure 10
ALARM = 3  # leap indicator: not synchronised, RFC 5905 figure 9
MAX_STRATUM = 16  # RFC 5905 figure 11; a 0 on the wire means it too
_UNIX_EPOCH = 2_208_988_800  # 1970 in seconds since 1900, RFC 5905 figure 4
_HEADER = struct.Struct("!BBbbII4sQ8sQQ")


@dataclass(frozen=True)
class Packet:
    """One NTP header; delays in s; `receive` and `transmit` are raw 64-bit NTP timestamps."""

    leap: int
    version: int
    mode: int
    stratum: int
    poll: int
    precision: int
    root_delay: float
    root_dispersion: float
    refid: str
    origin: bytes
    receive: int
    transmit: int
    kiss: str | None


@dataclass(frozen=True)
class NtpReply:
    """What a server said; offset (server minus us), delay, root_*, and seconds (until the answer) in s."""

    mode: int
    leap: int
    stratum: int
    offset: float
    delay: float
    root_delay: float
    root_dispersion: float
    refid: str
    seconds: float

    @property
    def root_distance(self) -> float:
        """Half the root delay plus the root dispersion, s (RFC 5905 section 11.1, without our own share)."""
        return self.root_delay / 2 + self.root_dispersion


def build(nonce: bytes | None = None) -> bytes:
    """A version 4 client query; bytes 40 to 47 are the nonce that the answer repeats as `Packet.origin`.

    The nonce is random instead of our time, so that no answer can be guessed (RFC 8633 section 3.1 ff.).
    """
    nonce = os.urandom(8) if nonce is None else nonce
    return bytes([4 << 3 | CLIENT]) + bytes(39) + nonce


def parse(data: bytes) -> Packet:
    """Read an NTP packet of version 1 to 4; raises Malformed.  It is an answer if `origin` is our nonce."""
    if len(data) < _HEADER.size:
        raise wire.Malformed(f"NTP packet of {len(data)} bytes, a header has {_HEADER.size}")
    flags, stratum, poll, precision, delay, dispersion, ref, _, origin, receive, transmit = _HEADER.unpack_from(data)
    version = flags >> 3 & 7
    if not 1 <= version <= 4:
        raise wire.Malformed(f"NTP version {version}")
    letters = ref.rstrip(b"\0")
    readable = bool(letters) and letters.isascii() and letters.decode("ascii").isprintable()
    kiss = letters.decode() if stratum == 0 and readable else None  # RFC 5905 section 7.4
    refid = letters.decode() if stratum <= 1 and readable else socket.inet_ntoa(ref)
    return Packet(
        flags >> 6, version, flags & 7, stratum or MAX_STRATUM, poll, precision,
        delay / 65536, dispersion / 65536, refid, origin, receive, transmit, kiss,
    )  # fmt: skip


def reply(packet: Packet, *, sent: float, seconds: float) -> NtpReply:
    """The offset and delay of an answer (RFC 5905 section 8): `sent` our wall clock, `seconds` the wait.

    Era-safe: all differences are taken modulo 2**64 as the RFC does, so 2036 is no special year.
    Raises ProbeFailed with reason `kiss-RATE` and alike when the server told us to go away.
    """
    if packet.kiss:
        raise ProbeFailed(f"kiss of death: {packet.kiss}", reason=f"kiss-{packet.kiss}")
    t1, t4 = timestamp(sent), timestamp(sent + seconds)
    t2, t3 = packet.receive, packet.transmit
    offset = (_difference(t2, t1) + _difference(t3, t4)) / 2
    delay = seconds - _difference(t3, t2)
    return NtpReply(
        packet.mode, packet.leap, packet.stratum, offset, delay,
        packet.root_delay, packet.root_dispersion, packet.refid, seconds,
    )  # fmt: skip


def timestamp(wall: float) -> int:
    """A 64-bit NTP timestamp of an epoch time in s."""
    fraction, whole = math.modf(wall)
    return ((int(whole) + _UNIX_EPOCH) << 32) + int(fraction * 2**32) & 2**64 - 1


def _difference(a: int, b: int) -> float:
    raw = (a - b) & 2**64 - 1
    return (raw - 2**64 if raw >> 63 else raw) / 2**32


def query(server: str, deadline: float | Deadline = 1.0, *, port: int = PORT) -> NtpReply:
    """Ask one server once.

    Packets from elsewhere, with another nonce, or of another mode are passed over.  Raises ProbeFailed:
    `timeout`, `refused`, `unreachable`, `kiss-...`.
    """
    end, strays = Deadline.of(deadline), ""
    request = build()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        try:
            wire.stamp(sock)
            sock.connect((server, port))  # the kernel drops what comes from elsewhere
            sent, began = time.time(), time.monotonic()
            sock.send(request)
        except OSError as error:
            raise wire.failed(error, f"ntp {server}") from error
        for got in wire.arrivals(sock, end, f"ntp {server}"):
            try:
                packet = parse(got.data)
            except wire.Malformed as error:
                strays = f"; passed over: {error}"
                continue
            if packet.origin == request[40:] and packet.mode == SERVER:
                return reply(packet, sent=sent, seconds=max(got.t - began, 0.0))
            strays = f"; passed over: mode {packet.mode}, origin {packet.origin.hex()}"
    raise ProbeFailed(f"ntp {server}: no answer{strays}", reason="timeout")


# ------------------------------------------------------------------ chronyc(1), report formats with -c


@dataclass(frozen=True)
class Source:
    """One line of `chronyc -n -c sources`; times in s, last_rx since the last answer (infinite: none yet).

    mode `^` server, `=` peer, `#` local clock; state `*` selected, `+` combined, `-` not combined,
    `?` unusable, `x` falseticker, `~` too variable; reach: the last eight polls, as bits.
    """

    mode: str
    state: str
    name: str
    stratum: int
    poll: int
    reach: int
    last_rx: float
    offset: float
    measured: float
    error: float

    @property
    def selected(self) -> bool:
        """Whether the daemon follows this source now."""
        return self.state == "*"


@dataclass(frozen=True)
class Tracking:
    """What `chronyc -c tracking` prints; times in s, frequencies in ppm; leap in the tool's words."""

    refid: str
    name: str
    stratum: int
    reference_time: float
    offset: float
    last_offset: float
    rms_offset: float
    frequency: float
    residual: float
    skew: float
    root_delay: float
    root_dispersion: float
    interval: float
    leap: str


def sources(text: str) -> tuple[Source, ...]:
    """Read the output of `chronyc -n -c sources`; raises Malformed naming the line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        fields = line.split(",")
        try:
            mode, state, name, stratum, poll, reach, last, offset, measured, error = fields
            if mode not in ("^", "=", "#") or state not in tuple("*+-?x~"):
                raise ValueError("unknown mode or state")
            found.append(
                Source(
                    mode, state, name, int(stratum), int(poll), int(reach, 8),
                    _ago(last), _number(offset), _number(measured), _number(error),
                )
            )  # fmt: skip
        except ValueError as why:
            raise wire.Malformed(f"chronyc sources, line {number}: {line!r}: {why}") from why
    return tuple(found)


def tracking(text: str) -> Tracking:
    """Read the output of `chronyc -c tracking`; raises Malformed."""
    line = text.strip()
    fields = line.split(",")
    try:
        if len(fields) != 14:
            raise ValueError(f"{len(fields)} fields, not 14")
        refid, name, stratum, *rest, leap = fields
        if len(refid) != 8:
            raise ValueError(f"reference id {refid!r}")
        int(refid, 16)
        n = [_number(text) for text in rest]
        return Tracking(
            refid, name, int(stratum), n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], leap
        )  # fmt: skip
    except ValueError as why:
        raise wire.Malformed(f"chronyc tracking: {line[:200]!r}: {why}") from why


def _ago(text: str) -> float:
    seconds = int(text)
    return math.inf if seconds == 2**32 - 1 else float(seconds)  # chronyd's way to say never


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"not a finite number: {text!r}")
    return value
