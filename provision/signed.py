"""What the authority signs for a node, new with every bundle: a node keeps what it has while that is good for long."""

from __future__ import annotations

from cluster import credentials, tls
from cluster.here import DEPLOYER
from cluster.hostkeys import HostKeys
from cluster.inventory import Inventory, Node
from cluster.secrets import Secrets
from provision import render

COMPUTE = "compute"


def files(inventory: Inventory, node: Node, secrets: Secrets, host_key: str | None) -> dict[str, bytes]:
    """More files of a node's bundle; raises InputError where the authority cannot sign.

    `host_key`: the public key that the node has shown; without it there is no certificate of the node's own.
    """
    plan, signer = inventory.authority, credentials.trusted(inventory)
    found: dict[str, bytes] = {}
    if host_key is not None:
        names = credentials.host_names(inventory, node.name)
        text = signer.sign(host_key, "host", names, identity=inventory.fqdn(node.name), seconds=plan.host)
        found["base/host-certificate.pub"] = f"{text}\n".encode()
    if node.group == COMPUTE:
        user = inventory.mpi.user
        text = signer.sign(secrets.mpi_public(), "user", [user], identity=f"{user}'s jobs", seconds=plan.jobs)
        found[f"{COMPUTE}/mpi-certificate.pub"] = f"{text}\n".encode()
    if node.group == DEPLOYER:
        lines = [f"# {render.managed(inventory, 'signed.py')}", *routers(inventory)]
        found[f"{DEPLOYER}/known_hosts"] = "".join(f"{line}\n" for line in lines).encode()
        for path in sorted(secrets.folder.iterdir()):
            if not path.name.startswith(("ssh_key", ".")):  # the operator's own, which is nobody else's
                found[f"{DEPLOYER}/secrets/{path.name}"] = path.read_bytes()
        authority = secrets.tls_authority
        for service in inventory.authority.serves:
            pair = tls.new_leaf(authority.read_bytes(), authority, inventory, node.name, service)
            found |= {f"{DEPLOYER}/tls/{service}.key": pair.key, f"{DEPLOYER}/tls/{service}.crt": pair.chain}
    return found


def routers(inventory: Inventory) -> list[str]:
    """The host keys of routers, which have no certificates, as they were pinned here: lines of known_hosts."""
    pins = HostKeys(inventory.state / "known_hosts")
    return [
        f"{plan.address},{name} {pin.type} {pin.key}"
        for name, plan in inventory.routers.items()
        for pin in pins.pins(name, str(plan.address))
    ]
