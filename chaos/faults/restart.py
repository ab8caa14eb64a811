"""`reset` and `reboot`: a node starts anew, without a word or in order, and comes back by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import PATIENCE_S, Means, OfOneNode, demand_elsewhere
from cluster import power
from cluster.reboot import give_power, reboot


class _Restart(OfOneNode):
    """What both share; frozen dataclasses below give `node`."""

    takes_node: ClassVar[bool] = False
    part_of: ClassVar[str | None] = "kill"
    patience_s: ClassVar[float] = PATIENCE_S

    @property
    def undoing(self) -> str:
        """What brings it back."""
        return f"{self.node} is waited for"

    def undo(self, means: Means) -> None:
        """Wait for it; where it has no power, and something can give it some, that is done."""
        give_power(means.power, means.fleet[self.node])
        self.awaited(means)


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
        """Its driver must be able to, and this be another machine."""
        demand_elsewhere(self, self.nodes, means.inventory)
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
        """It is asked over SSH, and needs no driver; this must be another machine."""
        demand_elsewhere(self, self.nodes, means.inventory)

    def apply(self, means: Means) -> None:
        """Ask it to; on return it is down, or on its way up again."""
        reboot(means.power, means.fleet[self.node])
