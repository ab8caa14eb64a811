"""A real sshd for the tests: Debian's own binary on loopback, with keys and configuration of its own.

Runs as whoever runs the tests and lets that same user in by key; nothing outside its folder is read or
written, save the empty /run/sshd that sshd insists on when root starts it.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from cluster.hostkeys import HostKeys
from cluster.node import Node
from cluster.ssh import Login, load_key
from cluster.wait import until

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PRIVSEP = Path("/run/sshd")


class Sshd:
    """One sshd, listening on one port of some loopback addresses from `start` to `stop`."""

    def __init__(self, folder: Path, addresses: tuple[str, ...] = ("127.0.0.1",), extra: str = "") -> None:
        self.folder, self.addresses, self.user = folder, addresses, getpass.getuser()
        self.key, self.host_key = folder / "user_key", folder / "host_key"
        self.log = folder / "log"
        for key in (self.key, self.host_key):
            self.keygen(key)
        shutil.copy(self.key.with_suffix(".pub"), folder / "authorized")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        # HOME: the caller's start-up files are not under test, and can be slow or talkative.
        (folder / "config").write_text(
            "".join(f"ListenAddress {address}:{self.port}\n" for address in addresses)
            + f"HostKey {self.host_key}\nAuthorizedKeysFile {folder}/authorized\nPidFile {folder}/pid\n"
            "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication yes\n"
            f"MaxStartups 100\nSetEnv HOME={folder}\n{extra}"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._made_privsep = False

    @staticmethod
    def keygen(path: Path, kind: str = "ed25519") -> None:
        """Make a key pair without a passphrase."""
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", path], check=True)

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        assert SSHD is not None
        if os.geteuid() == 0 and not PRIVSEP.exists():
            PRIVSEP.mkdir(mode=0o755)
            self._made_privsep = True
        self._process = subprocess.Popen([SSHD, "-D", "-f", self.folder / "config", "-E", self.log])

        def accepts() -> bool:
            assert self._process is not None and self._process.poll() is None, self.log.read_text()
            with socket.socket() as probe:
                probe.settimeout(1)
                return probe.connect_ex((self.addresses[0], self.port)) == 0

        until(accepts, deadline=10, what="sshd", every=0.01)

    def stop(self) -> None:
        """End it and every session of it."""
        if self._process is not None:
            for child in self.sessions():
                with suppress(ProcessLookupError):  # a session may end by itself meanwhile
                    os.kill(child, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._made_privsep:
            PRIVSEP.rmdir()
            self._made_privsep = False

    def sessions(self) -> list[int]:
        """The processes that serve one connection each."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def node(self, name: str = "alpha", *, login: Login | None = None, pins: Path | None = None, port: int = 0) -> Node:
        """A node that is this sshd."""
        return Node(
            name,
            self.addresses[0],
            port=port or self.port,
            login=lambda: login or Login(self.user, load_key(str(self.key)), None),
            keys=HostKeys(pins or self.folder / "known_hosts"),
        )
