"""chaos on the real lab: claims held, refusals, Ctrl-C, SIGKILL and heal; every test leaves the cluster healthy."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos.outages import fault_window, looks, stalls
from chaos.verdicts import verdicts
from cluster import journal, power
from cluster.health import Health
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.record import Event, about, events
from cluster.wait import until
from tests.outcomes import Result

ROOT = Path(__file__).resolve().parents[2]
Specs = Callable[..., Result]


class Command:
    """`python -m chaos ...` under way, from outside."""

    def __init__(self, inventory: Inventory, *words: str) -> None:
        self.inventory = inventory
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chaos", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def announced(self) -> Path:
        """Wait for its journal entry; the run it names."""

        def found() -> str | None:
            return next((e.run for e in journal.entries(self.inventory.state) if e.run), None)

        return Path(str(until(found, deadline=20, every=0.005, what="a journal entry")))

    def reached(self, state: str) -> Path:
        """Wait until its fault is planned, applied or undone; its run."""
        run = self.announced()
        until(lambda: [e for e in of(run, "fault") if e["state"] == state], deadline=60, every=0.01, what=state)
        return run

    def end(self, seconds: float = 90) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err


def of(run: Path, kind: str) -> list[Event]:
    return [event for event in events(run) if event["kind"] == kind]


def chaos(*words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chaos", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def healthy_at_first(inventory: Inventory, fleet: Fleet) -> None:
    """What an earlier test file left is not ours to be red about."""
    if not healthy(inventory, fleet):
        done = chaos("heal")
        assert done.returncode == 0, done.stderr


@pytest.fixture
def healed(inventory: Inventory, fleet: Fleet, healthy_at_first: None) -> Iterator[None]:
    """A test that breaks something must leave a healthy cluster, proven by the checks that guards use."""
    yield
    checks = Health(inventory, fleet).look(inventory.nodes)
    left = [check for check in checks if not check.ok]
    if left or journal.entries(inventory.state):
        chaos("heal")
        pytest.fail(f"not healed: {left}, {journal.entries(inventory.state)}")


def healthy(inventory: Inventory, fleet: Fleet) -> bool:
    return not journal.entries(inventory.state) and all(c.ok for c in Health(inventory, fleet).look(inventory.nodes))


# ---------------------------------------------------------------- claims


NEVER_AND_RECOVERY = ("never-two-owners", "never-duplicate-lease", "never-wrong-answer", "recovery")


@pytest.mark.usefixtures("healed")
def test_losing_alpha_is_noticed_as_little_as_claimed(inventory: Inventory, specs: Specs) -> None:
    """The main job, from end to end; and while it runs, everybody else is refused and told why."""
    command = Command(inventory, "kill", "alpha", "--for", "10s", "--json")
    command.reached("applied")
    refusals(f"`chaos kill alpha --for 10s --json` (pid {command.process.pid})")
    code, out, err = command.end()
    told = json.loads(out)
    assert (code, told["verdict"], told["healed"]) == (0, "held", True), err + out
    assert (told["fault"], told["nodes"]) == ("kill", ["alpha"])
    claims = {claim["claim"]: claim for claim in told["claims"]}
    assert set(claims) == {claim.name for claim in inventory.claims if (claim.losing, claim.fault) == ("alpha", "kill")}
    never = {name: claims.pop(f"losing-alpha-{name}") for name in NEVER_AND_RECOVERY}
    assert {claim["verdict"] for claim in never.values()} == {"held"}, never
    for claim in claims.values():
        assert {"claim", "service", "verdict", "budget_s", "outage_s"} <= set(claim)
        assert claim["verdict"] == "held" and set(claim["outage_s"]) == {"at_least", "at_most"}
    run = Path(told["run"])
    (window,) = of(run, "window")
    outage = claims["losing-alpha-vip"]["outage_s"]
    assert outage["at_most"] - outage["at_least"] <= 0.06
    assert window["low_s"] <= outage["at_most"] and outage["at_least"] <= window["high_s"]
    assert window["predicted_s"] == pytest.approx(3.648, abs=0.001)
    assert window["measured_s"] == pytest.approx(window["predicted_s"], abs=0.1)
    for name in ("dns", "ntp", "dhcp"):
        assert claims[f"losing-alpha-{name}"]["outage_s"] == {"at_least": 0.0, "at_most": 0.0}
    assert served_by(run, "dhcp", str(inventory.node("beta").address)), "nobody was given a lease by beta"
    assert (run / "report.html").exists()
    assert about(run)["exit"] == 0
    (undone,) = [e for e in of(run, "fault") if e["state"] == "undone"]
    (steady,) = [e for e in of(run, "phase") if e["name"] == "steady"]
    assert steady["t"] - undone["began"] < 30, "the return of alpha took too long"
    result = specs("specs/lanservices")
    assert result.green, result.red


@pytest.mark.usefixtures("healed")
def test_an_observer_that_is_frozen_while_the_fault_lasts_proves_nothing(inventory: Inventory) -> None:
    """It stays so: what it had seen until then was good, and nobody can say what came after."""
    command = Command(inventory, "kill", "alpha", "--for", "10s", "--json")
    run = command.reached("applied")
    until(lambda: [e for e in of(run, "probe") if e["service"] == "node" and not e["ok"]], deadline=5, what="a loss")
    (pid,) = observers()
    os.kill(int(pid), signal.SIGSTOP)
    code, out, err = command.end()
    told = json.loads(out)
    assert (code, told["verdict"], told["healed"]) == (4, "inconclusive", True), err + out
    assert "the observer did not end when it was told to" in told["reason"]
    assert {claim["verdict"] for claim in told["claims"]} <= {"inconclusive", "not verified"}, told["claims"]
    assert observers() == []
    claims = [c for c in inventory.claims if c.name in {claim["claim"] for claim in told["claims"]}]
    again, _ = verdicts(list(events(run)), [c for c in claims if c.kind != "recovery" and not c.about_k3s])
    assert again and not {claim.verdict for claim in again} & {"held", "broken"}, "its record alone says so, too"


def served_by(run: Path, service: str, server: str) -> bool:
    """Whether a look begun while the fault lasted was answered by that server."""
    seen = list(events(run))
    window = fault_window(seen)
    (undone,) = [e for e in seen if e["kind"] == "fault" and e["state"] == "undone"]
    assert window is not None
    found = looks(seen)[service]
    return any(look.ok and look.server == server and window.began < look.sent < undone["began"] for look in found)


def refusals(who: str) -> None:
    """Every other command refuses while one is at work, with exit code 3, and names it."""
    for words in (
        ("chaos", "kill", "beta"),
        ("chaos", "heal"),
        ("chaos", "boot", "beta"),
        ("provision", "--check"),
        ("pytest", "-q", "specs/base"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 3, (words, done.returncode, done.stderr + done.stdout)
        assert who in done.stderr + done.stdout, (words, done.stderr + done.stdout)


@pytest.mark.usefixtures("healed")
def test_losing_beta_is_not_noticed() -> None:
    done = chaos("kill", "beta", "--for", "5s", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["verdict"], told["healed"]) == (0, "held", True), done.stderr + done.stdout
    outages = {c["claim"]: c["outage_s"]["at_most"] for c in told["claims"] if c["claim"] != "losing-beta-recovery"}
    assert set(outages.values()) == {0.0}, outages
    assert not of(Path(told["run"]), "window"), "beta does not own the address, so nobody takes it over"


# ---------------------------------------------------------------- the guard


@contextmanager
def stopped(fleet: Fleet, node: str, unit: str) -> Iterator[None]:
    """A daemon stopped on a node."""
    fleet[node].run(["systemctl", "stop", unit], sudo=True, check=True)
    try:
        yield
    finally:
        fleet[node].run(["systemctl", "start", unit], sudo=True, check=True)


@pytest.mark.usefixtures("healed")
def test_the_last_one_is_never_taken(inventory: Inventory, fleet: Fleet) -> None:
    """Refused, the reason named, nothing done; --force goes on and records what it passed over."""
    with stopped(fleet, "beta", "named"):
        done = chaos("kill", "alpha", "--json")
        told = json.loads(done.stdout)
        assert (done.returncode, told["verdict"], told["healed"]) == (3, None, True)
        assert "dns of beta" in told["reason"] and "named is inactive" in told["reason"]
        assert power.driver(inventory).is_on("alpha")
        assert journal.entries(inventory.state) == ()
        forced = chaos("block", "psi", "gamma", "ntp", "--for", "1s", "--force", "--json")
        told = json.loads(forced.stdout)
        assert (forced.returncode, told["healed"]) == (4, True), forced.stderr
        assert "claims nothing about losing psi" in told["reason"]
        passed_over = [e for e in of(Path(told["run"]), "guard") if not e["ok"]]
        assert {"dns", "daemons"} <= {e["name"] for e in passed_over} and all(e["forced"] for e in passed_over)
    until(lambda: healthy(inventory, fleet), deadline=30, what="healthy again")


@pytest.mark.usefixtures("healed")
def test_a_node_without_power_is_not_killed_again(inventory: Inventory) -> None:
    power.driver(inventory).off("zeta")
    try:
        done = chaos("kill", "zeta")
        assert (done.returncode, "zeta has no power already" in done.stderr) == (3, True), done.stderr
    finally:
        assert chaos("boot", "zeta").returncode == 0


# ---------------------------------------------------------------- undone, whatever happens


@pytest.mark.usefixtures("healed")
def test_ctrl_c_heals_and_a_second_one_does_not_break_it(inventory: Inventory) -> None:
    command = Command(inventory, "kill", "alpha", "--for", "60s", "--json")
    command.reached("applied")
    time.sleep(1.0)  # somewhere within the hold
    os.killpg(command.process.pid, signal.SIGINT)  # as a terminal does: to all that it started, too
    time.sleep(1.0)  # somewhere within the undo
    os.killpg(command.process.pid, signal.SIGINT)
    code, out, err = command.end(60)
    told = json.loads(out)
    assert (code, told["verdict"], told["healed"]) == (4, "inconclusive", True), err
    assert "interrupted by SIGINT" in told["reason"]
    assert journal.entries(inventory.state) == ()
    assert about(Path(told["run"]))["status"] == "interrupted"


@pytest.mark.usefixtures("healed")
def test_ctrl_c_before_the_fault_does_nothing(inventory: Inventory) -> None:
    command = Command(inventory, "kill", "alpha", "--json")
    until(lambda: journal.running(inventory.state), deadline=10, every=0.005, what="chaos at work")
    time.sleep(0.5)  # within the baseline
    command.process.send_signal(signal.SIGTERM)
    code, out, _ = command.end(30)
    told = json.loads(out)
    assert (code, told["verdict"], told["healed"]) == (4, "inconclusive", True)
    assert not of(Path(told["run"]), "fault")


MOMENTS = ("announced", "held", "undoing")


@pytest.mark.usefixtures("healed")
@pytest.mark.parametrize("moment", MOMENTS)
def test_after_sigkill_heal_brings_all_back(inventory: Inventory, moment: str) -> None:
    """At a random moment of each part; until healed, other commands refuse and name the remedy."""
    chance = random.Random()
    command = Command(inventory, "kill", "alpha", "--for", "1s")
    if moment == "announced":
        command.announced()
        wait = chance.uniform(0.0, 0.15)  # the power goes within these
    elif moment == "held":
        command.reached("applied")
        wait = chance.uniform(0.0, 0.9)
    else:
        command.reached("applied")
        wait = chance.uniform(1.0, 4.0)
    time.sleep(wait)  # the random moment is the experiment itself
    command.process.kill()
    command.end(10)
    for words in (("chaos", "kill", "beta"), ("provision", "--check"), ("pytest", "-q", "specs/base")):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        said = done.stderr + done.stdout
        assert (done.returncode, "run: python -m chaos heal" in said) == (3, True), (moment, wait, words, said)
    status = json.loads(chaos("status", "--json").stdout)
    assert [entry["nodes"] for entry in status["undone"]] == [["alpha"]]
    healing = chaos("heal")
    assert healing.returncode == 0, (moment, wait, healing.stderr)
    assert chaos("heal").returncode == 0, "healing what is healthy is harmless"
    assert observers() == []


def observers() -> list[str]:
    """Observer processes of this checkout that are still there; another one's lab is its own affair."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = (entry / "cwd").readlink() == ROOT
        except OSError:
            continue
        if b"chaos.watch" in words and ours:
            found.append(entry.name)
    return found


