"""The observer's loop: one thread, one selector, a monotonic schedule, and nothing that ever waits.

Whatever arrived is read before anything is declared overdue, so a loop that was late itself does not take its
own lateness for a service's.  It says when it was late (`stall`).
"""

from __future__ import annotations

import json
import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

STALL_S = 0.02
"""From here on lateness is recorded: it is the interval between two looks at the slower services."""
FLUSH_S = 0.1
"""How long events may wait before they are handed on."""
Emit = Callable[..., None]


class Prober(Protocol):
    """Something that looks at a service again and again."""

    def start(self, loop: Loop, now: float) -> None:
        """Open sockets and begin the schedule."""

    def due(self) -> float:
        """When `tick` has something to do next, in seconds on the monotonic clock."""

    def tick(self, now: float) -> None:
        """Send what is due, give up what is overdue; never waits."""

    def stop(self) -> None:
        """Begin nothing new."""

    @property
    def busy(self) -> bool:
        """Whether a look is still under way."""

    def close(self) -> None:
        """Leave nothing behind."""


@runtime_checkable
class Sampling(Protocol):
    """A prober that declares how often it looks at which service: every `period` seconds."""

    service: str
    period: float


class Loop:
    """Runs probers until told to stop; events go to `out`, a file descriptor that may be slow but not full."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._poll = select.epoll()
        self._read: dict[int, Callable[[], None]] = {}
        self._events: list[dict[str, Any]] = []
        self._pending: deque[bytes] = deque()
        self._flushed = time.monotonic()
        self._running = True
        self._end = float("inf")
        self._offset = time.time() - time.monotonic()
        os.set_blocking(out, False)

    @staticmethod
    def now() -> float:
        """The clock of every event: monotonic seconds."""
        return time.monotonic()

    def wall(self, t: float) -> float:
        """Epoch seconds of a moment on that clock."""
        return t + self._offset

    def watch(self, fd: int, ready: Callable[[], None], *, writable: bool = False) -> None:
        """Call `ready` whenever `fd` can be read (or, for a connect under way, written)."""
        self._read[fd] = ready
        self._poll.register(fd, select.EPOLLOUT if writable else select.EPOLLIN)

    def forget(self, fd: int) -> None:
        """Stop watching `fd`; to be called before it is closed."""
        del self._read[fd]
        self._poll.unregister(fd)

    def emit(self, kind: str, t: float, **data: Any) -> None:
        """Note an event that happened at `t` (monotonic seconds); it is written later."""
        self._events.append({"kind": kind, "t": t, "wall": t + self._offset, **data})

    def finish(self, seconds: float) -> None:
        """End the loop as soon as no look is under way, at the latest after so many seconds."""
        self._running = False
        self._end = min(self._end, time.monotonic() + seconds)

    def run(self, probers: list[Prober]) -> None:
        """Look until `finish`; every event is written before this returns."""
        for prober in probers:
            prober.start(self, time.monotonic())
        began = time.monotonic()
        self.emit("ready", began)
        self.emit("sampling", began, periods={p.service: p.period for p in probers if isinstance(p, Sampling)})
        stopped = False
        try:
            while True:
                now = time.monotonic()
                due = min([prober.due() for prober in probers] + [self._flush_due(), self._end, now + 1.0])
                for fd, _ in self._poll.poll(max(0.0, due - now)):
                    if (ready := self._read.get(fd)) is not None:
                        ready()
                now = time.monotonic()
                if now - due > STALL_S:
                    self.emit("stall", now, late_s=now - due, at=now)
                for prober in probers:
                    if prober.due() <= now:
                        prober.tick(now)
                if not self._running and not stopped:
                    stopped = True
                    for prober in probers:
                        prober.stop()
                if stopped and (now >= self._end or not any(prober.busy for prober in probers)):
                    break
                if now >= self._flush_due():
                    self._flush(now)
        finally:
            for prober in probers:
                prober.close()
            self.emit("cost", time.monotonic(), cpu_s=time.process_time(), wall_s=time.monotonic() - began)
            os.set_blocking(self._out, True)
            self._flush(time.monotonic())

    def _flush_due(self) -> float:
        return self._flushed + FLUSH_S if self._events or self._pending else float("inf")

    def _flush(self, now: float) -> None:
        self._flushed = now
        self._offset = time.time() - now
        events, self._events = self._events, []
        if events:
            self._pending.append("".join(json.dumps(e, separators=(",", ":")) + "\n" for e in events).encode())
        while self._pending:
            try:
                done = os.write(self._out, self._pending[0])
            except BlockingIOError:
                return
            if done < len(self._pending[0]):
                self._pending[0] = self._pending[0][done:]
            else:
                self._pending.popleft()
