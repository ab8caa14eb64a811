"""`reset` and `reboot`: a node starts anew, without a word or in order, and comes back by itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import PATIENCE_S, Means
from chaos.faults.on_node import answers
from cluster import power
from cluster.errors import InputError, NodeError
from cluster.wait import until

DOWN_S = 60.0
"""How long a shutdown in order may take: systemd gives each unit 90 s, ours end within a few."""


class _Restart:
    """What both share; frozen dataclasses below give `node`."""

    takes_node: ClassVar[bool] = False
    part_of: ClassVar[str | None] = "kill"
    patience_s: ClassVar[float] = PATIENCE_S
    node: str

    @property
    def nodes(self) -> tuple[str, ...]:
        """The one node."""
        return (self.node,)

    @property
    def losing(self) -> str:
        """The node."""
        return self.node

    @property
    def undoing(self) -> str:
        """What brings it back."""
        return f"{self.node} is waited for"

    def undo(self, means: Means) -> None:
        """Wait for it; where it has no power, and something can give it some, that is done."""
        _power(means, self.node)
        means.fleet[self.node].close()
        means.fleet[self.node].run(["true"], deadline=2.0, check=True)


def _power(means: Means, name: str) -> None:
    """Give a node power where it has none and a driver can tell: a node of the lab ends where a computer boots."""
    with suppress(InputError):
        if not means.power.is_on(name):
            means.power.on(name)


@dataclass(frozen=True)
class Reset(_Restart):
    """A node starts anew without a word to anybody, as when its power fails for a moment."""

    node: str
    kind: ClassVar[str] = "reset"

    @property
    def title(self) -> str:
        """What happens."""
        return f"{self.node} is reset"

    def check(self, means: Means) -> None:
        """Its driver must be able to."""
        power.demand_reset(means.power, self.node)

    def apply(self, means: Means) -> None:
        """Off and on, or what its driver has for that."""
        means.fleet[self.node].close()
        power.reset(means.power, self.node)


@dataclass(frozen=True)
class Reboot(_Restart):
    """A node shuts down in order, its services saying goodbye, and boots."""

    node: str
    kind: ClassVar[str] = "reboot"

    @property
    def title(self) -> str:
        """What happens."""
        return f"{self.node} reboots in order"

    def check(self, means: Means) -> None:
        """It is asked over SSH, and needs no driver."""

    def apply(self, means: Means) -> None:
        """Ask it to; on return it is down, or on its way up again."""
        node = means.fleet[self.node]
        before = _booted(means, self.node)
        node.run(["systemctl", "--no-block", "reboot"], sudo=True, deadline=10.0, check=True)

        def gone() -> bool:
            if not answers(node):
                return True
            return _booted(means, self.node) != before

        until(gone, deadline=DOWN_S, every=0.1, what=f"{self.node}: its end")
        _ended(means, self.node)
        _power(means, self.node)


def _booted(means: Means, name: str) -> str:
    """When a node's first process began: another one after each boot; raises NodeError."""
    return means.fleet[name].run(["stat", "-c", "%Y", "/proc/1"], deadline=5.0, check=True).text.strip()


def _ended(means: Means, name: str) -> None:
    """Where a driver can tell, wait until the node is off or answers again: it may still be shutting down."""
    node = means.fleet[name]

    def ended() -> bool:
        try:
            return not means.power.is_on(name) or answers(node)
        except (InputError, NodeError):
            return True

    until(ended, deadline=DOWN_S, every=0.2, what=f"{name}: its shutdown")
