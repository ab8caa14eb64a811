"""The experiment's side of the observer: starts its process, records what it says, knows the latest of it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from chaos.watch import DRAIN_S, Plan
from cluster.errors import ClusterError
from cluster.record import Recorder
from cluster.wait import Deadline

ROOT = Path(__file__).resolve().parents[1]
START_S = 10.0
"""From nothing to the first look: an interpreter and its imports on a busy Pi."""


class Observer:
    """Looks from outside until closed; use it as a context manager.

    Every event goes to the recorder as the observer wrote it.  Raises ClusterError when the observer cannot
    begin, or died meanwhile (`finish`).
    """

    def __init__(self, plan: Plan, recorder: Recorder) -> None:
        self._plan, self._recorder = plan, recorder
        self._changed = threading.Condition()
        self._latest: dict[tuple[str, str], dict[str, Any]] = {}
        self._good: set[str] = set()
        self._ready = False
        self._ended = False
        self._error: str | None = None

    def __enter__(self) -> Observer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.watch", self._plan.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C at the terminal is for us alone
        )
        self._reader = threading.Thread(target=self._read, name="observer", daemon=True)
        self._reader.start()
        try:
            self.await_(lambda: self._ready or self._ended, START_S)
            if not self._ready:
                raise ClusterError(f"the observer did not begin: {self._last_words()}")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def alive(self) -> bool:
        """Whether it still looks."""
        return not self._ended

    def latest(self, service: str) -> dict[str, Any] | None:
        """The last look at a service that ended (the fields of a `probe` event); None before the first."""
        with self._changed:
            return self._latest.get(("probe", service))

    def seen_good(self, service: str) -> bool:
        """Whether any look at a service was good so far."""
        with self._changed:
            return service in self._good

    def advertised(self, src: str) -> float:
        """When that address last advertised itself as master (monotonic s); minus infinity if it never did."""
        with self._changed:
            event = self._latest.get(("vrrp", src))
        return float("-inf") if event is None else float(event["t"])

    def await_(self, condition: Callable[[], bool], deadline: float | Deadline) -> bool:
        """Whether a condition on what was observed came true before the deadline."""
        end = Deadline.of(deadline)
        with self._changed:
            return self._changed.wait_for(condition, end.left)

    def finish(self) -> None:
        """Have it end what is under way, and record the rest; raises ClusterError when it had died, or does not end."""
        if self._ended:
            raise ClusterError(f"the observer died during the experiment: {self._last_words()}")
        self._tell(b"finish\n")
        in_time = self.await_(lambda: self._ended, DRAIN_S + 2.0)
        self._end()
        if not in_time:
            raise ClusterError("the observer did not end when it was told to: nobody knows until when it looked")
        if self._process.returncode:
            raise ClusterError(f"the observer died when it was to end: {self._last_words()}")

    def _tell(self, word: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):  # it has ended; what it said before is being read
            stdin.write(word)
            stdin.flush()

    def _end(self) -> None:
        process = self._process
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(2.0)

    def _last_words(self) -> str:
        if self._error:
            return self._error
        if self._process.poll() is None:
            return "no sign of life"
        assert self._process.stderr is not None
        words = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return words[-1] if words else f"exit code {self._process.returncode}"

    def _read(self) -> None:
        """Record every line; a thread, since the experiment waits for other things."""
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                if not line.endswith(b"\n"):
                    break  # killed in the middle of a word
                event = json.loads(line)
                kind = event.pop("kind")
                if kind == "failed":
                    self._error = event["error"]
                elif kind != "ready":
                    self._recorder.event(kind, **event)
                with self._changed:
                    self._note(kind, event)
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _note(self, kind: str, event: dict[str, Any]) -> None:
        if kind == "ready":
            self._ready = True
        elif kind == "probe":
            self._latest["probe", event["service"]] = event
            if event["ok"]:
                self._good.add(event["service"])
        elif kind == "frame" and event["proto"] == "vrrp":
            self._latest["vrrp", event["src"]] = event
