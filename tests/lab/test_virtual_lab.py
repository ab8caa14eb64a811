"""The lab itself, tried on a second checkout with a lab of its own beside the first."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.checkout import Checkout, checkout

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making namespaces and nodes needs root")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A second checkout of the project, with one compute node and without a router: the lab gives the addresses."""
    with checkout(tmp_path_factory.mktemp("clone"), without=("omega", "delta", "epsilon", "zeta")) as copy:
        yield copy


def test_down_lab_says_so(second: Checkout) -> None:
    done = second.lab("reflash", "alpha")
    assert (done.returncode, done.stderr.strip()) == (2, "lab: it is down; `python -m lab up` brings it up")


def test_unknown_node_names_the_known_ones(second: Checkout) -> None:
    done = second.lab("exec", "nobody", "--", "true")
    assert done.returncode == 2
    assert "nobody" in done.stderr and "alpha" in done.stderr


def test_second_lab_beside_the_first(second: Checkout) -> None:
    """Two clones can each have a lab at the same time, and the host's own network stays as it was."""
    before = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    done = second.lab("up")
    assert done.returncode == 0, done.stderr
    nodes = {node["name"]: node for node in json.loads(second.lab("status", "--json").stdout)}
    assert set(nodes["alpha"]) == {"name", "group", "state", "address", "remark"}
    assert [nodes[name]["state"] for name in ("psi", "alpha", "beta")] == ["up"] * 3
    after = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    assert after == before


def test_exec_passes_the_exit_code_through(second: Checkout) -> None:
    assert second.lab("exec", "alpha", "--", "sh", "-c", "exit 7").returncode == 7
    assert second.lab("exec", "alpha", "--", "id", "-un").stdout == "root\n"


def test_vanilla_node_is_like_a_fresh_card(second: Checkout) -> None:
    """User pi with password-less sudo, SSH with passwords, its own host key, nothing of the cluster."""
    script = "id -u pi; sudo -u pi sudo -n id -u; sshd -T | grep -x 'passwordauthentication yes'; ls /opt"
    assert second.lab("exec", "alpha", "--", "sh", "-c", script).stdout.split("\n") == [
        "1000", "0", "passwordauthentication yes", "",
    ]  # fmt: skip
    keys = {
        second.lab("exec", node, "--", "cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout for node in ("alpha", "psi")
    }
    assert len(keys) == 2
    assert second.lab("exec", "alpha", "--", "systemctl", "is-system-running").stdout.strip() == "running"


def test_power_off_leaves_the_wire_in_the_same_moment(second: Checkout) -> None:
    """The first look after `off` finds nobody: no kernel goes on answering for a dead node."""
    code = """
from cluster.probes import icmp
from cluster.errors import ProbeFailed
from lab.power import Driver
lab.enter()
address, driver = str(lab.inventory.nodes["alpha"].address), Driver(lab.inventory)
icmp.ping(address, 1.0)
driver.off("alpha")
try:
    icmp.ping(address, 0.3)
    print("answers")
except ProbeFailed:
    print("gone", driver.is_on("alpha"))
driver.on("alpha")
print(driver.is_on("alpha"))
"""
    assert second.python(code).split() == ["gone", "False", "True"]


def test_a_plug_gives_power_again_when_its_time_is_over(second: Checkout) -> None:
    """Whatever became of who told it to; and not where somebody switched it on, or off for good, before."""
    code = """
from pathlib import Path
from lab.power import Driver
driver, node = Driver(lab.inventory), lab.node("alpha")
def told():
    waits = [line for line in lab.leftovers() if line.startswith("process") and b"lab.later" in
             Path("/proc", line.split()[1], "cmdline").read_bytes()]
    print(driver.is_on("alpha"), len(waits))
driver.off_for("alpha", 60.0)
told()
driver.on("alpha")
told()
driver.off_for("alpha", 60.0)
driver.off("alpha")
told()
driver.off_for("alpha", 1.0)
"""
    assert second.python(code).split() == ["False", "1", "True", "0", "False", "0"]
    on = (
        "from cluster.wait import until\nuntil(lab.node('alpha').leader, deadline=20, what='power')\nlab.wait_ready()\n"
    )
    second.python(on)


def test_half_done_power_off_is_finished_before_power_on(second: Checkout) -> None:
    """A command killed between pulling the plug and ending the processes leaves a node that `on` must mend."""
    code = """
from lab import network
from lab.power import Driver
driver, node = Driver(lab.inventory), lab.node("alpha")
network.pull(lab.site, "alpha")
before = node.leader()
driver.on("alpha")
print(before != node.leader(), network.plugged(lab.site, "alpha"))
lab.wait_ready()
"""
    assert second.python(code).split() == ["True", "True"]


def test_reflash_gives_a_blank_disk(second: Checkout) -> None:
    second.lab("exec", "alpha", "--", "touch", "/mark")
    key = second.lab("exec", "alpha", "--", "cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout
    assert second.lab("reflash", "alpha").returncode == 0
    second.python("lab.wait_ready()")
    assert second.lab("exec", "alpha", "--", "test", "-e", "/mark").returncode == 1
    assert second.lab("exec", "alpha", "--", "cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout != key


def test_logs_of_a_running_and_of_a_dead_node(second: Checkout) -> None:
    assert "sshd" in second.lab("logs", "psi").stdout
    second.python("lab.node('psi').off()")
    done = second.lab("logs", "psi")
    assert done.returncode == 0 and "psi is off" in done.stderr


def test_second_command_is_told_who_holds_the_lab(second: Checkout) -> None:
    code = """
import subprocess, sys
with lab.site.locked("reflash alpha"):
    done = subprocess.run([sys.executable, "-m", "lab", "up"], text=True, capture_output=True)
print(done.returncode, done.stderr)
"""
    said = second.python(code)
    assert said.startswith("2 ") and "`lab reflash alpha`" in said


@pytest.mark.parametrize("seed", range(3))
def test_killed_command_leaves_nothing_that_down_does_not_find(second: Checkout, seed: int) -> None:
    """SIGKILL `lab up --vanilla` at a random moment; `down` removes everything and `up` works."""
    moment = random.Random(seed).uniform(0.4, 2.5)
    command = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--vanilla"], cwd=second.root, stderr=subprocess.DEVNULL
    )
    time.sleep(moment)  # the random moment is the experiment itself
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    done = second.lab("down")
    assert done.returncode == 0, done.stderr
    assert second.leftovers() == ""
    done = second.lab("up")
    assert done.returncode == 0, done.stderr
