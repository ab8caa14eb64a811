"""What the packet probes share: addresses, checksums, IPv4/UDP framing, and sockets that stamp the time.

Building and parsing are pure functions of bytes; only the second half of the file touches the kernel.
Every time `t` is on the CLOCK_MONOTONIC scale (seconds), as in `cluster.record`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from cluster.errors import ProbeFailed
from cluster.wait import Deadline

ETH_IP, ETH_ARP = 0x0800, 0x0806
BROADCAST = "ff:ff:ff:ff:ff:ff"
TCP, UDP, ICMP, VRRP = 6, 17, 1, 112  # IANA protocol numbers


class Malformed(ProbeFailed):
    """Bytes that are not the packet they should be: cut short, wrong checksum, impossible field."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="malformed")


# ------------------------------------------------------------------ pure


def mac_text(raw: bytes) -> str:
    """A hardware address as `aa:bb:cc:dd:ee:ff`, lower case."""
    return raw.hex(":")


def mac_bytes(mac: str) -> bytes:
    """The six bytes of a hardware address written with colons or dashes; raises ValueError."""
    raw = bytes(int(part, 16) for part in mac.replace("-", ":").split(":"))
    if len(raw) != 6:
        raise ValueError(f"not a hardware address: {mac!r}")
    return raw


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); zero over data that carries its own correct checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Ethernet(NamedTuple):
    """One Ethernet II frame."""

    dst: str
    src: str
    kind: int
    payload: bytes


def ethernet(frame: bytes) -> Ethernet:
    """Take an Ethernet II frame apart (one 802.1Q tag is skipped); raises Malformed."""
    if len(frame) < 14:
        raise Malformed(f"Ethernet frame of {len(frame)} bytes, a header has 14")
    kind, at = int.from_bytes(frame[12:14]), 14
    if kind == 0x8100:
        if len(frame) < 18:
            raise Malformed("802.1Q tag cut short")
        kind, at = int.from_bytes(frame[16:18]), 18
    return Ethernet(mac_text(frame[0:6]), mac_text(frame[6:12]), kind, frame[at:])


class Packet(NamedTuple):
    """One IPv4 packet; `pseudo` is the part of the pseudo header that upper checksums cover."""

    src: str
    dst: str
    protocol: int
    ttl: int
    payload: bytes
    pseudo: bytes


