"""Who must not get in: certificates and keys that look nearly right, made anew for each run, and tried at every door.

Where the authority's own key is not here, only the bare key can be tried; the others' specs say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cluster.authority import REVOKED_SERIAL, Authority
from cluster.secrets import Secrets

if TYPE_CHECKING:
    import paramiko

    from cluster.inventory import Inventory

PLAIN = "plain key"
REFUSED = {
    PLAIN: "the operator's key without its certificate",
    "expired": "a certificate that is over",
    "wrong principal": "a certificate of another user's",
    "foreign authority": "a certificate that somebody else signed",
    "revoked": "a certificate that is revoked",
    "elsewhere": "a certificate that may only be used from another network",
}
ELSEWHERE = IPv4Network("192.0.2.0/24")  # of nobody: RFC 5737 section 3
LONG, OVER = 600.0, -1.0


def strangers(inventory: Inventory) -> dict[str, paramiko.PKey]:
    """The login user's key with each of the certificates that must be refused, by the names of `REFUSED`."""
    from cluster import ssh

    made = Secrets(inventory.state / "secrets", inventory.dns.tsig_name)
    private, public, user = made.ssh_key.read_text(encoding="ascii"), made.ssh_public(), inventory.users.login
    found = {PLAIN: ssh.private_key(private)}
    if not made.ssh_authority.exists():
        return found
    ours, theirs = Authority.read(made.ssh_authority), Authority(Ed25519PrivateKey.generate())

    def signed(
        authority: Authority,
        seconds: float = LONG,
        *,
        principal: str = user,
        serial: int | None = None,
        where: tuple[IPv4Network, ...] = (),
    ) -> paramiko.PKey:
        text = authority.sign(
            public, "user", [principal], identity="a stranger", seconds=seconds, serial=serial, sources=where
        )
        return ssh.private_key(private, text)

    return found | {
        "expired": signed(ours, OVER),
        "wrong principal": signed(ours, principal=inventory.users.cluster),
        "foreign authority": signed(theirs),
        "revoked": signed(ours, serial=REVOKED_SERIAL),
        "elsewhere": signed(ours, where=(ELSEWHERE,)),
    }


def roots(inventory: Inventory) -> Mapping[str, paramiko.PKey]:
    """A certificate that our authority signed for root, where it can."""
    from cluster import ssh

    made = Secrets(inventory.state / "secrets", inventory.dns.tsig_name)
    if not made.ssh_authority.exists():
        return {}
    text = Authority.read(made.ssh_authority).sign(
        made.ssh_public(), "user", ["root"], identity="root", seconds=LONG, sources=inventory.authority.sources
    )
    return {"a certificate for root": ssh.private_key(made.ssh_key.read_text(encoding="ascii"), text)}
