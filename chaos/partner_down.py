"""The order that a DHCP server's partner is down: then it takes the whole pool, and never while the partner lives.

A server cannot tell a dead partner from one that it does not hear (dhcpd(8), failover): if both live, and one takes
all addresses, two clients get the same.  So somebody has to say so, and everything that can be seen from here must
agree: the partner serves nobody, its dhcpd does not run or its node is silent, and the survivor has lost it.

The order ends by itself when the partner is back: it recovers, which takes up to MCLT, and both are normal again.
"""

from __future__ import annotations

from collections.abc import Callable

from chaos import guard, journal
from cluster import secrets
from cluster.errors import ClusterError, InputError, NodeError, ProbeFailed, Refused
from cluster.health import Check, Health
from cluster.inventory import Inventory
from cluster.journal import check_undone
from cluster.node import Fleet
from cluster.probes import arp, dhcp, omapi
from cluster.wait import until

UNIT = "isc-dhcp-server"
CLIENT = dhcp.synthetic_mac(0xB1)
PATIENT = 10
OFFER_S = 2.5
ORDER_S = 5.0
ALONE = "communications-interrupted"


def survivor_of(inventory: Inventory, down: str) -> str:
    """The partner of a DHCP server; raises InputError for a node that is none."""
    pair = (inventory.dhcp.primary, inventory.dhcp.secondary)
    inventory.node(down)
    if down not in pair:
        raise InputError(f"{down} is no DHCP server; they are {' and '.join(pair)}")
    return pair[0] if down == pair[1] else pair[1]


def look(inventory: Inventory, fleet: Fleet, down: str) -> tuple[Check, ...]:
    """Everything that must hold before the order: that node is down, and its partner knows it and serves."""
    survivor, health = survivor_of(inventory, down), Health(inventory, fleet)
    return (
        _check("dhcp", None, lambda: _alone_on_the_wire(health, survivor, down)),
        _check("silence", down, lambda: _silent(health, down)),
        _check("dhcp failover", survivor, lambda: _lost_it(inventory, fleet, survivor)),
    )


def order(inventory: Inventory, fleet: Fleet, down: str, *, say: Callable[[str], None] = lambda line: None) -> float:
    """Order the partner of `down` to take the whole pool; after how many s it may (MCLT, from the running daemon).

    Raises Refused while anything says that `down` lives, InputError for a node that is no DHCP server, and
    ClusterError when the order was not taken.
    """
    survivor = survivor_of(inventory, down)
    say(f"looking whether {down} is down")
    checks = look(inventory, fleet, down)
    if failed := [check for check in checks if not check.ok]:
        raise Refused(f"refused, {down} may live, and then both would lease the same addresses: {guard.story(failed)}")
    plan, key = inventory.dhcp, secrets.ensure(inventory).omapi_key()
    told = omapi.order_partner_down(fleet[survivor], plan.failover, key, plan.omapi_port)
    if told.mine != "partner-down":
        told = until(
            lambda: omapi.failover(fleet[survivor], plan.failover, key, plan.omapi_port),
            lambda peer: peer.mine == "partner-down",
            deadline=ORDER_S,
            what=f"{survivor} in state partner-down",
        )
    say(f"{survivor} is in state partner-down; after {told.mclt:g} s it leases the addresses of {down}, too")
    return told.mclt


def command(inventory: Inventory, fleet: Fleet, down: str, *, say: Callable[[str], None]) -> None:
    """`order`, as the one command at work; raises Refused also while a fault is not undone: `heal` is the remedy."""
    survivor_of(inventory, down)
    with journal.held(inventory.state, f"chaos partner-down {down}"):
        check_undone(inventory.state)
        order(inventory, fleet, down, say=say)


def _check(name: str, node: str | None, ask: Callable[[], str]) -> Check:
    try:
        return Check(name, node, True, ask())
    except ClusterError as error:
        return Check(name, node, False, str(error))


def _alone_on_the_wire(health: Health, survivor: str, down: str) -> str:
    offers = dhcp.Client(health.interface, CLIENT).discover(PATIENT, wait=OFFER_S)
    said = {offer.server for offer in offers}
    if health.address(down) in said:
        raise ProbeFailed(f"{down} offers leases", reason="alive")
    if health.address(survivor) not in said:
        raise ProbeFailed(f"{survivor} offers none", reason="timeout")
    return f"only {survivor} offers leases"


def _silent(health: Health, down: str) -> str:
    """Its dhcpd does not run; where that cannot be asked, the node must not even answer ARP."""
    try:
        state = health.fleet[down].run(["systemctl", "is-active", UNIT], deadline=5.0).text.strip()
    except NodeError as error:
        address = health.address(down)
        if owners := arp.who_have(health.interface, [address]).get(address):
            raise ProbeFailed(
                f"{down} answers ARP as {', '.join(sorted(owners))}, but: {error}", reason="alive"
            ) from error
        return f"{down} is off the LAN"
    if state in ("active", "activating", "deactivating", "reloading"):
        raise ProbeFailed(f"dhcpd of {down} is {state}", reason="alive")
    return f"dhcpd of {down} is {state}"


def _lost_it(inventory: Inventory, fleet: Fleet, survivor: str) -> str:
    plan = inventory.dhcp
    peer = omapi.failover(fleet[survivor], plan.failover, secrets.ensure(inventory).omapi_key(), plan.omapi_port)
    if peer.mine != ALONE:
        raise ProbeFailed(f"{survivor} is in state {peer.mine}, not {ALONE}", reason="state")
    return f"{survivor} is {ALONE}"
