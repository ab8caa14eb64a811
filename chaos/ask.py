"""Looks at DNS and NTP by clients that know several servers, sent on schedule, never waited for."""

from __future__ import annotations

import itertools
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from chaos.loop import Loop
from chaos.scheduled import Scheduled, packets, reason
from cluster.probes import clock, dns, wire

NEXT_SERVER = ("SERVFAIL", "REFUSED", "NOTIMP")  # resolv.conf(5): such a server is passed over


OFFSET_S = 1.0
"""From here on a time is wrong: the falseticker of RFC 5905 is one that is off by seconds."""


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
                why = reason(error)
        return why

    def packets(self, address: str) -> Iterator[wire.Captured]:
        """What that server sent."""
        return packets(self._socks[address])

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
                records = ", ".join(message.answer(0.0).records)
                self.wrong(got.t, server, records if message.rcode == "NOERROR" and records else message.rcode)
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
            elif abs(offset := self._offset(packet, got.t)) > OFFSET_S:
                self._errors[packet.origin] = "wrong answer"
                self.wrong(got.t, server, f"a time that is {offset:+.1f} s from ours")
            else:
                self._errors.pop(packet.origin, None)
                self.good(self._open.pop(packet.origin), got.t, server)

    def _offset(self, packet: clock.Packet, t: float) -> float:
        """How far a server's clock is from ours, s."""
        sent = self._open[packet.origin]
        return clock.reply(packet, sent=self.loop.wall(sent), seconds=t - sent).offset

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
