"""What the LAN says: VRRP advertisements and DHCP servers overheard; ARP for the floating address asked and overheard.

The question is asked as an ARP probe (RFC 5227 section 2.1.1: sender 0.0.0.0) from a synthetic hardware address,
so that the answer never reaches the kernel's own neighbour table: the `vip` look must depend on what a client
depends on, the gratuitous ARP of the new owner.
"""

from __future__ import annotations

import socket

from chaos.loop import Loop
from chaos.scheduled import packets
from cluster.probes import arp, dhcp, dhcp_packet, vrrp, wire

ASKING = dhcp.synthetic_mac(0xBF)
SAID = {dhcp_packet.OFFER: "offer", dhcp_packet.ACK: "ack", dhcp_packet.NAK: "nak"}


def only_arp_from(address: str) -> tuple[wire.Instruction, ...]:
    """A kernel filter for ARP packets whose sender is `address` (RFC 826: sender address at byte 28)."""
    return (
        (0x20, 0, 0, 28),
        (0x15, 0, 1, int.from_bytes(socket.inet_aton(address))),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    )


class Wiretap:
    """Records who advertises, which DHCP servers speak, and who owns `address`: who announces that, and who answers.

    What is overheard are `frame` events; who answers is an `owners` event whenever that changes, with
    the time of the last question before that was answered otherwise: none is a gap, two are an overlap.
    """

    def __init__(self, interface: str, address: str, *, period: float = 0.1) -> None:
        self.interface, self.address, self.period = interface, address, period
        self._next = float("inf")

    def start(self, loop: Loop, now: float) -> None:
        """Listen to all protocols and begin to ask."""
        self._loop, self._next = loop, now
        self._vrrp = vrrp.Listener(self.interface)
        self._arp = wire.packet_socket(self.interface, wire.ETH_ARP, only_arp_from(self.address), accept=[ASKING])
        self._dhcp = wire.packet_socket(self.interface, wire.ETH_IP, wire.only_udp_to(dhcp_packet.CLIENT_PORT))
        self._question = arp.request(ASKING, "0.0.0.0", self.address)
        self._asked = now
        self._answers: set[str] = set()
        self._owners: set[str] | None = None
        self._settled: float | None = None
        loop.watch(self._vrrp.fileno(), self._advertisements)
        loop.watch(self._arp.fileno(), self._heard)
        loop.watch(self._dhcp.fileno(), self._served)

    def due(self) -> float:
        """When the next question is due."""
        return self._next

    def tick(self, now: float) -> None:
        """Note who answered the last question, and ask again."""
        if now - self._asked >= self.period / 2:
            self._settle()
        self._asked, self._answers = now, set()
        self._next += self.period * (1 + int((now - self._next) / self.period))
        try:
            self._arp.send(self._question)
        except OSError:
            return  # lost; the next one follows soon

    def _settle(self) -> None:
        if self._answers != self._owners:
            self._owners = self._answers
            macs = sorted(self._answers)
            self._loop.emit("owners", self._asked, address=self.address, macs=macs, before=self._settled)
        self._settled = self._asked

    def stop(self) -> None:
        """Ask no more."""
        self._next = float("inf")

    @property
    def busy(self) -> bool:
        """Nothing is ever under way."""
        return False

    def close(self) -> None:
        """Stop listening."""
        self._vrrp.close()
        self._arp.close()
        self._dhcp.close()

    def _advertisements(self) -> None:
        for ad in self._vrrp.read():
            self._loop.emit(
                "frame",
                ad.t,
                proto="vrrp",
                src=ad.src,
                mac=ad.mac,
                version=ad.version,
                vrid=ad.vrid,
                priority=ad.priority,
                interval_s=ad.interval_s,
                addresses=list(ad.addresses),
            )

    def _heard(self) -> None:
        for got in packets(self._arp):
            try:
                heard = arp.parse(got.data, got.t)
            except wire.Malformed:
                continue
            if heard.gratuitous:
                self._loop.emit("frame", heard.t, proto="arp", src=heard.sender, mac=heard.sender_mac)
            elif heard.op == arp.REPLY and heard.target_mac == ASKING:
                self._answers.add(heard.sender_mac)

    def _served(self) -> None:
        for got in packets(self._dhcp):
            try:
                reply = dhcp_packet.reply(got.data, verify=got.verify)
            except wire.Malformed:
                continue
            message = reply.message
            if message.kind in SAID:
                self._loop.emit(
                    "frame",
                    got.t,
                    proto="dhcp",
                    src=reply.src,
                    mac=reply.mac,
                    said=SAID[message.kind],
                    server=message.address(54),
                    client=message.mac,
                    address=message.yiaddr,
                )
