"""What the last run that was well measured between two nodes: read from its record, which may not be there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.inventory import Inventory

SPEC = "test_a_pair_is_about_as_fast_as_before"
RUNS = 5  # how far back we look: a run may have been about something else


@dataclass(frozen=True)
class Earlier:
    """What a pair was like."""

    latency_us: float
    bandwidth_mb_s: float


def earlier(inventory: Inventory, ids: str) -> Earlier | None:
    """What this pair (the end of the spec's id) was like in the last run that found it well; None where there is none.

    A run that failed passes on what it was compared with, so that what stays slow stays red.
    """
    return _measured(inventory.root / "reports" / "runs").get(f"{SPEC}{ids}")


@cache
def _measured(runs: Path) -> dict[str, Earlier]:
    found: dict[str, Earlier] = {}
    folders = sorted(runs.glob("*-specs"), reverse=True) if runs.is_dir() else []
    for folder in folders[:RUNS]:
        events = folder / "events.jsonl"
        if not events.exists():
            continue
        for line in events.read_text(encoding="utf-8").splitlines():
            if SPEC in line:
                _take(line, found)
    return found


def _take(line: str, found: dict[str, Earlier]) -> None:
    try:
        event = json.loads(line)
        end = "" if event["outcome"] == "passed" else "_before"
        one = Earlier(*(float(event["measured"][name + end]) for name in ("latency_us", "bandwidth_mb_s")))
    except (ValueError, KeyError, TypeError):  # cut short, or a spec that measured nothing
        return
    if one.latency_us > 0 and one.bandwidth_mb_s > 0:
        found.setdefault(str(event["test"]), one)  # the newest run is read first
