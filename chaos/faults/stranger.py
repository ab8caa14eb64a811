"""`stranger`: a node has an address that no host of the LAN has, to look at its services from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import LABEL, NodeFault

ADDRESS = "198.51.100.77"
"""Of TEST-NET-2 (RFC 5737), so it is nobody's."""


@dataclass(frozen=True)
class Stranger(NodeFault):
    """The node's loopback interface gets the address: what is sent from it reaches the node's own services only.

    From any other host the answers would go to the router, so what they say could not be seen.
    """

    node: str
    kind: ClassVar[str] = "stranger"
    TITLE: ClassVar[str] = f"{{node}} has an address outside of the LAN, {ADDRESS}"
    UNDOING: ClassVar[str] = f"{ADDRESS} is taken from {{node}}"

    def begin(self, means: Means) -> str:
        """Add the address."""
        return f"{self.end(means)}ip address add {ADDRESS}/32 dev lo label lo:{LABEL}\n"

    def end(self, means: Means) -> str:
        """Take it away, where it is."""
        return f"if ip -o address show dev lo | grep -qF {ADDRESS}/; then ip address del {ADDRESS}/32 dev lo; fi\n"
