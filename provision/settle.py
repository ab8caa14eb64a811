"""Whether the pair has found together: the last thing to wait for before specs are run against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes import dns, leases
from cluster.wait import Deadline, until
from provision.render import zones

LEASES = "/var/lib/dhcp/dhcpd.leases"
SETTLE_S = 60.0  # named repeats an unanswered NOTIFY after 15 s; dhcpd tries its peer every 5 s


def settle(inventory: Inventory, nodes: Mapping[str, Node], deadline: float | Deadline = SETTLE_S) -> str | None:
    """Wait until both name servers have equal serials and the DHCP peers talk with each other.

    Returns a remark when the peers talk but are not yet in state normal (a peer without its lease file waits
    for up to MCLT before it serves new clients: dhcpd.conf(5)).  Raises WaitTimeout.
    """
    end = Deadline.of(deadline)
    addresses = [str(inventory.nodes[name].address) for name in (inventory.dns.primary, inventory.dns.secondary)]
    for zone in zones(inventory):
        until(
            partial(_serials, addresses, zone.name),
            lambda serials: len(serials) == 1,
            deadline=end,
            what=f"equal serials of {zone.name}",
        )
    peers = {name: nodes[name] for name in (inventory.dhcp.primary, inventory.dhcp.secondary)}
    states = until(
        lambda: {name: _state(inventory, node) for name, node in peers.items()},
        lambda states: (
            all(state.normal for state in states.values())
            or any(state.mine == "recover-wait" for state in states.values())
        ),
        deadline=end,
        every=0.25,
        what="DHCP failover",
    )
    waiting = [f"{name} is in {state.mine}" for name, state in states.items() if not state.normal]
    return f"DHCP failover: {', '.join(waiting)}" if waiting else None


def _serials(addresses: Sequence[str], zone: str) -> set[int]:
    return {dns.serial(address, zone) for address in addresses}


def _state(inventory: Inventory, node: Node) -> leases.FailoverState:
    """What a peer has written down last about the pair; raises ProbeFailed when it is nothing."""
    return leases.failover_state(node.get(LEASES, deadline=5).decode(), inventory.dhcp.failover, growing=True)
