"""A recorded run, read from its folder; what was cut off or damaged still tells what it can, and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster import record

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A run as it was recorded: its description, its events, and whether the record is whole."""

    folder: Path
    about: Mapping[str, Any]
    events: Sequence[Event]
    damaged: str = ""

    @property
    def id(self) -> str:
        """The run's name."""
        return str(self.about.get("id") or self.folder.name)

    @property
    def kind(self) -> str:
        """specs, chaos, ..."""
        return str(self.about.get("kind") or "run")

    @property
    def ended(self) -> bool:
        """Whether the run closed its own record."""
        return bool(self.about.get("ended"))

    def of(self, kind: str) -> list[Event]:
        """The events of one kind, in the order they were written."""
        return [event for event in self.events if event.get("kind") == kind]


def load(folder: Path, *, events: bool = True) -> Run:
    """Read a run; without `events`, only its description.  Raises FileNotFoundError when it is no run at all."""
    damaged: list[str] = []
    if not (folder / record.RUN_FILE).is_file():
        raise FileNotFoundError(f"{folder}: no {record.RUN_FILE}, so this is not a recorded run")
    try:
        about = record.about(folder)
    except ValueError:
        about = {}
        damaged.append(f"{record.RUN_FILE} cannot be read")
    found: list[Event] = []
    if events:
        try:
            found.extend(event for event in record.events(folder) if isinstance(event, dict))
        except ValueError:  # JSON or UTF-8: a crash of the machine can leave rubbish behind
            damaged.append(f"{record.EVENTS_FILE} cannot be read beyond its first {len(found)} events")
    return Run(folder, about if isinstance(about, dict) else {}, found, "; ".join(damaged))


def nodes_of(run: Run) -> list[Mapping[str, Any]]:
    """The nodes that the run was about, as it described them."""
    nodes = run.about.get("nodes")
    return [node for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []


def number(value: object) -> float | None:
    """A finite number as it is, anything else as None."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf"):
        return float(value)
    return None


def instant(value: object) -> datetime | None:
    """A moment from ISO 8601 text or epoch seconds, in UTC; None for anything else."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).astimezone(UTC)
        if (seconds := number(value)) is not None:
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
