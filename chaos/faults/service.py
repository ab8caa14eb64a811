"""`stop`, `crash`, `sigkill`, `freeze`: a service of a node ends, in order or without a word, or only seems there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import NodeFault, drop_in, must_run, no_drop_in


@dataclass(frozen=True)
class Stop(NodeFault):
    """A service is stopped in order, as before an upgrade: it may say goodbye."""

    node: str
    unit: str
    kind: ClassVar[str] = "stop"
    part_of: ClassVar[str | None] = "kill"
    TITLE: ClassVar[str] = "{unit} of {node} is stopped"
    UNDOING: ClassVar[str] = "{unit} of {node} is started"

    def begin(self, means: Means) -> str:
        """Stop it and wait for its end."""
        return f"{must_run(self.unit)}systemctl stop {self.unit}\n"

    def end(self, means: Means) -> str:
        """Start it."""
        return f"systemctl start {self.unit}\n"


@dataclass(frozen=True)
class Crash(NodeFault):
    """All processes of a service are killed (SIGKILL), and nothing starts it again until the undo."""

    node: str
    unit: str
    kind: ClassVar[str] = "crash"
    part_of: ClassVar[str | None] = "kill"
    TITLE: ClassVar[str] = "{unit} of {node} is killed"
    UNDOING: ClassVar[str] = "{unit} of {node} is started"

    def begin(self, means: Means) -> str:
        """Kill it, and see that it stays dead."""
        return (
            f"{must_run(self.unit)}{drop_in(self.unit, 'Restart=no')}"
            f"systemctl kill --signal=KILL --kill-who=all {self.unit}\n"
            f"for _ in $(seq 100); do systemctl is-active --quiet {self.unit} || exit 0; sleep 0.05; done\n"
            f"echo '{self.unit} still runs' >&2; exit 1\n"
        )

    def end(self, means: Means) -> str:
        """Start it, with its own rules for restarts."""
        return f"{no_drop_in(self.unit)}systemctl reset-failed {self.unit} || true\nsystemctl start {self.unit}\n"


@dataclass(frozen=True)
class SigKill(NodeFault):
    """The main process of a service is killed, once; whether anything starts it again is up to its unit."""

    node: str
    unit: str
    kind: ClassVar[str] = "sigkill"
    part_of: ClassVar[str | None] = "kill"
    TITLE: ClassVar[str] = "the main process of {unit} of {node} is killed"
    UNDOING: ClassVar[str] = "{unit} of {node} is started, if nothing did so"

    def begin(self, means: Means) -> str:
        """Kill it."""
        return f"{must_run(self.unit)}systemctl kill --signal=KILL --kill-who=main {self.unit}\n"

    def end(self, means: Means) -> str:
        """Start it; nothing if it runs."""
        return f"systemctl reset-failed {self.unit} 2>/dev/null || true\nsystemctl start {self.unit}\n"


@dataclass(frozen=True)
class Freeze(NodeFault):
    """All processes of a service stand still (SIGSTOP): its connections stay open, and nothing answers."""

    node: str
    unit: str
    kind: ClassVar[str] = "freeze"
    part_of: ClassVar[str | None] = "kill"
    TITLE: ClassVar[str] = "{unit} of {node} stands still"
    UNDOING: ClassVar[str] = "{unit} of {node} goes on"

    def begin(self, means: Means) -> str:
        """Freeze it; systemd does not notice."""
        return f"{must_run(self.unit)}systemctl kill --signal=STOP --kill-who=all {self.unit}\n"

    def end(self, means: Means) -> str:
        """Let it go on; one that ended meanwhile is its own unit's affair."""
        return f"systemctl kill --signal=CONT --kill-who=all {self.unit} 2>/dev/null || true\n"
