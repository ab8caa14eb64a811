"""Random faults, each with SIGKILL to its command at a random moment, and `heal` after each: all green, nothing left.

    .venv/bin/python -m tests.soak.faults_soak --rounds 100

Uses the lab as it is.  Prints one line a round; exit code 1 when any was not as it must be.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster import journal, power
from cluster.inventory import Inventory, load
from cluster.record import events

ROOT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, "-m")
FAULTS = (
    "kill alpha", "kill beta", "kill psi", "kill zeta",
    "reset beta", "reset gamma", "reboot delta", "hang epsilon", "unplug zeta", "unplug beta",
    "stop alpha tftpd-hpa", "stop beta named", "crash alpha keepalived", "crash beta isc-dhcp-server",
    "sigkill alpha named", "sigkill gamma distcc", "freeze beta bbhttpd", "freeze alpha isc-dhcp-server",
    "block beta alpha dns", "block alpha beta vrrp", "partition alpha beta", "partition gamma,delta epsilon,zeta",
    "lose zeta 20", "squeeze delta 64", "busy gamma 1", "squat gamma 192.168.10.77", "skew alpha chrony 5",
    "record alpha soak-1", "source beta 192.168.10.250", "stranger beta", "starve", "rogue zeta", "wake omega",
)  # fmt: skip
LONGEST_S = 14.0
"""From the start of a command with `--for 2s` to the middle of its recovery, so that every part of it is hit."""


BEGUN_S = 3.0
"""Before this moment a command that left no entry had not begun to break anything; after it, all was proven undone."""


def call(*words: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """One command of the project."""
    return subprocess.run(
        [*PYTHON, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=os.environ | {"COLUMNS": "400"},  # what is red is told whole
    )


@dataclass(frozen=True)
class Told:
    """What a round came to."""

    fault: str
    moment: float
    left: str
    """Where the command was when it was killed, as far as its record says: what had become of the fault."""
    healed_s: float
    wrong: str
    """What was not as it must be; empty when nothing was."""


def state(inventory: Inventory, since: float) -> str:
    """How far the command came that was begun after `since` (epoch seconds): what its record says of the fault."""
    found = sorted((inventory.root / "reports" / "runs").glob("*-chaos*"))
    runs = [run for run in found if run.stat().st_mtime >= since]
    states = [e["state"] for run in runs[-1:] for e in events(run) if e["kind"] == "fault"]
    return states[-1] if states else "not begun"


def once(inventory: Inventory, fault: str, moment: float) -> Told:
    """Begin a fault, kill its command, heal; what it came to."""
    since = time.time()
    command = subprocess.Popen(
        [*PYTHON, "chaos", *fault.split(), "--for", "2s"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(moment)  # the random moment is the experiment itself
    ended = command.poll()
    command.kill()
    command.wait()
    wrong = []
    if journal.entries(inventory.state) and call("chaos", "kill", "psi", "--dry-run").returncode != 3:
        wrong.append("the next command was not refused")
    left = state(inventory, since) if ended is None else f"over with {ended}"
    began = time.monotonic()
    healing = call("chaos", "heal")
    took = time.monotonic() - began
    if healing.returncode:
        wrong.append(f"heal ended with {healing.returncode}: {healing.stderr[-600:]}")
    driver = power.driver(inventory)
    if left_over := [*journal.entries(inventory.state), *(n for n in inventory.nodes if not driver.is_on(n))]:
        wrong.append(f"left after healing: {left_over}")
    return Told(fault, moment, left, took, "; ".join(wrong))


def specs() -> tuple[bool, str]:
    """All specs; whether they are green, and what to tell."""
    done = call("pytest", "-q", "--no-report", "--tb=line", "specs/", seconds=600)
    red = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return not done.returncode, "\n".join([(done.stdout.splitlines() or ["nothing said"])[-1].strip("= "), *red])


def deck(chance: random.Random) -> Iterator[str]:
    """Faults without end: all kinds in a random order, again and again."""
    while True:
        yield from chance.sample(FAULTS, len(FAULTS))


def figures(told: list[Told]) -> str:
    """What all rounds came to, in numbers."""
    times = sorted(one.healed_s for one in told)
    where, kinds = Counter(one.left for one in told), Counter(one.fault.split()[0] for one in told)
    return "\n".join((
        f"{len(told)} rounds, {len(kinds)} kinds of faults: " + ", ".join(f"{k} {n}" for k, n in sorted(kinds.items())),
        "killed while: " + ", ".join(f"{what} {n}" for what, n in where.most_common())
        + f"; at {min(o.moment for o in told):.1f} to {max(o.moment for o in told):.1f} s",
        f"healed in {times[0]:.1f} to {times[-1]:.1f} s, median {statistics.median(times):.1f} s",
    ))  # fmt: skip


def main() -> int:
    """All rounds; 0 when each was as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.faults_soak", description="Random faults, each healed.")
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="how many faults (default 100)")
    parser.add_argument("--minutes", type=float, default=None, metavar="M", help="begin no round after so long")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="of the choices and moments")
    parser.add_argument("--longest", type=float, default=LONGEST_S, metavar="S", help="the last moment, in seconds")
    parser.add_argument("--specs-every", type=int, default=1, metavar="N", help="run all specs after every Nth round")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    inventory = load()
    chance, bad, began = random.Random(seed), 0, time.monotonic()
    told: list[Told] = []
    for n, fault in enumerate(deck(chance), 1):
        if n > options.rounds or (options.minutes is not None and time.monotonic() - began > options.minutes * 60):
            break
        told.append(one := once(inventory, fault, chance.uniform(0.2, options.longest)))
        green, said = specs() if n % options.specs_every == 0 else (True, "not run")
        good = green and not one.wrong
        bad += not good
        line = f"{n:3} {fault:34} at {one.moment:5.2f} s, {one.left}, healed in {one.healed_s:.1f} s; specs: {said}"
        print(f"{'ok ' if good else 'BAD'} {line}{f'; {one.wrong}' if one.wrong else ''}", flush=True)
    print(figures(told))
    print(f"{bad} rounds were not as they must be" if bad else "every round was as it must be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
