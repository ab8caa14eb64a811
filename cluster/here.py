"""Which node of the cluster this machine is, if any: the harness runs on the deployer, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.inventory import Inventory, Node

DEPLOYER = "deployer"
"""The group whose node has the authority, the backups, the password store and the harness."""
INTERFACES = Path("/sys/class/net")


def deployers(inventory: Inventory) -> list[Node]:
    """The nodes of that group; none where there is no such group."""
    return [one for one in inventory.nodes.values() if one.group == DEPLOYER]


def node(inventory: Inventory) -> Node | None:
    """The node that one of this machine's network cards belongs to; None anywhere else."""
    own = {path.read_text(encoding="ascii").strip() for path in INTERFACES.glob("*/address")}
    return next((one for one in inventory.nodes.values() if one.mac in own), None)
