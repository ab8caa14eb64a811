"""`block`: a node no longer hears its peer, while the peer goes on hearing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means, demand_elsewhere
from chaos.faults.on_node import TABLE, NodeFault
from cluster.errors import InputError
from cluster.inventory import Inventory


def _failover(inventory: Inventory) -> str:
    ports = f"{{ {inventory.dhcp.port}, {inventory.dhcp.peer_port} }}"
    return f"tcp sport {ports}|tcp dport {ports}"


MATCHES: Mapping[str, Callable[[Inventory], str]] = {
    "all": lambda inventory: "",
    "vrrp": lambda inventory: "meta l4proto 112",  # RFC 3768 section 5.2.4
    "dns": lambda inventory: "meta l4proto { tcp, udp } th dport 53|meta l4proto { tcp, udp } th sport 53",
    "notify": lambda inventory: "udp dport 53",  # RFC 1996: a request of the primary; transfers are answers over TCP
    "ntp": lambda inventory: "udp dport 123|udp sport 123",
    "dhcp-failover": _failover,
}
"""What can be blocked, as alternatives in nftables' words, separated by `|`."""


@dataclass(frozen=True)
class Block(NodeFault):
    """On `node`, what `peer` sends is dropped as it comes in: all of it, or one protocol."""

    node: str
    peer: str
    what: str
    kind: ClassVar[str] = "block"
    UNDOING: ClassVar[str] = "{node} hears {peer} again"

    def __post_init__(self) -> None:
        if self.what not in MATCHES:
            raise InputError(f"block: unknown traffic {self.what!r}; known: {', '.join(MATCHES)}")
        if self.node == self.peer:
            raise InputError(f"block: {self.node} cannot be cut from itself; name another peer")

    @property
    def title(self) -> str:
        """What happens."""
        return f"{self.node} no longer hears {'anything' if self.what == 'all' else self.what} from {self.peer}"

    def fits(self, inventory: Inventory) -> None:
        """Both must be nodes of the inventory."""
        super().fits(inventory)
        inventory.node(self.peer)

    def check(self, means: Means) -> None:
        """Not all that the node says from which it would have to be undone, or hears."""
        if self.what == "all":
            demand_elsewhere(self, (self.node, self.peer), means.inventory)

    def begin(self, means: Means) -> str:
        """A table of our own, before every other (nft(8): priority -300 is `raw`)."""
        source = f"ip saddr {means.inventory.node(self.peer).address}"
        rules = " ".join(f"{source} {match} counter drop;" for match in MATCHES[self.what](means.inventory).split("|"))
        chain = f"chain input {{ type filter hook input priority -300; {rules} }}"
        return f"{self.end(means)}nft -f - <<'END'\ntable inet {TABLE}{self.key} {{\n{chain}\n}}\nEND\n"

    def end(self, means: Means) -> str:
        """Delete that table, and no other."""
        table = f"inet {TABLE}{self.key}"
        return f"if nft list table {table} >/dev/null 2>&1; then nft delete table {table}; fi\n"
