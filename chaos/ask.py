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
from chaos.scheduled import Scheduled, Underway, Waiting, packets, reason
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


@dataclass
class _Question(Underway):
    """A question to all servers; it is open until each that was asked has answered, good with the first good answer."""

    awaited: set[str]
    good: bool = False
    error: str = "timeout"


class TimeClient(Waiting[bytes, _Question]):
    """An NTP client that asks all its servers at once; good when one of them is synchronised and says so.

    The answers of all are judged: one that lies is heard of, however much faster the others are.
    """

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

    def open(self) -> None:
        """A socket for each server."""
        self._udp = Servers(self.servers, self.port)
        self._udp.watch(self.loop, self._ready)

    def look(self, now: float) -> None:
        """The same question to each server."""
        nonce = self._secret + (next(self._count) & 0xFFFFFFFF).to_bytes(4)
        request = clock.build(nonce)
        problems = {server: self._udp.send(server, request) for server in self.servers}
        if asked := {server for server, problem in problems.items() if problem is None}:
            self._open[nonce] = _Question(now, asked)
        else:
            self.failed(now, now, ", ".join(sorted({str(problem) for problem in problems.values()})))

    def _ready(self, server: str) -> None:
        for got in self._udp.packets(server):
            try:
                packet = clock.parse(got.data)
            except wire.Malformed:
                continue
            asked = self._open.get(packet.origin)
            if packet.mode != clock.SERVER or asked is None or server not in asked.awaited:
                continue
            self._judge(asked, packet, server, got.t)
            asked.awaited.discard(server)
            if not asked.awaited:
                self.expire(packet.origin, got.t)

    def _judge(self, asked: _Question, packet: clock.Packet, server: str, t: float) -> None:
        offset = clock.reply(packet, sent=self.loop.wall(asked.sent), seconds=t - asked.sent).offset
        if packet.kiss or packet.leap == clock.ALARM or packet.stratum >= clock.MAX_STRATUM:
            asked.error = f"{server} is not synchronised"
        elif abs(offset) > OFFSET_S:
            asked.error = "wrong answer"
            self.wrong(t, server, f"a time that is {offset:+.1f} s from ours")
        elif not asked.good:
            asked.good = True
            self.good(asked.sent, t, server)

    def expire(self, key: bytes, now: float) -> None:
        """Close a question; it was in vain where no server answered it well."""
        asked = self._open.pop(key)
        if not asked.good:
            self.failed(asked.sent, now, asked.error)

    def close(self) -> None:
        """Close the sockets."""
        self._udp.close()
