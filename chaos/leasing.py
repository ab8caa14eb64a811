"""Synthetic DHCP clients, again and again: is a client that comes now given a lease?

Each client is one fixed hardware address with patience as RFC 2131 describes it; half of them belong to either
peer of a failover pair, so that losing one peer shows what its clients see.

Looking must not use up what is looked at.  A released address is not free before the peer has agreed (dhcpd.conf(5),
failover), so clients that take and release without end would empty the survivor's half of the pool in seconds,
and be the outage they report.  Therefore a client that has a lease asks as a host that was rebooted does, and gets
the same address; a few times it comes as a newcomer; and at the end every lease is released.  A few clients come once:
who never had a lease is the first to be refused where a server's half of the pool is used up.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from chaos.loop import Loop
from chaos.scheduled import DATAGRAMS
from cluster.errors import ProbeFailed
from cluster.probes import dhcp, dhcp_machine, wire
from cluster.probes.dhcp_balance import bucket
from cluster.probes.dhcp_machine import ClientMachine, Lease, State
from cluster.probes.dhcp_packet import CLIENT_PORT

FIRST_CLIENT = 0xC0
"""Our first synthetic hardware address: specs number theirs from 0."""
_CHADDR = slice(70, 76)  # in an Ethernet frame whose IPv4 header has no options
_PLAIN_IPV4 = 0x45
REGULARS, NEWCOMERS = 3, 2
"""How many clients of either peer come again and again, and how many come once."""
COMES_S = 5.0
"""How long after the one before the next of those comes: some before a fault, some while it lasts."""
NEWCOMER_S = 10.0
"""How often a client may release its lease and come as a newcomer."""
NEWCOMER_TIMES = 2
"""How often in one run: with six clients at most twelve addresses, were none of them ever given back in time."""


def clients(split: int) -> tuple[str, ...]:
    """Hardware addresses of some clients for either peer; fewer where `split` leaves a peer none."""
    return _of_both(split, slice(0, REGULARS))


def newcomers(split: int) -> tuple[str, ...]:
    """Those of some more for either, which come once, in the middle of a run."""
    return _of_both(split, slice(REGULARS, REGULARS + NEWCOMERS))


def _of_both(split: int, which: slice) -> tuple[str, ...]:
    macs = [dhcp.synthetic_mac(n) for n in range(FIRST_CLIENT, 256)]
    primary = [mac for mac in macs if bucket(mac) < split][which]
    secondary = [mac for mac in macs if bucket(mac) >= split][which]
    # One of each in turn, so that either half is looked at from the first second on.
    most = max(len(primary), len(secondary))
    return tuple(mac for n in range(most) for half in (primary, secondary) for mac in half[n : n + 1])


class _Client:
    """One client and the look it is at."""

    def __init__(self, mac: str, begin: float) -> None:
        self.mac = mac
        self.begin = begin
        self.machine = ClientMachine(mac)
        self.sent = 0.0
        self.tried = 0.0
        self.held: Lease | None = None
        self.had: set[str] = set()
        """Every address it was ever given: a release is never answered, so the last one is said again."""
        self.came = begin
        self.times = 0

    @property
    def busy(self) -> bool:
        return self.machine.state not in (State.IDLE, State.BOUND)


class DhcpClients:
    """The clients of one interface; a look is one exchange from the first DISCOVER to the ACK.

    A lease of another server than `servers`, where they are given, is a wrong answer, and the look was in vain.
    """

    def __init__(
        self,
        service: str,
        interface: str,
        macs: Sequence[str],
        *,
        once: Sequence[str] = (),
        servers: Sequence[str] = (),
        patience: float = 16.0,
        pause: float = 0.25,
    ) -> None:
        self.service, self.interface, self.macs, self.once = service, interface, tuple(macs), tuple(once)
        self.servers, self.patience, self.pause = frozenset(servers), patience, pause
        self._going = True

    def start(self, loop: Loop, now: float) -> None:
        """Open the one socket all clients share; they begin one after the other."""
        self._loop = loop
        program = wire.only_udp_to(CLIENT_PORT)
        self._sock = wire.packet_socket(self.interface, wire.ETH_IP, program, accept=(*self.macs, *self.once))
        loop.watch(self._sock.fileno(), self._ready)
        # One after the other, and each at its own moment of every pause: with all at rest at once nobody would look.
        apart = self.pause + self.pause / max(1, len(self.macs))
        self._clients = [_Client(mac, now + n * apart) for n, mac in enumerate(self.macs)]
        self._clients += [_Client(mac, now + n * COMES_S) for n, mac in enumerate(self.once, 1)]
        self._by_mac = {wire.mac_bytes(client.mac): client for client in self._clients}

    def due(self) -> float:
        """When a client begins, repeats itself, or runs out of patience."""
        return min((self._due(client) for client in self._clients), default=float("inf"))

    def _due(self, client: _Client) -> float:
        if not client.busy:
            return client.begin if self._going else float("inf")
        timer = client.machine.next_timer
        end = client.sent + self.patience
        return end if timer is None else min(timer, end)

    def tick(self, now: float) -> None:
        """Let each client do what is due."""
        for client in self._clients:
            if self._due(client) > now:
                continue
            if not client.busy:
                if client.held and client.times < NEWCOMER_TIMES and now >= client.came + NEWCOMER_S:
                    client.came, client.times = now, client.times + 1
                    self._release(client)
                client.sent = now
                client.machine.discover(now)
            elif now >= client.sent + self.patience:
                state = client.machine.state.value
                self._done(client, now)
                self._emit(client, None, now, f"no lease within {self.patience:g} s, still {state}")
                client.machine.stop()
                continue
            self._send(client, now)

    def _send(self, client: _Client, now: float) -> None:
        while (frame := client.machine.send(now)) is not None:
            client.tried = now
            self._put(frame)

    def _put(self, frame: bytes) -> None:
        try:
            self._sock.send(frame)
        except OSError:
            return  # lost, as a frame may be: the client repeats itself

    def _ready(self) -> None:
        for _ in range(DATAGRAMS):
            try:
                got = wire.receive(self._sock)
            except ProbeFailed:
                continue
            if got is None:
                return
            client = self._by_mac.get(got.data[_CHADDR])
            if client is None or len(got.data) < 300 or got.data[14] != _PLAIN_IPV4 or not client.busy:
                continue
            event = client.machine.receive(got.t, got.data, verify=got.verify)
            now = self._loop.now()
            if isinstance(event, Lease) and self.servers and event.server not in self.servers:
                said = f"that {client.mac} has {event.address}"
                self._loop.emit("wrong", got.t, service=self.service, server=event.server, said=said)
                self._done(client, now)
                self._emit(client, None, got.t, "wrong answer")
            elif isinstance(event, Lease):
                client.held = event
                client.had.add(event.address)
                if not self._going:
                    self._part(client)
                self._done(client, now)
                self._emit(client, event, got.t, None)
            else:
                self._send(client, now)

    def _release(self, client: _Client) -> None:
        if client.held is not None:
            self._put(dhcp_machine.release(client.held, int.from_bytes(os.urandom(4))))
            self._loop.emit("release", self._loop.now(), client=client.mac, address=client.held.address)
            client.held = None

    def _part(self, client: _Client) -> None:
        """Give back all that the client was ever given, to the server that served it last.

        A server that was dead when an address was released, or gave another one meanwhile, still has it as ours.
        """
        if client.held is not None:
            for address in sorted(client.had):
                lease = replace(client.held, address=address)
                self._put(dhcp_machine.release(lease, int.from_bytes(os.urandom(4))))
            client.held = None

    def _done(self, client: _Client, now: float) -> None:
        if client.mac in self.once:
            client.begin = float("inf")
            return
        client.begin += self.pause * (1 + int((now - client.begin) / self.pause))

    def _emit(self, client: _Client, lease: Lease | None, t: float, error: str | None) -> None:
        self._loop.emit(
            "probe",
            t,
            service=self.service,
            sent=client.sent,
            answered=None if lease is None else max(client.sent, t),
            ok=lease is not None,
            server=None if lease is None else lease.server,
            value=None if lease is None else round(max(0.0, t - client.sent), 6),
            error=error,
            client=client.mac,
            last_try=client.tried,
            tries=client.machine.tries,
            address=None if lease is None else lease.address,
        )

    def stop(self) -> None:
        """Begin no new exchange; clients that are idle give back what they have."""
        self._going = False
        for client in self._clients:
            if not client.busy:
                self._part(client)

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return any(client.busy for client in self._clients)

    def close(self) -> None:
        """Leave, and say who was still at it; what a client has, or has asked for and not yet got, is given back."""
        now = self._loop.now()
        for client in self._clients:
            if client.busy:
                about = {"sent": client.sent, "last_try": client.tried, "client": client.mac}
                self._loop.emit("unfinished", now, service=self.service, **about)
            self._part(client)
            if client.machine.state is State.REQUESTING and client.machine.offers:
                offer = client.machine.offers[-1]
                lease = Lease(
                    address=offer.address,
                    server=offer.server,
                    lease_s=0.0,
                    options=offer.options,
                    seconds=0.0,
                    tries=0,
                    mac=client.mac,
                    server_mac=offer.server_mac,
                    at=0.0,
                )
                self._put(dhcp_machine.release(lease, int.from_bytes(os.urandom(4))))
        self._sock.close()
