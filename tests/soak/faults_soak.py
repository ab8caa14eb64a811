"""Random faults, each with SIGKILL to its command at a random moment, and `heal` after each: all green, nothing left.

    .venv/bin/python -m tests.soak.faults_soak --rounds 100

Uses the lab as it is.  Prints one line a round; exit code 1 when any was not as it must be.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, "-m")
FAULTS = (
    "kill alpha", "kill beta", "kill psi", "kill zeta",
    "reset beta", "reset gamma", "reboot delta", "hang epsilon", "unplug zeta", "unplug beta",
    "stop alpha tftpd-hpa", "stop beta named", "crash alpha keepalived", "crash beta isc-dhcp-server",
    "sigkill alpha named", "sigkill gamma distcc", "freeze beta bbhttpd", "freeze alpha isc-dhcp-server",
    "block beta alpha dns", "block alpha beta vrrp", "partition alpha beta", "partition gamma,delta epsilon,zeta",
    "lose zeta 20", "squeeze delta 64", "busy gamma 1", "squat gamma 192.168.10.77", "skew alpha chrony 5",
    "record alpha soak-1", "source beta 192.168.10.250", "stranger beta", "starve",
)  # fmt: skip
LONGEST_S = 14.0
"""From the start of a command with `--for 2s` to the middle of its recovery, so that every part of it is hit."""


def call(*words: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """One command of the project."""
    return subprocess.run([*PYTHON, *words], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)


def once(fault: str, moment: float) -> tuple[bool, str]:
    """Begin a fault, kill its command, heal; whether all was proven back, and what there is to tell."""
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
    undone = json.loads(call("chaos", "status", "--json").stdout)["undone"]
    refused = call("chaos", "kill", "psi", "--dry-run").returncode == 3 if undone else True
    began = time.monotonic()
    healing = call("chaos", "heal")
    took = time.monotonic() - began
    after = json.loads(call("chaos", "status", "--json").stdout)
    clean = not after["undone"] and all(after["power"].values())
    where = "an entry left" if undone else "no entry left" if ended is None else f"over with exit code {ended}"
    told = f"at {moment:5.2f} s, {where}, healed in {took:.1f} s"
    good = healing.returncode == 0 and refused and clean
    return good, told if good else f"{told}: {healing.stderr[-600:]}"


def main() -> int:
    """All rounds; 0 when each was as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.faults_soak", description="Random faults, each healed.")
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="how many faults (default 100)")
    parser.add_argument("--minutes", type=float, default=None, metavar="M", help="begin no round after so long")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="of the choices and moments")
    parser.add_argument("--specs-every", type=int, default=10, metavar="N", help="run all specs after every Nth round")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    chance, bad, began = random.Random(seed), Counter[str](), time.monotonic()
    for n in range(1, options.rounds + 1):
        if options.minutes is not None and time.monotonic() - began > options.minutes * 60:
            print(f"stopped after {n - 1} rounds")
            break
        fault = chance.choice(FAULTS)
        good, told = once(fault, chance.uniform(0.2, LONGEST_S))
        print(f"{'ok ' if good else 'BAD'} {n:3} {fault:34} {told}", flush=True)
        bad["healing"] += not good
        if n % options.specs_every == 0:
            specs = call("pytest", "-q", "--no-report", "--tb=line", "specs/", seconds=600)
            print(f"{'ok ' if not specs.returncode else 'BAD'}     specs: {specs.stdout.splitlines()[-1]}", flush=True)
            if specs.returncode:
                print("\n".join(line for line in specs.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))))
            bad["specs"] += bool(specs.returncode)
    print(f"not as they must be: {dict(bad)}" if bad.total() else "every round was as it must be")
    return 1 if bad.total() else 0


if __name__ == "__main__":
    sys.exit(main())
