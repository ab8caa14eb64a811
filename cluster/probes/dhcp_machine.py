"""A DHCP client without sockets or clocks (RFC 2131 sections 3 and 4.4), as h11 is HTTP without them.

The caller owns time and the wire:

    machine = ClientMachine("02:52:50:49:43:01")
    machine.discover(now)
    loop:  while (frame := machine.send(now)) is not None: put frame on the wire
           wait until a frame comes or machine.next_timer
           event = machine.receive(now, frame)      # Offer | Lease | Nak | None

All times are monotonic seconds.  Frames are whole Ethernet frames.  Foreign, malformed and late frames are
passed over and never raise; calling a method in a state that does not allow it raises ValueError and
changes nothing.
"""

from __future__ import annotations

import random
import socket
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from cluster.probes import arp, wire
from cluster.probes import dhcp_packet as packet
from cluster.probes.dhcp_packet import Value

# Intervals between retransmissions, s; the last one repeats.  RFC 2131 section 4.1 starts at 4 s and
# doubles; clients in use start sooner, and `secs` must pass a failover pair's load balance maximum early.
RETRANSMIT = (1.0, 2.0, 4.0)
JITTER = 0.1  # each interval is varied by up to this part, so that many clients do not march in step
REQUEST_TRIES = 3  # unanswered REQUESTs before starting over (RFC 2131 section 3.1, step 5)


class State(Enum):
    """Where the exchange is; names of RFC 2131 figure 5, REQUESTING and REBOOTING as there."""

    IDLE = "idle"
    SELECTING = "selecting"
    REQUESTING = "requesting"
    REBOOTING = "rebooting"
    RENEWING = "renewing"
    REBINDING = "rebinding"
    BOOTP = "bootp"
    BOUND = "bound"


@dataclass(frozen=True)
class Offer:
    """One server's offer; `seconds` after the first DISCOVER; `src` and `server_mac` as on the wire."""

    address: str
    server: str
    src: str
    server_mac: str
    options: Mapping[str, Value]
    seconds: float


@dataclass(frozen=True)
class Lease:
    """An acknowledged lease; `seconds` from the first message to the ACK, `tries` messages sent for it.

    `at` is the monotonic time of the ACK; `server_mac` the next hop towards the server.  A BOOTP reply is a
    Lease for ever (`lease_s` infinite).
    """

    address: str
    server: str
    lease_s: float
    options: Mapping[str, Value]
    seconds: float
    tries: int
    mac: str
    server_mac: str
    at: float
    client_id: bytes | None = None
    offers: tuple[Offer, ...] = ()


@dataclass(frozen=True)
class Nak:
    """A server's refusal."""

    server: str
    message: str


@dataclass
class _Timer:
    """When to send next: `at` is None when nothing is due any more."""

    at: float | None = None
    sent: int = field(default=0)


