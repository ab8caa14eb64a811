"""This machine's own neighbour table: whom it takes an address for, read from the kernel and watched as it changes.

rtnetlink(7), RTM_NEWNEIGH.  What clients reach depends on this entry, not on who answers ARP.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.errors import ProbeFailed
from cluster.probes import wire

_NEW, _DEL, _GET = 28, 29, 30  # linux/rtnetlink.h
_REQUEST, _DUMP = 0x1, 0x300
_GROUP = 1 << 2  # RTMGRP_NEIGH
_DST, _LLADDR = 1, 2  # linux/neighbour.h
_STATES = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
_HEAD, _NEIGHBOUR, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxxxiHBB"), struct.Struct("=HH")


@dataclass(frozen=True)
class Neighbour:
    """One entry as the kernel told it at `t` (monotonic s); no `mac` while it asks, or when nobody answered."""

    t: float
    interface: int
    address: str
    mac: str | None
    state: str


def parse(data: bytes, t: float = 0.0) -> Iterator[Neighbour]:
    """The IPv4 entries of what a netlink socket gave, in its order; raises Malformed."""
    at = 0
    while at < len(data):
        if len(data) - at < _HEAD.size:
            raise wire.Malformed(f"netlink message of {len(data) - at} bytes")
        size, kind, _, _, _ = _HEAD.unpack_from(data, at)
        if not _HEAD.size <= size <= len(data) - at:
            raise wire.Malformed(f"netlink length {size} does not fit into {len(data) - at} bytes")
        if kind in (_NEW, _DEL):
            yield from _entry(data[at + _HEAD.size : at + size], kind, t)
        at += (size + 3) & ~3


def _entry(body: bytes, kind: int, t: float) -> Iterator[Neighbour]:
    if len(body) < _NEIGHBOUR.size:
        raise wire.Malformed(f"a neighbour of {len(body)} bytes")
    family, interface, state, _, _ = _NEIGHBOUR.unpack_from(body)
    if family != socket.AF_INET:
        return
    values: dict[int, bytes] = {}
    at = _NEIGHBOUR.size
    while at + _ATTRIBUTE.size <= len(body):
        size, name = _ATTRIBUTE.unpack_from(body, at)
        if not _ATTRIBUTE.size <= size <= len(body) - at:
            raise wire.Malformed(f"netlink attribute of {size} bytes")
        values[name] = body[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3
    if len(values.get(_DST, b"")) != 4:
        raise wire.Malformed("a neighbour without its address")
    told = "deleted" if kind == _DEL else _STATES.get(state, str(state))
    raw = values.get(_LLADDR, b"") if told not in ("incomplete", "failed", "deleted") else b""
    yield Neighbour(t, interface, socket.inet_ntoa(values[_DST]), wire.mac_text(raw) or None, told)


class Listener:
    """The entries of one interface as they are, then as they change; as a context manager, with a `fileno`.

    Netlink has no time stamps: `t` is when we read.  Raises ProbeFailed (`interface`).
    """

    def __init__(self, interface: str) -> None:
        try:
            self._index = socket.if_nametoindex(interface)
        except OSError as error:
            raise ProbeFailed(f"neighbours of {interface}: no such interface", reason="interface") from error
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._sock.bind((0, _GROUP))
        body = _NEIGHBOUR.pack(socket.AF_INET, self._index, 0, 0, 0)
        self._sock.send(_HEAD.pack(_HEAD.size + len(body), _GET, _REQUEST | _DUMP, 1, 0) + body)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """The file descriptor to select on."""
        return self._sock.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._sock.close()

    def read(self) -> Iterator[Neighbour]:
        """What the kernel has told by now, without waiting; raises ProbeFailed when it told more than we could take."""
        for _ in range(wire.BATCH):
            try:
                data = self._sock.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:  # ENOBUFS: changes were lost
                raise ProbeFailed(f"neighbours: {error.strerror}", reason="socket") from error
            for entry in parse(data, time.monotonic()):
                if entry.interface == self._index:
                    yield entry
