"""VRRP on the wire: advertisements read (RFC 3768 v2, RFC 9568 v3), and the arithmetic of a takeover."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from cluster.probes import wire
from cluster.probes.keepalived import ConfigError, Instance, KeepalivedConf, keepalived_conf
from cluster.wait import Deadline

__all__ = [
    "GROUP",
    "Advertisement",
    "ConfigError",
    "Instance",
    "KeepalivedConf",
    "Listener",
    "Window",
    "capture",
    "keepalived_conf",
    "parse",
    "preemption",
    "window",
]

GROUP = "224.0.0.18"  # RFC 3768 section 5.2.2
_GROUP_MAC = "01:00:5e:00:00:12"
_AUTH = {0: "none", 1: "pass", 2: "ah"}  # RFC 2338 section 5.3.6; RFC 3768 left only 0


@dataclass(frozen=True)
class Advertisement:
    """One advertisement heard at `t` (monotonic s); priority 0 means the master stops; interval in s.

    `mac` is the Ethernet source where the socket tells it.  The password is not kept.
    """

    t: float
    src: str
    version: int
    vrid: int
    priority: int
    interval_s: float
    addresses: tuple[str, ...]
    auth_type: str
    mac: str | None = None


@dataclass(frozen=True)
class Window:
    """When a standby takes over, in s: after the last advertisement heard, and as clients see a crash.

    A crash falls between two advertisements, so of `master_down` clients miss between all but one
    advertisement interval (`client_low`) and all of it (`client_high`).
    """

    skew: float
    master_down: float
    client_low: float
    client_high: float


def window(advert_s: float, priority: int, version: int = 2) -> Window:
    """The takeover window of a standby with that priority, for a master advertising every `advert_s` s.

    v2: skew = (256 - priority) / 256 s (RFC 3768 section 6.1).  v3: skew = (256 - priority) * interval / 256
    counted in centiseconds (RFC 9568 section 6.1).  master_down = 3 * interval + skew.
    """
    if not 1 <= priority <= 254 or advert_s <= 0 or version not in (2, 3):
        raise ValueError(f"no standby: priority {priority}, interval {advert_s} s, version {version}")
    skew = (256 - priority) / 256 * (1.0 if version == 2 else advert_s)
    down = 3 * advert_s + skew
    return Window(skew, down, down - advert_s, down)


def preemption(advert_s: float, priority: int, delay_s: float, version: int = 2) -> tuple[float, float]:
    """When a node of higher priority takes the address back: s after it first hears the other advertise, from, to.

    keepalived begins to count `delay_s` (preempt_delay) then; only advertisements that come after it are passed
    over, so that the master is down for the node 3 * interval + skew after the last one before (keepalived.conf(5)).
    """
    down = window(advert_s, priority, version)
    return delay_s + down.client_low, delay_s + down.client_high


def parse(packet: bytes, t: float = 0.0, *, mac: str | None = None) -> Advertisement:
    """Read an IPv4 packet as a VRRP advertisement; raises Malformed.

    Checked as RFC 3768 section 7.1 and RFC 9568 section 7.1 demand: TTL 255, version, type, length,
    checksum.  In v3 the checksum may cover the pseudo header or not, since RFC 5798 could be read both
    ways and daemons differ.
    """
    ip = wire.ipv4(packet)
    raw = ip.payload
    if ip.protocol != wire.VRRP:
        raise wire.Malformed(f"IP protocol {ip.protocol}, VRRP is {wire.VRRP}")
    if ip.ttl != 255:
        raise wire.Malformed(f"VRRP with TTL {ip.ttl}: not from this network")
    if len(raw) < 8:
        raise wire.Malformed(f"VRRP of {len(raw)} bytes")
    head, vrid, priority, count, fifth, sixth = struct.unpack("!6B", raw[:6])
    version, kind = head >> 4, head & 15
    if version not in (2, 3) or kind != 1:
        raise wire.Malformed(f"VRRP version {version} type {kind}")
    size = 8 + 4 * count + (8 if version == 2 else 0)
    if len(raw) < size:
        raise wire.Malformed(f"VRRP with {count} addresses in {len(raw)} bytes")
    raw = raw[:size]
    whole = ip.pseudo + struct.pack("!BBH", 0, wire.VRRP, size) + raw
    if wire.checksum(raw) and (version == 2 or wire.checksum(whole)):
        raise wire.Malformed("VRRP checksum is wrong")
    if version == 2:
        interval, auth = float(sixth), _AUTH.get(fifth, str(fifth))
    else:
        interval, auth = ((fifth & 15) << 8 | sixth) / 100, "none"  # centiseconds, RFC 9568 section 5.2.7
    addresses = tuple(socket.inet_ntoa(raw[at : at + 4]) for at in range(8, 8 + 4 * count, 4))
    return Advertisement(t, ip.src, version, vrid, priority, interval, addresses, auth, mac)


def build(
    src: str,
    vrid: int,
    priority: int,
    interval_s: float,
    addresses: tuple[str, ...],
    *,
    version: int = 2,
    password: bytes | None = None,
) -> bytes:
    """An advertisement as an IPv4 packet, for tests and for a second master of the tests."""
    tail = b"".join(socket.inet_aton(a) for a in addresses)
    if version == 2:
        middle = struct.pack("!BB", 0 if password is None else 1, round(interval_s))
        tail += (password or b"").ljust(8, b"\0")
    else:
        middle = struct.pack("!H", round(interval_s * 100) & 0x0FFF)
    head = struct.pack("!4B", version << 4 | 1, vrid, priority, len(addresses)) + middle
    covered = b""
    if version == 3:
        size = len(head) + 2 + len(tail)
        covered = socket.inet_aton(src) + socket.inet_aton(GROUP) + struct.pack("!BBH", 0, wire.VRRP, size)
    told = wire.checksum(covered + head + b"\0\0" + tail)
    return wire.build_ipv4(src, GROUP, wire.VRRP, head + told.to_bytes(2) + tail, ttl=255)


class Listener(wire.Ear):
    """The advertisements an interface hears, as a context manager; `fileno` for a selector.

    A packet socket that has joined 224.0.0.18, since a raw IP socket would not tell the sender's hardware
    address and a local firewall could hide packets from it.  Raises ProbeFailed (`permission`, `interface`).
    """

    def __init__(self, interface: str) -> None:
        super().__init__(wire.packet_socket(interface, wire.ETH_IP, wire.only_ip(wire.VRRP), accept=[_GROUP_MAC]))

    def read(self) -> Iterator[Advertisement]:
        """What has arrived by now, without waiting; packets that are no valid advertisement are left out."""
        for _ in range(wire.BATCH):
            if (got := wire.receive(self._sock)) is None:
                return
            yield from _valid(got)

    def until(self, deadline: float | Deadline) -> Iterator[Advertisement]:
        """What arrives until the deadline, as it comes."""
        for got in wire.arrivals(self._sock, Deadline.of(deadline)):
            yield from _valid(got)

    def wait(self, deadline: float | Deadline) -> bool:
        """Whether something can be read before the deadline."""
        return wire.wait(self._sock, Deadline.of(deadline))


def _valid(got: wire.Captured) -> Iterator[Advertisement]:
    with suppress(wire.Malformed):
        eth = wire.ethernet(got.data)
        yield parse(eth.payload, got.t, mac=eth.src)


def capture(interface: str, seconds: float) -> tuple[Advertisement, ...]:
    """Every advertisement heard on an interface within that time; raises ProbeFailed as Listener."""
    with Listener(interface) as ear:
        return tuple(ear.until(seconds))
