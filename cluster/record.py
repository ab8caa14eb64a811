"""What was seen, appended as JSON lines before anybody judges it.

A run is one folder: `run.json` (what and when) and `events.jsonl` (everything recorded).  Reports and
verdicts are pure functions of it, so an old run can be judged again.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Event = dict[str, Any]
RUN_FILE = "run.json"
EVENTS_FILE = "events.jsonl"
_REPORT = re.compile(r"^report: reports/runs/([\w.-]+)/report\.html$", re.MULTILINE)


def named(text: str) -> list[str]:
    """The runs whose reports are named in what a run of specs printed (specs/session.py)."""
    return _REPORT.findall(text)


class Recorder:
    """Appends events to one run's folder; safe to call from several threads."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.about: dict[str, Any] = dict(about)
        self._lock = threading.Lock()
        self._file = (folder / EVENTS_FILE).open("a", encoding="utf-8", buffering=1 << 16)
        self._save()

    @classmethod
    def start(cls, runs: Path, kind: str, about: Mapping[str, Any]) -> Recorder:
        """Make a new run folder `<time>-<kind>` under `runs` and open it; the name is unique."""
        now = datetime.now(UTC)
        runs.mkdir(parents=True, exist_ok=True)
        for n in range(1000):
            name = f"{now:%Y%m%d-%H%M%S}-{kind}" + (f"-{n}" if n else "")
            try:
                (runs / name).mkdir()
            except FileExistsError:
                continue
            return cls(runs / name, {"id": name, "kind": kind, "started": now.isoformat(), **about})
        raise FileExistsError(runs / name)

    def event(self, kind: str, **data: Any) -> Event:
        """Record one event with both clocks (`t` monotonic seconds, `wall` epoch seconds)."""
        event: Event = {"t": time.monotonic(), "wall": time.time(), "kind": kind, **data}
        line = json.dumps(event, separators=(",", ":"), default=str)
        with self._lock:
            self._file.write(line + "\n")
        return event

    def flush(self) -> None:
        """Hand everything recorded so far to the operating system."""
        with self._lock:
            self._file.flush()

    def finish(self, **about: Any) -> None:
        """Close the run, adding `about` (status, exit) to its description."""
        self.about |= {"ended": datetime.now(UTC).isoformat(), **about}
        with self._lock:
            self._file.close()
        self._save()

    def _save(self) -> None:
        part = self.folder / f".{RUN_FILE}.part"
        part.write_text(json.dumps(self.about, indent=1, default=str) + "\n", encoding="utf-8")
        os.replace(part, self.folder / RUN_FILE)


def events(folder: Path) -> Iterator[Event]:
    """Every event of a run in the order it was written; a last line cut off by a crash is left out."""
    path = folder / EVENTS_FILE
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                return
            yield json.loads(line)


def about(folder: Path) -> dict[str, Any]:
    """The description of a run (`run.json`)."""
    loaded: dict[str, Any] = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    return loaded
