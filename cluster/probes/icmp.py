"""ICMP echo (RFC 792): is an address alive on the wire."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from typing import NamedTuple

from cluster.errors import ProbeFailed
from cluster.probes import wire
from cluster.wait import Deadline

ECHO_REPLY, UNREACHABLE, ECHO = 0, 3, 8
_sequence = itertools.count(1)


class Echo(NamedTuple):
    """One ICMP message about an echo: an echo reply, an echo, or an unreachable that quotes ours."""

    src: str
    kind: int
    ident: int
    seq: int
    payload: bytes


def build(ident: int, seq: int, payload: bytes = b"rpicluster") -> bytes:
    """An ICMP echo request, to be sent through a raw ICMP socket."""
    head = struct.pack("!BBHHH", ECHO, 0, 0, ident & 0xFFFF, seq & 0xFFFF)
    return head[:2] + wire.checksum(head + payload).to_bytes(2) + head[4:] + payload


def parse(packet: bytes) -> Echo:
    """Read an IPv4 packet, as a raw ICMP socket hands it out; raises Malformed.

    Match `kind == ECHO_REPLY`, `src`, `ident` and `seq` against what was sent.  For `kind == UNREACHABLE`
    ident and seq are those of the quoted request, src is the router that complains.
    """
    ip = wire.ipv4(packet)
    raw = ip.payload
    if ip.protocol != wire.ICMP or len(raw) < 8:
        raise wire.Malformed("not an ICMP message")
    if wire.checksum(raw):
        raise wire.Malformed("ICMP checksum is wrong")
    kind = raw[0]
    if kind == UNREACHABLE:
        quoted = raw[8:]
        size = (quoted[0] & 15) * 4 if quoted else 0
        if size < 20 or len(quoted) < size + 8 or quoted[9] != wire.ICMP or quoted[size] != ECHO:
            raise wire.Malformed("an unreachable that quotes no echo")
        ident, seq = struct.unpack("!HH", quoted[size + 4 : size + 8])
        return Echo(ip.src, kind, ident, seq, b"")
    if kind not in (ECHO, ECHO_REPLY):
        raise wire.Malformed(f"ICMP type {kind} is no echo")
    ident, seq = struct.unpack("!HH", raw[4:8])
    return Echo(ip.src, kind, ident, seq, raw[8:])


def open_socket() -> socket.socket:
    """A non-blocking raw ICMP socket with kernel time stamps; raises ProbeFailed (`permission`)."""
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
    except OSError as error:
        raise wire.failed(error, "raw ICMP socket") from error
    wire.stamp(sock)
    return sock


def ping(address: str, deadline: float | Deadline = 1.0) -> float:
    """Seconds from one echo request to its reply.

    Needs CAP_NET_RAW.  Raises ProbeFailed: `timeout`, `unreachable`, `permission`.
    """
    end = Deadline.of(deadline)
    ident, seq, nonce = int.from_bytes(os.urandom(2)), next(_sequence) & 0xFFFF, os.urandom(16)
    with open_socket() as sock:
        sent = time.monotonic()
        try:
            sock.sendto(build(ident, seq, nonce), (address, 0))
        except OSError as error:
            raise wire.failed(error, f"ping {address}") from error
        for got in wire.arrivals(sock, end, f"ping {address}"):
            try:
                echo = parse(got.data)
            except wire.Malformed:
                continue  # somebody else's ICMP: a raw socket sees all of it
            if (echo.ident, echo.seq) != (ident, seq):
                continue
            if echo.kind == UNREACHABLE:
                raise ProbeFailed(f"ping {address}: {echo.src} says unreachable", reason="unreachable")
            if echo.kind == ECHO_REPLY and echo.src == address and echo.payload == nonce:
                return max(got.t - sent, 0.0)
    raise ProbeFailed(f"ping {address}: no reply", reason="timeout")
