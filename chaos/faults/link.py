"""`unplug` and `partition`: a node off the wire, or two sets of nodes that do not hear each other."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import PATIENCE_S, Means, demand_elsewhere
from chaos.faults.on_node import CUT_S, TABLE, NodeFault
from cluster.errors import InputError
from cluster.inventory import Inventory


def no_table(family: str, name: str) -> str:
    """Shell that deletes a table of ours, where it is, and no other."""
    return f"if nft list table {family} {name} >/dev/null 2>&1; then nft delete table {family} {name}; fi\n"


def at_interface(device: str, name: str, rule: str) -> str:
    """Shell that makes a table of ours at an interface, before all else: for what comes in and what goes out.

    Raw packets and ARP pass there, too (nft(8), netdev; `egress` is of Linux 5.16).
    """
    chains = "\n".join(
        f"chain {hook} {{ type filter hook {hook} device {device} priority -500; {rule}; }}"
        for hook in ("ingress", "egress")
    )
    return f"{no_table('netdev', name)}nft -f - <<'END'\ntable netdev {name} {{\n{chains}\n}}\nEND\n"


@dataclass(frozen=True)
class Unplug(NodeFault):
    """Nothing enters or leaves a node's interface, ARP and raw packets included, as when its cable is pulled.

    The interface itself stays up: one that goes down takes its routes with it, and no undo knows them all.
    """

    node: str
    kind: ClassVar[str] = "unplug"
    takes_node: ClassVar[bool] = True
    part_of: ClassVar[str | None] = "kill"
    cuts_off: ClassVar[bool] = True
    longest_s: ClassVar[float] = CUT_S
    TITLE: ClassVar[str] = "the cable of {node} is pulled"
    UNDOING: ClassVar[str] = "{node} plugs itself in again, and is waited for"

    def begin(self, means: Means) -> str:
        """Drop all."""
        return at_interface(means.inventory.interface(self.node), f"{TABLE}{self.key}", "counter drop")

    def end(self, means: Means) -> str:
        """Delete that table."""
        return no_table("netdev", f"{TABLE}{self.key}")


@dataclass(frozen=True)
class _Deaf(NodeFault):
    """A node drops what some others send it."""

    node: str
    others: tuple[str, ...]
    kind: ClassVar[str] = "partition"
    TITLE: ClassVar[str] = "{node} hears none of {others}"
    UNDOING: ClassVar[str] = "{node} hears them again"

    def begin(self, means: Means) -> str:
        """A table of our own, before every other (nft(8): priority -300 is `raw`)."""
        sources = ", ".join(str(means.inventory.node(name).address) for name in self.others)
        rule = f"ip saddr {{ {sources} }} counter drop;"
        chain = f"chain input {{ type filter hook input priority -300; {rule} }}"
        return f"{self.end(means)}nft -f - <<'END'\ntable inet {TABLE}{self.key} {{\n{chain}\n}}\nEND\n"

    def end(self, means: Means) -> str:
        """Delete that table."""
        return no_table("inet", f"{TABLE}{self.key}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


@dataclass(frozen=True)
class Partition:
    """No node of one set hears any of the other; who is in neither, the operator too, hears both."""

    node: str
    peer: str
    kind: ClassVar[str] = "partition"
    takes_node: ClassVar[bool] = False
    part_of: ClassVar[str | None] = None
    patience_s: ClassVar[float] = PATIENCE_S
    longest_s: ClassVar[float] = NodeFault.longest_s

    def __post_init__(self) -> None:
        if not self.sides[0] or not self.sides[1]:
            raise InputError("partition: name two sets of nodes, such as alpha,gamma beta")
        if both := set(self.sides[0]) & set(self.sides[1]):
            raise InputError(f"partition: {', '.join(sorted(both))} cannot be on both sides")

    @property
    def sides(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The sets."""
        return _names(self.node), _names(self.peer)

    @property
    def parts(self) -> tuple[_Deaf, ...]:
        """What each node does not hear, first."""
        one, other = self.sides
        return tuple(_Deaf(name, other) for name in one) + tuple(_Deaf(name, one) for name in other)

    @property
    def nodes(self) -> tuple[str, ...]:
        """All of both sets."""
        return tuple(dict.fromkeys(name for side in self.sides for name in side))

    @property
    def losing(self) -> str:
        """The link between them."""
        return f"the link between {self.node} and {self.peer}"

    @property
    def title(self) -> str:
        """What happens."""
        return f"{' and '.join(self.sides[0])} and {' and '.join(self.sides[1])} do not hear each other"

    @property
    def undoing(self) -> str:
        """What brings it back."""
        return "they hear each other again"

    def fits(self, inventory: Inventory) -> None:
        """All of both sets must be nodes of the inventory."""
        for name in self.nodes:
            inventory.node(name)

    def check(self, means: Means) -> None:
        """Not the node from which it would have to be undone."""
        demand_elsewhere(self, self.nodes, means.inventory)

    def ended(self, means: Means) -> str:
        """The first part that is over."""
        return next(filter(None, (part.ended(means) for part in self.parts)), "")

    def apply(self, means: Means) -> None:
        """One node after the other; each is given the undo first."""
        for part in self.parts:
            part.apply(means)

    def undo(self, means: Means) -> None:
        """Each again; all are tried before one that failed is told of."""
        with ExitStack() as all_of_them:
            for part in self.parts:
                all_of_them.callback(part.undo, means)
