"""The cluster's secrets: made once, kept in `.state/secrets` beside the inventory, never shown.

Each file is made whole and exclusively, so two commands that start together end up with the same secret.  On the
deployer they are read from its password store, which provisioning has filled (cluster/passwords.py).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
import string
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from cluster import passwords, revocations, tls
from cluster.errors import InputError
from cluster.hostkeys import HostKeys
from cluster.inventory import Inventory

SSH_KEY, DEPLOYER_KEY = "ssh_key", "deployer_key"
SSH_AUTHORITY, SSH_CERTIFICATE, BACKUP_PASSPHRASE = "ssh_ca", "ssh_key-cert.pub", "backup_passphrase"
VRRP_LETTERS = string.ascii_letters + string.digits
VRRP_LENGTH = 8  # all that keepalived.conf(5) uses of auth_pass
KEEP_REVOKED = "and do not remove the file: all that is revoked would be let in again"
HMAC_BYTES = 32  # the output of SHA-256: RFC 8945 section 10 asks for no shorter key


@dataclass(frozen=True, repr=False)
class Secrets:
    """Where the secrets are and what they say; its repr and str name the folder only."""

    folder: Path
    tsig_name: str

    def __repr__(self) -> str:
        return f"Secrets({str(self.folder)!r})"

    @property
    def ssh_key(self) -> Path:
        """The operator's private key, ed25519 in OpenSSH's format."""
        return self.folder / SSH_KEY

    @property
    def ssh_key_pub(self) -> Path:
        """Its public half, one line as in `authorized_keys`."""
        return self.folder / "ssh_key.pub"

    @property
    def ssh_certificate(self) -> Path:
        """The certificate of the operator's key, where ssh(1) looks for it."""
        return self.folder / SSH_CERTIFICATE

    def ssh_public(self) -> str:
        """The line for `authorized_keys`, without a line end."""
        return _read(self.ssh_key_pub).strip()

    @property
    def deployer_key(self) -> Path:
        """The private key with which the deployer's own tools log in, and the harness when it runs there."""
        return self.folder / DEPLOYER_KEY

    def deployer_public(self) -> str:
        """Its public half, a line for `authorized_keys`, without a line end."""
        return _public(self.deployer_key, "deployer")

    @property
    def mpi_key(self) -> Path:
        """The private key with which MPI's jobs go from one compute node to the others."""
        return self.folder / "mpi_key"

    def mpi_private(self) -> str:
        """What is in that key's file."""
        return _read(self.mpi_key)

    def mpi_public(self) -> str:
        """Its public half, a line for `authorized_keys`, without a line end."""
        return _public(self.mpi_key, "mpi")

    @property
    def ssh_authority(self) -> Path:
        """The private key that signs SSH certificates: who may log in, and which node is which."""
        return self.folder / SSH_AUTHORITY

    def ssh_authority_public(self) -> str:
        """Its public half, as sshd's TrustedUserCAKeys wants it."""
        return _public(self.ssh_authority, "authority")

    @property
    def revocations(self) -> Path:
        """What is revoked, a line each in the words of ssh-keygen(1), KEY REVOCATION LISTS."""
        return self.folder / "revoked"

    def revoked(self) -> tuple[str, ...]:
        """The lines of that file; raises InputError for one that ssh-keygen(1) would not take."""
        try:
            lines = self.revocations.read_bytes().splitlines()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise InputError(f"{self.revocations}: {error.strerror}; make it yours to read, {KEEP_REVOKED}") from error
        found = []
        for n, line in enumerate(lines, 1):
            why = None if line.isascii() else "not plain ASCII text"
            if why := why or revocations.wrong(line.decode("ascii", "replace")):
                raise InputError(f"{self.revocations}:{n}: {why}; correct line {n}, {KEEP_REVOKED}")
            found.append(line.decode("ascii"))
        return tuple(found)

    @property
    def tls_authority(self) -> Path:
        """The private key and the certificate of the TLS root."""
        return self.folder / "tls_ca"

    def tls_root(self) -> str:
        """The certificate of the TLS root; raises InputError where it is over."""
        return tls.root_certificate(self.tls_authority.read_bytes(), self.tls_authority).decode()

    @property
    def backup_passphrase(self) -> Path:
        """What the deployer's nightly archives are encrypted with; keep a copy of it apart from this computer."""
        return self.folder / BACKUP_PASSPHRASE

    def vrrp_password(self) -> str:
        """What keepalived sends as PASS: 8 letters and digits."""
        value = _read(self.folder / "vrrp_password").strip()
        if not re.fullmatch(r"[A-Za-z0-9]{1,8}", value):
            raise _unusable(self.folder / "vrrp_password", "1 to 8 letters and digits")
        return value

    def tsig_key(self) -> str:
        """The HMAC-SHA256 key of zone transfers, in base64; its name is `tsig_name`."""
        return self._hmac_key("tsig_key")

    def omapi_key(self) -> str:
        """The HMAC-SHA256 key with which the DHCP servers take orders, in base64."""
        return self._hmac_key("omapi_key")

    def k3s_token(self) -> str:
        """What lets a node join K3s: 16 to 128 letters and digits."""
        path = self.folder / "k3s_token"
        value = _read(path).strip()
        if not re.fullmatch(r"[A-Za-z0-9]{16,128}", value):
            raise _unusable(path, "16 to 128 letters and digits")
        return value

    def _hmac_key(self, name: str) -> str:
        path = self.folder / name
        value = _read(path).strip()
        try:
            key = base64.b64decode(value, validate=True)
        except binascii.Error:
            key = b""
        if len(key) < HMAC_BYTES:
            raise _unusable(path, f"{HMAC_BYTES} bytes in base64")
        return value


