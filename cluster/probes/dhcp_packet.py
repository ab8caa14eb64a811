"""DHCP and BOOTP messages as bytes (RFC 951, RFC 2131, RFC 2132): pure building and reading."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.probes import wire

SERVER_PORT, CLIENT_PORT = 67, 68
MAGIC = bytes((99, 130, 83, 99))  # RFC 2132 section 2
BOOTREQUEST, BOOTREPLY = 1, 2
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)  # RFC 2132 section 9.6
_BROADCAST_FLAG = 0x8000
_HEADER = struct.Struct("!4BIHH4s4s4s4s16s64s128s")
_SMALLEST = 300  # a BOOTP message with its 64 byte vendor area (RFC 951): some servers drop shorter ones

Value = str | int | bytes | tuple[str, ...]

# Names as in dhcp-options(5).
_ADDRESS = {
    1: "subnet-mask",
    28: "broadcast-address",
    50: "dhcp-requested-address",
    54: "dhcp-server-identifier",
}
_ADDRESSES = {3: "routers", 6: "domain-name-servers", 42: "ntp-servers"}
_TEXT = {
    12: "host-name",
    15: "domain-name",
    56: "dhcp-message",
    66: "tftp-server-name",
    67: "bootfile-name",
}
_NUMBER = {
    51: "dhcp-lease-time",
    53: "dhcp-message-type",
    57: "dhcp-max-message-size",
    58: "dhcp-renewal-time",
    59: "dhcp-rebinding-time",
}
_WIDTH = {51: 4, 53: 1, 57: 2, 58: 4, 59: 4}
# What a client asks for with option 55, the same on every look so that answers can be compared.
WANTED = (1, 3, 6, 15, 28, 42, 51, 54, 58, 59, 66, 67)


@dataclass(frozen=True)
class Message:
    """One message; addresses as text, `options` by code and raw, `kind` option 53 or None for BOOTP."""

    op: int
    xid: int
    secs: int
    broadcast: bool
    ciaddr: str
    yiaddr: str
    siaddr: str
    giaddr: str
    mac: str
    sname: bytes
    file: bytes
    options: Mapping[int, bytes]

    @property
    def kind(self) -> int | None:
        """The message type of option 53, None for plain BOOTP."""
        return self.options[53][0] if 53 in self.options else None

    def address(self, code: int) -> str | None:
        """The address in an option, None where the message has none."""
        return socket.inet_ntoa(self.options[code]) if code in self.options else None


def named(options: Mapping[int, bytes]) -> dict[str, Value]:
    """Options by the names of dhcp-options(5).

    Addresses and texts are str, lists of addresses tuples of str, times int seconds; what is not known here
    is `option-N` with its bytes.  Raises Malformed for a value of the wrong size.
    """
    found: dict[str, Value] = {}
    for code, raw in sorted(options.items()):
        if code in _ADDRESS:
            found[_ADDRESS[code]] = socket.inet_ntoa(_sized(code, raw, 4))
        elif code in _ADDRESSES:
            if not raw or len(raw) % 4:
                raise wire.Malformed(f"DHCP option {code} of {len(raw)} bytes is no list of addresses")
            found[_ADDRESSES[code]] = tuple(socket.inet_ntoa(raw[i : i + 4]) for i in range(0, len(raw), 4))
        elif code in _TEXT:
            found[_TEXT[code]] = raw.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif code in _NUMBER:
            found[_NUMBER[code]] = int.from_bytes(_sized(code, raw, _WIDTH[code]))
        else:
            found[f"option-{code}"] = raw
    return found


def _sized(code: int, raw: bytes, size: int) -> bytes:
    if len(raw) != size:
        raise wire.Malformed(f"DHCP option {code} of {len(raw)} bytes, not {size}")
    return raw


def build(
    mac: str,
    xid: int,
    *,
    secs: int = 0,
    broadcast: bool = True,
    ciaddr: str = "0.0.0.0",
    options: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    """A client's message; without option 53 it is a BOOTP request."""
    head = _HEADER.pack(
        BOOTREQUEST, 1, 6, 0, xid, min(secs, 0xFFFF), _BROADCAST_FLAG if broadcast else 0,
        socket.inet_aton(ciaddr), bytes(4), bytes(4), bytes(4), wire.mac_bytes(mac), b"", b"",
    )  # fmt: skip
    tail = b"".join(bytes((code, len(raw))) + raw for code, raw in options)
    return (head + MAGIC + tail + b"\xff").ljust(_SMALLEST, b"\0")


