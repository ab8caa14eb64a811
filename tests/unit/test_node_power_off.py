"""A node that goes off the wire without a word: no FIN, no RST, no ARP.

Two network namespaces of its own and a veth between them: sshd in one, the transport in the other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.errors import CommandTimeout, Unreachable
from tests.unit.sshd import SSHD, Sshd

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="no sshd: apt-get install openssh-server"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="no ip: apt-get install iproute2"),
]
CLONE_NEWNET = 0x40000000  # linux/sched.h


class Wire:
    """Two namespaces and the link between them; `off` and `on` are the node's end of it."""

    def __init__(self) -> None:
        self.here, self.there = (f"rpi-test-{os.getpid()}-{end}" for end in ("here", "there"))

    def up(self) -> None:
        for name in (self.here, self.there):
            subprocess.run(["ip", "netns", "add", name], check=True)
        link = ["ip", "-n", self.here, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", self.there]
        subprocess.run(link, check=True)
        for name, address in ((self.here, "10.99.0.1/24"), (self.there, "10.99.0.2/24")):
            for words in (
                ["addr", "add", address, "dev", "eth0"],
                ["link", "set", "eth0", "up"],
                ["link", "set", "lo", "up"],
            ):
                subprocess.run(["ip", "-n", name, *words], check=True)

    def down(self) -> None:
        for name in (self.here, self.there):
            subprocess.run(["ip", "netns", "del", name], check=False)

    def switch(self, state: str) -> None:
        subprocess.run(["ip", "-n", self.there, "link", "set", "eth0", state], check=True)
        if state == "up":  # a failed ARP resolution that is still under way would fail the next connection as well
            subprocess.run(["ip", "-n", self.here, "neigh", "flush", "dev", "eth0"], check=True)

    def inside(self, name: str, work: Callable[[], None]) -> None:
        """Do `work` in a thread of its own that lives in a namespace; sockets stay where they were made."""
        failed: list[BaseException] = []

        def enter() -> None:
            import ctypes

            with open(f"/run/netns/{name}") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            try:
                work()
            except BaseException as error:  # a failed assertion belongs to the test's own thread
                failed.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    pair = Wire()
    try:
        pair.up()
        yield pair
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot make network namespaces here: {error}")
    finally:
        pair.down()


@pytest.fixture(scope="module")
def sshd(wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    daemon = Sshd(tmp_path_factory.mktemp("sshd"), ("10.99.0.2",))
    wire.inside(wire.there, daemon.start)
    try:
        yield daemon
    finally:
        daemon.stop()


def test_a_command_under_way_fails_within_its_deadline(wire: Wire, sshd: Sshd) -> None:
    def work() -> None:
        node = sshd.node()
        node.connect()
        wire.switch("down")
        began = time.monotonic()
        with pytest.raises((Unreachable, CommandTimeout)):
            node.run(["true"], deadline=1)
        assert time.monotonic() - began < 1.5
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"timed out|no route|stopped answering"):
            node.run(["true"], deadline=1)
        assert time.monotonic() - began < 1.5
        wire.switch("up")
        assert node.run(["echo", "back"], deadline=5).text == "back\n"
        node.close()

    try:
        wire.inside(wire.here, work)
    finally:
        wire.switch("up")


@pytest.mark.parametrize("size", [0, 50_000_000])
def test_a_long_deadline_is_not_waited_for(wire: Wire, sshd: Sshd, size: int) -> None:
    def work() -> None:
        node = sshd.node()
        node.connect()
        timer = threading.Timer(0.2, wire.switch, ["down"])
        timer.start()
        began = time.monotonic()
        with pytest.raises(Unreachable, match="connection lost"):
            node.run("sleep 60 >&2; cat", input=bytes(size), deadline=60)
        assert time.monotonic() - began < 15  # the kernel's keepalive, or what it sent was never acknowledged
        timer.join()
        assert not node.connected

    try:
        wire.inside(wire.here, work)
    finally:
        wire.switch("up")


def test_an_idle_connection_is_found_dead(wire: Wire, sshd: Sshd) -> None:
    def work() -> None:
        node = sshd.node()
        node.connect()
        wire.switch("down")
        began = time.monotonic()
        while node.connected and time.monotonic() - began < 20:
            time.sleep(0.1)
        assert time.monotonic() - began < 10

    try:
        wire.inside(wire.here, work)
    finally:
        wire.switch("up")


def test_a_node_that_restarted_meanwhile_is_reached_with_the_next_command(
    wire: Wire, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.mktemp("restart")
    daemon = Sshd(folder, ("10.99.0.2",))

    def work() -> None:
        node = daemon.node()
        node.connect()
        wire.switch("down")
        daemon.stop()  # no FIN and no RST reaches us
        wire.inside(wire.there, daemon.start)
        wire.switch("up")
        began = time.monotonic()
        assert node.run(["echo", "back"], deadline=10).text == "back\n"
        assert time.monotonic() - began < 5
        node.close()

    wire.inside(wire.there, daemon.start)
    try:
        wire.inside(wire.here, work)
    finally:
        wire.switch("up")
        daemon.stop()
