"""`kill`: a node loses its power."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means, OfOneNode, demand_elsewhere
from chaos.faults.on_node import LIMIT_S, MARGIN_S
from cluster import power
from cluster.errors import ClusterError, Refused
from cluster.wait import until

ANSWERS_S = 3.0
"""How long a node that has power may take to answer before it counts as half off: well above a LAN's latency."""


@dataclass(frozen=True)
class PowerOff(OfOneNode):
    """A node loses its power, as when its plug is pulled."""

    node: str
    kind: ClassVar[str] = "kill"
    takes_node: ClassVar[bool] = True
    part_of: ClassVar[str | None] = None
    patience_s: ClassVar[float] = 30.0

    @property
    def title(self) -> str:
        """What happens."""
        return f"{self.node} is powered off"

    @property
    def undoing(self) -> str:
        """What brings it back."""
        return f"{self.node} is powered on and waited for"

    def check(self, means: Means) -> None:
        """Another machine, which has power now, and a driver that can give it again."""
        demand_elsewhere(self, self.nodes, means.inventory)
        if not means.power.is_on(self.node):
            raise Refused(f"{self.node} has no power already; run: python -m chaos heal")
        power.demand_on(means.power, self.node)

    def apply(self, means: Means) -> None:
        """Pull the plug; on return the node is gone from the wire."""
        power.off(means.power, self.node, max(LIMIT_S, means.hold_s + MARGIN_S))
        means.fleet[self.node].close()

    def ended(self, means: Means) -> str:
        """Its switch's timer, or a hand at the plug, can give it power again."""
        return f"{self.node} had power again before" if means.power.is_on(self.node) else ""

    def undo(self, means: Means) -> None:
        """Give power; a node that has power and yet does not answer was cut off half-way: off first, then on."""
        if means.power.is_on(self.node) and not self._answers(means):
            means.power.off(self.node)
        means.power.on(self.node)

    def _answers(self, means: Means) -> bool:
        node = means.fleet[self.node]
        try:
            until(lambda: node.run(["true"], deadline=1.0, check=True), deadline=ANSWERS_S, what=self.node)
        except ClusterError:
            return False
        return True