class ClientMachine:
    """One client's exchange.

    `client_id` is sent as option 61 with its type byte; none means that servers know us by the MAC.
    `restart`: after a NAK or unanswered REQUESTs begin again with DISCOVER, as a host does; without it a
    NAK ends the exchange.  `accept`: go on to REQUEST with the first offer, or with the first of `server`
    where that is given; without it only collect.  `source` is the Ethernet source of our frames where it is
    not the client's: who asks in the name of a living host must not teach a switch a wrong port for it.
    `extra` are more options, by code, of every DHCP message; an option 55 among them takes the place of ours.
    """

    def __init__(
        self,
        mac: str,
        *,
        client_id: bytes | None = None,
        restart: bool = True,
        accept: bool = True,
        wanted: str | None = None,
        server: str | None = None,
        source: str | None = None,
        extra: Iterable[tuple[int, bytes]] = (),
        rng: random.Random | None = None,
    ) -> None:
        self.mac = wire.mac_text(wire.mac_bytes(mac))
        self.client_id = client_id
        self.restart, self.accept, self.wanted, self.server = restart, accept, wanted, server
        self.source = self.mac if source is None else wire.mac_text(wire.mac_bytes(source))
        self.extra = tuple(extra)
        self.state = State.IDLE
        self.lease: Lease | None = None
        self.offers: list[Offer] = []
        self.tries = 0
        self._rng = rng or random.Random()
        self._began = 0.0
        self._secs_base = self._secs = 0
        self._xid = 0
        self._timer = _Timer()
        self._chosen: Offer | None = None
        self._held: tuple[str, str, str] | None = None  # address, server, next hop of the lease in question
        self._naks = 0
        self._out: deque[bytes] = deque()

    # ---- beginning an exchange

    def discover(self, now: float, *, secs: int = 0) -> None:
        """Begin with DISCOVER; `secs` is how long we pretend to have tried already, s."""
        self._begin(now, State.SELECTING, secs)

    def reboot(self, now: float, address: str) -> None:
        """Ask to go on with an address known from before (INIT-REBOOT, RFC 2131 section 3.2)."""
        self._begin(now, State.REBOOTING, 0)
        self._held = (address, "", wire.BROADCAST)

    def renew(self, now: float, lease: Lease) -> None:
        """Extend a lease at the server that gave it, by unicast (RENEWING, RFC 2131 section 4.4.5)."""
        self._begin(now, State.RENEWING, 0)
        self._held = (lease.address, lease.server, lease.server_mac)

    def rebind(self, now: float, lease: Lease) -> None:
        """Extend a lease at any server, by broadcast (REBINDING, RFC 2131 section 4.4.5)."""
        self._begin(now, State.REBINDING, 0)
        self._held = (lease.address, "", wire.BROADCAST)

    def bootp(self, now: float) -> None:
        """Ask as a BOOTP client, without any DHCP option (RFC 951, RFC 1534)."""
        self._begin(now, State.BOOTP, 0)

    def stop(self) -> None:
        """Give the exchange up; nothing more is sent."""
        self.state, self._timer = State.IDLE, _Timer()
        self._out.clear()

    def _begin(self, now: float, state: State, secs: int) -> None:
        if self.state not in (State.IDLE, State.BOUND):
            raise ValueError(f"a {self.state.value} client cannot begin another exchange")
        self.lease, self.tries, self._naks = None, 0, 0
        self._began, self._secs_base = now, secs
        self._enter(now, state)

    def _enter(self, now: float, state: State) -> None:
        self.state = state
        self.offers, self._chosen, self._held = [], None, None
        self._xid = self._rng.getrandbits(32)
        self._timer = _Timer(at=now)

    # ---- the wire

    @property
    def next_timer(self) -> float | None:
        """When `send` will have something next, None when it waits for nothing but a frame."""
        return 0.0 if self._out else self._timer.at

    def send(self, now: float) -> bytes | None:
        """The frame that is due now, None when none is; call again until None."""
        if self._out:
            return self._out.popleft()
        if self._timer.at is None or now < self._timer.at:
            return None
        if self.state is State.REQUESTING and self._timer.sent >= REQUEST_TRIES:
            # The chosen server fell silent.  `secs` goes on counting: the acquisition is one (section 2).
            self._enter(now, State.SELECTING)
        interval = RETRANSMIT[min(self._timer.sent, len(RETRANSMIT) - 1)]
        self._timer.at = now + interval * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._timer.sent += 1
        self.tries += 1
        return self._message(now)

    def _message(self, now: float) -> bytes:
        if self.state is not State.REQUESTING:
            # A REQUEST repeats the secs of its DISCOVER, so that relays treat both alike (section 4.3.1).
            self._secs = self._secs_base + int(now - self._began)
        held = self._held
        options: list[tuple[int, bytes]] = []
        ciaddr, dst, dst_mac, broadcast = "0.0.0.0", "255.255.255.255", wire.BROADCAST, True
        if self.state is State.SELECTING:
            options = [(53, bytes((packet.DISCOVER,)))]
            if self.wanted:
                options.append((50, socket.inet_aton(self.wanted)))
        elif self.state is State.REQUESTING and self._chosen is not None:
            options = [
                (53, bytes((packet.REQUEST,))),
                (50, socket.inet_aton(self._chosen.address)),
                (54, socket.inet_aton(self._chosen.server)),
            ]
        elif self.state is State.REBOOTING and held is not None:
            options = [(53, bytes((packet.REQUEST,))), (50, socket.inet_aton(held[0]))]
        elif held is not None:
            options = [(53, bytes((packet.REQUEST,)))]
            ciaddr, broadcast = held[0], False
            if self.state is State.RENEWING:
                dst, dst_mac = held[1], held[2]
        if options:
            if self.client_id is not None:
                options.append((61, self.client_id))
            if not any(code == 55 for code, _ in self.extra):
                options.append((55, bytes(packet.WANTED)))
            options.extend(self.extra)
        payload = packet.build(
            self.mac, self._xid, secs=self._secs, broadcast=broadcast, ciaddr=ciaddr, options=options
        )
        return packet.frame(payload, self.source, src=ciaddr, dst=dst, dst_mac=dst_mac)

    def receive(self, now: float, data: bytes, *, verify: bool = True) -> Offer | Lease | Nak | None:
        """Take in a frame; what it meant to this exchange, or None (`verify` as in wire.Captured)."""
        try:
            if data[12:14] == b"\x08\x06":
                self._answer_arp(arp.parse(data))
                return None
            got = packet.reply(data, verify=verify)
            options = packet.named(got.message.options)
        except wire.Malformed:
            return None
        message = got.message
        if message.xid != self._xid or message.mac != self.mac:
            return None
        server = message.address(54)
        if self.state is State.BOOTP:
            if message.yiaddr == "0.0.0.0" or message.kind is not None:
                return None
            return self._bound(now, got, message.siaddr, float("inf"), options)
        if server is None:
            return None
        if message.kind == packet.OFFER and self.state is State.SELECTING:
            return self._offered(now, got, server, options)
        if self.state is State.REQUESTING and (self._chosen is None or server != self._chosen.server):
            return None
        if self.state not in (State.REQUESTING, State.REBOOTING, State.RENEWING, State.REBINDING):
            return None
        if message.kind == packet.NAK:
            return self._refused(now, server, str(options.get("dhcp-message", "")))
        if message.kind == packet.ACK and message.yiaddr != "0.0.0.0" and 51 in message.options:
            return self._bound(now, got, server, float(int.from_bytes(message.options[51])), options)
        return None

    def _offered(self, now: float, got: packet.Reply, server: str, options: dict[str, Value]) -> Offer | None:
        if got.message.yiaddr == "0.0.0.0":
            return None
        offer = Offer(got.message.yiaddr, server, got.src, got.mac, options, now - self._began)
        if any((o.address, o.server, o.src) == (offer.address, offer.server, offer.src) for o in self.offers):
            return None  # the answer to a retransmission
        self.offers.append(offer)
        if self.accept and self.server in (None, server):
            self._chosen, self.state, self._timer = offer, State.REQUESTING, _Timer(at=now)
        return offer

    def _refused(self, now: float, server: str, text: str) -> Nak:
        self._naks += 1
        if self.restart:
            self._enter(now, State.SELECTING)
            if self._naks > 1:
                self._timer.at = now + RETRANSMIT[0]  # a server that always refuses must not make us spin
        else:
            self.stop()
        return Nak(server, text)

    def _bound(self, now: float, got: packet.Reply, server: str, lease_s: float, options: dict[str, Value]) -> Lease:
        self.state, self._timer = State.BOUND, _Timer()
        self.lease = Lease(
            got.message.yiaddr, server, lease_s, options, now - self._began, self.tries,
            self.mac, got.mac, now, self.client_id, tuple(self.offers),
        )  # fmt: skip
        return self.lease

    def _answer_arp(self, heard: arp.Arp) -> None:
        """A server that answers a renewal asks first who has the address: we do, until the ACK is in."""
        if self.state is State.RENEWING or self.state is State.REBINDING:
            address = self._held[0] if self._held else None
            if heard.op == arp.REQUEST and heard.target == address and heard.sender_mac != self.mac:
                self._out.append(
                    arp.build(arp.REPLY, self.mac, heard.target, heard.sender_mac, heard.sender, to=heard.sender_mac)
                )


