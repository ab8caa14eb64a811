"""Who nodes are, one file in OpenSSH's format: first contact pins a key, later the authority's certificates prove it.

The file can be used by `ssh -o UserKnownHostsFile=.state/known_hosts` too; lines that are not ours
(comments, markers, other hosts) are kept as they are.  Several processes may pin at the same time.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import HostKeyChanged, InputError


@dataclass(frozen=True)
class Pin:
    """One pinned key: where it stands in the file, its type and the key itself (base64)."""

    line: int
    type: str
    key: str


def fingerprint(key: bytes) -> str:
    """The SHA256 fingerprint of a public key as `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def host_pattern(address: str, port: int) -> str:
    """How OpenSSH writes a host (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): the port only when it is not 22."""
    return address if port == 22 else f"[{address}]:{port}"


def address_of(host: str) -> str:
    """The address in a host pattern, without a port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host


AUTHORITY = "@cert-authority"  # sshd(8), SSH_KNOWN_HOSTS FILE FORMAT


class HostKeys:
    """The pins of one cluster, kept in one file; every look reads the file afresh."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pins(self, node: str, host: str) -> tuple[Pin, ...]:
        """The keys pinned for a node, found by its name or by its address."""
        return tuple(pin for names, pin in self._entries() if names & {node, host})

    def authorities(self) -> frozenset[str]:
        """The public keys (type and base64) of those whose host certificates are believed."""
        lines = (line.split() for line in self.lines() if line.startswith(AUTHORITY))
        return frozenset(" ".join(words[2:4]) for words in lines if len(words) >= 4)

    def trust(self, names: Iterable[str], public: str) -> None:
        """Believe host certificates for these names that are signed by this key, and by no other."""
        wanted = f"{AUTHORITY} {','.join(names)} {public}"
        if wanted not in self.lines():
            with self._locked():
                self._write([wanted, *(line for line in self.lines() if not line.startswith(AUTHORITY))])

    def verify(self, node: str, host: str, type: str, key: bytes, certificate: bytes | None = None) -> None:
        """Believe a certificate that holds; else pin the key at first contact, or compare it with the pin.

        Raises HostKeyChanged, never replaces a pin.  A node whose certificate is over is still the node whose key was
        pinned; one that was never met and shows a certificate that does not hold is nobody we know.
        """
        text = base64.b64encode(key).decode()
        pins = self.pins(node, host)
        why = self._why_not(certificate, node, host)
        proven = certificate is not None and why is None
        if proven and pins:
            return
        if not pins:
            if why is not None:
                raise HostKeyChanged(node, f"{host} shows a host certificate that does not hold: {why}")
            with self._locked():
                pins = self.pins(node, host)  # another process may have been first
                if not pins:
                    self._write([*self.lines(), f"{host},{node} {type} {text}"])
                    return
        if not any(pin.key == text for pin in pins):
            line = pins[0].line
            raise HostKeyChanged(
                node,
                f"host key changed: {host} shows {type} {fingerprint(key)}, but {self.path}:{line} has "
                f"{pins[0].type} {fingerprint(base64.b64decode(pins[0].key))}; if the node was re-flashed, "
                f"remove the pin: sed -i {line}d {self.path}" + (f" (its certificate: {why})" if why else ""),
            )

    def _why_not(self, certificate: bytes | None, node: str, host: str) -> str | None:
        """Why a host certificate proves nothing; None where it does, or there is none."""
        if certificate is None:
            return None
        from cluster import authority

        try:
            return authority.read(certificate).why_not("host", {node, address_of(host)}, self.authorities())
        except ValueError as error:
            return str(error)

    def forget(self, node: str, host: str) -> None:
        """Drop every pin of a node, as after it was re-flashed; nothing to drop is fine."""
        with self._locked():
            gone = {pin.line for pin in self.pins(node, host)}
            if gone:
                self._write([line for n, line in enumerate(self.lines(), 1) if n not in gone])

    def lines(self) -> list[str]:
        """The file as it is, line by line; raises InputError where it cannot be read."""
        try:
            data = self.path.read_bytes()
            return data.decode("utf-8").splitlines()
        except FileNotFoundError:
            return []
        except UnicodeDecodeError as error:
            n = data.count(b"\n", 0, error.start) + 1
            believed = data.split(b"\n")[n - 1].startswith(AUTHORITY.encode())
            remedy = "correct that line, nodes are believed by it" if believed else "remove it, its node is pinned anew"
            raise InputError(f"{self.path}:{n}: not text; {remedy}") from error
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}; make it yours to read and write") from error

    def _entries(self) -> Iterator[tuple[frozenset[str], Pin]]:
        for n, line in enumerate(self.lines(), 1):
            words = line.split()
            if len(words) >= 3 and not line.startswith(("#", "@", "|")):
                yield frozenset(words[0].split(",")), Pin(n, words[1], words[2])

    def _write(self, lines: list[str]) -> None:
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.replace(part, self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held for one small write, by us alone
            yield
        finally:
            os.close(lock)
