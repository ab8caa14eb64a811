"""`wake`: the bootstrap router serves again, as it did before the pair of LAN services took over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import AWAKE, SILENCE, NodeFault
from cluster.errors import InputError


@dataclass(frozen=True)
class Wake(NodeFault):
    """A router gives addresses to those it knows, and answers names, beside the pair.

    It is told so by changes that UCI holds in memory: a reboot undoes them, so no timer has to.
    """

    node: str
    kind: ClassVar[str] = "wake"
    TITLE: ClassVar[str] = "{node} serves DHCP and DNS again"
    UNDOING: ClassVar[str] = "{node} is made silent"

    def begin(self, means: Means) -> str:
        """Stage the changes, and start what serves."""
        return (
            f"touch {AWAKE}\n"
            "uci set dhcp.dnsmasq.port=53\nuci set dhcp.lan.ignore=0\n/etc/init.d/dnsmasq restart\n"
            "for n in 1 2 3 4 5 6 7 8 9 10; do netstat -lnu | grep -q ':67 ' && exit 0; usleep 200000; done\nexit 1\n"
        )

    def end(self, means: Means) -> str:
        """Let go of the changes, and stop it."""
        return SILENCE

    def apply(self, means: Means) -> None:
        """Do it; raises NodeError, and InputError for a node that is no router."""
        if self.node not in means.inventory.routers:
            known = ", ".join(means.inventory.routers) or "none"
            raise InputError(f"wake: {self.node} is no router; routers of the inventory: {known}")
        self._run(means, self.begin(means))

    def undo(self, means: Means) -> None:
        """Make it silent; nothing on a router that is."""
        self._run(means, self.end(means))
