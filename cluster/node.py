"""A node, reached over one SSH connection that is opened once, reused and never retried behind your back.

A command is sent once.  Only a connection found dead *before* the command was sent is opened anew; once the
command is on its way, losing the connection is an error, because a second try would hide the very fault that
is being studied.  When a deadline passes, the command and all it started in its session are killed on the
node: closing the channel alone does not stop them (OpenSSH sends no signal to a command without a terminal).

Longer than most modules here: when to try again, to kill and to give up is one story.
"""

from __future__ import annotations

import contextlib
import secrets as token
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from cluster.errors import ClusterError, CommandFailed, CommandTimeout, InputError, Unreachable
from cluster.hostkeys import HostKeys, host_pattern
from cluster.remote import CUT, PUT, TAG, command_line, not_option
from cluster.wait import Deadline

if TYPE_CHECKING:
    from paramiko import Channel, PKey

    from cluster.inventory import Inventory
    from cluster.ssh import Connection, Login

T = TypeVar("T")
CONNECT_S = 5.0  # a LAN node answers in milliseconds; a loaded Pi B+ takes 2 s for its handshake
BUSY_S = 0.01  # sshd frees a session as soon as it has reaped its process
CUT_S = 4.0  # how long killing an expired command may take: 0.1 s, but seconds on a loaded Pi B+
# At once on one connection, of the 10 that OpenSSH allows (MaxSessions) and is late to count as free again:
SESSIONS = 7  # for commands
CUTS = 2  # for killing those that are late


@dataclass(frozen=True)
class Result:
    """What a command did: `code` is 128 + n for a command ended by signal n, `seconds` wall time."""

    argv: tuple[str, ...]
    code: int
    out: bytes
    err: bytes
    seconds: float
    node: str = ""

    @property
    def text(self) -> str:
        """Its stdout as text; bytes that are not UTF-8 survive as surrogates."""
        return self.out.decode("utf-8", "surrogateescape")

    def check(self, *ok: int) -> Result:
        """Itself, if the exit code is one of `ok` (0 where none is given); else raises CommandFailed."""
        if self.code in (ok or (0,)):
            return self
        from cluster.ssh import last_lines

        said = last_lines(self.err) or last_lines(self.out) or "it said nothing"
        raise CommandFailed(self.node, f"`{_shown(self.argv)}` ended with exit code {self.code}: {said}")


