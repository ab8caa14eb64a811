"""python -m chaos: break the cluster on purpose, measure what clients notice, bring it back, judge."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from chaos import campaign, guard, halt, healing, partner_down, show, story
from chaos.arguments import BREAKING, parser
from chaos.experiment import claims_about, prove
from chaos.faults import FAULTS, Fault, Means, admit
from chaos.outcome import Outcome
from cluster import journal, power
from cluster.errors import ClusterError, Refused
from cluster.health import Health
from cluster.inventory import Inventory, load
from cluster.node import Fleet
from reports.render import render


class Talk:
    """What a person sees, on standard error; it never fails, since a closed terminal must not stop an undo."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        """One line of progress with the seconds since the start."""
        with suppress(OSError, ValueError):
            print(f"chaos: {time.monotonic() - self._began:6.1f} s  {line}", file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    """Run one verb; the exit code is the contract's."""
    options = parser().parse_args(argv)
    as_json = getattr(options, "json", False)
    inventory: Inventory | None = None
    try:
        inventory = load(options.inventory, options.profile)
        if options.verb == "list":
            return show.faults(inventory)
        if options.verb in FAULTS:  # before anything else: a slip of the pen must cost no password
            made(options).fits(inventory)
        elif "node" in options:
            inventory.node(options.node)
        if options.verb in BREAKING:
            halt.check(inventory)
        if options.verb == "prove":
            campaign.chosen(inventory, options.claim)
        if options.verb in ("play", "replay"):
            steps(inventory, options)
        power.enter(inventory)
        with Fleet(inventory) as fleet:
            return act(inventory, fleet, options)
    except ClusterError as error:
        if as_json and options.verb in FAULTS:
            print(json.dumps(nothing_done(options, inventory, str(error)), indent=1))
        print(f"chaos: {error}", file=sys.stderr)
        # Nothing was judged, so it must not look like a claim that is broken.
        return Refused.exit_code if error.exit_code == ClusterError.exit_code else error.exit_code
    except KeyboardInterrupt:
        print("chaos: interrupted before anything was done", file=sys.stderr)
        return 130


def act(inventory: Inventory, fleet: Fleet, options: argparse.Namespace) -> int:
    """Carry out a parsed command line."""
    talk = Talk()
    match options.verb:
        case "heal":
            checks = healing.heal(inventory, fleet, say=talk)
            talk(f"healed: {len(checks)} checks came true")
        case "boot":
            healing.boot(inventory, fleet, options.node, command=f"chaos boot {options.node}", say=talk)
            talk(f"{options.node} is up")
        case "partner-down":
            partner_down.command(inventory, fleet, options.node, say=talk)
        case "status":
            return show.status(inventory, options.json)
        case "play" | "replay":
            found = story.play(
                inventory, fleet, steps(inventory, options), force=options.force, say=talk, done=telling(talk)
            )
            return told(found, inventory, options)
        case "prove":
            return proving(inventory, fleet, options, talk)
        case _:
            return experiment(inventory, fleet, options, talk)
    return 0


def experiment(inventory: Inventory, fleet: Fleet, options: argparse.Namespace, talk: Talk) -> int:
    """A fault from the command line: measured, undone, judged, reported."""
    fault = made(options)
    if options.dry_run:
        return dry_run(inventory, fleet, fault, options, talk)
    outcome = prove(
        inventory,
        fleet,
        fault,
        hold_s=options.hold,
        force=options.force,
        command=f"chaos {' '.join(sys.argv[1:])}",
        say=talk,
    )
    page = drawn(outcome, talk)
    if options.json:
        print(json.dumps(outcome.as_json(), indent=1))
    else:
        show.outcome(outcome)
    if page is not None:
        talk(f"report: {page}")
    return outcome.exit_code


def drawn(outcome: Outcome, talk: Talk) -> Path | None:
    """The report of an outcome; None, and told, where it could not be made."""
    try:
        return render(outcome.run)
    except Exception as error:  # a page that cannot be drawn must not hide a verdict that was reached
        talk(f"the report could not be made: {type(error).__name__}: {error}")
        return None


def proving(inventory: Inventory, fleet: Fleet, options: argparse.Namespace, talk: Talk) -> int:
    """Claims put to the test, one experiment after the other."""
    planned = campaign.trials(campaign.chosen(inventory, options.claim))
    if options.dry_run:
        journal.check(inventory.state)
        if options.json:
            print(json.dumps([{"fault": t.fault.kind, "nodes": list(t.fault.nodes),
                               "claims": [c.name for c in t.claims]} for t in planned], indent=1))  # fmt: skip
        else:
            show.plan(planned, options.hold)
        return 0

    found = campaign.run(
        inventory, fleet, planned, hold_s=options.hold, force=options.force, say=talk, done=telling(talk)
    )
    return told(found, inventory, options)


def telling(talk: Talk) -> Callable[[Outcome], None]:
    """What is done with each outcome of several: its report is drawn, and told of."""

    def done(outcome: Outcome) -> None:
        if (page := drawn(outcome, talk)) is not None:
            talk(f"{outcome.verdict}; report: {page}")

    return done


def told(found: campaign.Proof, inventory: Inventory, options: argparse.Namespace) -> int:
    """All of several outcomes; the exit code."""
    if options.json:
        print(json.dumps(found.as_json(), indent=1))
    else:
        show.proof(found, inventory.profile)
    return found.exit_code


def steps(inventory: Inventory, options: argparse.Namespace) -> tuple[story.Step, ...]:
    """Those of a file, or of a recorded run; raises InputError."""
    if options.verb == "play":
        return story.read(options.file, inventory)
    run = Path(options.run)
    return story.of_run(run if run.is_dir() else inventory.root / "reports" / "runs" / options.run, inventory)


def made(options: argparse.Namespace) -> Fault:
    """The fault of a parsed command line; raises InputError."""
    kind = FAULTS[options.verb]
    return kind.make([getattr(options, argument.lower()) for argument in kind.arguments])


def nothing_done(options: argparse.Namespace, inventory: Inventory | None, error: str) -> dict[str, Any]:
    """The object of `--json` when there was no experiment: no verdict, and why; `healed` is what the journal says."""
    return {
        "fault": options.verb,
        "nodes": [options.node] if "node" in options else [],
        "verdict": None,
        "healed": None if inventory is None else not journal.entries(inventory.state),
        "run": None,
        "claims": [],
        "reason": error,
    }


def dry_run(inventory: Inventory, fleet: Fleet, fault: Fault, options: argparse.Namespace, talk: Talk) -> int:
    """Everything but the fault: the guard's checks, the claims, the undo."""
    journal.check(inventory.state)
    admit(fault, Means(inventory, fleet, power.driver(inventory), options.hold))
    talk(f"looking whether the cluster can lose {fault.losing}")
    proof = guard.look(Health(inventory, fleet), fault.nodes)
    for check in proof.checks:
        talk(f"  {'ok ' if check.ok else 'NOT'}  {check.title}: {check.detail}")
    if not options.force:
        proof.demand()
    talk(f"would be done: {fault.title}, for {options.hold:g} s; then: {fault.undoing}")
    claims = claims_about(inventory, fault)
    for claim in claims:
        talk(f"would be judged: {claim.name}: {claim.promise}")
    if options.json:
        checks = [vars(check) for check in proof.checks]
        names = [claim.name for claim in claims]
        about = {"fault": fault.kind, "nodes": list(fault.nodes), "verdict": None, "healed": True, "run": None}
        print(json.dumps(about | {"claims": names, "checks": checks, "reason": "dry run"}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
