"""The two DHCP servers as a pair: what each says of both while it runs, and how they share clients and addresses.

dhcpd(8), dhcpd.conf(5), RFC 3074.  The running daemons are asked (OMAPI), besides what they wrote down.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes.dhcp import Offer
from cluster.probes.omapi import Peer
from specs.lanservices.looks import Leases, dhcp_clock, must, servers

Peers = dict[str, Peer | ClusterError]
Pools = dict[str, frozenset[str] | ClusterError]
REFUSED_S = 60.0  # peers whose clocks differ by more do not talk to each other: server/failover.c, "time offset"
CLOCKS_S = 10.0  # what is well under it, and more than what chrony lets pass for long


@pytest.mark.group("lanservices")
@pytest.mark.each("side", lambda inventory, node: ["mine", "partner"])
@pytest.mark.semantics("dhcp-normal")
def test_the_running_server_is_in_the_normal_state(node: Node, side: str, dhcp_peers: Peers) -> None:
    state = getattr(must(dhcp_peers[node.name]), side)
    whose = "itself" if side == "mine" else "its partner"
    assert state == "normal", f"the dhcpd of {node.name} takes {whose} to be {state}, not normal"


@pytest.mark.semantics("dhcp-roles")
def test_one_is_the_primary_and_the_other_the_secondary(dhcp_peers: Peers, inventory: Inventory) -> None:
    plan = inventory.dhcp
    said = {name: must(peer).role for name, peer in dhcp_peers.items()}
    assert said == {plan.primary: "primary", plan.secondary: "secondary"}, f"the peers say they are {said}"


@pytest.mark.group("lanservices")
@pytest.mark.each("timer", lambda inventory, node: ["mclt", "max_response_delay", "load_balance_max"])
def test_the_pair_runs_with_the_timers_of_the_inventory(
    node: Node, timer: str, dhcp_peers: Peers, inventory: Inventory
) -> None:
    """The secondary has MCLT from its partner, so this is what they agreed on."""
    found, wanted = getattr(must(dhcp_peers[node.name]), timer), getattr(inventory.dhcp, timer)
    assert found == wanted, f"the dhcpd of {node.name} runs with {timer} {found:g} s, the inventory says {wanted:g} s"


@pytest.mark.semantics("dhcp-clocks")
def test_the_clocks_of_the_servers_agree(
    dhcp_leases: Leases, inventory: Inventory, record_property: Callable[[str, object], None]
) -> None:
    ahead = {name: dhcp_clock(dhcp_leases, name) for name in servers(inventory)}
    told = ", ".join(f"{name} {(least + most) / 2:+.1f} s" for name, (least, most) in ahead.items())
    record_property("clocks of the DHCP servers, from ours", told)
    apart = max(least for least, _ in ahead.values()) - min(most for _, most in ahead.values())
    assert apart < CLOCKS_S, (
        f"the DHCP servers' clocks are at least {apart:.1f} s apart ({told} from ours); "
        f"beyond {REFUSED_S:g} s they refuse each other"
    )


@pytest.mark.group("lanservices")
@pytest.mark.semantics("dhcp-same")
def test_the_server_leases_the_addresses_of_the_pool(node: Node, dhcp_pools: Pools, inventory: Inventory) -> None:
    """All of them and none beside; asked of the running daemon, address by address."""
    first, last = int(inventory.dhcp.pool_first), int(inventory.dhcp.pool_last)
    wanted = {str(inventory.dhcp.pool_first + n) for n in range(last - first + 1)}
    found = must(dhcp_pools[node.name])
    assert found == wanted, (
        f"{node.name} does not lease {sorted(wanted - found) or 'nothing'}, and leases {sorted(found - wanted)} beside"
    )


@pytest.mark.group("lanservices")
@pytest.mark.semantics("dhcp-balance-of-load", "dhcp-secs")
def test_a_client_that_has_not_waited_is_served_by_its_own_server(
    node: Node, dhcp_impatient: dict[str, tuple[Offer, ...]], inventory: Inventory
) -> None:
    """By the hash of its hardware address; one that has waited is offered something by both (test_dhcp.py)."""
    if node.name not in dhcp_impatient:
        pytest.skip(f"none of our clients is {node.name}'s: split is {inventory.dhcp.split} of 256")
    said = {offer.server for offer in dhcp_impatient[node.name]}
    assert said == {node.address}, f"a client of {node.name} was offered an address by {sorted(said) or 'nobody'}"
