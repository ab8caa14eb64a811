"""The specs again and again: never red, within their time, and the same verdicts in every round.

    .venv/bin/python -m tests.soak.specs_soak --quick 20 --disruptive 5

A quick round is `pytest specs/`.  A disruptive round takes every service of the pair away: once with the timers of
production, and then, with those of profile `short`, what had to be left out because it would have waited for an hour.
Uses the lab as it is.  Prints one line a round; exit code 1 when any was red, too slow, or said something else than
the first.  The JUnit files of each round stay in --into FOLDER; later rounds there are compared with its first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from cluster.inventory import PRODUCTION, load
from tests.outcomes import Said, read

ROOT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, "-m")
PAIR = ("specs/lanservices", "specs/cluster")
BARS_S = {"quick": 25.0, "disruptive": 360.0}
"""How long the specs of a round may take, without what changes the profile."""
ELSEWHERE = "needs --profile short"

Outcomes = Mapping[str, Said]


def specs(junit: Path, *words: str) -> tuple[Outcomes, float]:
    """One run of specs: what it said of each, and how long it took, s."""
    began = time.monotonic()
    done = subprocess.run(
        [*PYTHON, "pytest", "-q", f"--junitxml={junit}", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    took = time.monotonic() - began
    if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or not junit.exists():
        sys.exit(f"pytest {' '.join(words[:4])} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return read(junit.read_text(encoding="utf-8")), took


def under(profile: str) -> None:
    """Give the pair a profile's timers."""
    subprocess.run(
        [*PYTHON, "provision", "all", f"--profile={profile}"],
        cwd=ROOT, capture_output=True, timeout=900, check=True,
    )  # fmt: skip


def quick(folder: Path) -> tuple[Outcomes, float]:
    """`pytest specs/`, as a user types it."""
    return specs(folder / "quick.xml", "specs/")


def disruptive(folder: Path) -> tuple[Outcomes, float]:
    """Everything of the pair's that takes a service away, each spec once."""
    inventory = load()
    pair = (inventory.dhcp.primary, inventory.dhcp.secondary)
    others = " or ".join(sorted({claim.loss for claim in inventory.claims if claim.losing not in pair}))
    said, took = specs(folder / "production.xml", "--disruptive", "-m", "disruptive", "-k", f"not ({others})", *PAIR)
    late = [test for test, one in said.items() if one.outcome == "skipped" and ELSEWHERE in one.message]
    try:
        under("short")
        more, longer = specs(folder / "short.xml", "--disruptive", "--profile=short", "-m", "disruptive", *late)
    finally:
        under(PRODUCTION)
    return {**said, **more}, took + longer


def told(folder: Path) -> dict[str, str]:
    """The verdicts of an earlier round."""
    found: dict[str, Said] = {}
    for name in ("quick", "production", "short"):
        if (file := folder / f"{name}.xml").exists():
            found |= read(file.read_text(encoding="utf-8"))
    return verdicts(found)


def verdicts(said: Outcomes) -> dict[str, str]:
    """What was said of each spec, without the words."""
    return {test: one.outcome for test, one in said.items()}


def judge(kind: str, folder: Path, said: Outcomes, took: float) -> list[str]:
    """What is wrong about a round; empty when nothing is."""
    wrong = [
        f"{test}: {one.message.splitlines()[0]}" for test, one in said.items() if one.outcome in ("failed", "error")
    ]
    if took > BARS_S[kind]:
        wrong.append(f"took {took:.1f} s, {BARS_S[kind]:g} s at most")
    for earlier in sorted(folder.parent.glob(f"{kind}-*"))[:1]:
        if (before := told(earlier)) != (now := verdicts(said)):
            other = sorted({test for test in before.keys() | now.keys() if before.get(test) != now.get(test)})
            wrong.append(f"not as in {earlier.name}: {', '.join(other[:5])}{' ...' if len(other) > 5 else ''}")
    return wrong


def main() -> int:
    """All rounds; 0 when each was as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.specs_soak", description="Specs again and again.")
    parser.add_argument("--quick", type=int, default=20, metavar="N", help="runs of `pytest specs/`")
    parser.add_argument("--disruptive", type=int, default=5, metavar="N", help="runs of the pair's disruptive specs")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="where the JUnit files of all rounds are kept")
    options = parser.parse_args()
    into = options.into or Path(tempfile.mkdtemp(prefix="rpicluster-soak."))
    bad = 0
    for kind, look, count in (("quick", quick, options.quick), ("disruptive", disruptive, options.disruptive)):
        for _ in range(count):
            folder = into / f"{kind}-{time.time_ns()}"
            folder.mkdir(parents=True)
            said, took = look(folder)
            wrong = judge(kind, folder, said, took)
            bad += bool(wrong)
            counts = [f"{sum(one.outcome == o for one in said.values())} {o}" for o in ("passed", "skipped", "failed")]
            print(f"{'BAD' if wrong else 'ok '} {kind}: {took:.1f} s, {', '.join(counts)}", flush=True)
            print("".join(f"    {line}\n" for line in wrong), end="", flush=True)
    print(f"{bad} rounds were not as they must be" if bad else f"every round was as it must be; all of them: {into}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
