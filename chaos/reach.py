"""Looks at addresses and ports: ICMP echo and TCP handshakes, sent on schedule, never waited for."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from functools import partial

from chaos.scheduled import Scheduled, packets, reason
from cluster.probes import icmp, wire

_ICMP_FILTER, _SOL_RAW = 1, 255  # linux/icmp.h, socket.h


class Ping(Scheduled):
    """ICMP echo to one address, through the kernel's own neighbour table as any client's packets go."""

    def __init__(self, service: str, address: str, *, period: float = 0.01, patience: float = 0.25) -> None:
        super().__init__(service, period, patience)
        self.address = address
        self._ident = int.from_bytes(os.urandom(2))
        self._seq = itertools.count(int.from_bytes(os.urandom(2)))
        self._nonce = os.urandom(16)
        self._open: dict[int, float] = {}
        """Looks under way by sequence number, oldest first."""

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
            self._open[seq] = now

    def _ready(self) -> None:
        for got in packets(self._sock):
            try:
                echo = icmp.parse(got.data)
            except wire.Malformed:
                continue
            mine = echo.ident == self._ident and echo.payload == self._nonce and echo.src == self.address
            if mine and echo.kind == icmp.ECHO_REPLY and (sent := self._open.pop(echo.seq, None)) is not None:
                self.good(sent, got.t, self.address)

    def overdue(self) -> float:
        """When the oldest request is given up."""
        return next(iter(self._open.values()), float("inf")) + self.patience

    def give_up(self, now: float) -> None:
        """Give up requests without a reply."""
        for seq, sent in list(self._open.items()):
            if sent + self.patience > now:
                break
            del self._open[seq]
            self.failed(sent, now, "timeout", self.address)

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return bool(self._open)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


class Handshake(Scheduled):
    """TCP handshake with one port; the connection is reset at once, so that nothing lingers on either side.

    Patience ends before the kernel would send a second SYN (1 s, RFC 6298 section 2.1): one look is one SYN.
    """

    def __init__(self, service: str, address: str, port: int, *, period: float = 0.05, patience: float = 0.9) -> None:
        super().__init__(service, period, patience)
        self.address, self.port = address, port
        self._server = f"{address}:{port}"
        self._open: dict[socket.socket, float] = {}

    def open(self) -> None:
        """Nothing: each look has a socket of its own."""

    def look(self, now: float) -> None:
        """One SYN."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        code = sock.connect_ex((self.address, self.port))
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self.failed(now, now, reason(OSError(code, os.strerror(code))), self._server)
            return
        self._open[sock] = now
        self.loop.watch(sock.fileno(), partial(self._ready, sock), writable=True)

    def _ready(self, sock: socket.socket) -> None:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        sent = self._drop(sock)
        now = self.loop.now()
        if code:
            self.failed(sent, now, reason(OSError(code, os.strerror(code))), self._server)
        else:
            self.good(sent, now, self._server)

    def _drop(self, sock: socket.socket) -> float:
        self.loop.forget(sock.fileno())
        sock.close()
        return self._open.pop(sock)

    def overdue(self) -> float:
        """When the oldest handshake is given up."""
        return next(iter(self._open.values()), float("inf")) + self.patience

    def give_up(self, now: float) -> None:
        """Give up handshakes without an answer."""
        for sock, sent in list(self._open.items()):
            if sent + self.patience > now:
                break
            self.failed(self._drop(sock), now, "timeout", self._server)

    @property
    def busy(self) -> bool:
        """Whether a handshake is under way."""
        return bool(self._open)

    def close(self) -> None:
        """Reset what is under way."""
        for sock in list(self._open):
            self._drop(sock)
