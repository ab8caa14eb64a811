"""What is revoked, a line each in the words of ssh-keygen(1), KEY REVOCATION LISTS.

ssh-keygen refuses a list as a whole for one line that it cannot read, and no node could be provisioned with it: so each
line is looked at before it is kept, and again before a list is sent.
"""

from __future__ import annotations

import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

SERIALS = 2**64 - 1
"""The largest serial (PROTOCOL.certkeys of OpenSSH, uint64); 0 is that of certificates without one."""
_NUMBER = r"0x[0-9a-fA-F]{1,16}|[1-9][0-9]{0,19}"  # ssh-keygen takes 010 for 8
_SERIAL = re.compile(rf"serial:\s*({_NUMBER})(?:-({_NUMBER}))?", re.ASCII)
_KEY = re.compile(r"(?:key:|sha1:|sha256:)?\s*([a-z]\S*\s.*)", re.ASCII)
_OTHER = re.compile(r"id:.*|hash:\s*SHA256:[A-Za-z0-9+/]{43}=?", re.ASCII)


def serial(number: int) -> str:
    """The line for the certificate with this serial; raises ValueError."""
    if not 1 <= number <= SERIALS:
        raise ValueError(f"a serial is a number from 1 to {SERIALS}")
    return f"serial: {number}"


def key(text: str) -> str:
    """The line for a public key, one as in `authorized_keys`; raises ValueError."""
    words = text.split()[:2]
    try:
        load_ssh_public_key(" ".join(words).encode("ascii"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not a public key of OpenSSH's") from error
    return f"key: {' '.join(words)}"


def wrong(line: str) -> str | None:
    """What ssh-keygen(1) would not take of a line, or would take for another serial; None for a line that is right."""
    bare = line.partition("#")[0].strip()
    if not bare or _OTHER.fullmatch(bare):
        return None
    try:
        if match := _SERIAL.fullmatch(bare):
            first, last = int(match[1], 0), int(match[2] or match[1], 0)
            serial(first)
            serial(last)
            return None if first <= last else "the first serial is larger than the last"
        if not bare.startswith("serial:") and (match := _KEY.fullmatch(bare)):
            key(match[1])
            return None
    except ValueError as error:
        return str(error)
    return "neither a serial, a range of them, a public key, an id nor a hash"
