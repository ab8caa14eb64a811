"""`wake`: the bootstrap router serves again, as it did before the pair of LAN services took over."""

from __future__ import annotations

import shlex
import uuid
from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import AWAKE, LIMIT_S, SILENCE, SILENT, NodeFault
from cluster.errors import InputError
from cluster.inventory import Inventory


@dataclass(frozen=True)
class Wake(NodeFault):
    """A router gives addresses to those it knows, and answers names, beside the pair.

    It is told so by changes that UCI holds in memory: a reboot undoes them, and so does a loop that waits there.
    """

    node: str
    kind: ClassVar[str] = "wake"
    TITLE: ClassVar[str] = "{node} serves DHCP and DNS again"
    UNDOING: ClassVar[str] = "{node} is made silent"

    def begin(self, means: Means) -> str:
        """Begin to wait with the undo, stage the changes, and start what serves; BusyBox has no timers."""
        token = uuid.uuid4().hex
        mine = f"grep -qs {token} {AWAKE}"
        return (
            f"{self.end(means)}echo {shlex.quote(f'{self.essentials} ({token})')} > {AWAKE}\n"
            f"(trap '' HUP; n=0; while [ $n -lt {LIMIT_S} ] && {mine}; do sleep 1; n=$((n + 1)); done; "
            f"if {mine}; then {SILENT}; fi) </dev/null >/dev/null 2>&1 &\n"
            "uci set dhcp.dnsmasq.port=53\nuci set dhcp.lan.ignore=0\n/etc/init.d/dnsmasq restart\n"
            "for n in 1 2 3 4 5 6 7 8 9 10; do netstat -lnu | grep -q ':67 ' && exit 0; usleep 200000; done\nexit 1\n"
        )

    def end(self, means: Means) -> str:
        """Let go of the changes, and stop it."""
        return SILENCE

    def fits(self, inventory: Inventory) -> None:
        """It must be a router."""
        super().fits(inventory)
        if self.node not in inventory.routers:
            known = ", ".join(inventory.routers) or "none"
            raise InputError(f"wake: {self.node} is no router; routers of the inventory: {known}")

    def ended(self, means: Means) -> str:
        """What the node keeps of the journal is there as long as the fault lasts."""
        there = means.fleet[self.node].run(["test", "-e", AWAKE], deadline=5.0).code == 0
        return "" if there else f"{self.node} had undone it before"

    def apply(self, means: Means) -> None:
        """Do it; raises NodeError."""
        self._run(means, self.begin(means))

    def undo(self, means: Means) -> None:
        """Make it silent; nothing on a router that is."""
        self._run(means, self.end(means))
