"""What disruptive specs do to make the DHCP pair doubt itself, recorded: one stands still, or lives in another time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from chaos.faults import Freeze, Skew
from chaos.lasting import lasting
from cluster.errors import ClusterError
from cluster.probes import dhcp
from cluster.probes.dhcp import Client
from cluster.probes.dhcp_balance import bucket
from cluster.probes.omapi import Peer
from cluster.wait import Deadline, WaitTimeout, until
from specs.lanservices.failing_dhcp import (
    ALONE,
    OURS,
    UNIT,
    WATCHING,
    Files,
    client,
    files,
    give_back,
    given_back,
    peer,
)
from specs.lanservices.looks import PATIENT, Leases, dhcp_leases, outcome, servers
from specs.looks import Place

AHEAD_S = 90  # dhcpd refuses a peer from 60 s on
STARTUP_S = 15.0  # how long dhcpd waits for its peer when it starts: server/failover.c, startup
LATE_S = 6.0  # beyond the limit: the last message before the silence, an offer's ping, and our own pace

# ---------------------------------------------------------------- one only seems to be there


@dataclass(frozen=True)
class Silence:
    """One peer's dhcpd stands still: what its clients see, in s from then on."""

    dead: str
    survivor: str
    limit: float
    """After so long its silence is noticed, by the survivor's running daemon."""
    patient: frozenset[str]
    """Who answers a client that has waited long."""
    impatient: float | ClusterError
    """When a client that never says that it waits was answered."""
    tries: int


def silence(place: Place) -> Silence:
    """Freeze the secondary's dhcpd until its partner notices."""
    plan = place.inventory.dhcp
    dead, survivor = plan.secondary, plan.primary
    limit = peer(place, survivor).max_response_delay
    mac = next(mac for mac in map(dhcp.synthetic_mac, reversed(OURS)) if bucket(mac) >= plan.split)
    tries = 0

    def answered() -> bool:
        nonlocal tries
        tries += 1
        return bool(Client(place.interface, mac).discover(0, wait=1.2))

    with lasting(place.inventory, place.fleet, Freeze(dead, UNIT), command="specs about a silent DHCP server"):
        began = time.monotonic()
        offers = client(place, WATCHING).discover(PATIENT, wait=1.2)
        noticed = outcome(lambda: until(answered, deadline=limit + LATE_S, what="a client that never waits served"))
        took = noticed if isinstance(noticed, ClusterError) else time.monotonic() - began
    return Silence(dead, survivor, limit, frozenset(offer.server for offer in offers), took, tries)


# ---------------------------------------------------------------- their clocks differ


@dataclass(frozen=True)
class Refusal:
    """One peer's clock is far ahead: what both say of the pair, and the leases from which their clocks are known."""

    peers: Mapping[str, Peer]
    leases: Leases
    after: Files


def refusal(place: Place) -> Refusal:
    """Restart the secondary's dhcpd with a clock that is far ahead."""
    plan = place.inventory.dhcp
    skew = Skew(plan.secondary, UNIT, str(AHEAD_S))
    with given_back(place):
        with lasting(place.inventory, place.fleet, skew, command="specs about DHCP servers' clocks"):
            end = Deadline.after(STARTUP_S + 8.0)
            for name in servers(place.inventory):
                with suppress(WaitTimeout):  # the specs say who did not refuse
                    until(
                        partial(peer, place, name),
                        lambda one: one.mine == ALONE,
                        deadline=end,
                        what=f"{name} refusing its partner",
                        every=0.2,
                    )
            peers = {name: peer(place, name) for name in servers(place.inventory)}
            leases = dhcp_leases(place)
        give_back(place)
        after = files(place)
    return Refusal(peers, leases, after)
