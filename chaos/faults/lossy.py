"""`lose`, `delay` and `duplicate`: a node's link is bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means, number
from chaos.faults.link import at_interface, no_table
from chaos.faults.on_node import TABLE, NodeFault
from cluster.errors import CommandFailed, Refused

MOST_LOSS = 50
"""Percent: with more, TCP hardly gets through (RFC 6298 doubles its patience each time); `unplug` is for all."""
MOST_DELAY_MS = 2000
NETEM = """
modprobe -q sch_netem 2>/dev/null || true
tc qdisc replace dev lo root netem delay 0ms
tc qdisc del dev lo root
"""


@dataclass(frozen=True)
class Lose(NodeFault):
    """Of what a node sends and of what it is sent, so many percent are lost, by chance; the operator's packets, too.

    Made by nftables, which every node has; what speaks past it (dhcpd's own sockets) loses what is sent to it only.
    """

    node: str
    percent: str
    kind: ClassVar[str] = "lose"
    TITLE: ClassVar[str] = "{node} loses {percent} percent of all packets"
    UNDOING: ClassVar[str] = "{node} loses none any more"

    def __post_init__(self) -> None:
        number(self.kind, self.percent, "percent", MOST_LOSS)

    def begin(self, means: Means) -> str:
        """Drop by chance."""
        rule = f"numgen random mod 100 < {self.percent} counter drop"
        return at_interface(means.inventory.interface(self.node), f"{TABLE}{self.key}", rule)

    def end(self, means: Means) -> str:
        """Delete that table."""
        return no_table("netdev", f"{TABLE}{self.key}")


class _Netem(NodeFault):
    """A queue of netem's (tc-netem(8)) at the node's interface."""

    WORDS: ClassVar[str]

    def check(self, means: Means) -> None:
        """The kernel must have netem."""
        try:
            self._run(means, NETEM)
        except CommandFailed as error:
            raise Refused(
                f"{self.kind}: the kernel of {self.node} has no netem ({str(error).rsplit(': ', 1)[-1]}), "
                "and nothing else can do this; load sch_netem, or try `lose`, which needs none"
            ) from None

    def begin(self, means: Means) -> str:
        """Put it in the place of the default queue."""
        words = self.WORDS.format_map(vars(self))
        return f"tc qdisc replace dev {means.inventory.interface(self.node)} root netem {words}\n"

    def end(self, means: Means) -> str:
        """Take it away; the kernel puts its default there."""
        device = means.inventory.interface(self.node)
        return f"if tc qdisc show dev {device} | grep -qw netem; then tc qdisc del dev {device} root; fi\n"


@dataclass(frozen=True)
class Delay(_Netem):
    """Everything that a node sends arrives later."""

    node: str
    milliseconds: str
    kind: ClassVar[str] = "delay"
    TITLE: ClassVar[str] = "what {node} sends is {milliseconds} ms late"
    UNDOING: ClassVar[str] = "{node} sends at once again"
    WORDS: ClassVar[str] = "delay {milliseconds}ms"

    def __post_init__(self) -> None:
        number(self.kind, self.milliseconds, "ms", MOST_DELAY_MS)


@dataclass(frozen=True)
class Duplicate(_Netem):
    """So many percent of what a node sends arrive twice."""

    node: str
    percent: str
    kind: ClassVar[str] = "duplicate"
    TITLE: ClassVar[str] = "{percent} percent of what {node} sends arrive twice"
    UNDOING: ClassVar[str] = "{node} sends once again"
    WORDS: ClassVar[str] = "duplicate {percent}%"

    def __post_init__(self) -> None:
        number(self.kind, self.percent, "percent", 100)
