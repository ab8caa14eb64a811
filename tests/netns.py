"""A small LAN for one test: hosts in network namespaces of their own, joined by a bridge in one more.

The namespaces have no names: file descriptors hold them, so the kernel removes them with the test, also after
a crash of it.  Nothing is added to the network of the machine itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import pytest

from cluster.wait import until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces and raw sockets")
INTERFACE = "eth0"
NETWORK = "10.9.8.0/24"
_NEWNET = 0x40000000  # CLONE_NEWNET, sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip, with the reason, where a daemon is not installed (tests/packages.txt lists their packages)."""
    missing = [name for name in programs if shutil.which(name, path=_PATH) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def daemon(name: str, folder: Path) -> str:
    """A copy of a daemon's program in the test's folder, so that no AppArmor profile keeps it out of there."""
    found = shutil.which(name, path=_PATH)
    assert found is not None, f"{name} is not installed"
    return shutil.copy(found, str(folder / Path(found).name))


def _check(code: int) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def _in_namespace(descriptor: int) -> Iterator[None]:
    with Path("/proc/thread-self/ns/net").open("rb") as home:
        _check(_libc.setns(descriptor, _NEWNET))
        try:
            yield
        finally:
            _check(_libc.setns(home.fileno(), _NEWNET))


def _new_namespace() -> int:
    with Path("/proc/thread-self/ns/net").open("rb") as home:
        _check(_libc.unshare(_NEWNET))
        try:
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _check(_libc.setns(home.fileno(), _NEWNET))


class Lan:
    """Hosts by name, each with eth0: the first has 10.9.8.1 and 02:00:00:00:00:01, the second .2, and so on."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self._started: list[subprocess.Popen[bytes]] = []
        self._namespaces = {name: _new_namespace() for name in ("", *names)}
        self._ip("", "link add br0 type bridge stp_state 0 mcast_snooping 0 forward_delay 0", "link set br0 up")
        for name in names:
            with _in_namespace(self._namespaces[name]), suppress(OSError):
                # Router solicitations and the like are no part of these tests; in a container that may not be
                # ours to say, and they do no harm.
                Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
            self._ip(
                "",
                f"link add dev {name} type veth peer name {INTERFACE} address {self.mac(name)} netns {self.path(name)}",
                f"link set dev {name} master br0 up",
            )
            self._ip(
                name,
                "link set lo up",
                f"address add {self.address(name)}/24 broadcast + dev {INTERFACE}",
                f"link set {INTERFACE} up",
            )
        for name in ("", *names):
            settled = partial(self._settled, name)
            until(settled, deadline=5, what=f"links of {name or 'the switch'} up", every=0.01)

    def _settled(self, name: str) -> bool:
        """Whether frames pass: what is sent in the moment a link comes up is lost without a word."""
        links = json.loads(self.run(name, "ip", "-json", "-details", "link", "show"))
        ports = [link["linkinfo"]["info_slave_data"]["state"] for link in links if link.get("master")]
        states = {link["operstate"] for link in links if link["ifname"] != "lo"}
        return states == {"UP"} and set(ports) <= {"forwarding"}

    def __enter__(self) -> Lan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._started:
            self.kill(process)
        for descriptor in self._namespaces.values():
            os.close(descriptor)

    def path(self, name: str) -> str:
        """A path by which other processes can open the namespace of a host while the test runs."""
        return f"/proc/{os.getpid()}/fd/{self._namespaces[name]}"

    def address(self, name: str) -> str:
        """The IPv4 address of a host."""
        return f"10.9.8.{self.names.index(name) + 1}"

    def mac(self, name: str) -> str:
        """The hardware address of a host."""
        return f"02:00:00:00:00:{self.names.index(name) + 1:02x}"

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Let this thread be on the LAN as that host; sockets opened meanwhile stay there."""
        with _in_namespace(self._namespaces[name]):
            yield

    def ip(self, name: str, *lines: str) -> None:
        """Run lines of ip(8) on a host."""
        self._ip(name, *lines)

    def _ip(self, name: str, *lines: str) -> None:
        self.run(name, "ip", "-batch", "-", input="".join(f"{line}\n" for line in lines))

    def run(self, name: str, *argv: str, input: str = "") -> str:
        """Run a command on a host and return what it printed; raises CalledProcessError."""
        done = subprocess.run(
            ["nsenter", f"--net={self.path(name)}", *argv],
            input=input, text=True, timeout=20, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}"
        return done.stdout

    def start(self, name: str, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a daemon on a host, in the foreground, its output to a file; it ends with the LAN at the latest."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["nsenter", f"--net={self.path(name)}", *argv],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self._started.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a daemon and all it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)

    def unplug(self, name: str) -> None:
        """Take a host off the wire; what runs there goes on behind a dead port."""
        self._ip("", f"link set dev {name} down")

    def plug(self, name: str) -> None:
        """Put a host back on the wire."""
        self._ip("", f"link set dev {name} up")
