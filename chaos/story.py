"""Stories: experiments of several steps, from a YAML file or from what a recorded run did.

    name: the owner crashes, and later the standby
    steps:
      - {fault: crash alpha keepalived, for: 10s}
      - {wait: owner alpha, within: 30s}
      - {fault: kill beta}

Each fault is an experiment of its own: guarded, undone, judged.  A wait asks until its condition is true.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.campaign import Proof, Trial
from chaos.experiment import HOLD_S, claims_about, prove
from chaos.faults import FAULTS, Fault, from_data, too_long
from chaos.outcome import Outcome
from cluster import yamlmarks
from cluster.errors import ClusterError, InputError, NotUndone, ProbeFailed
from cluster.fields import duration, show
from cluster.health import Health
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.probes import arp
from cluster.record import RUN_FILE, about
from cluster.wait import until
from cluster.yamlmarks import YamlError

WITHIN_S = 90.0
CONDITIONS = {
    "healthy": "every check of every node is true",
    "answers": "NODE runs a command",
    "silent": "NODE does not",
    "owner": "NODE answers for the floating address, and nobody else",
}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Do:
    """A fault, and how long it is held."""

    fault: Fault
    hold_s: float


@dataclass(frozen=True)
class Wait:
    """A condition, and how long it may take to come true."""

    words: tuple[str, ...]
    within_s: float

    def __str__(self) -> str:
        return " ".join(self.words)


Step = Do | Wait


def read(path: Path, inventory: Inventory) -> tuple[Step, ...]:
    """The steps of a file; raises InputError naming the step that cannot be."""
    try:
        document = yamlmarks.read(path.read_text(encoding="utf-8"))
    except YamlError as error:
        raise InputError(f"{path}:{error.line}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a story: {getattr(error, 'strerror', None) or error}") from None
    for mistake in document.mistakes:
        raise InputError(f"{path}:{mistake.line}: {mistake.message}")
    data = document.data
    if not isinstance(data, dict) or set(data) - {"name", "steps"} or not isinstance(data.get("steps"), list):
        raise InputError(f"{path}: a story has a name and a list of steps: see docs/chaos.md")
    found: list[Step] = []
    for n, step in enumerate(data["steps"], 1):
        try:
            found.append(_step(step, inventory))
        except (InputError, ValueError) as error:
            raise InputError(f"{path}:{document.line(('steps', n - 1))}: step {n}: {error}") from None
    if not any(isinstance(step, Do) for step in found):
        raise InputError(f"{path}: no step is a fault, so nothing would be tried; add one")
    return tuple(found)


def _step(step: Any, inventory: Inventory) -> Step:
    if isinstance(step, dict) and isinstance(step.get("fault"), str) and not set(step) - {"fault", "for"}:
        kind, *arguments = shlex.split(step["fault"]) or [""]
        if kind not in FAULTS or len(arguments) != len(FAULTS[kind].arguments):
            raise InputError(f"{step['fault']!r} is no fault; `python -m chaos list` shows them and what they want")
        return _do(FAULTS[kind].make(arguments), duration(step["for"]) if "for" in step else HOLD_S, inventory)
    if isinstance(step, dict) and isinstance(step.get("wait"), str) and not set(step) - {"wait", "within"}:
        words = tuple(step["wait"].split())
        if len(words) != (1 if words[:1] == ("healthy",) else 2) or words[0] not in CONDITIONS:
            known = ", ".join(name if name == "healthy" else f"{name} NODE" for name in CONDITIONS)
            raise InputError(f"{step['wait']!r} cannot be waited for; known: {known}")
        for name in words[1:]:
            inventory.node(name)
        return Wait(words, duration(step["within"]) if "within" in step else WITHIN_S)
    raise InputError("a step is {fault: ..., for: TIME} or {wait: ..., within: TIME}")


def _do(fault: Fault, hold_s: float, inventory: Inventory) -> Do:
    """A step that the inventory and the fault allow; raises InputError."""
    fault.fits(inventory)
    if not hold_s > 0:
        raise InputError(f"{fault.kind}: it cannot last {hold_s:g} s; write more than nothing, for instance 10s")
    if hold_s > fault.longest_s:
        raise InputError(too_long(fault))
    return Do(fault, hold_s)


def of_run(run: Path, inventory: Inventory) -> tuple[Step, ...]:
    """What a recorded run did; raises InputError for one that did nothing, is not there, or cannot be done here."""
    try:
        told: object = about(run)
    except (OSError, ValueError):
        raise InputError(f"{run}: no recorded run ({RUN_FILE}) is there") from None
    file = run / RUN_FILE
    if not isinstance(told, dict):
        raise InputError(f"{file}: this is no description of a run; name another run")
    if "fault" not in told or "hold_s" not in told:
        raise InputError(f"{run}: a run of kind {told.get('kind', '?')} made no fault that could be made again")
    if told.get("status") == "refused":
        raise InputError(f"{run}: this run was refused, so it made no fault that could be made again; name another run")
    fault, hold_s = told["fault"], told["hold_s"]
    if not isinstance(fault, dict):
        raise InputError(f"{file}: fault: {show(fault)} is no fault; name another run")
    if not isinstance(hold_s, (int, float)) or isinstance(hold_s, bool):
        raise InputError(f"{file}: hold_s: {show(hold_s)} is no number of seconds; name another run")
    try:
        return (_do(from_data(fault), hold_s, inventory),)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def play(
    inventory: Inventory,
    fleet: Fleet,
    steps: Sequence[Step],
    *,
    force: bool = False,
    say: Say = lambda line: None,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> Proof:
    """One step after the other, ending at the first that comes to no outcome, is interrupted, or does not come true."""
    found: list[tuple[Trial, Outcome | ClusterError]] = []
    stop: ClusterError | None = None
    for step in steps:
        if isinstance(step, Wait):
            stop = stop or _wait(inventory, fleet, step, say)
            continue
        trial = Trial(step.fault, claims_about(inventory, step.fault))
        if stop is None:
            try:
                outcome = prove(inventory, fleet, step.fault, trial.claims, step.hold_s, force=force, say=say)
            except ClusterError as error:
                stop = error
            else:
                done(outcome)
                found.append((trial, outcome))
                if outcome.interrupted or not outcome.healed:
                    stop = (ClusterError if outcome.healed else NotUndone)("not tried, because of the step before")
                continue
        found.append((trial, stop))
    return Proof(tuple(found), stop)


def _wait(inventory: Inventory, fleet: Fleet, step: Wait, say: Say) -> ClusterError | None:
    """Ask until it is true; the error, where it is not in time."""
    say(f"waiting until: {step}")
    health = Health(inventory, fleet)
    try:
        until(lambda: _true(health, step), deadline=step.within_s, every=0.25, what=str(step))
    except ClusterError as error:
        say(str(error))
        return error
    return None


def _true(health: Health, step: Wait) -> bool:
    what, *names = step.words
    if what == "healthy":
        if wrong := [check for check in health.look(health.inventory.nodes) if not check.ok]:
            raise ProbeFailed(f"{wrong[0].title}: {wrong[0].detail}", reason="health")
        return True
    if what == "owner":
        macs = arp.who_have(health.interface, [health.floating]).get(health.floating, ())
        return set(macs) == {health.inventory.node(names[0]).mac}
    try:
        health.ssh(names[0])
    except ClusterError:
        health.fleet[names[0]].close()
        return what == "silent"
    return what == "answers"
