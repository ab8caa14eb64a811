"""Which of two DHCP servers a client belongs to: the hash of RFC 3074, by which a failover pair divides them."""

from __future__ import annotations

from cluster.probes import wire

# RFC 3074 section 4: a mixing table of 256 distinct values.
_MIX = bytes.fromhex(
    "fbaf77d7510e4fbf6731b58fba9d00e81f20373c983a11edae46a090dc5a39df3b03128c6fa6cbc4"
    "86f37c5fdeb3c541b430240f6b2ee982a51e7ba1d1176110285bdb3d640ad26dfa7f168a1d6cf443"
    "cf09b2cc4a627ef9a774224dc1c8790514714723800db65e19e2e3c74b1b29f5e6e02be1b11a9b96"
    "d48eda73f149586927723effc0c991d6a89edd949a7a0c5452a32c8be4eccdf2d90bbb929f4056ef"
    "c32a6ac67670b8ac5702ad75b0e5f7fd89b963a466932d42e7348dd3c2cef6ee386e4ef83ff0bd5d"
    "5c3335b713ab48322168654508fc53784c875536ca7dbcd560eb88d0a281be849c262f0107fe1804"
    "d88359151c8525999550aa4406a9ea97"
)


def bucket(mac: str) -> int:
    """The hash bucket of a client (RFC 3074 section 4); a failover pair's `split` divides the 256 of them."""
    raw = wire.mac_bytes(mac)
    found = len(raw)
    for byte in reversed(raw):
        found = _MIX[found ^ byte]
    return found
