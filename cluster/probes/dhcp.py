"""A synthetic DHCP client on the LAN, with a hardware address of its own, and what the servers' files say.

The protocol lives in dhcp_machine (no sockets), the bytes in dhcp_packet, the lease file in leases; this
file drives the machine over packet sockets.  Needs CAP_NET_RAW.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack

from cluster.errors import ProbeFailed
from cluster.probes import dhcp_machine, dhcp_packet, wire
from cluster.probes.dhcp_machine import ClientMachine, Lease, Nak, Offer, State
from cluster.probes.dhcp_packet import CLIENT_PORT, Value
from cluster.probes.leases import (
    FailoverState,
    LeaseEntry,
    LeaseFile,
    LeaseFileError,
    failover_history,
    failover_state,
    leases,
    states,
)
from cluster.wait import Deadline

__all__ = [
    "Client",
    "ClientMachine",
    "FailoverState",
    "Lease",
    "LeaseEntry",
    "LeaseFile",
    "LeaseFileError",
    "Nak",
    "Offer",
    "State",
    "Value",
    "failover_history",
    "failover_state",
    "leases",
    "open_socket",
    "states",
    "synthetic_mac",
]


LOCALLY_ADMINISTERED = 2
"""The bit of a hardware address' first octet that no manufacturer sets (IEEE 802, clause 8): it is made up."""


def synthetic_mac(n: int) -> str:
    """The n-th hardware address of our clients: locally administered, and from a fixed set of 256.

    Fixed, because a failover pair in communications-interrupted gives a client it knows its old address
    again, while ever new clients would use up the half of the pool that the survivor may give.
    """
    if not 0 <= n < 256:
        raise ValueError(f"synthetic clients are numbered 0 to 255, not {n}")
    return f"02:52:50:49:43:{n:02x}"


def open_socket(interface: str, mac: str) -> socket.socket:
    """A non-blocking socket that hears servers' replies and frames to `mac`, and sends whole frames.

    For use with a ClientMachine in a selector loop: wire.receive(sock) gives what machine.receive takes.
    Raises ProbeFailed (`permission`, `interface`).
    """
    return wire.packet_socket(interface, wire.ETH_IP, wire.only_udp_to(CLIENT_PORT), accept=[mac])


