"""What the operator logs in with: a key, and a certificate for it that is renewed before it ends.

The certificate lies beside the key, where ssh(1) finds it by itself: `ssh -i .state/secrets/ssh_key pi@alpha`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cluster import authority, secrets
from cluster.authority import Authority, Certificate
from cluster.errors import InputError
from cluster.here import DEPLOYER, deployers
from cluster.hostkeys import HostKeys
from cluster.inventory import Inventory
from cluster.secrets import Secrets

if TYPE_CHECKING:
    from cluster.node import Node

SIGN = "/opt/cluster/bin/rpi-sign"
ASK_S = 10.0
RENEWED_AT = 1 / 3  # of its life; what is left is time to notice that nobody could renew it


def certificate(inventory: Inventory) -> tuple[str, Certificate] | None:
    """The operator's certificate, its line and what it says; made or renewed here where the authority's key is.

    None where there is neither.  Raises InputError for one that is over, or not for this key.
    """
    folder = inventory.state / "secrets"
    if not any((folder / name).exists() for name in (secrets.SSH_AUTHORITY, secrets.SSH_CERTIFICATE)):
        return None
    made = Secrets(folder, inventory.dns.tsig_name)
    here = made.ssh_authority.exists()
    found = _read(made)
    if found is not None and not stale(inventory, found[1]):
        return found
    if here:
        return issue(inventory)
    if found is not None and (why := found[1].why_not("user", inventory.users.login, [found[1].authority])):
        raise InputError(
            f"{made.ssh_certificate}: cannot be used: {why}; where the authority's key is, `python -m provision "
            f"certificate --key {made.ssh_key_pub}` makes a new one: docs/authority.md"
        )
    return found


def stale(inventory: Inventory, found: Certificate) -> bool:
    """Whether it is time for a new one: little is left, or it says something else than the inventory."""
    plan = inventory.authority
    return (
        found.days_left() * 86400 < plan.user * RENEWED_AT
        or found.principals != (inventory.users.login,)
        or found.sources != ",".join(map(str, plan.sources))
    )


def issue(inventory: Inventory) -> tuple[str, Certificate]:
    """A new certificate for the operator's key, kept beside it; raises InputError where the authority's key is not."""
    made = secrets.ensure(inventory)
    text = sign(inventory, made.ssh_public(), identity=f"operator of {inventory.cluster.name}")
    keep(inventory, text)
    return text, authority.read(text)


def sign(inventory: Inventory, public: str, *, identity: str, seconds: float | None = None) -> str:
    """A certificate of the login user's for any public key; raises InputError."""
    plan = inventory.authority
    return trusted(inventory).sign(
        public,
        "user",
        [inventory.users.login],
        identity=identity,
        seconds=plan.user if seconds is None else seconds,
        sources=plan.sources,
    )


def ask(fleet: Mapping[str, Node], inventory: Inventory, public: str, *, identity: str, seconds: float) -> str:
    """A certificate for a public key, signed by the deployer; raises what Node.run does."""
    for node in deployers(inventory):
        words = [SIGN, identity, str(int(seconds))]
        return fleet[node.name].run(words, input=f"{public}\n".encode(), deadline=ASK_S, check=True).text.strip()
    raise InputError(f"{inventory.path.name}: no node of group {DEPLOYER}, which could sign")


def keep(inventory: Inventory, text: str) -> None:
    """Put the operator's certificate beside its key; raises InputError for one that is not for this key."""
    made = secrets.ensure(inventory)
    if authority.read(text).key.split() != made.ssh_public().split()[:2]:
        raise InputError(f"{made.ssh_certificate}: this certificate is not for {made.ssh_key}")
    secrets.write(made.ssh_certificate, (text.strip() + "\n").encode(), inventory.root)


def trusted(inventory: Inventory) -> Authority:
    """The authority, whose host certificates are believed from now on.

    Raises InputError where its key is not here, or is another than the one that the nodes were told to believe.
    """
    made = secrets.ensure(inventory)
    found = Authority.read(made.ssh_authority)
    pins = HostKeys(inventory.state / "known_hosts")
    known = pins.authorities()
    if known and found.public not in known:
        raise InputError(
            f"{made.ssh_authority}: is {found.fingerprint}, but the nodes of {pins.path} believe "
            f"{authority.fingerprint(next(iter(known)))}; put back a copy of that one: docs/authority.md"
        )
    pins.trust(host_names(inventory), found.public)
    return found


def host_names(inventory: Inventory, only: str = "") -> list[str]:
    """The names and addresses by which one node, or every node, is reached."""
    found: list[str] = []
    for node in inventory.nodes.values():
        if only in ("", node.name):
            found += [node.name, inventory.fqdn(node.name), str(node.address)]
    if only in ("", *inventory.vrrp.priorities):
        found += [inventory.fqdn("float"), str(inventory.network.floating)]
    return found


def _read(made: Secrets) -> tuple[str, Certificate] | None:
    """What lies beside the key; None for nothing, for one of another key, or where nothing useful is in it."""
    try:
        text = made.ssh_certificate.read_text(encoding="ascii").strip()
        found = authority.read(text)
        return (text, found) if found.key.split() == made.ssh_public().split()[:2] else None
    except (FileNotFoundError, ValueError):
        return None
