"""One SSH connection: paramiko's Transport with deadlines, honest errors and few round trips.

Imported when the first connection is made, because importing paramiko takes 80 ms.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cluster.errors import AuthenticationFailed, Unreachable
from cluster.hostkeys import HostKeys, host_pattern
from cluster.wait import Deadline

# paramiko imports invoke only for `Match exec` in ssh_config, which is not used here, and does without when
# it is absent: hiding it saves 50 ms of every start.
_hide_invoke = "invoke" not in sys.modules
if _hide_invoke:
    sys.modules["invoke"] = None  # type: ignore[assignment]
try:
    import paramiko
    from paramiko.common import MSG_CHANNEL_REQUEST, cMSG_CHANNEL_DATA, cMSG_CHANNEL_REQUEST
finally:
    if _hide_invoke:
        del sys.modules["invoke"]

# The errors raised here say all of it; without a handler paramiko's log would reach the terminal as well.
logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)

# A LAN peer that acknowledges nothing for this long is gone (tcp(7): TCP_USER_TIMEOUT, in ms).
UNACKNOWLEDGED_MS = 5000
# Idle seconds before the kernel asks, seconds between questions, and how many: dead after 6 s (tcp(7)).
KEEPALIVE = (3, 1, 3)
# stdout and stderr share one window (RFC 4254 section 5.2).  With the largest there is, a command that fills
# one stream while we read the other can never be blocked, so one thread can read them one after the other.
WINDOW = 2**32 - 1
# More stdin than this may have to wait for the node, so a thread of its own sends it (a fresh socket's buffer
# holds 16 KiB and more, tcp(7): tcp_wmem).
INLINE = 8192
# curve25519 and AES are the cheapest that every OpenSSH since 6.5 offers; ed25519 first keeps the pin stable.
KEX = ("curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
CIPHERS = ("aes128-ctr", "aes128-gcm@openssh.com")
CERTIFIED = "ssh-ed25519-cert-v01@openssh.com"  # the kind of host certificate that our authority makes
HOST_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")
SIGNALS = {  # RFC 4254 section 6.10 names them; the numbers are Linux's on every architecture of ours
    name: number
    for number, name in {
        1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 8: "FPE", 9: "KILL",
        10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM",
    }.items()
}  # fmt: skip


class Lost(Exception):
    """The connection died; what that means depends on whether a command was under way."""


class Busy(Exception):
    """The node opens no further session on this connection; nothing was started."""


class Expired(Exception):
    """A deadline passed while the connection was alive."""


def _note_exit_signal(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """Keep the signal that ended a command (RFC 4254 section 6.10), which paramiko drops, as shells do."""
    name = message.get_text()
    if name == "exit-signal":
        message.get_boolean()
        channel.exit_status = 128 + SIGNALS.get(message.get_text(), 0)
        return
    message.rewind()
    message.get_int()  # the channel's number, which the caller had already taken
    channel._handle_request(message)  # type: ignore[attr-defined]


class _Transport(paramiko.Transport):
    _channel_handler_table: ClassVar[dict[int, Any]] = {
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        MSG_CHANNEL_REQUEST: _note_exit_signal,
    }

    # Right after the login OpenSSH tells its host keys and, in some versions, the key's options.  It sends
    # nothing more before these are acknowledged (Nagle's algorithm), and Linux acknowledges late: without
    # this, the first command of a connection takes 45 ms longer.
    def _parse_global_request(self, message: paramiko.Message) -> None:
        super()._parse_global_request(message)  # type: ignore[misc]
        self._acknowledge()

    def _parse_debug(self, message: paramiko.Message) -> None:
        super()._parse_debug(message)  # type: ignore[misc]
        self._acknowledge()

    def _acknowledge(self) -> None:
        if isinstance(self.sock, socket.socket):
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


@dataclass(frozen=True)
class Login:
    """Who logs in and with what: the certificate first, then the bare key, then the password, where there are any."""

    user: str
    key: paramiko.PKey | None
    password: str | None
    certified: paramiko.PKey | None = None


def load_key(path: str, certificate: str | None = None) -> paramiko.PKey:
    """The operator's private key, with its certificate; raises OSError or paramiko.SSHException."""
    key: paramiko.PKey = paramiko.Ed25519Key.from_private_key_file(path)
    if certificate is not None:
        key.load_certificate(certificate)
    return key


def private_key(text: str, certificate: str | None = None) -> paramiko.PKey:
    """A private key from its text in OpenSSH's format, with a certificate for it."""
    key: paramiko.PKey = paramiko.Ed25519Key(file_obj=io.StringIO(text))
    if certificate is not None:
        key.load_certificate(certificate)
    return key


