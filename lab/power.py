"""The lab's power driver: `power: {driver: lab.power}` in the inventory."""

from __future__ import annotations

from cluster.inventory import Inventory
from lab.lab import Lab
from lab.privilege import elevate


class Driver:
    """Switches virtual nodes; the plug is pulled, not the shutdown asked for."""

    def __init__(self, inventory: Inventory) -> None:
        self._lab = Lab(inventory)

    def off(self, node: str) -> None:
        """Off the wire and dead on return."""
        self._lab.node(node).off()

    def off_for(self, node: str, seconds: float) -> None:
        """The same, and booted after `seconds` by a timer of the plug's own, unless it was switched on before."""
        self._lab.node(node).off_for(seconds)

    def on(self, node: str) -> None:
        """Boot the node; nothing if it runs."""
        self._lab.node(node).on()

    def is_on(self, node: str) -> bool:
        """Whether the node's first process runs."""
        return self._lab.node(node).supervisor() is not None

    def reflash(self, node: str) -> None:
        """A blank vanilla disk, and power; its pinned host key is forgotten."""
        with self._lab.site.locked(f"reflash {node}"):
            self._lab.reflash(node)

    def provisioned(self) -> None:
        """Keep the provisioned state, so that the next `lab up` starts from it."""
        with self._lab.site.locked("snapshot"):
            self._lab.snapshot()


def enter(inventory: Inventory) -> None:
    """Become the operator's laptop on the lab's LAN; re-executes under sudo when not root."""
    elevate(inventory.root, "to enter the lab's network namespace")
    Lab(inventory).enter()
