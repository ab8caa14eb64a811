"""`hang`: all that runs on a node stands still, while its kernel goes on answering pings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import CUT_S, NodeFault


@dataclass(frozen=True)
class Hang(NodeFault):
    """Every process but the first is stopped (SIGSTOP), as when a card stops answering: ports open, nobody serves.

    The node's own timer ends it, since the first process runs on (kill(2): a signal to -1 spares it).
    """

    node: str
    kind: ClassVar[str] = "hang"
    cuts_off: ClassVar[bool] = True
    longest_s: ClassVar[float] = CUT_S
    TITLE: ClassVar[str] = "all of {node} stands still"
    UNDOING: ClassVar[str] = "{node} goes on by itself, and is waited for"

    def begin(self, means: Means) -> str:
        """Stop all."""
        return "kill -s STOP -- -1\n"

    def end(self, means: Means) -> str:
        """Let all go on."""
        return "kill -s CONT -- -1\n"