class Connection:
    """An authenticated connection to one node; several threads may run commands on it at once."""

    def __init__(self, node: str, sock: socket.socket, transport: paramiko.Transport) -> None:
        self.node, self._sock, self._transport = node, sock, transport

    @classmethod
    def open(cls, node: str, address: str, port: int, login: Login, keys: HostKeys, deadline: Deadline) -> Connection:
        """Connect, verify the host key and log in.

        Raises Unreachable (refused, timed out, no route), HostKeyChanged and AuthenticationFailed.
        """
        host = host_pattern(address, port)
        sock = _dial(node, address, port, deadline)
        transport = _Transport(sock)
        try:
            pinned = [t for pin in keys.pins(node, host) for t in _algorithms(pin.type)]
            if not greet(transport, deadline, [CERTIFIED, *pinned] if keys.authorities() else pinned):
                raise Unreachable(node, f"{host} accepted the connection but did not speak SSH in time")
            shown = transport.get_remote_server_key()
            keys.verify(node, host, shown.get_name(), shown.asbytes(), certificate_of(shown))
            _log_in(node, host, transport, login)
        except (paramiko.SSHException, EOFError, OSError) as error:
            hang_up(sock, transport)
            why = str(error) or "the connection was closed"
            raise Unreachable(node, f"no SSH with {host}: {why}") from error
        except BaseException:
            hang_up(sock, transport)
            raise
        return cls(node, sock, transport)

    @property
    def host_key(self) -> str:
        """The public key by which the node proved who it is: type and base64."""
        shown = self._transport.get_remote_server_key()
        return f"{shown.get_name()} {shown.get_base64()}"

    @property
    def alive(self) -> bool:
        """Whether nothing has told us yet that the connection is gone."""
        return self._transport.is_active()

    @property
    def acknowledged(self) -> bool:
        """Whether the node's kernel has confirmed what was sent to it (struct tcp_info of linux/tcp.h)."""
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        except OSError:
            return False
        retransmits, unacked = info[2], struct.unpack_from("=I", info, 24)[0]
        return not (retransmits and unacked)

    def channel(self, deadline: Deadline) -> paramiko.Channel:
        """A fresh session; nothing has been started on the node yet.  Raises Busy, Lost or Expired."""
        try:
            return self._transport.open_session(window_size=WINDOW, timeout=max(deadline.left, 0.001))
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not self.alive:
                raise Lost(str(error) or "closed by the node") from error
            if deadline.passed:
                raise Expired from error
            # Refused.  Of two refusals at once paramiko tells only one its reason (ChannelException).
            raise Busy(str(error)) from error

    def execute(
        self, channel: paramiko.Channel, line: str, stdin: bytes, deadline: Deadline
    ) -> tuple[int, bytes, bytes]:
        """Run one shell command line: its exit code (128 + n for signal n), stdout and stderr.

        Raises Lost when the connection dies and Expired when the deadline passes; the command may still be
        running then.
        """
        request = paramiko.Message()
        request.add_byte(cMSG_CHANNEL_REQUEST)
        request.add_int(channel.remote_chanid)
        request.add_string("exec")
        request.add_boolean(True)
        request.add_string(line.encode("utf-8", "surrogateescape"))
        try:
            # Not Channel.exec_command: it waits for the confirmation without a deadline.  Here the command's
            # end is awaited instead, which saves a round trip; a refusal closes the channel.
            self._transport._send_user_message(request)  # type: ignore[attr-defined]
            channel.settimeout(max(deadline.left, 0.001))
            if len(stdin) > INLINE:
                threading.Thread(target=_feed, args=(channel, stdin), daemon=True).start()
            else:
                _feed(channel, stdin)
            out = _drain(channel, channel.recv, deadline)
            err = _drain(channel, channel.recv_stderr, deadline)
        except TimeoutError as error:
            raise Expired from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise Lost(str(error) or "closed by the node") from error
        if not channel.status_event.wait(deadline.left):
            raise Expired
        if channel.exit_status == -1:
            raise Lost(self.why_lost() if not self.alive else "the node ended the session without a result")
        return channel.exit_status, out, err

    def why_lost(self) -> str:
        """What ended the connection, as far as it is known."""
        error = self._transport.get_exception()
        return str(error) if error is not None and str(error) else "closed by the node"

    def close(self) -> None:
        """Hang up; commands under way fail.  Never blocks on the peer."""
        hang_up(self._sock, self._transport)


