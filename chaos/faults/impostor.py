"""A DHCP server that nobody asked for: the program that `rogue` runs on a node.

    python3 impostor.py INTERFACE ADDRESS READY

It is given to the node as it is, so it needs Python's own library only.  It hears and sends whole frames, as dhcpd
does: no firewall of the node's keeps it from that.  Whoever asks is offered an address of TEST-NET-3 at once (RFC
5737: nobody's, and nobody's router's), for LEASE_S seconds.  It says nothing to those that mean another server.  The
file READY is made when it listens.
"""

from __future__ import annotations

import socket
import struct
import sys
import zlib
from pathlib import Path

LEASE_S = 30
"""How long a client that was taken in is lost at most."""
NETWORK = "203.0.113.0"
ROUTER = "203.0.113.1"
SUBNET = "255.255.255.0"
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5  # RFC 2132 section 9.6
_MAGIC = bytes((99, 130, 83, 99))
_ETH_IP, _UDP, _FROM, _TO = 0x0800, 17, 67, 68


def options(area: bytes) -> dict[int, bytes]:
    """The options of a message (RFC 2132 section 2), as far as they can be read."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(area) and area[at] != 255:
        if area[at]:
            found[area[at]] = area[at + 2 : at + 2 + area[at + 1]]
            at += 1 + area[at + 1]
        at += 1
    return found


def question(frame: bytes) -> tuple[bytes, dict[int, bytes]] | None:
    """The message that a frame brings to a DHCP server, and its options; None where it brings none."""
    if len(frame) < 34 or frame[12:14] != _ETH_IP.to_bytes(2, "big") or frame[23] != _UDP:
        return None
    datagram = frame[14 + (frame[14] & 15) * 4 :]
    message = datagram[8:]
    if datagram[2:4] != _FROM.to_bytes(2, "big") or len(message) < 241 or message[0] != 1 or message[236:240] != _MAGIC:
        return None
    return message, options(message[240:])


def address(mac: bytes) -> bytes:
    """The address that a client is given: always the same one."""
    return socket.inet_aton(NETWORK)[:3] + bytes((2 + zlib.crc32(mac) % 253,))


def answer(message: bytes, asked: dict[int, bytes], own: bytes) -> bytes | None:
    """What is said to a client; None to one that does not mean us."""
    kinds = {(DISCOVER, None): OFFER, (REQUEST, own): ACK}
    kind = kinds.get((int.from_bytes(asked.get(53, b""), "big"), asked.get(54)))
    if kind is None:
        return None
    router, subnet = socket.inet_aton(ROUTER), socket.inet_aton(SUBNET)
    told = ((53, bytes((kind,))), (54, own), (51, LEASE_S.to_bytes(4, "big")), (1, subnet), (3, router), (6, router))
    tail = b"".join(bytes((code, len(value))) + value for code, value in told) + b"\xff"
    head = bytes((2, 1, 6, 0)) + message[4:8] + bytes(2) + b"\x80\x00"
    return head + bytes(4) + address(message[28:34]) + own + bytes(4) + message[28:44] + bytes(192) + _MAGIC + tail


def framed(payload: bytes, mac: bytes, own: bytes) -> bytes:
    """The frame that brings a message to every client (RFC 768: no checksum is a checksum of 0)."""
    datagram = struct.pack("!4H", _FROM, _TO, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, _UDP, 0, own, b"\xff" * 4)
    total: int = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + (~total & 0xFFFF).to_bytes(2, "big") + head[12:]
    return b"\xff" * 6 + mac + _ETH_IP.to_bytes(2, "big") + head + datagram


def main(interface: str, own_address: str, ready: str) -> None:
    """Answer until ended."""
    own = socket.inet_aton(own_address)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_IP)) as sock:
        sock.bind((interface, _ETH_IP))
        mac = sock.getsockname()[4]
        Path(ready).touch()
        while True:
            found = question(sock.recv(2048))
            if found is not None and (said := answer(*found, own)) is not None:
                sock.send(framed(said, mac, own))


if __name__ == "__main__":
    main(*sys.argv[1:])
