"""Experiments that end before their end, or never begin: no verdict of theirs is green, and none is "broken" either."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from chaos import __main__ as command_line
from chaos import campaign, experiment, guard, halt, journal, recovery, story
from chaos.faults import Means, PowerOff, Skew, data
from chaos.faults.during import During
from chaos.judge import BROKEN, HELD, INCONCLUSIVE, Interval, Judged
from chaos.outcome import Outcome
from cluster.errors import ClusterError, InputError, NotUndone, Refused
from cluster.inventory import Inventory, load
from cluster.journal import entries, start_time
from cluster.node import Fleet
from cluster.power import none
from cluster.record import about
from cluster.wait import until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """The shipped one, moved to loopback, where nobody answers."""
    text = (ROOT / "inventory.yaml").read_text()
    (tmp_path / "inventory.yaml").write_text(text.replace("192.168.10.", "127.99.10."))
    return load(tmp_path / "inventory.yaml")


def outcome(fault: Any, verdict: Any = None, *doubts: str) -> Outcome:
    """One of an experiment; without a verdict nothing is claimed about it."""
    judged = (Judged("a-vip", fault.node, "vip", verdict, 4.0, Interval(0.0, 0.0), "why"),) if verdict else ()
    return Outcome(fault, verdict or INCONCLUSIVE, True, Path("run"), judged, "", doubts=doubts)


SKEW, KILL = Skew("alpha", "chrony", "5"), PowerOff("beta")

# ---------------------------------------------------------------- several experiments


def proof(*outcomes: Outcome | ClusterError, stopped: ClusterError | None = None) -> campaign.Proof:
    trials = [(campaign.Trial(getattr(one, "fault", KILL), ()), one) for one in outcomes]
    return campaign.Proof(tuple(trials), stopped)


@pytest.mark.parametrize(
    ("found", "verdict", "code"),
    [
        (proof(outcome(SKEW), outcome(KILL, HELD)), HELD, 0),
        (proof(outcome(SKEW, None, "the fault was not applied: no libfaketime"), outcome(KILL, HELD)), INCONCLUSIVE, 4),
        (proof(outcome(KILL, HELD), stopped=ClusterError("healthy: not within the deadline")), INCONCLUSIVE, 4),
        (proof(outcome(KILL, HELD), ClusterError("no answer")), INCONCLUSIVE, 4),
        (proof(outcome(KILL, BROKEN), ClusterError("no answer")), BROKEN, 1),
        (proof(InputError("rogue: omega is a router")), INCONCLUSIVE, 2),
    ],
)
def test_several_are_green_only_where_each_was_done(found: campaign.Proof, verdict: str, code: int) -> None:
    told = found.as_json()
    assert (found.verdict, found.exit_code, told["verdict"]) == (verdict, code, verdict)
    if found.stopped is not None:
        assert "not within the deadline" in told["reason"]
    first = found.trials[0][1]
    if isinstance(first, Outcome) and first.doubts:
        assert "no libfaketime" in told["reason"]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[Outcome | ClusterError]:
    """What experiments come to, one after the other."""
    results: list[Outcome | ClusterError] = []

    def prove(*args: Any, **more: Any) -> Outcome:
        result = results.pop(0)
        if isinstance(result, ClusterError):
            raise result
        return result

    monkeypatch.setattr(campaign, "prove", prove)
    monkeypatch.setattr(story, "prove", prove)
    return results


def test_an_experiment_that_could_not_begin_takes_no_earlier_one_with_it(
    inventory: Inventory, scripted: list[Outcome | ClusterError]
) -> None:
    planned = [campaign.Trial(PowerOff(name), ()) for name in ("alpha", "beta", "gamma")]
    scripted += [outcome(PowerOff("alpha"), BROKEN), ClusterError("the plug of beta"), outcome(PowerOff("gamma"), HELD)]
    with Fleet(inventory) as fleet:
        found = campaign.run(inventory, fleet, planned)
    assert scripted == [] and (found.verdict, found.exit_code) == (BROKEN, 1)
    scripted += [outcome(PowerOff("alpha"), BROKEN), InputError("no"), outcome(PowerOff("gamma"), HELD)]
    with Fleet(inventory) as fleet:
        found = story.play(inventory, fleet, [story.Do(trial.fault, 1.0) for trial in planned])
    assert len(scripted) == 1 and (found.verdict, found.exit_code) == (BROKEN, 1), "a story ends there"


def test_nothing_more_is_tried_where_an_experiment_was_not_undone(
    inventory: Inventory, scripted: list[Outcome | ClusterError]
) -> None:
    planned = [campaign.Trial(PowerOff(name), ()) for name in ("alpha", "beta")]
    scripted += [NotUndone("no"), outcome(PowerOff("beta"), HELD)]
    with Fleet(inventory) as fleet:
        found = campaign.run(inventory, fleet, planned)
    assert len(scripted) == 1 and found.exit_code == 5


# ---------------------------------------------------------------- one experiment


@dataclass(frozen=True)
class Noted(PowerOff):
    """A fault that only notes what was done."""

    kind: ClassVar[str] = "kill"
    done: ClassVar[list[str]] = []

    def check(self, means: Means) -> None:
        """Always."""

    def apply(self, means: Means) -> None:
        self.done.append("apply")

    def undo(self, means: Means) -> None:
        self.done.append("undo")


class Watching:
    """An observer that sees nothing, and does something when it begins to look."""

    alive = True

    def __init__(self, begin: Callable[[], object]) -> None:
        self.begin = begin

    def __enter__(self) -> Watching:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        """It ends."""

    def seen_good(self, service: str) -> bool:
        return True

    def await_(self, condition: Callable[[], bool], deadline: float) -> bool:
        return True

    def advertised(self, src: str) -> float:
        return 0.0

    def finish(self) -> None:
        """It saw nothing."""


class Prove:
    """An experiment of which all is real but what needs a cluster."""

    def __init__(self, inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inventory = inventory
        self.begin: Callable[[], object] = lambda: None
        self.runs = inventory.root / "runs"
        Noted.done.clear()
        monkeypatch.setattr("cluster.probes.wire.interface_towards", lambda address: "lo")
        monkeypatch.setattr("cluster.power.driver", none.Driver)
        monkeypatch.setattr(guard, "look", lambda health, names: guard.Proof(tuple(names), ()))
        looks = SimpleNamespace(dns_servers=(), ntp_servers=(), dhcp_servers=())
        monkeypatch.setattr(experiment, "plan", lambda health, node: looks)
        monkeypatch.setattr(experiment, "expected", lambda *args: None)
        monkeypatch.setattr(experiment, "Observer", lambda plan, recorder: Watching(lambda: self.begin()))
        monkeypatch.setattr(recovery, "prove", lambda *args, **more: ())
        monkeypatch.setattr(recovery, "residue", lambda *args, **more: ())
        monkeypatch.setattr(recovery, "give_back_leases", lambda health: 0)
        monkeypatch.setattr(recovery, "failed_units", lambda health, names: frozenset())

    def __call__(self, fault: Any) -> Outcome:
        with Fleet(self.inventory) as fleet:
            return experiment.prove(self.inventory, fleet, fault, (), 0.1, runs=self.runs)

    @property
    def status(self) -> dict[str, Any]:
        """How the last run ended, by its record."""
        return about(sorted(self.runs.iterdir())[-1])


@pytest.fixture
def prove(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> Prove:
    return Prove(inventory, monkeypatch)


def test_a_fault_is_made_and_undone(prove: Prove) -> None:
    assert prove(Noted("alpha")).healed and Noted.done == ["apply", "undo"]


def test_a_file_that_comes_before_the_fault_stops_it(prove: Prove) -> None:
    """The guard, a canary and the baseline take up to two minutes."""
    prove.begin = lambda: halt.path(prove.inventory).write_text("an exam\n")
    with pytest.raises(Refused, match=r"HALT is there \(an exam\)"):
        prove(Noted("alpha"))
    assert Noted.done == [] and entries(prove.inventory.state) == ()
    assert (prove.status["status"], prove.status["exit"]) == ("refused", 3)


def test_what_could_not_begin_was_refused_and_broke_no_claim(prove: Prove) -> None:
    def not_begin() -> None:
        raise ClusterError("the observer did not begin to look")

    prove.begin = not_begin
    with pytest.raises(Refused, match="could not begin: the observer did not begin"):
        prove(Noted("alpha"))
    assert Noted.done == [] and (prove.status["status"], prove.status["exit"]) == ("refused", 3)


def test_an_error_after_the_fault_is_told_as_not_undone(prove: Prove, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(self: Watching, *_: object) -> None:
        raise ClusterError("no canary any more")

    monkeypatch.setattr(Watching, "__exit__", ends)
    with pytest.raises(NotUndone, match="no canary any more; run: python -m chaos heal"):
        prove(Noted("alpha"))
    assert Noted.done == ["apply", "undo"] and len(entries(prove.inventory.state)) == 1
    assert prove.status["exit"] == 5


def test_a_fault_that_was_not_applied_is_a_doubt(prove: Prove, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Noted, means: Means) -> None:
        raise ClusterError("no libfaketime")

    monkeypatch.setattr(Noted, "apply", fails)
    assert prove(Noted("alpha")).doubts == ("the fault was not applied: no libfaketime",)


# ---------------------------------------------------------------- HALT


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere"), lambda path: path.touch(0)])
def test_whatever_has_that_name_stops_everything(inventory: Inventory, make: Callable[[Path], None]) -> None:
    make(halt.path(inventory))
    assert halt.is_set(inventory)
    with pytest.raises(Refused, match="HALT is there, so nothing is broken"):
        halt.check(inventory)


# ---------------------------------------------------------------- a command of the user's


def means_until(inventory: Inventory, stopping: Callable[[], bool]) -> Means:
    return replace(Means(inventory, Fleet(inventory), none.Driver(inventory)), stopping=stopping)


def test_a_command_ends_when_it_is_asked_to_with_all_that_it_started(inventory: Inventory, tmp_path: Path) -> None:
    file = tmp_path / "child"
    work = During("alpha", f"sh -c 'sleep 60 & echo $! > {file}; wait; true'")
    began = time.monotonic()
    with pytest.raises(ClusterError, match="was ended before it had done its work"):
        work.apply(means_until(inventory, file.exists))
    assert time.monotonic() - began < 20
    child = int(file.read_text())
    until(lambda: start_time(child) is None, deadline=5, what="the end of what it started")


def test_an_experiment_ends_while_a_command_works(prove: Prove) -> None:
    """At HALT and at SIGTERM alike; it is undone, and proves nothing."""
    for stop in (
        lambda: halt.path(prove.inventory).write_text(""),
        lambda: os.kill(os.getpid(), signal.SIGTERM),
    ):
        timer = threading.Timer(1.0, stop)
        timer.start()
        began = time.monotonic()
        work = During("alpha", "sleep 30")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(During, "undo", lambda self, means: None)
            found = prove(work)
        timer.join()
        halt.path(prove.inventory).unlink(missing_ok=True)
        assert time.monotonic() - began < 15 and found.interrupted and found.healed
        assert "was ended before" in found.reason


def test_what_a_command_says_is_not_where_the_verdict_is(
    inventory: Inventory, capfd: pytest.CaptureFixture[str]
) -> None:
    During("alpha", "echo words").apply(means_until(inventory, lambda: False))
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "words\n")


# ---------------------------------------------------------------- the command line


def chaos(inventory: Inventory, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("cluster.power.enter", lambda inventory: None)
    return command_line.main([f"--inventory={inventory.path}", *words])


def refuse(monkeypatch: pytest.MonkeyPatch, error: ClusterError) -> None:
    def act(*args: Any) -> int:
        raise error

    monkeypatch.setattr(command_line, "act", act)


@pytest.mark.parametrize(("error", "code"), [(ClusterError("no plug"), 3), (InputError("no"), 2), (NotUndone("no"), 5)])
def test_an_error_is_never_told_as_a_broken_claim(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any, code: int
) -> None:
    refuse(monkeypatch, error)
    assert chaos(inventory, monkeypatch, "kill", "alpha", "--json") == code
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["healed"], told["reason"]) == (None, True, str(error))


def test_whether_all_is_undone_is_what_the_journal_says(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.write(inventory.state, data(PowerOff("beta")), ("beta",), undo="", command="a test", run=None)
    refuse(monkeypatch, Refused("never proved its undo"))
    assert chaos(inventory, monkeypatch, "kill", "alpha", "--json") == 3
    assert json.loads(capsys.readouterr().out)["healed"] is False
