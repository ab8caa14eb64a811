"""Provisioning on real nodes: from fresh to serving, twice, and with configurations that must not get through.

Runs on a lab of its own (alpha, beta and one compute node) in a second checkout, whose templates it may spoil.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.wait import until
from tests.checkout import Checkout, checkout

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making namespaces and nodes needs root")

NODES = ("alpha", "beta", "gamma")
DAEMONS = ("isc-dhcp-server", "named", "keepalived", "chrony", "ssh", "rsyslog", "cron")
# Every file of a node by name, mode, owner, size and time, every folder by name, mode and owner; without what
# changes by being up, and the mark that sudo leaves when it is first used.
EVERYTHING = r"""cd / && find . -xdev \( -path ./proc -o -path ./sys -o -path ./run -o -path ./tmp -o -path ./var/log \
  -o -path ./var/tmp -o -path ./var/lib/systemd -o -path ./dev -o -path ./srv \) -prune \
  -o -name .sudo_as_admin_successful \
  -o -type d -printf '%p %m %u:%g\n' -o -printf '%p %y %m %u:%g %s %T@ %l\n' | sort"""


class Site:
    """The small cluster, and what a person would do with it."""

    def __init__(self, copy: Checkout) -> None:
        self.copy = copy

    def provision(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m provision`."""
        return self.copy.module("provision", *words, timeout=300)

    def outcome(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What `python -m provision --json` printed, having ended with `code`."""
        done = self.provision("--json", *words)
        assert done.returncode == code, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def node(self, name: str, script: str) -> str:
        """The output of a shell script that root runs on a node; it must succeed."""
        done = self.copy.lab("exec", name, "--", "bash", "-euc", script)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def processes(self, name: str) -> str:
        """Every daemon with its main process: the same number means that it was not restarted."""
        return self.node(name, f"systemctl show -P Id -P MainPID {' '.join(DAEMONS)}")

    def settings(self, name: str) -> tuple[str, str]:
        """All that provisioning could have changed on a node that runs, and who runs."""
        return self.node(
            name, f"{EVERYTHING} | grep -E '^[.]/(etc|opt|home|root|usr)/' | grep -v /zones/secondary/"
        ), self.processes(name)

    def serial(self, name: str) -> int:
        """The serial of the forward zone that a server answers with."""
        return int(self.node(name, "dig +short @127.0.0.1 clust0r SOA | cut -d' ' -f3"))

    @contextmanager
    def spoiled(self, path: str, old: str, new: str) -> Iterator[None]:
        """Replace one piece of a file of the checkout for as long as the block lasts."""
        file = self.copy.root / path
        before = file.read_text()
        assert old in before
        file.write_text(before.replace(old, new, 1))
        try:
            yield
        finally:
            file.write_text(before)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three nodes as just flashed."""
    with checkout(tmp_path_factory.mktemp("provision"), without=("omega", "psi", "delta", "epsilon", "zeta")) as copy:
        done = copy.lab("up", "--vanilla")
        assert done.returncode == 0, done.stderr
        yield Site(copy)


@pytest.fixture(scope="module")
def site(fresh: Site) -> Site:
    """The same nodes, provisioned; the fresh ones are looked at first."""
    done = fresh.provision()
    assert done.returncode == 0, done.stdout + done.stderr
    return fresh


def test_check_on_fresh_nodes_says_what_would_change_and_changes_nothing(fresh: Site) -> None:
    before = {name: fresh.node(name, EVERYTHING) for name in NODES}
    found = fresh.outcome("--check", code=1)
    assert found["check"] is True and found["ok"] is True
    changes = {node["name"]: node["changes"] for node in found["nodes"]}
    assert any("30-packages.sh: packages" in change and "bind9" in change for change in changes["alpha"])
    assert any("keepalived" in change for change in changes["beta"])
    assert len(changes["gamma"]) == 1 and "no address yet" in changes["gamma"][0]
    for name in NODES:
        assert fresh.node(name, EVERYTHING) == before[name], name


def test_usage(fresh: Site) -> None:
    for words, message in ((["nobody"], "no node or group named nobody"), (["--inventory", "none.yaml"], "none.yaml")):
        done = fresh.provision(*words)
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_second_run_changes_and_restarts_nothing(site: Site) -> None:
    before = {name: site.processes(name) for name in NODES}
    found = site.outcome()
    assert found["ok"] and found["changed"] == 0, found
    assert {name: site.processes(name) for name in NODES} == before
    for name in NODES:
        assert site.node(name, "systemctl --failed --no-legend | wc -l; ls -A /run/rpicluster") == "0\nlock"


def test_check_on_provisioned_nodes_finds_nothing(site: Site) -> None:
    found = site.outcome("--check")
    assert found["changed"] == 0 and all(node["ok"] for node in found["nodes"])


def test_every_applied_step_is_written_down(site: Site) -> None:
    roles = site.node("alpha", "stat -c '%a %U' /opt/cluster/data/info_roles.txt; cat /opt/cluster/data/info_roles.txt")
    lines = roles.splitlines()
    assert lines[0] == "444 root" and "Managed by rpicluster" in lines[1]
    assert lines[2:] == [*sorted(lines[2:-1]), "base/90-info.sh"] and "lanservices/20-dns.sh" in lines


def test_what_drifted_is_named_and_mended_alone(site: Site) -> None:
    site.node(
        "beta",
        "echo '# by hand' >>/etc/keepalived/keepalived.conf; systemctl stop chrony; chmod 600 /etc/resolv.conf",
    )
    wanted = [
        "base/70-time.sh: chrony: start",
        "base/80-resolver.sh: /etc/resolv.conf",
        "lanservices/30-vrrp.sh: keepalived: /etc/keepalived/keepalived.conf",
    ]
    for words, code in ((["--check"], 1), ([], 0), (["--check"], 0)):
        found = site.outcome("beta", *words, code=code)
        assert found["nodes"][0]["changes"] == (wanted if (words, code) != (["--check"], 0) else [])
    assert site.node("beta", "systemctl is-active chrony") == "active"


# A node, the template that is spoiled, how, the step and unit that must refuse it, and what must be quoted.
ZONE, NAMED = "lanservices/zone.forward.j2", "lanservices/named.conf.options.j2"
DNS, DHCP, VRRP = "lanservices/20-dns.sh", "lanservices/10-dhcp.sh", "lanservices/30-vrrp.sh"
SSHD, SSH, KEYS_ONLY = "base/sshd.conf.j2", "base/60-ssh.sh", "PasswordAuthentication"
BAD = [
    ("alpha", ZONE, "$TTL", "spoiled IN A 999.1.1.1\n$TTL", DNS, "named", "999.1.1.1"),
    ("alpha", NAMED, "recursion yes;", "recursion perhaps;", DNS, "named", "perhaps"),
    ("beta", "lanservices/dhcpd.conf.j2", "max-lease-time", "max-leas-time", DHCP, "isc-dhcp-server", "max-leas"),
    ("alpha", "lanservices/keepalived.conf.j2", "state BACKUP", "state SPARE", VRRP, "keepalived", "SPARE"),
    ("gamma", "base/chrony.conf.j2", "makestep", "makeleap", "base/70-time.sh", "chrony", "chrony.conf"),
    ("gamma", "base/firewall.nft.j2", "policy drop", "policy dorp", "base/65-firewall.sh", "rpi-firewall", "dorp"),
    ("gamma", SSHD, "PermitRootLogin no", "PermitRootLogin maybe", SSH, "ssh", "maybe"),
    ("gamma", SSHD, f"{KEYS_ONLY} no", f"{KEYS_ONLY} yes", SSH, "ssh", "passwordauthentication no"),
]


@pytest.mark.parametrize(
    ("name", "template", "old", "new", "step", "unit", "quote"), BAD, ids=lambda value: str(value)[:30]
)
def test_what_the_checker_refuses_never_replaces_what_works(
    site: Site, name: str, template: str, old: str, new: str, step: str, unit: str, quote: str
) -> None:
    before = site.settings(name)
    with site.spoiled(f"provision/{template}", old, new):
        for words in (["--check"], []):
            done = site.provision(name, *words)
            assert done.returncode == 1
            failed = next(line for line in done.stderr.splitlines() if line.startswith(f"{name}: "))
            assert failed.startswith(f"{name}: {step} line ") and f"{unit}: its own checker refuses" in failed
            assert quote in done.stderr, done.stderr
            assert site.settings(name) == before
    assert site.outcome(name)["changed"] == 0


def test_what_does_not_come_up_is_rolled_back_and_the_daemon_serves_as_before(site: Site) -> None:
    """dhcpd's checker does not look at interfaces; only the start does."""
    before = site.node("beta", "cat /etc/default/isc-dhcp-server")
    with site.spoiled("provision/lanservices/isc-dhcp-server.default.j2", "{{ inventory.network.interface }}", "eth7"):
        done = site.provision("beta")
    assert done.returncode == 1
    assert "beta: lanservices/10-dhcp.sh line " in done.stderr and "it runs again with the old one" in done.stderr
    assert "eth7" in done.stderr, "the daemon's own words are quoted"
    assert site.node("beta", "cat /etc/default/isc-dhcp-server") == before
    assert site.node("beta", "systemctl is-active isc-dhcp-server; ss -Hlun 'sport = :67' | wc -l") == "active\n1"
    assert site.outcome()["changed"] == 0


FIREWALL, LOCKED_OUT = "provision/base/firewall.nft.j2", ("inventory.ssh_sources(group.name)", "['203.0.113.1']")
RULES = "nft list table inet rpicluster | grep -v packets; cat /etc/rpicluster/firewall.nft"


def test_rules_that_lock_the_operator_out_are_taken_back(site: Site) -> None:
    """They are valid, so only getting in anew can tell."""
    before = site.node("gamma", RULES)
    with site.spoiled(FIREWALL, *LOCKED_OUT):
        done = site.provision("gamma")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "gamma: base/65-firewall.sh line " in done.stderr and "it runs again with the old one" in done.stderr
    assert "nobody got in through the new rules" in done.stderr
    assert site.node("gamma", RULES) == before
    assert site.node("gamma", "systemctl is-active rpi-firewall; ls -A /run/rpicluster") == "active\nlock"


def test_rules_that_lock_out_whoever_was_killed_are_taken_back_by_the_node(site: Site) -> None:
    before = site.node("gamma", RULES)
    with site.spoiled(FIREWALL, *LOCKED_OUT):
        command = subprocess.Popen(
            [sys.executable, "-m", "provision", "gamma"], cwd=site.copy.root, stderr=subprocess.DEVNULL
        )
        asked = "ls /run/rpicluster/provision.*/firewall.is-asked 2>/dev/null || true"
        until(lambda: site.node("gamma", asked), deadline=30, what="rules that wait to be confirmed", every=0.1)
        site.node("gamma", "kill -KILL $(pgrep -f 'base/65-firewall[.]sh' | xargs)")
        assert command.wait(30) == 1
    assert "203.0.113.1" in site.node("gamma", RULES)
    timer = "systemctl show -P NextElapseUSecMonotonic rpi-firewall-undo.timer"
    assert site.node("gamma", timer) != "0", "the node takes them back by itself"
    site.node("gamma", "systemctl start rpi-firewall-undo.service")  # now, instead of in half a minute
    assert site.node("gamma", RULES) == before
    assert site.outcome("gamma")["changed"] == 0


def test_ufw_is_switched_off_once_our_rules_are_there(site: Site, tmp_path: Path) -> None:
    """A node of before: the real ufw, active, and open for SSH only."""
    packages = ["ufw", "iptables", "libip6tc2", "libnetfilter-conntrack3", "libnfnetlink0"]
    if subprocess.run(["apt-get", "-q", "download", *packages], cwd=tmp_path, timeout=60, check=False).returncode:
        pytest.skip("no package mirror can be reached from here")
    site.copy.python(
        f"import shutil\nshutil.copytree({str(tmp_path)!r}, f'/proc/{{lab.node(\"gamma\").leader()}}/root/root/ufw')"
    )
    site.node("gamma", "DEBIAN_FRONTEND=noninteractive dpkg -i /root/ufw/*.deb; ufw allow 22/tcp; ufw --force enable")
    assert "Status: active" in site.node("gamma", "ufw status")
    wanted = ["base/65-firewall.sh: ufw: switched off, the inventory's firewall is in place",
              "base/65-firewall.sh: mask ufw.service"]  # fmt: skip
    for words, code in ((["--check"], 1), ([], 0), (["--check"], 0)):
        found = site.outcome("gamma", *words, code=code)
        assert found["nodes"][0]["changes"] == (wanted if (words, code) != (["--check"], 0) else [])
    assert "Status: inactive" in site.node("gamma", "ufw status; grep -q ' 22 ' /etc/ufw/user.rules")
    assert site.node("gamma", "nft list table inet rpicluster | grep -c 'policy drop'") == "1"


def test_failing_step_names_node_script_line_and_output(site: Site) -> None:
    step = site.copy.root / "provision/base/75-spoiled.sh"
    step.write_text('#!/bin/bash\n. "${BASH_SOURCE[0]%/*}/../lib.sh"\necho "about to fail"\n\nfalse\n')
    try:
        found = site.outcome("gamma", code=1)
    finally:
        step.unlink()
    [node] = found["nodes"]
    assert node["error"] == "gamma: base/75-spoiled.sh line 5: `false` ended with exit code 1"
    assert node["output"] == ["about to fail"] and not node["ok"] and not found["ok"]
    assert site.node("gamma", "ls -A /run/rpicluster") == "lock"


def test_changed_record_reaches_both_servers_with_a_newer_serial(site: Site) -> None:
    before, pids = site.serial("alpha"), site.processes("alpha")
    with site.spoiled("inventory.yaml", "value: testing}", "value: testing twice}"):
        found = site.outcome("alpha", "beta")
    changes = {node["name"]: node["changes"] for node in found["nodes"]}
    assert changes == {"alpha": ["lanservices/20-dns.sh: named: /etc/bind/zones/master/db.clust0r"], "beta": []}
    assert site.processes("alpha") == pids, "a zone is reloaded, not restarted"
    bumped = site.serial("alpha")
    assert bumped > before and site.serial("beta") == bumped, "provisioning waits until both agree"
    assert site.node("beta", "dig +short @127.0.0.1 testing.dc1.b3rry.clust0r TXT") == '"testing twice"'
    assert "IXFR" in site.node("beta", "grep clust0r/IN /var/log/named/xfer.log | tail -n 4; rndc -q sync") + site.node(
        "alpha", "grep clust0r/IN /var/log/named/xfer.log | tail -n 6"
    )
    assert site.outcome("alpha")["changed"] == 1  # the record is back, and the serial grows once more
    assert site.serial("alpha") > bumped


def at_work(site: Site) -> subprocess.Popen[str]:
    """`python -m provision gamma` that has begun: it is connected with the node."""
    words = [sys.executable, "-m", "provision", "gamma"]
    command = subprocess.Popen(words, cwd=site.copy.root, stderr=subprocess.PIPE, text=True)
    assert command.stderr is not None
    next(line for line in command.stderr if "connected" in line)
    return command


def test_killed_harness_leaves_a_node_that_cleans_up_and_can_be_provisioned_again(site: Site) -> None:
    site.node("gamma", "rm /etc/hosts")
    command = at_work(site)
    command.kill()
    command.communicate()
    until(
        lambda: site.node("gamma", "ls -A /run/rpicluster"), lambda left: left == "lock", deadline=30, what="cleaned up"
    )
    assert site.outcome("gamma")["ok"]
    assert site.outcome("gamma")["changed"] == 0


def test_ctrl_c_ends_at_once_while_the_node_finishes_its_steps(site: Site) -> None:
    site.node("gamma", "rm /etc/machine-info")
    command = at_work(site)
    command.send_signal(signal.SIGINT)
    said = command.communicate(timeout=5)[1]
    assert command.returncode == 130 and "provision: interrupted" in said and "Traceback" not in said, said
    assert site.outcome("gamma")["ok"]  # it waits for the other run on that node to end
    assert site.outcome("gamma")["changed"] == 0


def test_node_without_power_is_told_at_once(site: Site) -> None:
    site.copy.python("lab.node('gamma').off()")
    began = time.monotonic()
    found = site.outcome("compute", code=1)
    assert found["nodes"][0]["error"].startswith("gamma: has no power;") and time.monotonic() - began < 10
    site.copy.python("lab.node('gamma').on()\nlab.wait_ready()")


def test_reflashed_compute_node_comes_back(site: Site) -> None:
    """It asks for its address as it boots; the pair serves it, and its key is pinned anew."""
    assert site.copy.lab("reflash", "gamma").returncode == 0
    began = time.monotonic()
    found = site.outcome("compute")
    assert found["ok"] and found["changed"] > 20 and time.monotonic() - began < 90
    assert site.outcome()["changed"] == 0


def test_reflashed_primary_gets_a_newer_serial_than_the_secondary_remembers(site: Site) -> None:
    remembered = site.serial("beta")
    assert site.copy.lab("reflash", "alpha").returncode == 0
    found = site.outcome("alpha")
    assert found["ok"], found
    assert site.serial("alpha") > remembered
    until(lambda: site.serial("beta"), lambda serial: serial == site.serial("alpha"), deadline=30, what="the transfer")
    assert site.outcome()["changed"] == 0
