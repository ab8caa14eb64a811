"""Chaos again and again: the same verdict every time, and every SIGKILL healed.

    .venv/bin/python -m tests.soak.chaos_soak --kills 10 --sigkills 10

Uses the lab as it is.  Prints one line a round; exit code 1 when any round was not as it must be.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, "-m")
LONGEST_S = 16.0
"""From the start of `kill --for 2s` to its end, so that every part of it is hit."""


def call(*words: str, seconds: float = 180) -> subprocess.CompletedProcess[str]:
    """One command of the project."""
    return subprocess.run([*PYTHON, *words], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)


def kill(node: str, hold: str) -> tuple[bool, str]:
    """One experiment: must be held and healed, and every spec green right after it."""
    done = call("chaos", "kill", node, "--for", hold, "--json")
    told: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    outages = {claim["service"]: claim["outage_s"] for claim in told.get("claims", [])}
    shown = ", ".join(f"{name} {o['at_least']}..{o['at_most']}" for name, o in outages.items())
    specs = call("pytest", "-q", "--no-report", "specs/")
    good = (done.returncode, told.get("verdict"), told.get("healed"), specs.returncode) == (0, "held", True, 0)
    return (
        good,
        shown
        if good
        else f"{shown}: exit {done.returncode}: {told.get('reason')} {done.stderr[-300:]} {specs.stdout[-1500:]}",
    )


def sigkill(node: str, moment: float) -> tuple[bool, str]:
    """Kill the command itself at a moment; heal must bring all back and the specs must be green."""
    command = subprocess.Popen(
        [*PYTHON, "chaos", "kill", node, "--for", "2s"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(moment)  # the random moment is the experiment itself
    command.kill()
    command.wait()
    status = json.loads(call("chaos", "status", "--json").stdout)
    refused = call("chaos", "kill", "beta", "--dry-run") if status["undone"] else None
    began = time.monotonic()
    healing = call("chaos", "heal")
    took = time.monotonic() - began
    specs = call("pytest", "-q", "--no-report", "specs/")
    good = healing.returncode == 0 and specs.returncode == 0 and (refused is None or refused.returncode == 3)
    shown = f"at {moment:.2f} s, {'undone entry' if status['undone'] else 'no entry'}, healed in {took:.1f} s"
    return good, shown if good else f"{shown}: {healing.stderr[-500:]} {specs.stdout[-1500:]}"


def main() -> int:
    """All rounds; 0 when each was as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.chaos_soak", description="Chaos again and again.")
    parser.add_argument("--kills", type=int, default=10, metavar="N", help="experiments, alpha and beta in turn")
    parser.add_argument("--sigkills", type=int, default=10, metavar="N", help="commands killed at random moments")
    parser.add_argument("--for", dest="hold", default="10s", metavar="TIME", help="how long each fault is held")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="of the random moments")
    options = parser.parse_args()
    chance, bad = random.Random(options.seed), 0
    for n in range(options.kills):
        node = ("alpha", "beta")[n % 2]
        good, shown = kill(node, options.hold)
        bad += not good
        print(f"{'ok ' if good else 'BAD'} kill {node}: {shown}", flush=True)
    for _ in range(options.sigkills):
        node = chance.choice(("alpha", "beta"))
        good, shown = sigkill(node, chance.uniform(0.2, LONGEST_S))
        bad += not good
        print(f"{'ok ' if good else 'BAD'} sigkill of kill {node}: {shown}", flush=True)
    print(f"{bad} rounds were not as they must be" if bad else "every round was as it must be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
