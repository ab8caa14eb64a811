"""Whom sshd lets in: what it offers a user, and which credentials it takes.  RFC 4252.

A probe that is refused on purpose must not end up locked out: OpenSSH 9.8 and later holds failed logins
against the address they came from (sshd_config(5), PerSourcePenalties), unless a login on the same connection
succeeds at last.  So credentials that are to fail are tried first, and `penalised` tells such a server.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from cluster.errors import ProbeFailed
from cluster.probes import tcp, wire
from cluster.wait import Deadline

if TYPE_CHECKING:
    import paramiko


@dataclass(frozen=True)
class Door:
    """What one user met: the methods offered to somebody without credentials, and what opened the door.

    `certificate`: by which the server proved who it is, where it has one; `host_key`: its public key.
    """

    banner: str
    offered: frozenset[str]
    accepted: frozenset[str]
    seconds: float
    host_key: str = ""
    certificate: bytes | None = None

    @property
    def penalised(self) -> bool:
        """Whether this server may hold failed logins against our address."""
        return penalises(self.banner)


def penalises(banner: str) -> bool:
    """Whether an SSH server of this banner has PerSourcePenalties: OpenSSH since 9.8."""
    version = re.search(r"OpenSSH_(\d+)\.(\d+)", banner)
    return version is not None and (int(version[1]), int(version[2])) >= (9, 8)


def knock(
    address: str,
    user: str,
    *,
    passwords: Sequence[str] = (),
    others: Mapping[str, paramiko.PKey] = MappingProxyType({}),
    key: paramiko.PKey | None = None,
    port: int = 22,
    deadline: float | Deadline = 5.0,
) -> Door:
    """Try to log in as `user`: without credentials, with each password in both ways, with `others`, with the key last.

    `accepted` has "none", "password", "keyboard-interactive", a name of `others` or "publickey" for the first that lets
    us in; nothing is done once inside.  sshd hangs up at the sixth refusal (sshd_config(5), MaxAuthTries; the one
    without credentials is not counted).  Raises ProbeFailed: `refused`, `timeout`, `unreachable`, `closed`.
    """
    import paramiko

    from cluster import ssh

    end = Deadline.of(deadline)
    began = end.left
    sock = tcp.dial(address, port, end)
    transport = paramiko.Transport(sock)
    accepted: set[str] = set()
    try:
        if not ssh.greet(transport, end, [ssh.CERTIFIED]):
            raise ProbeFailed(f"{address}:{port}: no SSH in time", reason="timeout")
        shown = transport.get_remote_server_key()
        host = f"{shown.get_name()} {shown.get_base64()}", ssh.certificate_of(shown)
        offered = _offered(transport, user)
        if offered is None:
            return Door(transport.remote_version, frozenset(), frozenset({"none"}), began - end.left, *host)
        for password in passwords:
            with contextlib.suppress(paramiko.AuthenticationException):
                transport.auth_password(user, password, fallback=False)
                accepted.add("password")
                break
            with contextlib.suppress(paramiko.AuthenticationException):
                transport.auth_interactive(user, lambda *asked: [password] * len(asked[2]))  # noqa: B023
                accepted.add("keyboard-interactive")
                break
        for name, one in (*others.items(), *([("publickey", key)] if key is not None else ())):
            if accepted:
                break
            with contextlib.suppress(paramiko.AuthenticationException):
                transport.auth_publickey(user, one)
                accepted.add(name)
        return Door(transport.remote_version, offered, frozenset(accepted), began - end.left, *host)
    except (paramiko.SSHException, EOFError) as error:
        why = str(error) or "closed"
        raise ProbeFailed(f"{address}:{port}: {user}: {why}", reason="closed") from error
    except OSError as error:
        raise wire.failed(error, f"{address}:{port}") from error
    finally:
        ssh.hang_up(sock, transport)


def _offered(transport: paramiko.Transport, user: str) -> frozenset[str] | None:
    """The methods that the server names to a user without credentials; None when it needs none."""
    import paramiko

    try:
        transport.auth_none(user)
    except paramiko.BadAuthenticationType as refusal:
        return frozenset(refusal.allowed_types)
    return None
