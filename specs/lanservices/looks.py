"""What is looked at once for all specs about DHCP, DNS, the floating address and time (see specs/looks.py)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import ParamSpec, TypeVar

from cluster import secrets
from cluster.errors import ClusterError, ProbeFailed
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes import arp, clock, dhcp, dns, omapi, vrrp
from cluster.probes.clock import NtpReply, Source, Tracking
from cluster.probes.dhcp import FailoverState, Lease, LeaseEntry, Offer
from cluster.probes.dhcp_balance import bucket
from cluster.probes.vrrp import Advertisement, Instance, KeepalivedConf
from cluster.wait import Deadline, WaitTimeout, until
from specs.looks import Place

P = ParamSpec("P")
T = TypeVar("T")

# Our clients among the synthetic ones; the same on every run, so that a run never uses up more of the pool.
OFFER_CLIENT, LEASE_CLIENT = 0xA0, 0xA1
IMPATIENT_CLIENTS = range(0xA4, 0xB0)
PATIENT = 10  # `secs` of a client that has waited long: above any load balance maximum in use, so both peers answer
OFFER_WAIT_S = 2.5  # the server's ping takes 1 s (dhcpd(8)), and it may look for another address after it
RELEASE_S = 0.5  # how long a release may take to be read by a busy server
AGAIN_S = 1.0  # after so long without effect, a release is sent once more
GIVEN_BACK_S = 10.0  # the peers agree on a released lease in half a second, and in 4 s on a machine that does too much
CLOCK_WAIT_S = 15.0  # chrony's first burst of four takes 2 s each (chrony.conf(5), iburst)


def servers(inventory: Inventory) -> dict[str, str]:
    """The LAN services' nodes: name to address."""
    return {node.name: str(node.address) for node in inventory.group(inventory.nodes[inventory.dhcp.primary].group)}


