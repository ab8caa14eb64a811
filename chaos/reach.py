"""Looks at addresses and ports: ICMP echo and TCP handshakes, sent on schedule, never waited for."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from functools import partial

from chaos.scheduled import OwnSocket, Underway, Waiting, packets, reason
from cluster.probes import icmp, wire

_ICMP_FILTER, _SOL_RAW = 1, 255  # linux/icmp.h, socket.h


class Ping(Waiting[int, Underway]):
    """ICMP echo to one address, through the kernel's own neighbour table as any client's packets go."""

    def __init__(self, service: str, address: str, *, period: float = 0.01, patience: float = 0.25) -> None:
        super().__init__(service, period, patience)
        self.address = address
        self._ident = int.from_bytes(os.urandom(2))
        self._seq = itertools.count(int.from_bytes(os.urandom(2)))
        self._nonce = os.urandom(16)

    def open(self) -> None:
        """Open the raw socket; only echo replies are wanted, and the kernel can sort that out."""
        self._sock = icmp.open_socket()
        mask = 0xFFFFFFFF & ~(1 << icmp.ECHO_REPLY)
        self._sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("I", mask))
        self.loop.watch(self._sock.fileno(), self._ready)

    def look(self, now: float) -> None:
        """One echo request."""
        seq = next(self._seq) & 0xFFFF
        try:
            self._sock.sendto(icmp.build(self._ident, seq, self._nonce), (self.address, 0))
        except OSError as error:
            self.failed(now, now, reason(error), self.address)
        else:
            self._open[seq] = Underway(now)

    def _ready(self) -> None:
        for got in packets(self._sock):
            try:
                echo = icmp.parse(got.data)
            except wire.Malformed:
                continue
            mine = echo.ident == self._ident and echo.payload == self._nonce and echo.src == self.address
            if mine and echo.kind == icmp.ECHO_REPLY and (look := self._open.pop(echo.seq, None)) is not None:
                self.good(look.sent, got.t, self.address)

    def expire(self, key: int, now: float) -> None:
        """Give up a request without a reply."""
        self.failed(self._open.pop(key).sent, now, "timeout", self.address)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


class Handshake(OwnSocket[Underway]):
    """TCP handshake with one port; the connection is reset at once, so that nothing lingers on either side.

    Patience ends before the kernel would send a second SYN (1 s, RFC 6298 section 2.1): one look is one SYN.
    """

    def __init__(self, service: str, address: str, port: int, *, period: float = 0.05, patience: float = 0.9) -> None:
        super().__init__(service, f"{address}:{port}", period, patience)
        self.address, self.port = address, port

    def look(self, now: float) -> None:
        """One SYN."""
        if (sock := self._connecting(self.address, self.port, now)) is not None:
            self._open[sock] = Underway(now)
            self.loop.watch(sock.fileno(), partial(self._ready, sock), writable=True)

    def _ready(self, sock: socket.socket) -> None:
        if self._connected(sock):
            self._end(sock, None)