class Node:
    """One machine of the cluster; every method may be called from several threads at once."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        login: Callable[[], Login],
        keys: HostKeys,
        port: int = 22,
        system: str = "debian",
    ) -> None:
        self.name, self.address, self.port, self.system = name, address, port, system
        self._login, self._keys = login, keys
        self._connection: Connection | None = None
        self._connecting = threading.Lock()
        self._sessions = threading.BoundedSemaphore(SESSIONS)
        self._cuts = threading.BoundedSemaphore(CUTS)

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.address}>"

    def host_key(self, deadline: float | Deadline = CONNECT_S) -> str:
        """The public key by which the node proves who it is: type and base64; raises what `connect` does."""
        return self._connected(Deadline.of(deadline)).host_key

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as is known without asking the node."""
        return self._connection is not None and self._connection.alive

    def connect(self, deadline: float | Deadline = CONNECT_S) -> None:
        """Open the connection unless it is open.

        Raises Unreachable, HostKeyChanged or AuthenticationFailed.
        """
        self._connected(Deadline.of(deadline))

    def close(self) -> None:
        """Close the connection; commands under way fail, the next use opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def run(
        self,
        argv: Sequence[str] | str,
        *,
        deadline: float | Deadline = 30,
        sudo: bool = False,
        input: bytes = b"",
        check: bool = False,
    ) -> Result:
        """Run one command (a str is a line for the login user's shell) and return what it did.

        An exit code other than 0 is a result, not an error, unless `check`.  Raises Unreachable when there is
        no connection or it dies (the command may or may not have run), CommandTimeout when the deadline
        passes (the command was killed), HostKeyChanged, AuthenticationFailed, CommandFailed with `check`.
        """
        from cluster.ssh import Expired, Lost

        end = Deadline.of(deadline)
        words = (argv,) if isinstance(argv, str) else tuple(argv)
        mark = token.token_hex(6)
        sudo = sudo and self.system == "debian"  # who logs in to a router is root there
        line = command_line(argv, sudo, mark)
        began = time.monotonic()
        if not self._sessions.acquire(timeout=end.left):
            raise CommandTimeout(self.name, f"`{_shown(words)}` was not started: all sessions were in use")
        try:
            connection, channel = self._session(end, words)
            try:
                code, out, err = connection.execute(channel, line, input, end)
            except Expired:
                ended = channel.exit_status_ready() and not channel.closed
                raise self._cut_off(connection, words, mark, sudo, time.monotonic() - began, ended) from None
            except Lost as lost:
                raise Unreachable(
                    self.name,
                    f"connection lost {time.monotonic() - began:.1f} s into `{_shown(words)}`, which may or "
                    f"may not have run: {lost}",
                ) from lost
            finally:
                if connection.alive:
                    channel.close()
        finally:
            self._sessions.release()
        result = Result(words, code, out, err, time.monotonic() - began, self.name)
        return result.check() if check else result

    def put(
        self,
        data: bytes,
        path: str,
        *,
        mode: int = 0o644,
        sudo: bool = False,
        deadline: float | Deadline = 30,
    ) -> None:
        """Write a file whole or not at all: a temporary file beside it is checked for length, then renamed.

        The file belongs to the login user, or to root with `sudo`.  Raises CommandFailed when it cannot be
        written, besides what `run` raises.
        """
        target = PurePosixPath(path)
        part = target.with_name(f".{target.name}.{token.token_hex(4)}")
        words = ["sh", "-c", PUT, "put", not_option(path), not_option(str(part)), str(len(data)), f"{mode:o}"]
        done = self.run(words, sudo=sudo, input=data, deadline=deadline)
        if done.code:
            Result((f"put {path}",), done.code, done.out, done.err, done.seconds, self.name).check()

    def get(self, path: str, *, sudo: bool = False, deadline: float | Deadline = 30) -> bytes:
        """The content of a file; raises CommandFailed when it cannot be read, besides what `run` raises."""
        return self.run(["cat", not_option(path)], sudo=sudo, deadline=deadline, check=True).out

    def _connected(self, end: Deadline) -> Connection:
        connection = self._connection
        if connection is not None and connection.alive:
            return connection
        from cluster.ssh import Connection

        if not self._connecting.acquire(timeout=end.left):
            raise Unreachable(self.name, f"{self.address} port {self.port}: timed out while connecting")
        try:
            if self._connection is None or not self._connection.alive:
                limit = Deadline(min(end.at, time.monotonic() + CONNECT_S))
                self._connection = Connection.open(self.name, self.address, self.port, self._login(), self._keys, limit)
            return self._connection
        finally:
            self._connecting.release()

    def _session(self, end: Deadline, words: tuple[str, ...]) -> tuple[Connection, Channel]:
        """A session; a connection found dead here has carried nothing of it yet and is opened anew, once."""
        from cluster.ssh import Busy, Expired, Lost

        shown, reconnected = f"`{_shown(words)}`", False
        while True:
            connection = self._connected(end)
            try:
                return connection, _free_session(connection, end)
            except Busy as busy:
                raise CommandTimeout(self.name, f"{shown} was not started: no free session ({busy})") from busy
            except Lost as lost:
                connection.close()
                if reconnected:
                    raise Unreachable(self.name, f"connection lost before {shown}: {lost}") from lost
                reconnected = True
            except Expired:
                if connection.acknowledged:
                    raise CommandTimeout(self.name, f"{shown} was not started within its deadline") from None
                connection.close()
                raise Unreachable(self.name, f"{self.address} stopped answering; {shown} was not started") from None

    def _cut_off(
        self,
        connection: Connection,
        words: tuple[str, ...],
        mark: str,
        sudo: bool,
        seconds: float,
        ended: bool,
    ) -> CommandTimeout | Unreachable:
        """Kill what a command left running; a connection on which nothing can even be sent is dropped."""
        from cluster.ssh import Busy, Expired, Lost

        shown = f"`{_shown(words)}`"
        if not connection.alive:
            return Unreachable(self.name, f"connection lost during {shown}: {connection.why_lost()}")
        if not connection.acknowledged:
            connection.close()
            return Unreachable(self.name, f"{self.address} stopped answering during {shown}")
        limit = Deadline.after(CUT_S)
        cut = command_line(["sh", "-c", CUT], sudo, token.token_hex(6))
        killed = threading.Event()

        def kill() -> None:
            if self._cuts.acquire(timeout=limit.left):
                with contextlib.suppress(Busy, Expired, Lost):
                    connection.execute(_free_session(connection, limit), cut, f"{TAG}={mark}".encode(), limit)
                    killed.set()
                self._cuts.release()

        # In a thread, because a peer that stopped reading can block a send, and no send has a deadline.
        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        killer.join(CUT_S + 0.5)
        if not killed.is_set():
            if killer.is_alive():
                connection.close()
            return CommandTimeout(
                self.name,
                f"{shown} did not end within {seconds:.3g} s; killing it was not answered within {CUT_S:.3g} s, "
                "so it may still be running",
            )
        why = " (it ended, but something it started keeps its output open)" if ended else ""
        return CommandTimeout(self.name, f"{shown} did not end within {seconds:.3g} s{why}; it was killed")


class Fleet(Mapping[str, Node]):
    """Every node of the inventory by name; nothing is connected before it is used.

    With `first_contact`, a node that refuses the operator's key is offered the password of a freshly flashed
    one.  Close it (or use it as a context manager) when done.
    """

    def __init__(self, inventory: Inventory, *, first_contact: bool = False, port: int = 22) -> None:
        self._inventory = inventory
        self._first_contact = first_contact
        self._keys = HostKeys(inventory.state / "known_hosts")
        self._credentials: dict[str, Login] = {}
        self._loading = threading.Lock()
        self._nodes = {
            name: Node(
                name, str(node.address), login=partial(self._login, system), keys=self._keys, port=port, system=system
            )
            for name, node in inventory.nodes.items()
            for system in [inventory.system(name)]
        }

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def each(
        self, fn: Callable[[Node], T], names: Iterable[str] | None = None, *, limit: int = 8
    ) -> dict[str, T | ClusterError]:
        """Apply `fn` to nodes in parallel; a ClusterError of one is its value and stops no other."""
        wanted = list(self if names is None else names)

        def one(name: str) -> T | ClusterError:
            try:
                return fn(self[name])
            except ClusterError as error:
                return error

        if not wanted:
            return {}
        with ThreadPoolExecutor(max_workers=min(limit, len(wanted))) as pool:
            return dict(zip(wanted, pool.map(one, wanted), strict=True))

    def forget(self, name: str) -> None:
        """Drop the pinned host key of a node that was re-flashed, and its connection."""
        node = self[name]
        node.close()
        self._keys.forget(name, host_pattern(node.address, node.port))

    def close(self) -> None:
        """Close every connection."""
        for node in self._nodes.values():
            node.close()

    def _login(self, system: str) -> Login:
        with self._loading:
            if system not in self._credentials:
                self._credentials[system] = self._load(system)
            return self._credentials[system]

    def _load(self, system: str) -> Login:
        from cluster import credentials, passwords, secrets
        from cluster.ssh import Login, load_key

        if passwords.entries(self._inventory):
            secrets.ensure(self._inventory)
        users = self._inventory.users
        path: Path = self._inventory.state / "secrets" / "ssh_key"
        key = certified = None
        if path.exists():
            key, found = load_key(str(path)), credentials.certificate(self._inventory)
            if found is not None:
                certified = load_key(str(path), found[0])
                if credentials.stale(self._inventory, found[1]):
                    certified = self._renewed(Login(users.login, None, None, certified)) or certified
        elif not self._first_contact:
            raise InputError(f"{path}: no operator's key yet; remedy: run `python -m provision` first")
        # A freshly flashed OpenWrt lets root in without a password; its SSH server knows no certificates.
        if system == "openwrt":
            return Login("root", key, "" if self._first_contact else None)
        return Login(users.login, key, users.first_password if self._first_contact else None, certified)

    def _renewed(self, login: Login) -> PKey | None:
        """The operator's key with a new certificate, asked from the deployer; None where it cannot give one now."""
        from cluster import credentials, here, secrets
        from cluster.ssh import load_key

        inventory, made = self._inventory, secrets.ensure(self._inventory)
        asked = {
            n.name: Node(n.name, str(n.address), login=lambda: login, keys=self._keys)
            for n in here.deployers(inventory)
        }
        try:
            seconds, identity = inventory.authority.user, f"operator of {inventory.cluster.name}"
            text = credentials.ask(asked, inventory, made.ssh_public(), identity=identity, seconds=seconds)
            credentials.keep(inventory, text)
            return load_key(str(made.ssh_key), text)
        except (ClusterError, ValueError):  # the present one still holds, and days are left to notice
            return None
        finally:
            for node in asked.values():
                node.close()


def _free_session(connection: Connection, end: Deadline) -> Channel:
    """A session as soon as the node has a free one; raises Busy when that is not before the deadline."""
    from cluster.ssh import Busy

    while True:
        try:
            return connection.channel(end)
        except Busy:  # the node has not yet done away with sessions that ended
            if end.left < BUSY_S:
                raise
        time.sleep(BUSY_S)


def _shown(argv: tuple[str, ...]) -> str:
    """A command for a message: one line, not too long."""
    text = " ".join((argv[0] if len(argv) == 1 else shlex.join(argv)).split())
    return text if len(text) <= 160 else text[:157] + "..."
