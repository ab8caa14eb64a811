"""The cluster's SSH authority: certificates for people, jobs and nodes, and whether one holds.

Formats: OpenSSH's PROTOCOL.certkeys, ssh-keygen(1) CERTIFICATES.  A certificate begins with the epoch: a Raspberry Pi
has no clock of its own, and one that boots with an old time must not shut its operator out.  Serials are the
nanoseconds of their signing, so that an operator and psi can both sign without a common counter.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_private_key,
    load_ssh_public_identity,
    load_ssh_public_key,
)

from cluster import hostkeys
from cluster.errors import InputError

Kind = Literal["user", "host"]
KINDS = {"user": SSHCertificateType.USER, "host": SSHCertificateType.HOST}
REVOKED_SERIAL = 1  # in every list of what is revoked, so that each node's can be tried at any time
SIGNED = (Ed25519PublicKey, EllipticCurvePublicKey, RSAPublicKey)  # OpenSSH believes no other, DSA least of all
FOREVER = 253_402_300_800  # the year 10000, where calendars end; a certificate that never does says 2**64 - 1
# What sshd grants without being told: only these, no forwarding of agents or X11 (sshd_config(5)).
EXTENSIONS = (b"permit-port-forwarding", b"permit-pty")


@dataclass(frozen=True)
class Certificate:
    """What a certificate says; `key` and `authority` are public keys as in `authorized_keys`, `until` epoch seconds."""

    kind: Kind
    identity: str
    serial: int
    principals: tuple[str, ...]
    begins: int
    until: int
    key: str
    authority: str
    sources: str = ""

    @property
    def ends(self) -> str:
        """When it is over, UTC, for people."""
        return when(self.until)

    def days_left(self, now: float | None = None) -> float:
        """Days until it is over; negative when it is."""
        return (self.until - (time.time() if now is None else now)) / 86400

    def why_not(
        self, kind: Kind, name: str | Collection[str], authorities: Collection[str], now: float | None = None
    ) -> str | None:
        """Why it does not prove that its holder is `name` (any of them); None when it does."""
        now = time.time() if now is None else now
        names = {name} if isinstance(name, str) else set(name)
        if self.kind != kind:
            return f"it is one for {self.kind}s, not for {kind}s"
        if self.authority not in authorities:
            return f"it is signed by {fingerprint(self.authority)}, which is not the cluster's authority"
        if not names & set(self.principals):
            return f"it is for {', '.join(self.principals) or 'nobody'}, not for {', '.join(sorted(names))}"
        if now >= self.until:
            return f"it was valid until {self.ends}, and this machine's clock says {when(now)}"
        if now < self.begins:
            return f"it is valid from {when(self.begins)} on, and this machine's clock says {when(now)}"
        return None


class Authority:
    """The key that signs; its repr tells nothing."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> Authority:
        """The one in this file; raises InputError where it cannot be used."""
        try:
            key = load_ssh_private_key(path.read_bytes(), password=None)
        except FileNotFoundError:
            raise InputError(
                f"{path}: the authority's key is not here; docs/authority.md says where copies are"
            ) from None
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InputError(
                f"{path}: not an OpenSSH private key without a password; put back a copy of yours"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError(f"{path}: not an Ed25519 key; put back a copy")
        return cls(key)

    def __repr__(self) -> str:
        return f"Authority({self.fingerprint})"

    @property
    def public(self) -> str:
        """Its public key: type and base64."""
        return _line(self._key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))

    @property
    def fingerprint(self) -> str:
        """Of its public key, as ssh-keygen(1) prints it."""
        return fingerprint(self.public)

    def sign(
        self,
        public: str,
        kind: Kind,
        principals: Iterable[str],
        *,
        identity: str,
        seconds: float,
        sources: Iterable[IPv4Network] = (),
        serial: int | None = None,
    ) -> str:
        """A certificate for this public key, one line, valid for so long from now on (negative: it is over already).

        Raises InputError for a public key that cannot be read, or that OpenSSH would not believe.
        """
        try:
            key = load_ssh_public_key(" ".join(public.split()[:2]).encode())
        except (ValueError, UnsupportedAlgorithm, IndexError):
            key = None
        if not isinstance(key, SIGNED):
            raise InputError(
                f"not a public key that can be signed (Ed25519, ECDSA or RSA): {public.strip()[:40]!r}; "
                "make one by `ssh-keygen -t ed25519`"
            )
        builder = (
            SSHCertificateBuilder()
            .public_key(key)
            .serial(time.time_ns() if serial is None else serial)
            .type(KINDS[kind])
            .key_id(identity.encode())
            .valid_principals([name.encode() for name in principals])
            .valid_after(0)
            .valid_before(int(time.time() + seconds))
        )
        if kind == "user":
            if where := ",".join(map(str, sources)):
                builder = builder.add_critical_option(b"source-address", where.encode())
            for extension in EXTENSIONS:
                builder = builder.add_extension(extension, b"")
        return _line(builder.sign(self._key).public_bytes()) + f" {identity}"


def read(text: str | bytes) -> Certificate:
    """A certificate from its line, or its bytes on the wire; raises ValueError for anything else or a bad signature."""
    if isinstance(text, bytes):
        kind = text[4 : 4 + int.from_bytes(text[:4])]
        text = f"{kind.decode('ascii')} {base64.b64encode(text).decode()}"
    try:
        found = load_ssh_public_identity(" ".join(text.split()[:2]).encode())
        if not isinstance(found, SSHCertificate):
            raise ValueError("a key without a certificate")
        found.verify_cert_signature()
    except (UnsupportedAlgorithm, InvalidSignature, IndexError) as error:
        raise ValueError(f"its signature is wrong or not known: {error}") from error
    return Certificate(
        "user" if found.type is SSHCertificateType.USER else "host",
        found.key_id.decode("utf-8", "replace"),
        found.serial,
        tuple(name.decode("utf-8", "replace") for name in found.valid_principals),
        found.valid_after,
        found.valid_before,
        _line(found.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)),
        _line(found.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)),
        found.critical_options.get(b"source-address", b"").decode("ascii", "replace"),
    )


def fingerprint(public: str) -> str:
    """The SHA256 fingerprint of a public key's line as `ssh-keygen -l` prints it."""
    return hostkeys.fingerprint(base64.b64decode(public.split()[1]))


def when(seconds: float) -> str:
    """A point in time, UTC, for people."""
    if seconds >= FOREVER:
        return "for ever"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _line(data: bytes) -> str:
    return " ".join(data.decode("ascii").split()[:2])