def certificate_of(key: paramiko.PKey) -> bytes | None:
    """The certificate that came with a host's key, if one did."""
    return key.public_blob.key_blob if key.public_blob is not None else None


def greet(transport: paramiko.Transport, deadline: Deadline, host_keys: Sequence[str] = ()) -> bool:
    """Agree on keys, asking for the given types of host key first; False when the deadline passed meanwhile.

    Raises paramiko.SSHException, EOFError, OSError.
    """
    options = transport.get_security_options()
    options.kex = _known(KEX, options.kex)
    options.ciphers = _known(CIPHERS, options.ciphers)
    options.key_types = _known((*host_keys, *HOST_KEYS), (*options.key_types, CERTIFIED))
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = deadline.left
    transport.start_client(timeout=deadline.left)
    return transport.initial_kex_done


def _dial(node: str, address: str, port: int, deadline: Deadline) -> socket.socket:
    began = deadline.left
    try:
        sock = socket.create_connection((address, port), timeout=max(began, 0.001))
    except ConnectionRefusedError as error:
        raise Unreachable(node, f"{address} port {port}: connection refused; is sshd running?") from error
    except TimeoutError as error:
        raise Unreachable(node, f"{address} port {port}: timed out, no answer in {began:.3g} s") from error
    except OSError as error:  # EHOSTUNREACH after failed ARP, ENETUNREACH without a route
        raise Unreachable(node, f"{address} port {port}: {error.strerror or error}".lower()) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE[0])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE[1])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE[2])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    return sock


def _algorithms(key_type: str) -> tuple[str, ...]:
    return ("rsa-sha2-512", "rsa-sha2-256") if key_type == "ssh-rsa" else (key_type,)


def _known(wanted: Sequence[str], offered: Sequence[str]) -> tuple[str, ...]:
    """Ours first, then whatever else this paramiko has: an old node must still be reachable."""
    first = tuple(dict.fromkeys(name for name in wanted if name in offered))
    return (*first, *(name for name in offered if name not in first))


def _log_in(node: str, host: str, transport: paramiko.Transport, login: Login) -> None:
    tried = []
    for what, key in (("certificate", login.certified), ("key", login.key)):
        if key is None:
            continue
        tried.append(what)
        try:
            transport.auth_publickey(login.user, key)
            return
        except paramiko.BadAuthenticationType:
            pass
        except paramiko.AuthenticationException as error:
            if not transport.is_active():
                why = f"{login.user}@{host} hung up on our {what}: {error}"
                raise AuthenticationFailed(node, why) from error
    if login.password is not None:
        tried.append("first password")
        try:
            if login.password:
                transport.auth_password(login.user, login.password, fallback=False)
            else:
                transport.auth_none(login.user)
            return
        except paramiko.AuthenticationException:
            pass
    raise AuthenticationFailed(node, f"{login.user}@{host} refused our {' and our '.join(tried) or 'login'}")


def _feed(channel: paramiko.Channel, stdin: bytes) -> None:
    """Send all of stdin and its end; a command that does not want it shows elsewhere, as does a lost peer.

    Each message is made and sent under the channel's lock.  paramiko's own methods let go of it in between; when
    the command ends just then, the message comes after the close, and OpenSSH ends the whole connection with all
    other commands on it ("referred to nonexistent channel").
    """
    internal: Any = channel
    rest = memoryview(stdin)
    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        while rest:
            with internal.lock:
                size = 0 if internal.closed else internal._wait_for_send_window(len(rest))
                if not size:
                    return
                data = paramiko.Message()
                data.add_byte(cMSG_CHANNEL_DATA)
                data.add_int(internal.remote_chanid)
                data.add_string(bytes(rest[:size]))
                internal.transport._send_user_message(data)
            rest = rest[size:]
        with internal.lock:
            if (end := internal._send_eof()) is not None:
                internal.transport._send_user_message(end)


def _drain(channel: paramiko.Channel, read: Callable[[int], bytes], deadline: Deadline, size: int = 1 << 20) -> bytes:
    parts: list[bytes] = []
    while True:
        left = deadline.left
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        part = read(size)
        if not part:
            return b"".join(parts)
        parts.append(part)


def hang_up(sock: socket.socket, transport: paramiko.Transport) -> None:
    """Close a connection at once, whatever the peer does."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)  # wakes the transport's thread, which else looks every 100 ms
    transport.close()


def last_lines(text: bytes, count: int = 3) -> str:
    """The last lines of an output, as one line for an error message."""
    lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    return re.sub(r"[\x00-\x1f\x7f]+", " ", " | ".join(lines[-count:]))
