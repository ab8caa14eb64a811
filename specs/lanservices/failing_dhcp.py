"""What disruptive specs put the DHCP pair through, recorded: each is done once, undone, and only then judged.

Everything that is taken is given back here, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from chaos import partner_down
from chaos.faults import Crash
from chaos.lasting import lasting
from cluster import secrets
from cluster.errors import ClusterError
from cluster.probes import dhcp, omapi
from cluster.probes.dhcp import Client, FailoverState, Lease, LeaseEntry
from cluster.probes.omapi import Peer
from cluster.wait import until
from specs.lanservices.looks import PATIENT, Given, outcome, servers
from specs.looks import Place

UNIT = partner_down.UNIT
ALONE = partner_down.ALONE
LEASE_FILE = "/var/lib/dhcp/dhcpd.leases"
# Our clients among the synthetic ones.  One that knows a server, one that wants an address of the dead server's, one
# that only watches, and newcomers.
KEPT, WANTING, WATCHING = 0x98, 0x99, 0x9A
NEW = range(0x9B, 0x9E)
OURS = range(0x80, 0xB0)  # these, and those of looks that release while one peer cannot hear of it
MACS = frozenset(dhcp.synthetic_mac(n) for n in OURS)
SHORT_S = 30.0  # an MCLT that a spec can wait for
RENEWAL_COUNTS = 0.3  # from a quarter of a lease on, dhcpd extends it: dhcpd.conf(5), dhcp-cache-threshold

Files = Mapping[str, Mapping[str, LeaseEntry]]
Histories = Mapping[str, tuple[FailoverState, ...]]


@dataclass(frozen=True)
class Recovered:
    """Partner-down by order, and the return of a peer without its lease file; times are epoch s."""

    wanted: str
    """An address of the dead server's half."""
    early: frozenset[str]
    """What the survivor offered to who wanted it, before the order."""
    late: Given
    """What it gave MCLT after the order."""
    offered: tuple[tuple[float, frozenset[str]], ...] = ()
    """Which servers made offers, and when, from the return on."""


@dataclass(frozen=True)
class Outage:
    """One peer's dhcpd is killed for a while, and comes back."""

    dead: str
    survivor: str
    refused: str
    """What was said to a partner-down while both lived; empty if it was done."""
    peer: Peer | ClusterError
    """The survivor about itself, without its partner."""
    mclt: float
    """MCLT of the survivor's running daemon; of the inventory, where that daemon says none."""
    halves: Mapping[str, str]
    """The state that the survivor's file gave each address of the pool when it was left alone."""
    kept: Lease
    rebound: Given
    rebooted: Given
    new: tuple[Given, ...]
    renewed: tuple[Given, ...]
    """The new leases, after so much of them that a renewal counts; none where that would take too long."""
    after: Files
    histories: Histories
    recovered: Recovered | None = None


def client(place: Place, number: int) -> Client:
    """One of our synthetic clients."""
    return Client(place.interface, dhcp.synthetic_mac(number))


def lease_file(place: Place, name: str) -> str:
    """The text of a lease file, as it is now."""
    return place.fleet[name].get(LEASE_FILE, sudo=True, deadline=5.0).decode()


def files(place: Place) -> Files:
    """Both lease files, as they are now."""
    return {name: dhcp.leases(lease_file(place, name), growing=True).leases for name in servers(place.inventory)}


def peer(place: Place, name: str) -> Peer:
    """What a running dhcpd says of the pair."""
    plan, key = place.inventory.dhcp, secrets.ensure(place.inventory).omapi_key()
    return omapi.failover(place.fleet[name], plan.failover, key, plan.omapi_port)


def histories(place: Place) -> Histories:
    """The states that each peer went through, as far back as its lease file goes."""
    pair = place.inventory.dhcp.failover
    return {n: dhcp.failover_history(lease_file(place, n), pair, growing=True) for n in servers(place.inventory)}


def give_back(place: Place, deadline: float = 15.0) -> None:
    """Release all that clients of this module hold by either file, until neither names one.

    A lease that one peer took back while the other was away can be active again once both have met.
    """

    def once() -> bool:
        held = {
            (address, str(entry.mac), name)
            for name, entries in files(place).items()
            for address, entry in entries.items()
            if entry.state == "active" and entry.mac in MACS
        }
        for address, mac, name in held:
            server = place.inventory.node(name)
            Client(place.interface, mac).give_back(address, str(server.address), server.mac)
        return not held

    until(once, deadline=deadline, what="all leases of the specs' clients given back", every=0.5)


@contextmanager
def given_back(place: Place) -> Iterator[None]:
    """However a scenario ends, its clients hold nothing afterwards."""
    try:
        yield
    finally:
        give_back(place)


def together(*asked: Callable[[], Given]) -> list[Given]:
    """Several things at the same time, each with its outcome."""
    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda one: outcome(one), asked))


