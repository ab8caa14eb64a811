"""Looks at dns, ntp, tcp and at addresses, sent on schedule and matched to their answers, never waited for.

Sockets are unconnected, or connected with their errors passed over: an ICMP error tells nothing that silence
does not, and would otherwise be charged to the next look.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from chaos.loop import Loop
from cluster.errors import ProbeFailed
from cluster.probes import clock, dns, icmp, wire

NEXT_SERVER = ("SERVFAIL", "REFUSED", "NOTIMP")  # resolv.conf(5): such a server is passed over
_ICMP_FILTER, _SOL_RAW = 1, 255  # linux/icmp.h, socket.h
DATAGRAMS = 64
"""How many packets one turn of the loop takes from one socket, so that a flood cannot hold it."""


class Scheduled:
    """What the probers share: a look every `period` seconds, each given up after `patience` seconds."""

    def __init__(self, service: str, period: float, patience: float) -> None:
        self.service, self.period, self.patience = service, period, patience
        self.loop: Loop
        self._next = float("inf")

    def start(self, loop: Loop, now: float) -> None:
        """Open sockets and begin the schedule."""
        self.loop, self._next = loop, now
        self.open()

    def open(self) -> None:
        """Open the sockets."""
        raise NotImplementedError

    def look(self, now: float) -> None:
        """Send one look."""
        raise NotImplementedError

    def overdue(self) -> float:
        """When the oldest look under way is given up."""
        raise NotImplementedError

    def give_up(self, now: float) -> None:
        """Give up the looks that are overdue."""
        raise NotImplementedError

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
        self.loop.emit(
            "probe",
            answered,
            service=self.service,
            sent=sent,
            answered=answered,
            ok=True,
            server=server,
            value=round(answered - sent, 6),
            error=None,
            **more,
        )

    def failed(self, sent: float, now: float, error: str, server: str | None = None, **more: object) -> None:
        """Note a look in vain."""
        self.loop.emit(
            "probe",
            now,
            service=self.service,
            sent=sent,
            answered=None,
            ok=False,
            server=server,
            value=None,
            error=error,
            **more,
        )


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
            self.failed(now, now, _why(error), self.address)
        else:
            self._open[seq] = now

    def _ready(self) -> None:
        for got in _packets(self._sock):
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
            self.failed(now, now, _why(OSError(code, os.strerror(code))), self._server)
            return
        self._open[sock] = now
        self.loop.watch(sock.fileno(), partial(self._ready, sock), writable=True)

    def _ready(self, sock: socket.socket) -> None:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        sent = self._drop(sock)
        now = self.loop.now()
        if code:
            self.failed(sent, now, _why(OSError(code, os.strerror(code))), self._server)
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


class Servers:
    """One connected UDP socket for each server: the kernel lets nothing in that another sent."""

    def __init__(self, addresses: Sequence[str], port: int) -> None:
        self.addresses = tuple(addresses)
        self._socks: dict[str, socket.socket] = {}
        for address in self.addresses:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            wire.stamp(sock)
            sock.connect((address, port))
            self._socks[address] = sock

    def watch(self, loop: Loop, ready: Callable[[str], None]) -> None:
        """Call `ready` with the server that sent something."""
        for address, sock in self._socks.items():
            loop.watch(sock.fileno(), partial(ready, address))

    def send(self, address: str, data: bytes) -> str | None:
        """Send, or say why not; an error that an earlier packet left behind is passed over."""
        why = None
        for _ in range(2):
            try:
                self._socks[address].send(data)
                return None
            except OSError as error:
                why = _why(error)
        return why

    def packets(self, address: str) -> Iterator[wire.Captured]:
        """What that server sent."""
        return _packets(self._socks[address])

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._socks.values():
            sock.close()


@dataclass
class _Asked:
    """A lookup under way."""

    sent: float
    tries: int = 0
    tried: float = 0.0
    done: bool = False


class Resolver(Scheduled):
    """A stub resolver with several servers (resolv.conf(5)): each in turn, `timeout` s each, `attempts` rounds.

    A look is good when any of them gave the expected address in time, however long it took.
    """

    def __init__(
        self,
        service: str,
        servers: Sequence[str],
        name: str,
        expected: str,
        *,
        period: float = 0.02,
        timeout: float = 1.0,
        attempts: int = 2,
        port: int = dns.PORT,
    ) -> None:
        super().__init__(service, period, timeout * attempts * len(servers))
        self.servers, self.expected, self.timeout, self.port = tuple(servers), expected, timeout, port
        self._most = attempts * len(self.servers)
        self._request = dns.build(name, "A", 0, rd=True)
        self._question = dns.parse(self._request).question
        self._ids = itertools.count(int.from_bytes(os.urandom(2)))
        self._waiting: dict[int, tuple[_Asked, str]] = {}
        self._timers: deque[tuple[float, int]] = deque()
        """When each question is given up, in the order asked: all have the same patience."""

    def open(self) -> None:
        """A socket for each server."""
        self._udp = Servers(self.servers, self.port)
        self._udp.watch(self.loop, self._ready)

    def look(self, now: float) -> None:
        """One lookup."""
        self._ask(_Asked(now), now, "")

    def _ask(self, asked: _Asked, now: float, why: str) -> None:
        """Ask the next server whose turn it is, or give up."""
        while asked.tries < self._most:
            server = self.servers[asked.tries % len(self.servers)]
            asked.tries += 1
            asked.tried = now
            number = next(self._ids) & 0xFFFF
            problem = self._udp.send(server, number.to_bytes(2) + self._request[2:])
            if problem is None:
                self._waiting[number] = (asked, server)
                self._timers.append((now + self.timeout, number))
                return
            why = problem
        self.failed(asked.sent, now, why, last_try=asked.tried)

    def _ready(self, server: str) -> None:
        for got in self._udp.packets(server):
            try:
                message = dns.parse(got.data)
            except wire.Malformed:
                continue
            asked, whom = self._waiting.get(message.id, (None, ""))
            if asked is None or whom != server or not message.response or message.question != self._question:
                continue
            del self._waiting[message.id]
            if message.rcode in NEXT_SERVER:
                self._ask(asked, self.loop.now(), message.rcode)
            elif self.expected in message.answer(0.0).records:
                self.good(asked.sent, got.t, server, last_try=asked.tried, tries=asked.tries)
            else:
                why = message.rcode if message.rcode != "NOERROR" else "wrong answer"
                self.failed(asked.sent, got.t, why, server, last_try=asked.tried)

    def overdue(self) -> float:
        """When the oldest question is given up."""
        while self._timers and self._timers[0][1] not in self._waiting:
            self._timers.popleft()
        return self._timers[0][0] if self._timers else float("inf")

    def give_up(self, now: float) -> None:
        """Go on to the next server where one was silent."""
        while self.overdue() <= now:
            asked, _ = self._waiting.pop(self._timers.popleft()[1])
            self._ask(asked, now, "timeout")

    @property
    def busy(self) -> bool:
        """Whether a lookup is under way."""
        return bool(self._waiting)

    def close(self) -> None:
        """Close the sockets."""
        self._udp.close()


class TimeClient(Scheduled):
    """An NTP client that asks all its servers at once; good when one of them is synchronised and says so."""

    def __init__(
        self,
        service: str,
        servers: Sequence[str],
        *,
        period: float = 0.05,
        patience: float = 1.0,
        port: int = clock.PORT,
    ) -> None:
        super().__init__(service, period, patience)
        self.servers, self.port = tuple(servers), port
        self._secret = os.urandom(4)
        self._count = itertools.count(1)
        self._open: dict[bytes, float] = {}
        self._errors: dict[bytes, str] = {}

    def open(self) -> None:
        """A socket for each server."""
        self._udp = Servers(self.servers, self.port)
        self._udp.watch(self.loop, self._ready)

    def look(self, now: float) -> None:
        """The same question to each server."""
        nonce = self._secret + (next(self._count) & 0xFFFFFFFF).to_bytes(4)
        request = clock.build(nonce)
        problems = [self._udp.send(server, request) for server in self.servers]
        if None in problems:
            self._open[nonce] = now
        else:
            self.failed(now, now, ", ".join(sorted({str(problem) for problem in problems})))

    def _ready(self, server: str) -> None:
        for got in self._udp.packets(server):
            try:
                packet = clock.parse(got.data)
            except wire.Malformed:
                continue
            if packet.mode != clock.SERVER or packet.origin not in self._open:
                continue
            if packet.kiss or packet.leap == clock.ALARM or packet.stratum >= clock.MAX_STRATUM:
                self._errors[packet.origin] = f"{server} is not synchronised"
            else:
                self._errors.pop(packet.origin, None)
                self.good(self._open.pop(packet.origin), got.t, server)

    def overdue(self) -> float:
        """When the oldest question is given up."""
        return next(iter(self._open.values()), float("inf")) + self.patience

    def give_up(self, now: float) -> None:
        """Give up questions that no server answered well."""
        for nonce, sent in list(self._open.items()):
            if sent + self.patience > now:
                break
            del self._open[nonce]
            self.failed(sent, now, self._errors.pop(nonce, "timeout"))

    @property
    def busy(self) -> bool:
        """Whether a question is under way."""
        return bool(self._open)

    def close(self) -> None:
        """Close the sockets."""
        self._udp.close()


def _packets(sock: socket.socket) -> Iterator[wire.Captured]:
    """What waits in a socket; errors that earlier packets brought back are passed over."""
    for _ in range(DATAGRAMS):
        try:
            got = wire.receive(sock)
        except ProbeFailed:
            continue
        if got is None:
            return
        yield got


def _why(error: OSError) -> str:
    return wire.failed(error, "").reason
