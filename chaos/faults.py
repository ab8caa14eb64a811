"""What can be done to a cluster on purpose: each fault is data first, then applied, and always undone.

A new fault is a frozen dataclass with these verbs and one line in `FAULTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

from cluster.errors import ClusterError, InputError
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.power import PowerDriver
from cluster.wait import until


@dataclass(frozen=True)
class Means:
    """What faults are applied and undone with."""

    inventory: Inventory
    fleet: Fleet
    power: PowerDriver


class Fault(Protocol):
    """A fault as data, and how it is applied and undone."""

    kind: ClassVar[str]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that the fault takes away."""

    @property
    def title(self) -> str:
        """What it does, as a clause for people: `alpha is powered off`."""

    @property
    def undoing(self) -> str:
        """How it is undone, as a clause for people."""

    def apply(self, means: Means) -> None:
        """Do it; on return it is in effect."""

    def undo(self, means: Means) -> None:
        """Undo it, also when only half of it was applied or half undone; harmless when there is nothing to undo."""


ANSWERS_S = 3.0
"""How long a node that has power may take to answer before it counts as half off: well above a LAN's latency."""


@dataclass(frozen=True)
class PowerOff:
    """A node loses its power, as when its plug is pulled."""

    node: str
    kind: ClassVar[str] = "kill"

    @property
    def nodes(self) -> tuple[str, ...]:
        """The one node."""
        return (self.node,)

    @property
    def title(self) -> str:
        """What happens."""
        return f"{self.node} is powered off"

    @property
    def undoing(self) -> str:
        """What brings it back."""
        return f"{self.node} is powered on and waited for"

    def apply(self, means: Means) -> None:
        """Pull the plug; on return the node is gone from the wire."""
        means.power.off(self.node)
        means.fleet[self.node].close()

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


def _kill(arguments: Sequence[str]) -> Fault:
    (node,) = arguments
    return PowerOff(node)


@dataclass(frozen=True)
class Kind:
    """One line of `chaos list`: how a fault is made from a command line's arguments."""

    arguments: tuple[str, ...]
    help: str
    make: Callable[[Sequence[str]], Fault]


FAULTS: Mapping[str, Kind] = {
    PowerOff.kind: Kind(("NODE",), "pull the plug of a node, and give it power again", _kill),
}


def data(fault: Fault) -> dict[str, Any]:
    """The fault as it is written to the journal and to the record."""
    return {"fault": fault.kind, **asdict(fault)}  # type: ignore[call-overload]


def from_data(written: Mapping[str, Any]) -> Fault:
    """The fault that `data` wrote; raises InputError for one that this version does not know."""
    arguments = [str(value) for key, value in written.items() if key != "fault"]
    try:
        return FAULTS[str(written["fault"])].make(arguments)
    except (KeyError, ValueError):
        raise InputError(f"the journal names a fault that is not known here: {dict(written)}") from None
