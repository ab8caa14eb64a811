"""Ctrl-C as a request: the experiment ends early and in order, whatever it is in the middle of."""

from __future__ import annotations

import os
import select
import signal
import threading
from types import FrameType, TracebackType

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LATER = b"\nchaos: bringing the cluster back first; this takes some seconds\n"


class Interrupts:
    """While entered, SIGINT, SIGTERM and SIGHUP only set `asked` and end `wait`; nothing is torn off.

    A pipe, not a threading.Event: a handler that sets an Event while the same thread waits for it can deadlock.
    Outside the main thread, where handlers cannot be set, it never asks.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupts:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        if threading.current_thread() is threading.main_thread():
            for number in ASKING:
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = signal.Signals(number)
        try:
            if number != signal.SIGHUP:
                os.write(2, LATER)
            os.write(self._write, b"!")
        except OSError:
            return  # the terminal is gone, or the pipe is full of earlier requests: both are fine

    def wait(self, seconds: float) -> bool:
        """Wait for so long, or until asked to end; whether it was asked."""
        if self.asked is None:
            select.select([self._read], [], [], max(0.0, seconds))
        return self.asked is not None
