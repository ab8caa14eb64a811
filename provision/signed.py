"""What the authority signs for a node, new with every bundle: a node keeps what it has while that is good for long."""

from __future__ import annotations

from cluster import tls
from cluster.inventory import Inventory, Node
from cluster.secrets import Secrets

DEPLOYER = "deployer"  # the group that serves by TLS, and holds the authority


def files(inventory: Inventory, node: Node, secrets: Secrets) -> dict[str, bytes]:
    """More files of a node's bundle; raises InputError where the authority cannot sign."""
    found: dict[str, bytes] = {}
    if node.group == DEPLOYER:
        authority = secrets.tls_authority
        for service in inventory.authority.serves:
            pair = tls.new_leaf(authority.read_bytes(), authority, inventory, node.name, service)
            found |= {f"{DEPLOYER}/tls/{service}.key": pair.key, f"{DEPLOYER}/tls/{service}.crt": pair.chain}
    return found
