"""Which node of the cluster this machine is, if any: the harness runs on the deployer, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.inventory import Inventory, Node

INTERFACES = Path("/sys/class/net")


def node(inventory: Inventory) -> Node | None:
    """The node that one of this machine's network cards belongs to; None anywhere else."""
    own = {path.read_text(encoding="ascii").strip() for path in INTERFACES.glob("*/address")}
    return next((one for one in inventory.nodes.values() if one.mac in own), None)
