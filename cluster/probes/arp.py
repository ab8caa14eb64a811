"""ARP (RFC 826, RFC 5227): who owns an address, asked and overheard."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from cluster.errors import ProbeFailed
from cluster.probes import wire
from cluster.wait import Deadline

REQUEST, REPLY = 1, 2


@dataclass(frozen=True)
class Arp:
    """One ARP packet heard at `t` (monotonic s); `mac` is the Ethernet source, sender_mac what ARP says."""

    t: float
    mac: str
    op: int
    sender_mac: str
    sender: str
    target_mac: str
    target: str

    @property
    def gratuitous(self) -> bool:
        """Whether the sender announces its own address to all (RFC 5227 section 3), as a new owner does."""
        return self.sender == self.target


def build(op: int, sender_mac: str, sender: str, target_mac: str, target: str, *, to: str) -> bytes:
    """An Ethernet frame with one ARP packet, sent by sender_mac to the hardware address `to`."""
    body = struct.pack("!HHBBH", 1, wire.ETH_IP, 6, 4, op)
    body += wire.mac_bytes(sender_mac) + socket.inet_aton(sender)
    body += wire.mac_bytes(target_mac) + socket.inet_aton(target)
    return wire.build_ethernet(to, sender_mac, wire.ETH_ARP, body)


def request(mac: str, sender: str, target: str) -> bytes:
    """The broadcast frame that asks who has `target`; sender 0.0.0.0 makes it a probe (RFC 5227)."""
    return build(REQUEST, mac, sender, "00:00:00:00:00:00", target, to=wire.BROADCAST)


def parse(frame: bytes, t: float = 0.0) -> Arp:
    """Read an Ethernet frame with ARP for IPv4; raises Malformed."""
    eth = wire.ethernet(frame)
    raw = eth.payload
    if eth.kind != wire.ETH_ARP or len(raw) < 28:
        raise wire.Malformed(f"not an ARP packet ({len(frame)} bytes)")
    hardware, protocol, hlen, plen, op = struct.unpack("!HHBBH", raw[:8])
    if (hardware, protocol, hlen, plen) != (1, wire.ETH_IP, 6, 4) or op not in (REQUEST, REPLY):
        raise wire.Malformed("not ARP for IPv4 over Ethernet")
    return Arp(
        t,
        eth.src,
        op,
        wire.mac_text(raw[8:14]),
        socket.inet_ntoa(raw[14:18]),
        wire.mac_text(raw[18:24]),
        socket.inet_ntoa(raw[24:28]),
    )


class Listener(wire.Ear):
    """Everything ARP that an interface hears, as a context manager; `fileno` for a selector.

    Raises ProbeFailed (`permission`, `interface`) when opened.
    """

    def __init__(self, interface: str) -> None:
        super().__init__(wire.packet_socket(interface, wire.ETH_ARP))

    def send(self, frame: bytes) -> None:
        """Put a frame on the wire; raises ProbeFailed."""
        try:
            self._sock.send(frame)
        except OSError as error:
            raise wire.failed(error, "sending ARP") from error

    def read(self) -> Iterator[Arp]:
        """What has arrived by now, without waiting; malformed packets are left out."""
        for _ in range(wire.BATCH):
            if (got := wire.receive(self._sock)) is None:
                return
            with suppress(wire.Malformed):
                yield parse(got.data, got.t)

    def until(self, deadline: float | Deadline) -> Iterator[Arp]:
        """What arrives until the deadline, as it comes; malformed packets are left out."""
        for got in wire.arrivals(self._sock, Deadline.of(deadline)):
            with suppress(wire.Malformed):
                yield parse(got.data, got.t)

    def wait(self, deadline: float | Deadline) -> bool:
        """Whether something can be read before the deadline."""
        return wire.wait(self._sock, Deadline.of(deadline))


def who_has(interface: str, address: str, *, deadline: float | Deadline = 0.5) -> frozenset[str]:
    """The hardware addresses of all that answer one ARP request; empty when nobody does.

    Waits until the deadline, since a second owner may answer late.  Needs CAP_NET_RAW.  Raises ProbeFailed
    (`permission`, `interface`).
    """
    return who_have(interface, [address], deadline=deadline)[address]


def who_have(
    interface: str, addresses: Iterable[str], *, deadline: float | Deadline = 0.5
) -> dict[str, frozenset[str]]:
    """`who_has` for many addresses in one wait: the hardware addresses that answer for each."""
    owners: dict[str, set[str]] = {address: set() for address in addresses}
    for heard in _answers(interface, owners, Deadline.of(deadline)):
        owners[heard.sender].add(heard.sender_mac)
    return {address: frozenset(found) for address, found in owners.items()}


def owner(interface: str, address: str, *, deadline: float | Deadline = 0.5) -> str:
    """The hardware address of the first that answers; raises ProbeFailed (`timeout`, ...)."""
    for heard in _answers(interface, [address], Deadline.of(deadline)):
        return heard.sender_mac
    raise ProbeFailed(f"nobody answers ARP for {address} on {interface}", reason="timeout")


def _answers(interface: str, addresses: Iterable[str], end: Deadline) -> Iterator[Arp]:
    asked, own = set(addresses), wire.own_mac(interface)
    sender = wire.own_address(interface) or "0.0.0.0"
    with Listener(interface) as ear:
        for address in asked:
            ear.send(request(own, sender, address))
        for heard in ear.until(end):
            if heard.op == REPLY and heard.sender in asked and heard.sender_mac != own:
                yield heard
