"""The harness itself, for the deployer: the project's files as they lie here, and whom it may believe at first."""

from __future__ import annotations

from pathlib import Path

from cluster import tree
from cluster.here import DEPLOYER
from cluster.hostkeys import AUTHORITY, HostKeys
from cluster.inventory import Inventory, Node
from provision.runner import pack
from provision.signed import routers

ROOT = Path(__file__).resolve().parent.parent


def files(inventory: Inventory, node: Node) -> dict[str, bytes]:
    """More files of a deployer's bundle; none of any other node's."""
    if node.group != DEPLOYER:
        return {}
    found = tree.files(ROOT, inventory.path)
    packed = pack({name: path.read_bytes() for name, path in found.items()})
    return {
        f"{DEPLOYER}/harness.tar": packed,
        f"{DEPLOYER}/harness.manifest": tree.manifest(found).encode(),
        f"{DEPLOYER}/harness.known_hosts": _believed(inventory),
    }


def _believed(inventory: Inventory) -> bytes:
    """Whose host certificates are believed here, and the pinned keys of routers: a known_hosts file."""
    lines = HostKeys(inventory.state / "known_hosts").lines()
    believed = [*(line for line in lines if line.startswith(AUTHORITY)), *routers(inventory)]
    return "".join(f"{line}\n" for line in believed).encode()
