"""No switch, but SSH: `power: {driver: cluster.power.ssh}` ends and resets nodes by magic SysRq, as a failure would.

What it switched off stays off until somebody pulls and puts back the plug, so chaos does not `kill` with it; `reset`
needs no hand.  Nodes need `kernel.sysrq` to allow it (bit 128); root may write to the trigger regardless.
"""

from __future__ import annotations

from cluster.errors import ClusterError, NodeError, Refused, Unreachable
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.power.switching import Options, PowerError, Switching
from cluster.wait import until

GONE_S = 10.0
SCRIPT = r"""
if [ "$2" = /proc/sysrq-trigger ] && systemd-detect-virt --container --quiet; then
  echo "this is a container, its kernel is another's" >&2; exit 1
fi
[ -w "$2" ] || { echo "$2 cannot be written" >&2; exit 1; }
( sleep 0.3; echo "$1" > "$2" ) >/dev/null 2>&1 </dev/null &
"""


class Trigger(Options):
    """Where the word is written."""

    trigger: str = "/proc/sysrq-trigger"


class Driver(Switching[Trigger]):
    """Switches off, resets, and cannot switch on."""

    OPTIONS = Trigger
    cannot_switch_on = "by SSH nothing can switch it on again; use `chaos reset`, or name a power driver with a switch"

    def __init__(self, inventory: Inventory) -> None:
        super().__init__(inventory)
        self._fleet = Fleet(inventory)

    def is_on(self, node: str) -> bool:
        """Whether it answers SSH: more cannot be known.  One that does and lets nobody in raises PowerError."""
        self._fleet[node].close()
        try:
            self._fleet[node].run(["true"], deadline=3.0, check=True)
        except Unreachable:
            return False
        except NodeError as error:
            raise PowerError(f"ssh: whether {node} has power cannot be told: {error}") from None
        return True

    def switch(self, node: str, on: bool) -> None:
        """`o`: off at once, nothing is written to disk; on: raises Refused."""
        if on:
            raise Refused(f"ssh: {node} cannot be switched on: {self.cannot_switch_on}")
        self._press(node, "o")

    def reset(self, node: str) -> None:
        """`b`: start anew at once, nothing is written to disk; on return it is gone."""
        self._press(node, "b")
        try:
            until(lambda: not self.is_on(node), deadline=GONE_S, every=0.1, what=node)
        except ClusterError:
            raise PowerError(f"ssh: {node} was reset and still answers; does kernel.sysrq allow it?") from None

    def _press(self, node: str, word: str) -> None:
        argv = ["sh", "-c", SCRIPT, "sysrq", word, self.options(node).trigger]
        self._fleet[node].run(argv, sudo=True, deadline=5.0, check=True)