def release(lease: Lease, xid: int, *, broadcast: bool = False) -> bytes:
    """The frame that gives a lease back: from the leased address to its server, never answered (section 4.4.6).

    `broadcast` sends it to every server instead, for when the one that gave the lease is dead: its failover
    partner takes it too.
    """
    options = [(53, bytes((packet.RELEASE,))), (54, socket.inet_aton(lease.server))]
    payload = _farewell(lease, xid, options, ciaddr=lease.address)
    dst, dst_mac = ("255.255.255.255", wire.BROADCAST) if broadcast else (lease.server, lease.server_mac)
    return packet.frame(payload, lease.mac, src=lease.address, dst=dst, dst_mac=dst_mac)


def decline(lease: Lease, xid: int) -> bytes:
    """The frame that says an address is in use by another (section 4.4.4): the server sets it aside."""
    address, server = socket.inet_aton(lease.address), socket.inet_aton(lease.server)
    options = [(53, bytes((packet.DECLINE,))), (50, address), (54, server)]
    return packet.frame(_farewell(lease, xid, options, ciaddr="0.0.0.0"), lease.mac)


def _farewell(lease: Lease, xid: int, options: list[tuple[int, bytes]], *, ciaddr: str) -> bytes:
    if lease.client_id is not None:
        options.append((61, lease.client_id))
    return packet.build(lease.mac, xid, broadcast=False, ciaddr=ciaddr, options=options)