def outcome(take: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | ClusterError:
    """What a call gives, or why it gives nothing: one server's silence must not hide what the other said."""
    try:
        return take(*args, **kwargs)
    except ClusterError as error:
        return error


def must(value: T | ClusterError) -> T:
    """The value of an outcome; raises the reason where there is none."""
    if isinstance(value, ClusterError):
        raise value
    return value


# ---------------------------------------------------------------- DHCP


def dhcp_offers(place: Place) -> tuple[Offer, ...]:
    """Every offer to one patient client that takes none."""
    return dhcp.Client(place.interface, dhcp.synthetic_mac(OFFER_CLIENT)).discover(PATIENT, wait=OFFER_WAIT_S)


def dhcp_reservations(place: Place) -> dict[str, tuple[Offer, ...]]:
    """The offers for each reserved MAC, asked from here: the owner's own traffic is not touched."""
    reserved = place.inventory.dhcp.reservations
    source = dhcp.synthetic_mac(OFFER_CLIENT)

    def ask(mac: str) -> tuple[Offer, ...]:
        return dhcp.Client(place.interface, mac, source=source).discover(PATIENT, wait=1.5)

    with ThreadPoolExecutor(max(1, len(reserved))) as pool:
        return dict(zip(reserved, pool.map(ask, [r.mac for r in reserved.values()]), strict=True))


Given = Lease | ClusterError


@dataclass(frozen=True)
class Life:
    """A client's life with one server, from the lease to its release; and when that was sent, epoch s of ours."""

    lease: Given
    renewed: Given
    rebound: Given
    rebooted: Given
    released: float = 0.0


@dataclass(frozen=True)
class Leases:
    """A client's life with each server; and what each node's lease file says afterwards."""

    lives: Mapping[str, Life]
    files: Mapping[str, Mapping[str, LeaseEntry] | ClusterError]
    failover: Mapping[str, FailoverState | ClusterError]

    @property
    def taken(self) -> dict[str, Given]:
        """The lease taken from each server, or why there is none."""
        return {name: life.lease for name, life in self.lives.items()}


def _life(client: dhcp.Client, server: str) -> Life:
    """Take a lease, keep it in each way there is, and give it back."""
    lease = outcome(lambda: client.lease(6.0, server=server, secs=PATIENT))
    if isinstance(lease, ClusterError):
        return Life(lease, lease, lease, lease)
    try:
        renewed = outcome(lambda: client.renew(lease))
        rebound = outcome(lambda: client.rebind(lease, patience=4.0))
        rebooted = outcome(lambda: client.reboot(lease.address))
    finally:
        released = time.time()
        client.release(lease)
    return Life(lease, renewed, rebound, rebooted, released)


def dhcp_leases(place: Place) -> Leases:
    """Live with each server for a moment, and read both lease files once they agree that all is given back.

    A server that is late reads the broadcasts of a client's life after its partner told it of the release, and takes
    them for a client that wants its lease again: that one is released once more, as no real client needs to.
    """
    names = servers(place.inventory)

    def live(n: int, address: str) -> Life:
        return _life(dhcp.Client(place.interface, dhcp.synthetic_mac(LEASE_CLIENT + n)), address)

    with ThreadPoolExecutor(len(names)) as pool:
        lives = dict(zip(names, pool.map(live, range(len(names)), names.values()), strict=True))
    ours = {life.lease.address for life in lives.values() if isinstance(life.lease, Lease)}
    read: dict[str, Mapping[str, LeaseEntry] | ClusterError] = {}
    failover: dict[str, FailoverState | ClusterError] = {}

    def back() -> bool:
        for name in names:
            file = outcome(_lease_file, place.fleet[name])
            if isinstance(file, ClusterError):
                read[name] = failover[name] = file
                continue
            read[name] = file.leases
            name_of_pair = place.inventory.dhcp.failover
            failover[name] = file.failover.get(name_of_pair) or ProbeFailed(
                f"{name}: its lease file says nothing about failover peer {name_of_pair}", reason="no-failover"
            )
        for name, life in lives.items():
            late = time.time() - life.released > AGAIN_S
            if late and isinstance(life.lease, Lease) and life.lease.address in held(must(read[name])):
                lives[name] = replace(life, released=time.time())
                dhcp.Client(place.interface, life.lease.mac).release(life.lease)
        files = [entries for entries in read.values() if not isinstance(entries, ClusterError)]
        return all(free(entries, address) for entries in files for address in ours)

    with suppress(WaitTimeout):  # the specs say which lease is still held
        until(back, deadline=GIVEN_BACK_S, what="leases given back", every=0.1)
    return Leases(lives, read, failover)


def dhcp_clock(leases: Leases, name: str) -> tuple[float, float]:
    """How far a server's own clock is ahead of ours, s, the truth between the two: by when it noted our release.

    It is the clock of the process that counts, which need not be the node's.  Raises ClusterError where there was
    no release, or none is noted.
    """
    life, lease = leases.lives[name], must(leases.lives[name].lease)
    entry = must(leases.files[name]).get(lease.address)
    if entry is None or entry.ends is None or entry.state == "active":
        raise ProbeFailed(f"{name} has not noted that {lease.address} was released", reason="no-entry")
    # Whole seconds, cut off; and the release took a moment to get there.
    return entry.ends - life.released - RELEASE_S, entry.ends + 1.0 - life.released


def free(entries: Mapping[str, LeaseEntry], address: str) -> bool:
    """Whether an address may be given to anybody, by either peer (binding states of dhcpd.leases(5))."""
    return address not in entries or entries[address].state in ("free", "backup")


def held(entries: Mapping[str, LeaseEntry]) -> dict[str, LeaseEntry]:
    """The leases of a file that a client holds now (binding state `active`, dhcpd.leases(5))."""
    return {address: entry for address, entry in entries.items() if entry.state == "active"}


def _lease_file(node: Node) -> dhcp.LeaseFile:
    text = node.run(["cat", "/var/lib/dhcp/dhcpd.leases"], sudo=True, deadline=5.0, check=True).text
    return dhcp.leases(text, growing=True)


def dhcp_peers(place: Place) -> dict[str, omapi.Peer | ClusterError]:
    """What each running dhcpd says of the pair."""
    plan, key = place.inventory.dhcp, secrets.ensure(place.inventory).omapi_key()
    return place.fleet.each(
        lambda node: omapi.failover(node, plan.failover, key, plan.omapi_port), servers(place.inventory)
    )


def dhcp_pools(place: Place) -> dict[str, frozenset[str] | ClusterError]:
    """Which addresses each running dhcpd may lease: of the pool, of its two neighbours, and of the floating one."""
    plan, key = place.inventory.dhcp, secrets.ensure(place.inventory).omapi_key()
    pool = [str(IPv4Address(n)) for n in range(int(plan.pool_first) - 1, int(plan.pool_last) + 2)]
    return place.fleet.each(
        lambda node: omapi.held_addresses(
            node, key, plan.omapi_port, [*pool, str(place.inventory.network.floating)], deadline=10.0
        ),
        servers(place.inventory),
    )


def dhcp_impatient(place: Place) -> dict[str, tuple[Offer, ...]]:
    """The offers to a client of each peer's own (RFC 3074) that has not waited at all; by whose it is."""
    plan = place.inventory.dhcp
    macs = [dhcp.synthetic_mac(n) for n in IMPATIENT_CLIENTS]
    mine = {plan.primary: [mac for mac in macs if bucket(mac) < plan.split]}
    mine[plan.secondary] = [mac for mac in macs if bucket(mac) >= plan.split]
    asked = {name: found[0] for name, found in mine.items() if found}

    def ask(mac: str) -> tuple[Offer, ...]:
        return dhcp.Client(place.interface, mac).discover(0, wait=OFFER_WAIT_S)

    with ThreadPoolExecutor(len(asked)) as pool:
        return dict(zip(asked, pool.map(ask, asked.values()), strict=True))


# ---------------------------------------------------------------- the floating address


def advertisements(place: Place) -> tuple[Advertisement, ...]:
    """Every advertisement heard in a time that holds two of a master, and one of any second one."""
    return vrrp.capture(place.interface, 2.25 * place.inventory.vrrp.advert)


def arp_owners(place: Place) -> dict[str, frozenset[str]]:
    """Who answers ARP for each node's address and for the floating one."""
    addresses = [str(node.address) for node in place.inventory.nodes.values()]
    return arp.who_have(place.interface, [*addresses, str(place.inventory.network.floating)])


@dataclass(frozen=True)
class Standing:
    """One node's part in the floating address: what it has, runs with, and listens to.

    `follows`: named takes up addresses that come later (named.conf(5), automatic-interface-scan).
    """

    addresses: frozenset[str]
    router_id: str | None
    instance: Instance
    protocols: frozenset[int]
    groups: frozenset[str]
    active: str
    follows: bool


def standings(place: Place) -> dict[str, Standing | ClusterError]:
    """Every LAN services node's part in the floating address."""
    return place.fleet.each(lambda node: _standing(node, place.inventory), servers(place.inventory))


def _standing(node: Node, inventory: Inventory) -> Standing:
    end = Deadline.after(10.0)
    links = json.loads(node.run(["ip", "-j", "-4", "address", "show"], deadline=end, check=True).text)
    conf = _keepalived(node, end)
    raw, igmp = (node.run(["cat", f"/proc/net/{f}"], deadline=end, check=True).text for f in ("raw", "igmp"))
    active = node.run(["systemctl", "is-active", "keepalived"], deadline=end).text.strip()
    named = node.run(["named-checkconf", "-px"], sudo=True, deadline=end, check=True).text
    return Standing(
        frozenset(info["local"] for link in links for info in link["addr_info"]),
        conf.router_id,
        conf.instance(inventory.vrrp.instance),
        # proc(5): a raw socket's "port" is its protocol, both in hexadecimal.
        frozenset(int(line.split()[1].split(":")[1], 16) for line in raw.splitlines()[1:]),
        frozenset(_group(line.split()[0]) for line in igmp.splitlines()[1:] if line.startswith("\t")),
        active,
        re.search(r"automatic-interface-scan\s+(no|false|0)", named) is None,  # yes by default
    )


def _keepalived(node: Node, deadline: float | Deadline) -> KeepalivedConf:
    text = node.run(["cat", "/etc/keepalived/keepalived.conf"], sudo=True, deadline=deadline, check=True).text
    return vrrp.keepalived_conf(text)


def vrrp_instance(node: Node, inventory: Inventory) -> Instance:
    """A node's live configuration of the floating address."""
    return _keepalived(node, 5.0).instance(inventory.vrrp.instance)


def _group(word: str) -> str:
    """An address of /proc/net/igmp, which prints the integer that lies in memory in network order."""
    return ".".join(str(part) for part in bytes.fromhex(word)[::-1])


# ---------------------------------------------------------------- DNS


def zones(inventory: Inventory) -> tuple[str, str]:
    """The forward and the reverse zone, as dnspython writes names."""
    return f"{inventory.cluster.zone}.", f"{inventory.network.reverse_zone}."


def answer(server: str, name: str, kind: str, *, tcp: bool = False, rd: bool = False) -> dns.Answer:
    """A server's answer, asked for again once: a single lost datagram says nothing about a server."""
    try:
        return dns.query(server, name, kind, tcp=tcp, rd=rd, deadline=1.0)
    except ProbeFailed as error:
        if error.reason != "timeout":
            raise
        return dns.query(server, name, kind, tcp=tcp, rd=rd, deadline=2.0)


def transfers(place: Place) -> dict[tuple[str, str], frozenset[dns.Record] | ClusterError]:
    """Both zones from both servers, transferred with the key."""
    said = secrets.ensure(place.inventory)
    key = dns.Tsig(said.tsig_name, said.tsig_key())
    return {
        (name, zone): outcome(dns.axfr, address, zone, key=key, deadline=5.0)
        for name, address in servers(place.inventory).items()
        for zone in zones(place.inventory)
    }


# ---------------------------------------------------------------- time


@dataclass(frozen=True)
class Followed:
    """Whom a node follows, as its chronyd says."""

    sources: tuple[Source, ...]
    tracking: Tracking


@dataclass(frozen=True)
class Clock(Followed):
    """A node's clock, too: how far it is from ours (s, the truth lies between the two)."""

    ahead_at_least: float
    ahead_at_most: float


def followed(node: Node) -> Followed:
    """Whom a node follows now; raises NodeError and Malformed."""
    said = node.run("chronyc -n -c sources && chronyc -n -c tracking", deadline=5.0, check=True).text.splitlines()
    return Followed(clock.sources("\n".join(said[:-1])), clock.tracking(said[-1]))


def origin(name: str, seen: Mapping[str, Followed | ClusterError], inventory: Inventory) -> str:
    """Where a node has its time from in the end: a node that is a reference itself, or an address elsewhere.

    Raises ProbeFailed for a node that has it from nobody, or in a circle.
    """
    nodes, way = {str(node.address): node.name for node in inventory.nodes.values()}, [name]
    while True:
        here = must(seen[way[-1]])
        if here.tracking.refid == LOCAL_REFERENCE:
            return way[-1]
        address = ".".join(str(part) for part in bytes.fromhex(here.tracking.refid))
        if here.tracking.leap == "Not synchronised":
            raise ProbeFailed(f"{way[-1]} has its time from nobody", reason="nobody")
        if address not in nodes:
            return address
        if nodes[address] in way:
            raise ProbeFailed(f"{' from '.join([*way, nodes[address]])}: that is a circle", reason="circle")
        way.append(nodes[address])


LOCAL_REFERENCE = "7F7F0101"
"""How chronyd names its own clock (chronyc(1), tracking)."""


def clocks(place: Place) -> dict[str, Clock | ClusterError]:
    """Every node's clock, once it follows somebody (a node may have come up only now) or time is up.

    Servers that have no real time each are a reference of their own until they have heard each other.
    """
    servers, end = place.inventory.ntp.servers, Deadline.after(CLOCK_WAIT_S)
    nodes = place.inventory.debian
    while True:
        seen = place.fleet.each(lambda node: _clock(node, node.name not in servers, end), nodes, limit=16)
        if end.passed or len(references(seen)) <= 1:
            return seen


def references(seen: Mapping[str, Followed | ClusterError]) -> list[str]:
    """The nodes that tell others the time of their own clock, for want of a better one."""
    return [n for n, one in seen.items() if isinstance(one, Followed) and one.tracking.refid == LOCAL_REFERENCE]


def _clock(node: Node, client: bool, end: Deadline) -> Clock:
    def settled(seen: Followed) -> bool:
        # Reached is not yet followed: which source is followed is decided with the next sample.
        reached = all(source.reach for source in seen.sources) and any(source.selected for source in seen.sources)
        return seen.tracking.leap == "Normal" and (not client or reached)

    seen = followed(node)
    while not settled(seen) and not end.passed:
        time.sleep(0.2)
        seen = followed(node)
    best: tuple[float, float] | None = None
    for _ in range(3):  # the quickest of three tells most
        before = time.time()
        told = float(node.run(["date", "+%s.%N"], deadline=5.0, check=True).text)
        after = time.time()
        if best is None or after - before < best[1] - best[0]:
            best = told - after, told - before
    assert best is not None
    return Clock(seen.sources, seen.tracking, *best)


def ntp_replies(place: Place) -> dict[str, NtpReply | ClusterError]:
    """The answer of each server of time, and of the floating address, by address."""
    asked = [str(place.inventory.nodes[n].address) for n in place.inventory.ntp.servers]
    asked.append(str(place.inventory.network.floating))
    return {address: outcome(_reply, address) for address in asked}


def _reply(address: str) -> NtpReply:
    """One reply, asked for again once: a single lost datagram says nothing about a clock."""
    try:
        return clock.query(address, 1.0)
    except ProbeFailed:
        return clock.query(address, 1.0)
