"""`during`: nothing is broken; a command of yours works on a node, and what clients notice of it is measured."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from chaos.faults.fault import Means, OfOneNode
from cluster.errors import ClusterError, InputError
from cluster.wait import Deadline

LIMIT_S = 3600.0
"""How long such work may take: an image is written and a Pi B+ provisioned in half of it."""
BACK_S = 300.0
LOOK_S = 0.2
"""How often it is looked whether the command should end."""
CLEAR_UP_S = 30.0
"""How long it may take to end once it was asked to; then it is killed."""
STDERR = 2
"""Where the command's output goes: ours is for the verdict."""


@dataclass(frozen=True)
class During(OfOneNode):
    """A command that takes a node out of service and brings it back by itself."""

    node: str
    command: str
    kind: ClassVar[str] = "during"
    takes_node: ClassVar[bool] = False
    part_of: ClassVar[str | None] = "kill"
    patience_s: ClassVar[float] = BACK_S

    def __post_init__(self) -> None:
        try:
            words = shlex.split(self.command)
        except ValueError:
            words = []
        if not words:
            raise InputError(f"during: {self.command!r} is no command; write it in quotes")

    @property
    def title(self) -> str:
        """What happens."""
        return f"`{self.command}` works on {self.node}"

    @property
    def undoing(self) -> str:
        """What brings it back: the command itself."""
        return f"{self.node} is waited for"

    def check(self, means: Means) -> None:
        """Nothing speaks against it that the guard does not see."""

    def apply(self, means: Means) -> None:
        """Run it to its end, or until it should end; raises ClusterError when that is another exit code than 0."""
        means.fleet[self.node].close()
        end = Deadline.after(LIMIT_S)
        try:
            process = subprocess.Popen(shlex.split(self.command), stdout=STDERR)
        except OSError as error:
            raise ClusterError(f"`{self.command}` cannot be run: {error.strerror}") from None
        while (code := _exit_code(process, LOOK_S)) is None:
            if means.stopping():
                _end(process)
                raise ClusterError(f"`{self.command}` was ended before it had done its work")
            if end.passed:
                _end(process)
                raise ClusterError(f"`{self.command}` did not end within {LIMIT_S:g} s")
        if code:
            raise ClusterError(f"`{self.command}` ended with exit code {code}")

    def undo(self, means: Means) -> None:
        """Wait for the node; raises NodeError."""
        self.awaited(means)


def _exit_code(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """What a process ended with within so long; None where it runs on."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process, and all that it started, to end; then see to it."""
    family = [process.pid, *_descendants(process.pid)]
    _signal(family, signal.SIGTERM)
    if _exit_code(process, CLEAR_UP_S) is None:
        _signal([*family, *_descendants(process.pid)], signal.SIGKILL)
        _exit_code(process, CLEAR_UP_S)


def _descendants(pid: int) -> Iterator[int]:
    """The processes that one started, and those that they did (proc(5), task/TID/children)."""
    for path in Path("/proc", str(pid), "task").glob("*/children"):
        with suppress(OSError):  # it ended meanwhile
            for child in map(int, path.read_text(encoding="ascii").split()):
                yield child
                yield from _descendants(child)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
