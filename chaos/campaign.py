"""`prove`: every claim that was asked for, each put to the test by what it needs, and nothing done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chaos import halt, judge
from chaos.experiment import HOLD_S, prove
from chaos.faults import FAULTS, Fault
from chaos.outcome import Outcome
from cluster.errors import ClusterError, InputError, NotUndone, Refused
from cluster.inventory import Claim, Inventory
from cluster.node import Fleet

ALL = "all"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """One experiment, and the claims that are judged by it."""

    fault: Fault
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Proof:
    """What a campaign came to: an outcome, or the error that kept one from being had, for each trial."""

    trials: tuple[tuple[Trial, Outcome | ClusterError], ...]
    stopped: ClusterError | None = None
    """Why it ended before its end, where nothing else tells."""

    @property
    def judged(self) -> tuple[judge.Judged, ...]:
        """Every claim; those that were not put to the test are inconclusive, with the reason."""
        found: list[judge.Judged] = []
        for trial, outcome in self.trials:
            if isinstance(outcome, Outcome):
                found += outcome.claims
                continue
            nothing = judge.Interval(0.0, float("inf"))
            found += [
                judge.Judged(c.name, c.losing, c.service, judge.INCONCLUSIVE, c.budget, nothing, str(outcome))
                for c in trial.claims
            ]
        return tuple(found)

    @property
    def healed(self) -> bool:
        """Whether everything was proven undone."""
        return not any(
            isinstance(outcome, NotUndone) or (isinstance(outcome, Outcome) and not outcome.healed)
            for _, outcome in self.trials
        )

    @property
    def verdict(self) -> judge.Verdict:
        """The worst of all; what ended early, or was doubtful anywhere, did not hold."""
        worst = judge.overall(self.judged)
        doubtful = self.stopped is not None or any(
            isinstance(outcome, ClusterError) or outcome.doubts for _, outcome in self.trials
        )
        return judge.INCONCLUSIVE if worst == judge.HELD and doubtful else worst

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it came to nothing better, where no claim says it."""
        found = [f"{trial.fault.title}: {'; '.join(outcome.doubts)}" for trial, outcome in self.trials
                 if isinstance(outcome, Outcome) and outcome.doubts and not outcome.claims]  # fmt: skip
        return tuple(found) if self.stopped is None else (*found, f"stopped: {self.stopped}")

    @property
    def exit_code(self) -> int:
        """0 held, 1 broken, 2 or 3 when every trial was refused, 4 inconclusive, 5 not undone."""
        if not self.healed:
            return NotUndone.exit_code
        for refusal in (Refused, InputError):
            if all(isinstance(outcome, refusal) for _, outcome in self.trials):
                return refusal.exit_code
        return judge.EXIT[self.verdict]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "verdict": self.verdict,
            "healed": self.healed,
            "reason": "; ".join(self.reasons),
            "claims": [claim.as_json() for claim in self.judged],
            "experiments": [
                outcome.as_json()
                if isinstance(outcome, Outcome)
                else {"fault": trial.fault.kind, "nodes": list(trial.fault.nodes), "verdict": None, "run": None,
                      "reason": str(outcome)}
                for trial, outcome in self.trials
            ],
        }  # fmt: skip


def chosen(inventory: Inventory, words: Iterable[str]) -> tuple[Claim, ...]:
    """The claims that `words` mean: all (also none at all), a claim's name, or a node or group for those about it.

    Raises InputError for a word that is none of these, and where nothing is claimed.
    """
    wanted: dict[Claim, None] = {}
    for word in tuple(words) or (ALL,):
        lost = {node.name for node in inventory.nodes.values() if word in (ALL, node.name, node.group)}
        found = [claim for claim in inventory.claims if claim.name == word or claim.losing in lost]
        if not found:
            known = ", ".join(claim.name for claim in inventory.claims) or "none"
            raise InputError(f"{inventory.path.name}: no claim named {word}, and none about it; known: {known}")
        wanted |= dict.fromkeys(found)
    return tuple(claim for claim in inventory.claims if claim in wanted)


def trials(claims: Sequence[Claim]) -> tuple[Trial, ...]:
    """What has to be done for these claims: each experiment once, in the order in which claims first need it."""
    needed: dict[tuple[str, ...], list[Claim]] = {}
    for claim in claims:
        needed.setdefault(claim.experiment, []).append(claim)
    return tuple(Trial(FAULTS[kind].make(arguments), tuple(about)) for (kind, *arguments), about in needed.items())


def run(
    inventory: Inventory,
    fleet: Fleet,
    planned: Sequence[Trial],
    *,
    hold_s: float = HOLD_S,
    force: bool = False,
    say: Say = lambda line: None,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> Proof:
    """Make each experiment, one after the other; ends early when one is not undone, was interrupted, or at HALT.

    `done` is told of each outcome.  A trial that comes to none is told of in the proof, and the next one is tried.
    """
    found: list[tuple[Trial, Outcome | ClusterError]] = []
    stop: ClusterError | None = None
    for n, trial in enumerate(planned, 1):
        if stop is not None:
            found.append((trial, stop))
            continue
        say(f"{n} of {len(planned)}: {trial.fault.title}, for {len(trial.claims)} claims")
        outcome: Outcome | ClusterError
        try:
            halt.check(inventory)
            command = f"chaos prove: {trial.fault.kind} {' '.join(trial.fault.nodes)}"
            outcome = prove(inventory, fleet, trial.fault, trial.claims, hold_s, command=command, force=force, say=say)
        except ClusterError as error:
            outcome = error
            say(str(error))
            if halt.is_set(inventory):
                stop = error
            elif isinstance(error, NotUndone):
                stop = NotUndone(f"not tried, because {trial.fault.title} is not proven undone")
        else:
            done(outcome)
            if not outcome.healed:
                stop = NotUndone(f"not tried, because {trial.fault.title} is not proven undone")
            elif outcome.interrupted:
                stop = ClusterError("not tried, because it was interrupted before")
        found.append((trial, outcome))
    return Proof(tuple(found))