class Client:
    """A client with the hardware address `mac` behind an interface; it holds no socket between calls.

    `source`: the Ethernet source of its frames.  Who asks in the name of a host that is not made up must name one,
    else a switch takes that host to be here and cuts it off; ValueError without it.
    `extra`: more options, by code, of its DHCP messages, as special clients send them.
    """

    def __init__(
        self,
        interface: str,
        mac: str,
        *,
        client_id: bytes | None = None,
        source: str | None = None,
        extra: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        if source is None and not wire.mac_bytes(mac)[0] & LOCALLY_ADMINISTERED:
            raise ValueError(f"{mac} may be a living host's: name the Ethernet source of what is sent in its name")
        self.interface, self.mac, self.client_id, self.source = interface, mac, client_id, source
        self.extra = tuple(extra)

    def discover(
        self,
        secs: int = 0,
        *,
        wait: float | Deadline = 2.5,
        wanted: str | None = None,
        enough: Collection[str] = (),
        least: float = 0.0,
    ) -> tuple[Offer, ...]:
        """The offers of all servers that answer a DISCOVER within `wait` s; takes no lease.  `wanted`: ask for it.

        A server pings an address for 1 s before it offers it (dhcpd(8)), so a shorter wait can see nothing.
        `enough`: from `least` s on, nobody else is waited for once each of these servers has made an offer.
        In a failover pair only one peer answers, unless `secs` is above the load balance maximum.  The
        DISCOVER is sent once more in the wait.  What ISC dhcpd offers, it offers to nobody else for two minutes.
        Raises ProbeFailed (`permission`, `interface`).
        """
        machine = self._machine(accept=False, wanted=wanted)
        machine.discover(time.monotonic(), secs=secs)
        self._run(machine, Deadline.of(wait), frozenset(enough), Deadline.after(least))
        return tuple(machine.offers)

    def lease(
        self,
        patience: float | Deadline = 16.0,
        *,
        wanted: str | None = None,
        server: str | None = None,
        secs: int = 0,
    ) -> Lease:
        """Take a lease as a patient host does: DISCOVER, REQUEST, again when nobody answers.

        `secs` rises with time.  `server`: pass over the offers of others.  The caller gives the lease back
        with `release`.  Raises ProbeFailed (`timeout`, which tells how far it came).
        """
        machine = self._machine(wanted=wanted, server=server)
        machine.discover(time.monotonic(), secs=secs)
        return self._lease(machine, patience, "lease")

    def reboot(self, address: str, *, patience: float | Deadline = 4.0) -> Lease:
        """Ask to keep an address as after a reboot (INIT-REBOOT).  Raises ProbeFailed (`nak`, `timeout`)."""
        machine = self._machine(restart=False)
        machine.reboot(time.monotonic(), address)
        return self._lease(machine, patience, f"reboot with {address}")

    def renew(self, lease: Lease, *, patience: float | Deadline = 4.0) -> Lease:
        """Renew at the server of the lease, by unicast.  Raises ProbeFailed (`nak`, `timeout`)."""
        machine = self._machine(restart=False)
        machine.renew(time.monotonic(), lease)
        return self._lease(machine, patience, f"renew {lease.address} at {lease.server}")

    def rebind(self, lease: Lease, *, patience: float | Deadline = 8.0) -> Lease:
        """Renew at any server, by broadcast.  Raises ProbeFailed (`nak`, `timeout`)."""
        machine = self._machine(restart=False)
        machine.rebind(time.monotonic(), lease)
        return self._lease(machine, patience, f"rebind {lease.address}")

    def bootp(self, *, patience: float | Deadline = 4.0) -> Lease:
        """Ask as a BOOTP client; only a reservation is answered.  Raises ProbeFailed (`timeout`)."""
        machine = self._machine(restart=False)
        machine.bootp(time.monotonic())
        return self._lease(machine, patience, "BOOTP")

    def bootp_replies(self, *, wait: float | Deadline = 1.0, enough: int = 2) -> tuple[dhcp_packet.Reply, ...]:
        """The replies of all servers to one BOOTP request (RFC 951), the first of each, within `wait` s.

        Ends as soon as `enough` servers answered.  Raises ProbeFailed (`permission`, `interface`).
        """
        end, xid = Deadline.of(wait), int.from_bytes(os.urandom(4))
        found: dict[str, dhcp_packet.Reply] = {}
        with open_socket(self.interface, self.mac) as sock:
            _send(sock, dhcp_packet.frame(dhcp_packet.build(self.mac, xid), self.source or self.mac))
            for got in wire.arrivals(sock, end, "BOOTP"):
                try:
                    reply = dhcp_packet.reply(got.data, verify=got.verify)
                except wire.Malformed:
                    continue
                if reply.message.xid == xid and reply.message.mac == self.mac and reply.message.kind is None:
                    found.setdefault(reply.src, reply)
                    if len(found) >= enough:
                        break
        return tuple(found.values())

    def release(self, lease: Lease, *, broadcast: bool = False) -> None:
        """Give a lease back, at its server or (`broadcast`) at any that lives; the protocol has no answer to it.

        What one failover peer took back while the other was away can be active again when both have met, as
        seen with ISC dhcpd 4.4: then release it once more.  Raises ProbeFailed of the socket.
        """
        self._put(dhcp_machine.release(lease, int.from_bytes(os.urandom(4)), broadcast=broadcast))

    def give_back(self, address: str, server: str, server_mac: str) -> None:
        """Release, at a server, what its lease file says this client holds; raises ProbeFailed of the socket."""
        self.release(Lease(address, server, 0.0, {}, 0.0, 0, self.mac, server_mac, 0.0))

    def decline(self, lease: Lease) -> None:
        """Tell the server the address is in use by somebody else: it sets it aside."""
        self._put(dhcp_machine.decline(lease, int.from_bytes(os.urandom(4))))

    def _machine(
        self, *, accept: bool = True, restart: bool = True, wanted: str | None = None, server: str | None = None
    ) -> ClientMachine:
        return ClientMachine(
            self.mac,
            client_id=self.client_id,
            accept=accept,
            restart=restart,
            wanted=wanted,
            server=server,
            source=self.source,
            extra=self.extra,
        )

    def _put(self, frame: bytes) -> None:
        with open_socket(self.interface, self.mac) as sock:
            _send(sock, frame)

    def _lease(self, machine: ClientMachine, patience: float | Deadline, what: str) -> Lease:
        refused = self._run(machine, Deadline.of(patience))
        what = f"dhcp {what} as {self.mac} on {self.interface}"
        if machine.lease is not None:
            return machine.lease
        if refused is not None and machine.state is State.IDLE:
            raise ProbeFailed(f"{what}: {refused.server} refused: {refused.message}", reason="nak")
        seen = ", ".join(f"{offer.address} offered by {offer.server}" for offer in machine.offers)
        raise ProbeFailed(
            f"{what}: no lease after {machine.tries} messages, still {machine.state.value}"
            + (f"; {seen}" if seen else ""),
            reason="timeout",
        )

    def _run(
        self,
        machine: ClientMachine,
        end: Deadline,
        enough: frozenset[str] = frozenset(),
        soonest: Deadline | None = None,
    ) -> Nak | None:
        """Drive the machine until it is bound or idle or the time is up; the last refusal, if any.

        Once every server in `enough` has made an offer, the time is up at `soonest`.
        """
        refused: Nak | None = None
        with ExitStack() as stack:
            sock = stack.enter_context(open_socket(self.interface, self.mac))
            socks = [sock, stack.enter_context(wire.packet_socket(self.interface, wire.ETH_ARP))]
            poll = select.poll()
            for each in socks:
                poll.register(each, select.POLLIN)
            while machine.state not in (State.BOUND, State.IDLE) and not end.passed:
                if enough and soonest and enough <= {offer.server for offer in machine.offers}:
                    end = soonest
                while (frame := machine.send(time.monotonic())) is not None:
                    _send(sock, frame)
                timer = machine.next_timer
                until = end.at if timer is None else min(timer, end.at)
                poll.poll(max(0.0, until - time.monotonic()) * 1000)
                for each in socks:
                    for _ in range(wire.BATCH):
                        if (got := wire.receive(each)) is None:
                            break
                        event = machine.receive(got.t, got.data, verify=got.verify)
                        if isinstance(event, Nak):
                            refused = event
        return refused


def _send(sock: socket.socket, frame: bytes) -> None:
    try:
        sock.send(frame)
    except OSError as error:
        raise wire.failed(error, "sending a DHCP frame") from error