def parse(payload: bytes) -> Message:
    """Read a UDP payload as a message of either direction; raises Malformed.

    Long options are joined (RFC 3396) and overloaded fields read (option 52).  The few options the protocol
    itself depends on are checked for their size here.
    """
    if len(payload) < _HEADER.size:
        raise wire.Malformed(f"DHCP message of {len(payload)} bytes, the fixed part has {_HEADER.size}")
    (op, htype, hlen, _, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file) = _HEADER.unpack_from(
        payload
    )
    if op not in (BOOTREQUEST, BOOTREPLY) or (htype, hlen) != (1, 6):
        raise wire.Malformed(f"DHCP op {op}, hardware type {htype} of {hlen} bytes")
    options: dict[int, bytes] = {}
    tail = payload[_HEADER.size :]
    if tail[:4] == MAGIC:
        _options(tail[4:], options)
        overload = _sized(52, options.pop(52), 1)[0] if 52 in options else 0
        for bit, field in ((1, file), (2, sname)):
            if overload & bit:
                _options(field, options)
    for code in (50, 51, 53, 54):
        if code in options:
            _sized(code, options[code], _WIDTH.get(code, 4))
    return Message(
        op, xid, secs, bool(flags & _BROADCAST_FLAG),
        socket.inet_ntoa(ciaddr), socket.inet_ntoa(yiaddr),
        socket.inet_ntoa(siaddr), socket.inet_ntoa(giaddr),
        wire.mac_text(chaddr[:6]), sname.rstrip(b"\0"), file.rstrip(b"\0"), options,
    )  # fmt: skip


def _options(area: bytes, into: dict[int, bytes]) -> None:
    at = 0
    while at < len(area):
        code = area[at]
        if code == 255:
            return
        if code == 0:
            at += 1
            continue
        if at + 1 >= len(area) or at + 2 + area[at + 1] > len(area):
            raise wire.Malformed(f"DHCP option {code} is cut short")
        into[code] = into.get(code, b"") + area[at + 2 : at + 2 + area[at + 1]]
        at += 2 + area[at + 1]
    raise wire.Malformed("DHCP options without their end")


def frame(
    payload: bytes,
    mac: str,
    *,
    src: str = "0.0.0.0",
    dst: str = "255.255.255.255",
    dst_mac: str = wire.BROADCAST,
) -> bytes:
    """The Ethernet frame that carries a client's message from `mac`."""
    packet = wire.build_udp(src, CLIENT_PORT, dst, SERVER_PORT, payload)
    return wire.build_ethernet(dst_mac, mac, wire.ETH_IP, packet)


@dataclass(frozen=True)
class Reply:
    """A server's message and who sent it: IPv4 source and Ethernet source (a relay's, where there is one)."""

    src: str
    mac: str
    message: Message


def reply(data: bytes, *, verify: bool = True) -> Reply:
    """Read an Ethernet frame as a server's message to a client; raises Malformed (`verify` as wire.udp)."""
    eth = wire.ethernet(data)
    if eth.kind != wire.ETH_IP:
        raise wire.Malformed("not IPv4")
    packet = wire.ipv4(eth.payload)
    datagram = wire.udp(packet, verify=verify)
    if (datagram.sport, datagram.dport) != (SERVER_PORT, CLIENT_PORT):
        raise wire.Malformed(f"UDP from port {datagram.sport} to {datagram.dport} is no DHCP reply")
    message = parse(datagram.payload)
    if message.op != BOOTREPLY:
        raise wire.Malformed("a request where a reply belongs")
    return Reply(packet.src, eth.src, message)