def test_what_was_recorded_can_be_judged_again(inventory: Inventory) -> None:
    """The verdicts of a run are a function of its record: judged anew, they are the same."""
    from chaos.judge import judge

    runs = [run for run in sorted((ROOT / "reports/runs").glob("*-chaos*")) if of(run, "claim")]
    assert runs
    seen = list(events(runs[-1]))
    window, found = fault_window(seen), looks(seen)
    told_of = [event for event in seen if event["kind"] == "claim" and event["verdict"] == "held"]
    for told in [event for event in told_of if event["service"] in found]:  # the others are judged by other events
        again: Any = judge(
            told["claim"],
            told["losing"],
            told["service"],
            told["budget_s"],
            found[told["service"]],
            window,
            stood=stalls(seen),
        )
        assert (again.verdict, again.outage.as_json()) == (told["verdict"], told["outage_s"])


def test_no_state_is_left_in_the_journal_folder(inventory: Inventory) -> None:
    names = {path.name for path in (inventory.state / journal.FOLDER).iterdir()}
    assert names <= {journal.LOCK}


def test_errors_are_one_line(inventory: Inventory) -> None:
    for words, code, text in (
        (("kill", "nobody"), 2, "no node named nobody; known: omega"),
        (("boot", "nobody"), 2, "no node named nobody; known: omega"),
        (("partner-down", "gamma"), 2, "gamma is no DHCP server; they are alpha and beta"),
    ):
        done = chaos(*words)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert text in done.stderr