class Watch(threading.Thread):
    """Asks for an offer again and again, in the background, and takes none: which servers answered, and when."""

    def __init__(self, place: Place) -> None:
        super().__init__(daemon=True, name="watch")
        self._client, self._end = client(place, WATCHING), threading.Event()
        self.seen: list[tuple[float, frozenset[str]]] = []

    def run(self) -> None:
        """Look until told to stop."""
        while not self._end.is_set():
            offers = outcome(lambda: self._client.discover(PATIENT, wait=1.2))
            if not isinstance(offers, ClusterError):
                self.seen.append((time.time(), frozenset(offer.server for offer in offers)))

    def stop(self) -> None:
        """End, if it ever began."""
        self._end.set()
        if self.ident is not None:
            self.join()


# ---------------------------------------------------------------- one is dead


def outage(place: Place) -> Outage:
    """Kill the secondary's dhcpd; with a short MCLT also order partner-down, and lose its lease file."""
    plan = place.inventory.dhcp
    dead, survivor = plan.secondary, plan.primary
    short = plan.mclt <= SHORT_S
    watch = Watch(place)
    with given_back(place):
        with ThreadPoolExecutor(1) as pool:
            ordered = pool.submit(outcome, lambda: partner_down.order(place.inventory, place.fleet, dead))
            kept = client(place, KEPT).lease(6.0, server=servers(place.inventory)[dead], secs=PATIENT)
            refused = ordered.result()
        try:
            with lasting(place.inventory, place.fleet, Crash(dead, UNIT), command="specs about a dead DHCP server"):
                alone = outcome(
                    lambda: until(  # a process that dies closes its connection, so this is soon
                        lambda: peer(place, survivor),
                        lambda one: one.mine == ALONE,
                        deadline=5.0,
                        what=f"{survivor} without its partner",
                        every=0.2,
                    )
                )
                mclt = alone.mclt if isinstance(alone, Peer) else plan.mclt
                entries = files(place)[survivor]
                began = time.monotonic()
                rebound, rebooted, *new = together(
                    lambda: client(place, KEPT).rebind(kept),
                    lambda: client(place, KEPT).reboot(kept.address),
                    *(lambda n=n: client(place, n).lease(8.0) for n in NEW),
                )
                renewed = _renewed(place, new, began + RENEWAL_COUNTS * mclt) if short else ()
                release(place, kept, *new)
                recovered = _partner_down(place, dead, entries) if short else None
                if recovered is not None:
                    watch.start()
        finally:
            watch.stop()
        give_back(place)
        after, seen = files(place), histories(place)
    return Outage(
        dead=dead,
        survivor=survivor,
        refused=str(refused) if isinstance(refused, ClusterError) else "",
        peer=alone,
        mclt=mclt,
        halves=dhcp.states(entries, plan.pool_first, plan.pool_last),
        kept=kept,
        rebound=rebound,
        rebooted=rebooted,
        new=tuple(new),
        renewed=renewed,
        after=after,
        histories=seen,
        recovered=recovered and replace(recovered, offered=tuple(watch.seen)),
    )


def release(place: Place, *given: Given) -> None:
    """Give leases back to whoever lives."""
    for one in given:
        if isinstance(one, Lease):
            Client(place.interface, one.mac).release(one, broadcast=True)


def _renewed(place: Place, new: Iterable[Given], at: float) -> tuple[Given, ...]:
    """Renew leases at that time (monotonic s): a renewal before it leaves the end where it is."""
    until(lambda: time.monotonic() > at, deadline=max(0.0, at - time.monotonic()) + 1.0, what="time to renew")
    return tuple(
        together(
            *(
                lambda lease=lease: Client(place.interface, lease.mac).renew(lease)
                for lease in new
                if isinstance(lease, Lease)
            )
        )
    )


def _partner_down(place: Place, dead: str, entries: Mapping[str, LeaseEntry]) -> Recovered:
    """Order the survivor to take all; see it give an address of the dead one's; and let that one forget everything."""
    wanted = max(address for address, entry in entries.items() if entry.state == "backup")
    asking = client(place, WANTING)

    def offered() -> frozenset[str]:
        return frozenset(offer.address for offer in asking.discover(PATIENT, wait=1.2, wanted=wanted))

    early = offered()
    mclt = partner_down.order(place.inventory, place.fleet, dead)
    late = outcome(lambda: until(offered, lambda seen: wanted in seen, deadline=mclt + 8.0, what=f"{wanted} offered"))
    given: Given = late if isinstance(late, ClusterError) else asking.lease(6.0, wanted=wanted, secs=PATIENT)
    release(place, given)
    forget = f"rm -f {LEASE_FILE}~; : > {LEASE_FILE}"
    place.fleet[dead].run(["sh", "-euc", forget], sudo=True, deadline=5.0, check=True)
    return Recovered(wanted, early, given)
