"""python -m chaos: break the cluster on purpose, measure what clients notice, bring it back, judge."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from chaos import guard, healing, judge, partner_down
from chaos.experiment import HOLD_S, Outcome, claims_about, prove
from chaos.faults import FAULTS, Fault
from cluster import journal, power
from cluster.errors import ClusterError
from cluster.fields import duration
from cluster.health import Health
from cluster.inventory import PRODUCTION, Inventory, load
from cluster.node import Fleet
from reports.render import render

COLOURS = {judge.HELD: "\033[32m", judge.BROKEN: "\033[31m", judge.INCONCLUSIVE: "\033[33m"}
PLAIN = "\033[0m"


def parser() -> argparse.ArgumentParser:
    """The command line; docs and tests read it too."""
    top = argparse.ArgumentParser(
        prog="python -m chaos",
        description="Break the cluster on purpose, measure what clients notice, bring it back, and judge the claims.",
        epilog="exit codes: 0 held, 1 broken, 2 usage, 3 refused, 4 inconclusive, 5 not undone",
    )
    top.add_argument("--inventory", type=Path, metavar="F", help="inventory file (default: inventory.yaml)")
    top.add_argument(
        "--profile", default=PRODUCTION, metavar="NAME", help=f"the timers that the nodes have (default: {PRODUCTION})"
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, kind in FAULTS.items():
        fault = verbs.add_parser(name, help=kind.help)
        for argument in kind.arguments:
            fault.add_argument(argument.lower(), metavar=argument)
        fault.add_argument(
            "--for",
            dest="hold",
            type=seconds,
            default=HOLD_S,
            metavar="TIME",
            help=f"how long, for instance 20s (default {HOLD_S:g}s)",
        )
        fault.add_argument("--json", action="store_true", help="print one object with the verdict")
        fault.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        fault.add_argument("--force", action="store_true", help="go on although the guard says no; it is recorded")
    boot = verbs.add_parser("boot", help="give a node power and wait until it serves")
    boot.add_argument("node", metavar="NODE")
    down = verbs.add_parser(
        "partner-down",
        help="tell a DHCP server that its partner NODE is down for long, so that it leases all addresses",
    )
    down.add_argument("node", metavar="NODE")
    verbs.add_parser("heal", help="bring back everything that is off or was never proven undone")
    status = verbs.add_parser("status", help="what is broken on purpose now, by whom, and which nodes have power")
    status.add_argument("--json", action="store_true", help="print one object")
    verbs.add_parser("list", help="the faults there are, and the claims that each puts to the test")
    return top


def seconds(text: str) -> float:
    """A duration of the command line, in seconds."""
    try:
        value = duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if value <= 0:
        raise argparse.ArgumentTypeError("write more than nothing, for instance 10s")
    return value


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
    try:
        inventory = load(options.inventory, options.profile)
        if options.verb == "list":
            return show_list(inventory)
        for argument in ("node", "peer"):
            if name := getattr(options, argument, None):
                inventory.node(name)  # before anything else: a slip of the pen must cost no password
        if options.verb in FAULTS:
            made(options)
        power.enter(inventory)
        with Fleet(inventory) as fleet:
            return act(inventory, fleet, options)
    except ClusterError as error:
        if as_json and options.verb in FAULTS:
            print(json.dumps(nothing_done(options, str(error)), indent=1))
        print(f"chaos: {error}", file=sys.stderr)
        return error.exit_code
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
            return show_status(inventory, options.json)
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
    page = None
    try:
        page = render(outcome.run)
    except Exception as error:  # a page that cannot be drawn must not hide a verdict that was reached
        talk(f"the report could not be made: {type(error).__name__}: {error}")
    if options.json:
        print(json.dumps(outcome.as_json(), indent=1))
    else:
        show_outcome(outcome)
    if page is not None:
        talk(f"report: {page}")
    return outcome.exit_code


def made(options: argparse.Namespace) -> Fault:
    """The fault of a parsed command line; raises InputError."""
    kind = FAULTS[options.verb]
    return kind.make([getattr(options, argument.lower()) for argument in kind.arguments])


def nothing_done(options: argparse.Namespace, error: str) -> dict[str, Any]:
    """The object of `--json` when there was no experiment: no verdict, and why."""
    return {
        "fault": options.verb,
        "nodes": [options.node] if "node" in options else [],
        "verdict": None,
        "healed": True,
        "run": None,
        "claims": [],
        "reason": error,
    }


def dry_run(inventory: Inventory, fleet: Fleet, fault: Fault, options: argparse.Namespace, talk: Talk) -> int:
    """Everything but the fault: the guard's checks, the claims, the undo."""
    journal.check(inventory.state)
    talk(f"looking whether the cluster can lose {fault.losing}")
    proof = guard.look(Health(inventory, fleet), fault.nodes)
    for check in proof.checks:
        talk(f"  {'ok ' if check.ok else 'NOT'}  {check.title}: {check.detail}")
    if not options.force:
        proof.demand()
    talk(f"would be done: {fault.title}, for {options.hold:g} s; then: {fault.undoing}")
    claims = claims_about(inventory, fault)
    for claim in claims:
        talk(f"would be judged: {claim.name}: {claim.service} is out for at most {claim.budget:g} s")
    if options.json:
        checks = [vars(check) for check in proof.checks]
        names = [claim.name for claim in claims]
        about = {"fault": fault.kind, "nodes": list(fault.nodes), "verdict": None, "healed": True, "run": None}
        print(json.dumps(about | {"claims": names, "checks": checks, "reason": "dry run"}, indent=1))
    return 0


