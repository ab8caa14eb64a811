"""What disruptive specs do to the DHCP pool, recorded: an address is declined, and then every free one is taken."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from chaos.faults import Starve
from chaos.faults.starve import ours
from chaos.lasting import lasting
from cluster.probes import dhcp
from cluster.probes.dhcp import Client, Lease, Offer
from cluster.wait import until
from specs.lanservices.failing_dhcp import Files, files, give_back, given_back
from specs.lanservices.looks import PATIENT, Given, dhcp_reservations, outcome, servers
from specs.looks import Place

# Another client of each kind every 15 s: to one that it knows from the last minute, dhcpd offers without a ping
# (dhcpd.conf(5), ping-cltt-secs), so a run soon after another would see none.
KNOWN, DECLINING = range(0x80, 0x88), range(0x88, 0x90)
NEWCOMER, OTHER = 0x90, 0x91


@dataclass(frozen=True)
class Starved:
    """A declined address, and a pool without a free one."""

    declined: Lease
    known: Lease
    set_aside: Mapping[str, str]
    """What each lease file says about the declined address."""
    offered: tuple[Offer, ...]
    """What others were offered then."""
    taken: Files
    newcomer: tuple[Offer, ...]
    renewed: Given
    rebooted: Given
    reserved: Mapping[str, tuple[Offer, ...]]
    after: Files
    returned: Given
    """What a newcomer got once all was given back."""


def starved(place: Place) -> Starved:
    """Decline an address of the primary's, then take all that are free; the last resort is the declined one."""
    turn = int(time.time() // 15)
    known = Client(place.interface, dhcp.synthetic_mac(KNOWN[turn % len(KNOWN)]))
    declining = Client(place.interface, dhcp.synthetic_mac(DECLINING[turn % len(DECLINING)]))
    newcomer, other = (Client(place.interface, dhcp.synthetic_mac(n)) for n in (NEWCOMER, OTHER))
    primary = servers(place.inventory)[place.inventory.dhcp.primary]
    with given_back(place):
        declined = declining.lease(6.0, server=primary, secs=PATIENT)
        declining.decline(declined)
        set_aside = until(
            lambda: {name: entries[declined.address].state for name, entries in files(place).items()},
            lambda states: set(states.values()) == {"abandoned"},
            deadline=5.0,
            what=f"{declined.address} set aside by both",
            every=0.1,
        )
        offered = other.discover(PATIENT, wait=1.4, wanted=declined.address)
        lease = known.lease(6.0, secs=PATIENT)
        with lasting(place.inventory, place.fleet, Starve(), command="specs about a pool without free addresses"):
            taken = files(place)
            renewed, rebooted = outcome(lambda: known.renew(lease)), outcome(lambda: known.reboot(lease.address))
            reserved = dhcp_reservations(place)
            offers = newcomer.discover(PATIENT)
        give_back(place)
        after = files(place)
        returned = outcome(lambda: newcomer.lease(8.0, secs=PATIENT))
    return Starved(declined, lease, set_aside, offered, taken, offers, renewed, rebooted, reserved, after, returned)


__all__ = ["Starved", "ours", "starved"]