def ensure(inventory: Inventory) -> Secrets:
    """The secrets of this cluster, made where they are missing; what exists is checked and never replaced.

    On the deployer, what its password store holds is the truth.  Folders are 0700, files 0600 and of the owner of the
    inventory's folder.  Raises InputError for a file that cannot be used or written, or an entry that cannot be read.
    """
    found = Secrets(inventory.state / "secrets", inventory.dns.tsig_name)
    try:
        for folder in (inventory.state, found.folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            _private(folder, 0o700, inventory.root)
        _recall(inventory, found)
        made = MAKERS
        # Nodes that believe an authority would not believe a new one: its key must be put back.
        if HostKeys(inventory.state / "known_hosts").authorities():
            made = {name: make for name, make in MAKERS.items() if name != SSH_AUTHORITY}
        for name, make in made.items():
            _once(found.folder / name, partial(make, inventory), inventory.root)
        public = _public(found.ssh_key)
        if not found.ssh_key_pub.exists() or _read(found.ssh_key_pub).split()[:2] != public.split()[:2]:
            write(found.ssh_key_pub, (public + "\n").encode(), inventory.root)
        for path in (found.ssh_key_pub, *(found.folder / name for name in MAKERS)):
            if path.exists():
                _private(path, 0o600, inventory.root)
    except OSError as error:
        where = Path(error.filename or found.folder)
        # What is there may be the only copy of an authority: only what cannot be one is to be removed.
        in_the_way = where in (inventory.state, found.folder) and not where.is_dir()
        remedy = "a folder belongs here, remove it" if in_the_way else "make it yours to read and write"
        raise InputError(f"{where}: {error.strerror}; {remedy}") from error
    found.mpi_public()
    found.deployer_public()
    found.vrrp_password()
    found.tsig_key()
    found.omapi_key()
    found.k3s_token()
    return found


def _recall(inventory: Inventory, found: Secrets) -> None:
    """On the deployer: take what its store has in other words than it was taken last; the entry's time tells."""
    for name, entry in passwords.entries(inventory).items():
        when = entry.stat().st_mtime_ns
        # The harness logs in there as the deployer does: a router, which knows no certificates, knows that key.
        for path in (found.folder / name, *([found.ssh_key] if name == DEPLOYER_KEY else [])):
            if not path.exists() or path.stat().st_mtime_ns != when:
                write(path, passwords.show(name), inventory.root)
                os.utime(path, ns=(when, when))


def _new_ssh_key(_: Inventory) -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _new_vrrp_password(_: Inventory) -> bytes:
    return ("".join(secrets.choice(VRRP_LETTERS) for _ in range(VRRP_LENGTH)) + "\n").encode()


def _new_passphrase(_: Inventory) -> bytes:
    return (secrets.token_urlsafe(24) + "\n").encode()


def _new_hmac_key(_: Inventory) -> bytes:
    return base64.b64encode(secrets.token_bytes(HMAC_BYTES)) + b"\n"


def _new_token(_: Inventory) -> bytes:
    return secrets.token_hex(16).encode() + b"\n"


MAKERS: Mapping[str, Callable[[Inventory], bytes]] = {
    SSH_KEY: _new_ssh_key,
    DEPLOYER_KEY: _new_ssh_key,
    "mpi_key": _new_ssh_key,
    SSH_AUTHORITY: _new_ssh_key,
    "tls_ca": tls.new_root,
    "vrrp_password": _new_vrrp_password,
    "tsig_key": _new_hmac_key,
    "omapi_key": _new_hmac_key,
    "k3s_token": _new_token,
    BACKUP_PASSPHRASE: _new_passphrase,
}
"""Every secret by its file, and how a new one is made."""


def _public(path: Path, comment: str = "rpicluster") -> str:
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise InputError(f"{path}: is not here; {_remedy(path)}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; make it yours to read and write") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it asks for a password
        raise _unusable(path, "an OpenSSH private key without a password") from error
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + f" {comment}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except UnicodeDecodeError as error:
        raise _unusable(path, "plain ASCII text") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; make it yours to read and write") from error


def _unusable(path: Path, wanted: str) -> InputError:
    return InputError(f"{path}: not {wanted}; {_remedy(path)}")


def _remedy(path: Path) -> str:
    """What to do about a secret that cannot be used: a new one is only made where everybody would believe it."""
    if path.name == SSH_AUTHORITY or (path.name == SSH_KEY and not path.with_name(SSH_AUTHORITY).exists()):
        return "put back a copy of it: docs/authority.md"
    return "remove it to have a new one made, then provision again"


def _once(path: Path, make: Callable[[], bytes], root: Path) -> None:
    if not path.exists():
        write(path, make(), root, keep=True)


def write(path: Path, data: bytes, root: Path, *, keep: bool = False) -> None:
    """Put a private file there in one step; with `keep`, one that somebody else has put there meanwhile stays."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with mode 0600
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _private(part, 0o600, root)
        if keep:
            try:
                os.link(part, path)
            except FileExistsError:
                return
        else:
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _private(path: Path, mode: int, root: Path) -> None:
    """Give a file or folder its mode, and the owner of the inventory's folder if we run as root."""
    now = path.stat()
    if stat.S_IMODE(now.st_mode) != mode:
        path.chmod(mode)
    owner = root.stat()
    if os.geteuid() == 0 and (now.st_uid, now.st_gid) != (owner.st_uid, owner.st_gid):
        os.chown(path, owner.st_uid, owner.st_gid)