def show_outcome(outcome: Outcome) -> None:
    """The claims as a table: budget against what was measured."""
    rows = [("CLAIM", "SERVICE", "BUDGET", "OUT FOR", "VERDICT", "")]
    for claim in outcome.claims:
        least, most = claim.outage.at_least, claim.outage.at_most
        span = "never" if most == 0 else f"{least:.3f} to {f'{most:.3f} s' if most != float('inf') else '?'}"
        rows.append((claim.claim, claim.service, f"{claim.budget_s:g} s", span, claim.verdict, claim.reason))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    colour = sys.stdout.isatty()
    print()
    for n, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        if colour and n:
            cells[4] = COLOURS[outcome.claims[n - 1].verdict] + cells[4] + PLAIN
        reason = row[5] if row[4] in (judge.BROKEN, judge.INCONCLUSIVE) else ""
        print("  ".join([*cells, reason]).rstrip())
    print()
    under = "" if outcome.profile == PRODUCTION else f", with the timers of profile {outcome.profile}"
    print(f"verdict: {outcome.verdict}{under}")
    if outcome.reason:
        print(outcome.reason)


def show_list(inventory: Inventory) -> int:
    """Faults and claims."""
    for name, kind in FAULTS.items():
        print(f"{' '.join((name, *kind.arguments)):28} {kind.help}")
        for claim in inventory.claims:
            if claim.fault == name:
                print(f"    {claim.name:24} {claim.service} is out for at most {claim.budget:g} s")
    return 0


def show_status(inventory: Inventory, as_json: bool) -> int:
    """What is broken on purpose, by whom, and who has power."""
    driver = power.driver(inventory)
    on = {name: driver.is_on(name) for name in inventory.nodes}
    running, undone = journal.running(inventory.state), journal.entries(inventory.state)
    if as_json:
        entries = [
            {"fault": dict(e.fault), "nodes": list(e.nodes), "undo": e.undo, "alive": e.owner.alive, "run": e.run}
            for e in undone
        ]
        print(json.dumps({"running": running and str(running), "undone": entries, "power": on}, indent=1))
        return 0
    print(f"at work: {running or 'nobody'}")
    for entry in undone:
        print(f"not undone: {entry.story}")
    if undone and running is None:
        print("remedy: python -m chaos heal")
    print("without power: " + (", ".join(name for name, has in on.items() if not has) or "no node"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
