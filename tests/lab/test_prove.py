"""`chaos prove` on the lab: a spoilt cluster breaks a claim, and the cause is named; HALT and dry runs do nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos.faults import Means, starve
from cluster import journal, k3s, power
from cluster.health import Health
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.probes import wire
from cluster.wait import until

ROOT = Path(__file__).resolve().parents[2]
LOOP = "rpired-preemption-loop"
CONF = "/etc/dhcp/dhcpd.conf"


def chaos(*words: str, seconds: float = 150) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chaos", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def judged(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Every claim of `prove --json`, by its name; it must have healed."""
    told = json.loads(done.stdout)
    assert told["healed"], done.stderr
    return {claim["claim"]: claim for claim in told["claims"]}


def healthy(inventory: Inventory, fleet: Fleet) -> bool:
    return not journal.entries(inventory.state) and all(c.ok for c in Health(inventory, fleet).look(inventory.nodes))


@pytest.fixture(autouse=True)
def healed(inventory: Inventory, fleet: Fleet) -> Iterator[None]:
    """Each test finds a healthy cluster, and leaves one."""
    until(lambda: healthy(inventory, fleet), deadline=30, every=1.0, what="healthy before")
    yield
    until(lambda: healthy(inventory, fleet), deadline=60, every=1.0, what="healthy again")


@contextmanager
def spoilt(fleet: Fleet, nodes: tuple[str, ...], do: str, undo: str) -> Iterator[None]:
    """Shell on some nodes, and what takes it back."""
    for name in nodes:
        fleet[name].run(["sh", "-euc", do], sudo=True, deadline=30, check=True)
    try:
        yield
    finally:
        for name in nodes:
            fleet[name].run(["sh", "-euc", undo], sudo=True, deadline=30, check=True)


def test_a_standby_without_keepalived_breaks_the_claim_about_the_address(fleet: Fleet) -> None:
    """The guard refuses; whoever passes over it is told what it said."""
    with spoilt(fleet, ("beta",), "systemctl stop keepalived", "systemctl start keepalived"):
        done = chaos("prove", "losing-alpha-vip", "--json")
        assert done.returncode == 3 and "keepalived is inactive" in done.stdout, done.stderr
        done = chaos("prove", "losing-alpha-vip", "--for", "6s", "--force", "--json")
        claim = judged(done)["losing-alpha-vip"]
    assert (done.returncode, claim["verdict"]) == (1, "broken"), done.stderr
    assert claim["outage_s"]["at_least"] > 5
    assert "before the fault, daemons of beta: beta: keepalived is inactive" in claim["reason"]


@pytest.mark.long
def test_an_address_that_moves_without_need_breaks_the_claim_about_a_compute_node(fleet: Fleet) -> None:
    """A preemption loop: the owner gives the address up again and again, and takes it back."""
    body = "while :; do systemctl stop keepalived; sleep 1; systemctl start keepalived; sleep 11; done"
    begin = f"systemd-run --quiet --collect --unit={LOOP} sh -c '{body}'"
    end = f"systemctl stop {LOOP}; systemctl start keepalived"
    with spoilt(fleet, ("alpha",), begin, end):
        done = chaos("prove", "losing-gamma-vip", "--for", "15s", "--force", "--json")
        claim = judged(done)["losing-gamma-vip"]
    assert (done.returncode, claim["verdict"]) == (1, "broken"), done.stderr
    assert "the floating address changed hands" in claim["reason"]


@pytest.mark.long
def test_clients_that_are_told_of_one_name_server_break_the_claim_about_names(
    inventory: Inventory, fleet: Fleet
) -> None:
    only = f"s/option domain-name-servers [^;]*;/option domain-name-servers {inventory.node('alpha').address};/"
    restart = "systemctl restart isc-dhcp-server"
    do = f"cp -p {CONF} {CONF}.whole; sed -i '{only}' {CONF}; {restart}"
    with spoilt(fleet, ("alpha", "beta"), do, f"mv {CONF}.whole {CONF}; {restart}"):
        until(lambda: healthy(inventory, fleet), deadline=60, every=1.0, what="failover")
        done = chaos("prove", "losing-alpha-dns", "--for", "5s", "--json")
        claim = judged(done)["losing-alpha-dns"]
    assert (done.returncode, claim["verdict"]) == (1, "broken"), done.stderr
    assert "clients are told of one name server only, alpha (by DHCP)" in claim["reason"]


