"""`during`: nothing is broken; a command of yours works on a node, and what clients notice of it is measured."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means, OfOneNode
from cluster.errors import ClusterError, InputError

LIMIT_S = 3600.0
"""How long such work may take: an image is written and a Pi B+ provisioned in half of it."""
BACK_S = 300.0


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
        """Run it to its end; raises ClusterError when that is another exit code than 0."""
        means.fleet[self.node].close()
        try:
            code = subprocess.run(shlex.split(self.command), timeout=LIMIT_S, check=False).returncode
        except subprocess.TimeoutExpired:
            raise ClusterError(f"`{self.command}` did not end within {LIMIT_S:g} s") from None
        except OSError as error:
            raise ClusterError(f"`{self.command}` cannot be run: {error.strerror}") from None
        if code:
            raise ClusterError(f"`{self.command}` ended with exit code {code}")

    def undo(self, means: Means) -> None:
        """Wait for the node; raises NodeError."""
        self.awaited(means)
