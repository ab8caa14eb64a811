"""What the probers share: the schedule of a service's looks, and how their answers are recorded.

Sockets are unconnected, or connected with their errors passed over: an ICMP error tells nothing that silence
does not, and would otherwise be charged to the next look.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from chaos.loop import Loop
from cluster.errors import ProbeFailed
from cluster.probes import wire

DATAGRAMS = 64
"""How many packets one turn of the loop takes from one socket, so that a flood cannot hold it."""


class Scheduled(ABC):
    """What the probers share: a look every `period` seconds, each given up after `patience` seconds."""

    def __init__(self, service: str, period: float, patience: float) -> None:
        self.service, self.period, self.patience = service, period, patience
        self.loop: Loop
        self._next = float("inf")

    def start(self, loop: Loop, now: float) -> None:
        """Open sockets and begin the schedule."""
        self.loop, self._next = loop, now
        self.open()

    @abstractmethod
    def open(self) -> None:
        """Open the sockets."""

    @abstractmethod
    def look(self, now: float) -> None:
        """Send one look."""

    @abstractmethod
    def overdue(self) -> float:
        """When the oldest look under way is given up."""

    @abstractmethod
    def give_up(self, now: float) -> None:
        """Give up the looks that are overdue."""

    def due(self) -> float:
        """When the next look or the next end of patience is due."""
        return min(self._next, self.overdue())

    def tick(self, now: float) -> None:
        """Give up what is overdue, then look; slots missed by a late loop are left out, not made up for."""
        self.give_up(now)
        if now >= self._next:
            self._next += self.period * (1 + int((now - self._next) / self.period))
            self.look(now)

    def stop(self) -> None:
        """Begin no new look."""
        self._next = float("inf")

    def good(self, sent: float, answered: float, server: str, **more: object) -> None:
        """Note a look that was answered."""
        answered = max(sent, answered)
        value = round(answered - sent, 6)
        self._note(answered, sent=sent, answered=answered, ok=True, server=server, value=value, error=None, **more)

    def failed(self, sent: float, now: float, error: str, server: str | None = None, **more: object) -> None:
        """Note a look in vain."""
        self._note(now, sent=sent, answered=None, ok=False, server=server, value=None, error=error, **more)

    def wrong(self, t: float, server: str, said: str) -> None:
        """Note an answer that was wrong, whatever becomes of the look."""
        self.loop.emit("wrong", t, service=self.service, server=server, said=said)

    def _note(self, t: float, **look: object) -> None:
        self.loop.emit("probe", t, service=self.service, **look)


@dataclass
class Underway:
    """A look under way, known by when it was sent."""

    sent: float


K = TypeVar("K")
T = TypeVar("T", bound=Underway)


class Waiting(Scheduled, Generic[K, T]):
    """A prober with many looks under way, each with the same patience and known by a key."""

    def __init__(self, service: str, period: float, patience: float) -> None:
        super().__init__(service, period, patience)
        self._open: dict[K, T] = {}
        """Oldest first, as they were sent."""

    @abstractmethod
    def expire(self, key: K, now: float) -> None:
        """End a look that is under way: its patience is at an end."""

    def overdue(self) -> float:
        """When the oldest look is given up."""
        for look in self._open.values():
            return look.sent + self.patience
        return float("inf")

    def give_up(self, now: float) -> None:
        """Give up the looks that are overdue."""
        while self.overdue() <= now:
            self.expire(next(iter(self._open)), now)

    @property
    def busy(self) -> bool:
        """Whether a look is under way."""
        return bool(self._open)


class OwnSocket(Waiting[socket.socket, T]):
    """A prober whose every look has a socket of its own, and one try; `server` is whom its looks are told of."""

    def __init__(self, service: str, server: str, period: float, patience: float) -> None:
        super().__init__(service, period, patience)
        self._server = server

    def open(self) -> None:
        """Nothing yet."""

    def _connecting(self, address: str, port: int, now: float) -> socket.socket | None:
        """A socket that connects, or None where that failed at once; closed it is reset, so that nothing lingers."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        code = sock.connect_ex((address, port))
        if code in (0, errno.EINPROGRESS):
            return sock
        sock.close()
        self.failed(now, now, reason(OSError(code, os.strerror(code))), self._server)
        return None

    def _connected(self, sock: socket.socket) -> bool:
        """Whether a socket that can be written is connected; if not its look has ended."""
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end(sock, reason(OSError(code, os.strerror(code))))
        return not code

    def _end(self, sock: socket.socket, error: str | None) -> None:
        """End a look: good without an error."""
        sent, now = self._drop(sock), self.loop.now()
        if error is None:
            self.good(sent, now, self._server)
        else:
            self.failed(sent, now, error, self._server)

    def expire(self, key: socket.socket, now: float) -> None:
        """Give up a look."""
        self._end(key, "timeout")

    def _drop(self, sock: socket.socket) -> float:
        self.loop.forget(sock.fileno())
        sock.close()
        return self._open.pop(sock).sent

    def close(self) -> None:
        """Drop what is under way."""
        for sock in list(self._open):
            self._drop(sock)


def packets(sock: socket.socket) -> Iterator[wire.Captured]:
    """What waits in a socket; errors that earlier packets brought back are passed over."""
    for _ in range(DATAGRAMS):
        try:
            got = wire.receive(sock)
        except ProbeFailed:
            continue
        if got is None:
            return
        yield got


def reason(error: OSError) -> str:
    """An error of the socket layer in one word."""
    return wire.failed(error, "").reason
