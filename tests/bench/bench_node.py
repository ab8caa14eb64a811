"""What the SSH transport costs, against a real sshd on loopback.  `./run bench`, or pytest with this file's name.

The time of a command is what `pytest specs/` and provisioning are made of: 10 ms at most.  The processor time
of our own side is told as well, because the lab's nodes run on the same two cores.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.node import Node
from tests.unit.sshd import SSHD, Sshd

pytestmark = pytest.mark.skipif(SSHD is None, reason="no sshd: apt-get install openssh-server")
COMMAND_S = 0.010  # at most, the connection excluded


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    daemon = Sshd(tmp_path_factory.mktemp("sshd"))
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def node(sshd: Sshd) -> Iterator[Node]:
    one = sshd.node()
    one.run(["true"])
    yield one
    one.close()


@pytest.fixture
def measure(
    record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> Callable[[str, int, Callable[[], object]], float]:
    """Do something `times` times; tells and returns the median in seconds, and tells our processor time."""

    def run(what: str, times: int, work: Callable[[], object]) -> float:
        seconds = []
        cpu = time.process_time()
        for _ in range(times):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        cpu = (time.process_time() - cpu) / times
        median = statistics.median(seconds)
        text = f"median {median * 1e3:.2f} ms, best {min(seconds) * 1e3:.2f} ms, ours {cpu * 1e3:.2f} ms of processor"
        record_property(what, text)
        with capsys.disabled():
            print(f"\n{what}: {text}", end="")
        return median

    return run


Measure = Callable[[str, int, Callable[[], object]], float]


def test_a_command(node: Node, measure: Measure) -> None:
    assert measure("a command", 300, lambda: node.run(["true"])) <= COMMAND_S


def test_a_line_for_the_shell(node: Node, measure: Measure) -> None:
    assert measure("a line for the shell", 300, lambda: node.run("true; true")) <= COMMAND_S


def test_put_and_get(node: Node, sshd: Sshd, measure: Measure) -> None:
    path = str(sshd.folder / "file")
    measure("put of 1 KiB", 100, lambda: node.put(bytes(1024), path))
    measure("get of 1 KiB", 100, lambda: node.get(path))


def test_a_connection(sshd: Sshd, measure: Measure) -> None:
    def connect() -> None:
        one = sshd.node()
        one.run(["true"])
        one.close()

    measure("a connection and its first command", 20, connect)


def test_megabytes(node: Node, measure: Measure) -> None:
    measure("10 MB of output", 5, lambda: node.run(["head", "-c", "10000000", "/dev/zero"]))
    measure("10 MB of input", 5, lambda: node.run("cat > /dev/null", input=bytes(10_000_000)))


def test_eight_nodes_at_once(sshd: Sshd, measure: Measure) -> None:
    nodes = [sshd.node() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda node: node.run(["true"]), nodes))
        measure("a command on each of 8 nodes", 50, lambda: list(pool.map(lambda node: node.run(["true"]), nodes)))
    for node in nodes:
        node.close()


def test_openssh_for_comparison(sshd: Sshd, measure: Measure) -> None:
    ssh = ["ssh", "-F/dev/null", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"]
    command = [*ssh, f"-i{sshd.key}", f"-p{sshd.port}", "127.0.0.1", "true"]
    measure("OpenSSH's client, a connection a command", 10, lambda: subprocess.run(command, check=True))


def test_what_it_costs_to_import(measure: Measure) -> None:
    for module in ("sys", "cluster.node", "cluster.ssh"):
        command = [sys.executable, "-c", f"import {module}"]
        measure(f"python that imports {module}", 5, lambda command=command: subprocess.run(command, check=True))  # type: ignore[misc]
