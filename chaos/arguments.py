"""The command line of chaos; docs and tests read it too."""

from __future__ import annotations

import argparse
from pathlib import Path

from chaos.experiment import HOLD_S
from chaos.faults import FAULTS
from cluster.fields import duration
from cluster.inventory import PRODUCTION

BREAKING = (*FAULTS, "prove", "play", "replay", "partner-down")
"""The verbs that a HALT file stops; what brings back or only tells goes on."""


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
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
        _experimental(fault)
    proving = verbs.add_parser("prove", help="put claims to the test: by what each needs, and nothing twice")
    proving.add_argument(
        "claim", nargs="*", metavar="CLAIM", help="a claim's name, a node or group for those about it, or all (default)"
    )
    _experimental(proving)
    playing = verbs.add_parser("play", help="do what a story says, step by step")
    playing.add_argument("file", metavar="FILE", type=Path)
    replaying = verbs.add_parser("replay", help="do again what a recorded run did")
    replaying.add_argument("run", metavar="RUN", help="its folder, or its name under reports/runs")
    for verb in (playing, replaying):
        verb.add_argument("--json", action="store_true", help="print one object with the verdict")
        verb.add_argument("--force", action="store_true", help="go on although the guard says no; it is recorded")
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


def _experimental(verb: argparse.ArgumentParser) -> None:
    """The options of whatever breaks something."""
    verb.add_argument(
        "--for",
        dest="hold",
        type=seconds,
        default=HOLD_S,
        metavar="TIME",
        help=f"how long, for instance 20s (default {HOLD_S:g}s)",
    )
    verb.add_argument("--json", action="store_true", help="print one object with the verdict")
    verb.add_argument("--dry-run", action="store_true", help="say what would be done and judged, and do nothing")
    verb.add_argument("--force", action="store_true", help="go on although the guard says no; it is recorded")


def seconds(text: str) -> float:
    """A duration of the command line, in seconds."""
    try:
        value = duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if value <= 0:
        raise argparse.ArgumentTypeError("write more than nothing, for instance 10s")
    return value
