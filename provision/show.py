"""What a person sees while nodes are being provisioned, and the table at the end.

On a terminal one line a node, rewritten in place; elsewhere one line for each step that changed something (with
`--check`, for each thing it would change).
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from typing import Any, TextIO

from provision.runner import Line, Outcome


class Show:
    """Progress on one stream; safe to call from several threads."""

    def __init__(self, names: Sequence[str], stream: TextIO, *, check: bool) -> None:
        self._stream, self._check = stream, check
        self._began = time.monotonic()
        self._live = stream.isatty()
        self._width = max(map(len, names), default=0)
        self._now = dict.fromkeys(names, "")
        self._changes = dict.fromkeys(names, 0)
        self._step = dict.fromkeys(names, ("", 0))  # the step a node is at, and the changes before it
        self._lock = threading.Lock()
        self._drawn = False

    def line(self, name: str, line: Line) -> None:
        """A node said something."""
        with self._lock:
            if line.kind == "change":
                self._changes[name] += 1
            if self._live:
                self._now[name] = line.text
                self._draw()
            elif line.kind == "change" and self._check:
                self._print(name, f"would change {line.text}")
            elif line.kind in ("note", "failed"):
                self._print(name, line.text)
            elif line.kind in ("step", "end"):
                step, before = self._step[name]
                self._step[name] = (line.text, self._changes[name])
                if not self._check and self._changes[name] > before:
                    self._print(name, f"{step}: {_changes(self._changes[name] - before)}")
                if line.kind == "end" and line.text == "ok":
                    self._print(name, f"done, {_changes(self._changes[name])}")

    def say(self, text: str) -> None:
        """Something about the whole."""
        with self._lock:
            self._drawn = False
            self._print("", text)

    def _print(self, name: str, text: str) -> None:
        at = time.monotonic() - self._began
        print(f"provision: {at:6.1f} s  {name:{self._width}}  {_clean(text)}", file=self._stream, flush=True)

    def _draw(self) -> None:
        room = max(20, shutil.get_terminal_size().columns - self._width - 17)
        rows = [
            f"{name:{self._width}}  {_changes(self._changes[name]):>12}  {_clean(text)[:room]}"
            for name, text in self._now.items()
        ]
        up = f"\033[{len(rows)}A" if self._drawn else ""
        print(up + "\n".join(f"\033[2K{row}" for row in rows), file=self._stream, flush=True)
        self._drawn = True


def table(outcomes: Sequence[Outcome], *, check: bool) -> str:
    """One line a node: what changed (or would), whether it is as it should be, how long it took."""
    width = max([4, *(len(outcome.node) for outcome in outcomes)])
    rows = [f"{'node':{width}}  {'would change' if check else 'changed':>12}  ok   seconds"]
    for outcome in outcomes:
        ok = "yes" if outcome.ok else "NO"
        rows.append(f"{outcome.node:{width}}  {len(outcome.changes):12}  {ok:3}  {outcome.seconds:7.1f}")
    return "\n".join(rows)


def report(outcome: Outcome) -> str:
    """A failure as a person needs it: node, script, line, and what the step printed last."""
    indented = "".join(f"\n    {_clean(line)}" for line in outcome.output)
    return f"{outcome.error}{indented}"


def as_json(outcomes: Sequence[Outcome], *, check: bool, seconds: float, error: str | None) -> dict[str, Any]:
    """The same for programs."""
    return {
        "check": check,
        "ok": error is None and all(outcome.ok for outcome in outcomes),
        "changed": sum(len(outcome.changes) for outcome in outcomes),
        "seconds": round(seconds, 3),
        "error": error,
        "nodes": [
            {
                "name": outcome.node,
                "group": outcome.group,
                "ok": outcome.ok,
                "changes": list(outcome.changes),
                "seconds": round(outcome.seconds, 3),
                "error": outcome.error,
                "output": list(outcome.output),
            }
            for outcome in outcomes
        ],
    }


def _changes(count: int) -> str:
    return f"{count} change{'' if count == 1 else 's'}"


def _clean(text: str) -> str:
    """Without control characters: what a node prints must not move our cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