def ipv4(packet: bytes) -> Packet:
    """Take an unfragmented IPv4 packet apart, header checksum verified (RFC 791); raises Malformed."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        raise Malformed(f"not an IPv4 packet ({len(packet)} bytes)")
    size, total = (packet[0] & 15) * 4, int.from_bytes(packet[2:4])
    if size < 20 or total < size or total > len(packet):
        raise Malformed(f"IPv4 lengths do not fit: header {size}, total {total}, got {len(packet)} bytes")
    if checksum(packet[:size]):
        raise Malformed("IPv4 header checksum is wrong")
    if int.from_bytes(packet[6:8]) & 0x3FFF:
        raise Malformed("an IPv4 fragment")
    src, dst = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    payload = packet[size:total]
    return Packet(src, dst, packet[9], packet[8], payload, packet[12:20])


class Datagram(NamedTuple):
    """One UDP datagram."""

    sport: int
    dport: int
    payload: bytes


def udp(packet: Packet, *, verify: bool = True) -> Datagram:
    """Take the UDP datagram out of a packet (RFC 768); raises Malformed.

    `verify=False` skips the checksum: a sender on the same machine leaves it to hardware that a veth lacks
    (see Captured.verify).
    """
    raw = packet.payload
    if packet.protocol != UDP or len(raw) < 8:
        raise Malformed("not a UDP datagram")
    sport, dport, size, told = struct.unpack("!4H", raw[:8])
    if not 8 <= size <= len(raw):
        raise Malformed(f"UDP length {size} does not fit into {len(raw)} bytes")
    raw = raw[:size]
    if verify and told and checksum(packet.pseudo + struct.pack("!BBH", 0, UDP, size) + raw):
        raise Malformed("UDP checksum is wrong")
    return Datagram(sport, dport, raw[8:])


def build_ethernet(dst: str, src: str, kind: int, payload: bytes) -> bytes:
    """An Ethernet II frame, padded to the 60 bytes that the standard asks for."""
    return (mac_bytes(dst) + mac_bytes(src) + kind.to_bytes(2) + payload).ljust(60, b"\0")


def build_ipv4(src: str, dst: str, protocol: int, payload: bytes, *, ttl: int = 64) -> bytes:
    """An IPv4 packet without options, its checksum filled in."""
    size = 20 + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, ttl, protocol, 0)
    head += socket.inet_aton(src) + socket.inet_aton(dst)
    return head[:10] + checksum(head).to_bytes(2) + head[12:] + payload


def build_udp(src: str, sport: int, dst: str, dport: int, payload: bytes) -> bytes:
    """An IPv4 packet with one UDP datagram, both checksums filled in."""
    size = 8 + len(payload)
    head = struct.pack("!3H", sport, dport, size)
    pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!BBH", 0, UDP, size)
    told = checksum(pseudo + head + b"\0\0" + payload) or 0xFFFF  # zero would mean "none" (RFC 768)
    return build_ipv4(src, dst, UDP, head + told.to_bytes(2) + payload)


# ------------------------------------------------------------------ sockets

_SO_TIMESTAMPNS = 35  # asm-generic/socket.h; not in Python's socket module
_SO_ATTACH_FILTER = 26
_PACKET_ADD_MEMBERSHIP, _PACKET_AUXDATA, _SOL_PACKET = 1, 8, 263  # linux/if_packet.h
_PACKET_MR_MULTICAST, _PACKET_MR_UNICAST = 0, 3
_CSUM_NOT_READY = 1 << 3  # TP_STATUS_CSUMNOTREADY
_SIOCGIFADDR, _SIOCGIFHWADDR = 0x8915, 0x8927

Instruction = tuple[int, int, int, int]  # classic BPF: code, jump if true, jump if false, constant


def only_ip(protocol: int) -> Sequence[Instruction]:
    """A kernel filter that keeps Ethernet frames carrying that IPv4 protocol."""
    return (
        (0x28, 0, 0, 12),  # ether type
        (0x15, 0, 3, ETH_IP),
        (0x30, 0, 0, 23),  # IPv4 protocol
        (0x15, 0, 1, protocol),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    )


def only_udp_to(*ports: int) -> Sequence[Instruction]:
    """A kernel filter that keeps unfragmented UDP datagrams to one of the ports."""
    n = len(ports)
    return (
        (0x28, 0, 0, 12),
        (0x15, 0, 6 + n, ETH_IP),
        (0x30, 0, 0, 23),
        (0x15, 0, 4 + n, UDP),
        (0x28, 0, 0, 20),  # flags and fragment offset
        (0x45, 2 + n, 0, 0x1FFF),
        (0xB1, 0, 0, 14),  # X = length of the IPv4 header
        (0x48, 0, 0, 16),  # destination port
        *((0x15, n - i, 0, port) for i, port in enumerate(ports)),
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 0xFFFF),
    )


@dataclass(frozen=True)
class Captured:
    """One frame as it came: `t` when the kernel got it, `verify` whether its UDP checksum is filled in."""

    t: float
    data: bytes
    verify: bool


def failed(error: OSError, what: str) -> ProbeFailed:
    """The ProbeFailed for an error of the socket layer; `reason` is one of a few short words."""
    reasons = {
        errno.ECONNREFUSED: "refused",
        errno.EHOSTUNREACH: "unreachable",
        errno.ENETUNREACH: "unreachable",
        errno.EHOSTDOWN: "unreachable",
        errno.ENETDOWN: "unreachable",
        errno.ETIMEDOUT: "timeout",
        errno.ECONNRESET: "reset",
        errno.EPIPE: "reset",
        errno.EPERM: "permission",
        errno.EACCES: "permission",
        errno.ENODEV: "interface",
        errno.ENXIO: "interface",
        errno.EADDRNOTAVAIL: "address",
    }
    reason = reasons.get(error.errno or 0, "timeout" if isinstance(error, TimeoutError) else "socket")
    text = error.strerror or str(error) or type(error).__name__
    hint = "; raw sockets need CAP_NET_RAW (root)" if reason == "permission" else ""
    return ProbeFailed(f"{what}: {text}{hint}", reason=reason)


def packet_socket(
    interface: str, kind: int, program: Sequence[Instruction] = (), *, accept: Sequence[str] = ()
) -> socket.socket:
    """A non-blocking AF_PACKET socket for one ether type on one interface, its frames stamped by the kernel.

    `program` filters in the kernel; `accept` are more hardware addresses (multicast, synthetic) to listen
    for.  Raises ProbeFailed with reason `permission` or `interface`.
    """
    what = f"raw socket on {interface}"
    try:
        # Protocol 0 receives nothing, so no frame slips in before the filter is attached.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except OSError as error:
        raise failed(error, what) from error
    try:
        if program:
            _attach(sock, program)
        stamp(sock)
        sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        sock.bind((interface, kind))
        index = socket.if_nametoindex(interface)
        for mac in accept:
            raw = mac_bytes(mac)
            how = _PACKET_MR_MULTICAST if raw[0] & 1 else _PACKET_MR_UNICAST
            sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, how, 6, raw))
    except OSError as error:
        sock.close()
        raise failed(error, what) from error
    return sock


def _attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))  # must outlive the call
    fprog = struct.pack("HL", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def stamp(sock: socket.socket) -> None:
    """Have the kernel note when each packet of this socket arrived (see `receive`)."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def receive(sock: socket.socket, what: str = "receiving") -> Captured | None:
    """The next waiting packet of a non-blocking socket, or None; raises ProbeFailed that begins with `what`."""
    try:
        data, notes, _, _ = sock.recvmsg(65535, 256)
    except BlockingIOError:
        return None
    except OSError as error:
        raise failed(error, what) from error
    now, wall = time.monotonic(), time.time()
    t, verify = now, True
    for level, kind, value in notes:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(value) == struct.calcsize("ll"):
            seconds, nanos = struct.unpack("ll", value)
            age = wall - (seconds + nanos * 1e-9)
            # The stamp is on the wall clock; when that was set meanwhile, "now" is the better guess.
            if 0 <= age < 60:
                t = now - age
        elif (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
            verify = not int.from_bytes(value[:4], "little" if _LITTLE else "big") & _CSUM_NOT_READY
    return Captured(t, data, verify)


BATCH = 256  # how many packets a listener's `read` takes at a time, so that a flood cannot hold its caller
_LITTLE = struct.pack("=H", 1) == b"\1\0"


def wait(sock: socket.socket, deadline: Deadline) -> bool:
    """Whether something arrived at the socket before the deadline."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(deadline.left * 1000))


def arrivals(sock: socket.socket, deadline: Deadline, what: str = "receiving") -> Iterator[Captured]:
    """Every packet that reaches a socket before the deadline; raises ProbeFailed that begins with `what`.

    The kernel's time stamp decides, not ours: an answer in time counts also when we are late to read it, and
    traffic that never stops does not keep us beyond the deadline.
    """
    while True:
        got = receive(sock, what)
        if got is None:
            if not wait(sock, deadline):
                return
        elif got.t > deadline.at:
            return
        else:
            yield got


class Ear:
    """A packet socket that listens, as a context manager; `fileno` for a selector."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The file descriptor to select on."""
        return self._sock.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._sock.close()


def interface_towards(address: str) -> str:
    """The interface from which this machine would send to an address on its own LAN; raises ProbeFailed (`interface`).

    Routes through a gateway do not count: raw probes see only the LAN itself (/proc/net/route, proc(5)).
    """
    target, best = int(IPv4Address(address)), (-1, "")
    for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
        name, to, gateway, flags, _, _, _, mask, *_ = line.split()
        # Addresses are printed as the host's own integers, so their bytes are in network order in memory.
        network, bits = (int.from_bytes(struct.pack("=I", int(word, 16))) for word in (to, mask))
        if int(flags, 16) & 1 and not int(gateway, 16) and target & bits == network and bits > best[0]:
            best = bits, name
    if not best[1]:
        raise ProbeFailed(f"no interface of this machine is on the LAN of {address}", reason="interface")
    return best[1]


def own_mac(interface: str) -> str:
    """The hardware address of an interface; raises ProbeFailed (`interface`)."""
    return mac_text(_ioctl(interface, _SIOCGIFHWADDR)[18:24])


def own_address(interface: str) -> str | None:
    """The first IPv4 address of an interface, None where it has none; raises ProbeFailed (`interface`)."""
    try:
        return str(IPv4Address(_ioctl(interface, _SIOCGIFADDR)[20:24]))
    except ProbeFailed as error:
        if error.reason == "address":
            return None
        raise


def _ioctl(interface: str, request: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            return fcntl.ioctl(sock, request, struct.pack("256s", interface.encode()[:15]))
        except OSError as error:
            raise failed(error, f"interface {interface}") from error
