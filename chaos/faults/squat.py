"""`squat`: a node answers for an address that is another's."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import LABEL, NodeFault
from cluster.errors import InputError, Refused


@dataclass(frozen=True)
class Squat(NodeFault):
    """A node's interface has one more address, which somebody else on the LAN has, too."""

    node: str
    address: str
    kind: ClassVar[str] = "squat"
    TITLE: ClassVar[str] = "{node} has the address {address}, too"
    UNDOING: ClassVar[str] = "{address} is taken from {node}"

    def __post_init__(self) -> None:
        try:
            IPv4Address(self.address)
        except AddressValueError:
            raise InputError(f"squat: {self.address!r} is not an IPv4 address") from None

    def check(self, means: Means) -> None:
        """Not the address that the harness has, and not the node's own."""
        lan = means.inventory.network
        if self.address in (str(lan.operator.address), str(means.inventory.node(self.node).address)):
            raise Refused(f"squat: {self.address} is {self.node}'s own, or the operator's; name another")

    def begin(self, means: Means) -> str:
        """Add it."""
        device = means.inventory.interface(self.node)
        return f"{self.end(means)}ip address add {self.address}/32 dev {device} label {device}:{LABEL}\n"

    def end(self, means: Means) -> str:
        """Take it away where it is ours: a node that is given the address in earnest keeps it."""
        device = means.inventory.interface(self.node)
        find = f"ip -o address show dev {device} label {device}:{LABEL} | grep -qF ' {self.address}/'"
        return f"if {find}; then ip address del {self.address}/32 dev {device}; fi\n"
