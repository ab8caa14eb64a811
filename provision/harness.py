"""The harness itself, for the deployer: the project's files as they lie here, and whom it may believe at first."""

from __future__ import annotations

from pathlib import Path

from cluster import tree
from cluster.hostkeys import AUTHORITY, HostKeys
from cluster.inventory import Inventory, Node
from provision.runner import pack

ROOT = Path(__file__).resolve().parent.parent
GROUP = "deployer"


def files(inventory: Inventory, node: Node) -> dict[str, bytes]:
    """More files of a deployer's bundle; none of any other node's."""
    if node.group != GROUP:
        return {}
    found = tree.files(ROOT, inventory.path)
    packed = pack({name: path.read_bytes() for name, path in found.items()})
    return {
        f"{GROUP}/harness.tar": packed,
        f"{GROUP}/harness.manifest": tree.manifest(found).encode(),
        f"{GROUP}/harness.known_hosts": _believed(inventory),
    }


def _believed(inventory: Inventory) -> bytes:
    """The authority, and the keys of routers, which have no certificates, as they were pinned here."""
    pins = HostKeys(inventory.state / "known_hosts")
    routers = {str(node.address) for node in inventory.routers.values()}
    lines = [
        line for line in pins.lines() if line.startswith(AUTHORITY) or routers & set(line.split(" ")[0].split(","))
    ]
    return "".join(f"{line}\n" for line in lines).encode()
