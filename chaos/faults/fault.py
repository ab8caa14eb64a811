"""What a fault is: data first, then something applied, and always undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from cluster import here
from cluster.errors import InputError, Refused
from cluster.fields import show
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.power import PowerDriver


@dataclass(frozen=True)
class Means:
    """What faults are applied and undone with."""

    inventory: Inventory
    fleet: Fleet
    power: PowerDriver
    hold_s: float = 60.0
    """How long a fault is meant to last; one that cuts a node off ends there by itself a little later."""
    stopping: Callable[[], bool] = lambda: False
    """Whether it was asked to end: one that takes long to apply looks now and then."""


PATIENCE_S = 90.0
"""How long an undo may fail, s: a Pi B+ boots in 40 s, and what is cut off comes back by itself within 66 s."""
LONGEST_S = 3600.0
"""How long a fault lasts at most that nothing but its command undoes."""


def admit(fault: Fault, means: Means) -> None:
    """Return where a fault can be done here, for as long as it is meant to last; raises Refused and InputError.

    One that would end by itself before its time is refused: what is measured after that would be no fault's doing.
    """
    if means.hold_s > fault.longest_s:
        raise Refused(too_long(fault))
    fault.fits(means.inventory)
    fault.check(means)


def too_long(fault: Fault) -> str:
    """What is said of a fault that is meant to last longer than it does."""
    return f"{fault.kind}: it lasts {fault.longest_s:g} s at most; name a shorter time"


def number(kind: str, text: str, unit: str, most: int) -> int:
    """A whole number from 1 to `most`; raises InputError."""
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    if not digits or not 1 <= int(text) <= most:
        raise InputError(f"{kind}: {show(text)} is no number of {unit}; write one from 1 to {most}")
    return int(text)


def demand_elsewhere(fault: Fault, names: Iterable[str], inventory: Inventory) -> None:
    """Raise Refused where this machine is one of the nodes: nobody could undo it but they, after minutes."""
    own = here.node(inventory)
    if own is not None and own.name in names:
        raise Refused(
            f"{fault.kind}: this machine is {own.name}, which would cut itself off from what it has to undo; "
            "run it from another machine"
        )


class OfOneNode:
    """What faults of a single node share; a frozen dataclass below gives `node`."""

    node: str
    longest_s: ClassVar[float] = LONGEST_S

    @property
    def nodes(self) -> tuple[str, ...]:
        """The one node."""
        return (self.node,)

    @property
    def losing(self) -> str:
        """The node."""
        return self.node

    def fits(self, inventory: Inventory) -> None:
        """The node must be one of the inventory's; raises InputError."""
        inventory.node(self.node)

    def ended(self, means: Means) -> str:
        """Nobody else can end it unseen."""
        return ""

    def awaited(self, means: Means) -> None:
        """Raise NodeError unless it answers, by a new connection."""
        means.fleet[self.node].close()
        means.fleet[self.node].run(["true"], deadline=2.0, check=True)


class Fault(Protocol):
    """A fault as data, and how it is applied and undone; a frozen dataclass whose fields are text."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    kind: ClassVar[str]
    takes_node: ClassVar[bool]
    """Whether the whole node is gone while it lasts."""
    part_of: ClassVar[str | None]
    """The fault that takes away all that this one does and more: what is claimed of that one holds here, too."""
    patience_s: ClassVar[float]
    """How long its undo may go on failing before that is the end of it."""
    longest_s: ClassVar[float]
    """How long it may be held: after that it is over, whatever became of its command."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that the fault takes away, or something of them."""

    @property
    def losing(self) -> str:
        """What it takes something of, for people: `alpha`."""

    @property
    def title(self) -> str:
        """What it does, as a clause for people: `alpha is powered off`."""

    @property
    def undoing(self) -> str:
        """How it is undone, as a clause for people."""

    def fits(self, inventory: Inventory) -> None:
        """Return where the inventory has what it is about; raises InputError, asking nobody."""

    def check(self, means: Means) -> None:
        """Look whether it can be done here at all, changing nothing; raises Refused with the reason."""

    def ended(self, means: Means) -> str:
        """Why it is over already although nobody here undid it, as a clause; nothing where it is not, or none knows."""

    def apply(self, means: Means) -> None:
        """Do it; on return it is in effect.  Raises ClusterError when it could not be done, or only half."""

    def undo(self, means: Means) -> None:
        """Undo it, also when only half of it was applied or half undone; harmless when there is nothing to undo."""


@dataclass(frozen=True)
class Kind:
    """One line of `chaos list`: how a fault is made from a command line's arguments.

    `make` raises InputError for one that it refuses.
    """

    arguments: tuple[str, ...]
    help: str
    make: Callable[[Sequence[str]], Fault]
    claimed: bool = False
    """Whether an inventory may claim something about it."""
