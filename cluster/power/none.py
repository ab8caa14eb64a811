"""No switch: `power: {driver: cluster.power.none}`, for a cluster whose plugs are pulled by hand.

Specs and provisioning need no power driver; chaos and rebuilds do, and are told so.
"""

from __future__ import annotations

from cluster.errors import InputError
from cluster.inventory import Inventory


class Driver:
    """Switches nothing; every verb raises InputError."""

    def __init__(self, inventory: Inventory) -> None:
        self._file = inventory.path.name

    def off(self, node: str) -> None:
        """Cannot; raises InputError."""
        raise self._without(node)

    def on(self, node: str) -> None:
        """Cannot; raises InputError."""
        raise self._without(node)

    def is_on(self, node: str) -> bool:
        """Cannot know; raises InputError."""
        raise self._without(node)

    def _without(self, node: str) -> InputError:
        return InputError(f"{self._file}: power.driver: nothing can switch {node}; name a driver that can")