@pytest.mark.long
def test_a_survivor_without_free_addresses_breaks_the_claim_about_leases(inventory: Inventory, fleet: Fleet) -> None:
    """Its half of the pool is used up, and before MCLT it may not touch the other half: newcomers get nothing."""
    means = Means(inventory, fleet, power.driver(inventory))
    plan, interface = inventory.dhcp, wire.interface_towards(str(inventory.network.floating))
    try:
        for generation in range(5, 15):  # the servers give each other addresses while one has too few
            half = {address: owner for address, owner in starve.free(means).items() if not owner}
            if not half:
                break
            asked = starve.askers(half, starve.clients(generation), plan.split)
            starve.take(interface, asked, lambda: all(starve.free(means).values()))
        assert all(starve.free(means).values()), "beta has no free address"
        done = chaos("prove", "losing-alpha-dhcp", "--for", "25s", "--force", "--json")
    finally:
        starve.Starve().undo(means)
    claim = judged(done)["losing-alpha-dhcp"]
    assert (done.returncode, claim["verdict"]) == (1, "broken"), done.stderr
    assert "beta: no DHCP offer" in claim["reason"]


@pytest.mark.long
def test_a_file_ends_a_fault_that_is_held(inventory: Inventory) -> None:
    file = inventory.root / "HALT"
    words = [sys.executable, "-m", "chaos", "kill", "zeta", "--for", "60s", "--json"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: not power.driver(inventory).is_on("zeta"), deadline=30, what="the fault")
        file.write_text("")
        out, err = process.communicate(timeout=60)
    finally:
        file.unlink(missing_ok=True)
        process.kill()
    told = json.loads(out)
    assert (process.returncode, told["healed"]) == (4, True), err
    assert "stopped by" in told["reason"] and "HALT after" in told["reason"]


def test_claims_about_a_k3s_that_is_not_there_are_not_verified(inventory: Inventory) -> None:
    """Neither red nor green: what else is claimed about the same loss decides."""
    missing = k3s.at_hand(inventory).missing
    if missing is None:
        pytest.skip("there is a K3s: tests/lab/test_k3s.py")
    names = ["losing-zeta-vip", "losing-zeta-k3s", "losing-zeta-k3s-not-ready", "losing-zeta-k3s-replaced"]
    done = chaos("prove", *names, "--for", "2s", "--json")
    found = {name: (claim["verdict"], claim["reason"]) for name, claim in judged(done).items()}
    assert found.pop("losing-zeta-vip")[0] == "held" and done.returncode == 0, done.stderr
    assert found == dict.fromkeys(names[1:], ("not verified", f"not verified: {missing}"))


def test_a_file_stops_whatever_breaks_something(inventory: Inventory) -> None:
    file = inventory.root / "HALT"
    file.write_text("a lesson is held\n")
    try:
        for words in (
            ("kill", "zeta"),
            ("prove", "losing-zeta-vip"),
            ("stop", "zeta", "distcc"),
            ("partner-down", "beta"),
        ):
            done = chaos(*words)
            assert done.returncode == 3 and "HALT is there (a lesson is held)" in done.stderr, done.stderr
        status = json.loads(chaos("status", "--json").stdout)
        assert status["halt"] is True and status["power"]["zeta"] is True
    finally:
        file.unlink()


def test_a_dry_run_of_all_says_what_would_be_judged(inventory: Inventory) -> None:
    done = chaos("prove", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert all(claim.name in done.stdout for claim in inventory.claims)
    assert all(power.driver(inventory).is_on(name) for name in inventory.nodes)
    assert chaos("prove", "losing-alpha-smoke").returncode == 2
