"""`starve`: the DHCP pool has no address left for a new client."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from chaos.faults.fault import Means
from cluster.errors import ProbeFailed
from cluster.inventory import Inventory
from cluster.probes import dhcp, wire
from cluster.probes.dhcp import ClientMachine, LeaseEntry, State
from cluster.probes.dhcp_balance import bucket
from cluster.probes.dhcp_packet import CLIENT_PORT
from cluster.wait import Deadline, until

PREFIX = "02:52:50:53:"
"""How the hardware addresses of our clients begin, and no others do: locally administered."""
GENERATIONS = 16
"""Which of so many sets of clients it is changes every minute: one that was given an address within `ping-cltt-secs`
(60 s) gets it back without the second of a ping (dhcpd.conf(5)), and a newcomer is what starves a pool."""
LEASE_S = 300
"""How long our leases last at most, whatever becomes of us: the least that dhcpd gives (min-lease-time)."""
TAKE_S = 25.0
"""How long taking all may take: a ping is 1 s, and who asked the wrong peer waits for load balance max seconds."""
LOOK_S = 2.0
"""How often we look whether nothing is free any more."""
AT_ONCE = 2
"""Half of all ask at the same time: what is offered and then, as we are killed, never asked for is nobody's for a
while, and the rest must do for others."""
OFFERED_S = 125.0
"""How long what was offered, and never asked for, is kept from everybody else: two minutes (dhcpd), and a ping."""
LEASE_FILE = "/var/lib/dhcp/dhcpd.leases"
MOST = 1000
"""How large a pool may be: so many clients at once would be a load of their own."""


def clients(generation: int) -> Iterator[str]:
    """The hardware addresses of a generation, more than are needed for either half of the largest pool."""
    return (f"{PREFIX}{generation * 16 + (n >> 8):02x}:{n & 255:02x}" for n in range(4 * MOST))


def askers(owners: Mapping[str, bool], macs: Iterable[str], split: int) -> dict[str, str]:
    """Who asks for which address: `owners` says of each free one whether it is the primary's, clients are of theirs.

    A server that is asked by another's client, or for no address in particular, offers the next one of its own, and
    an offer keeps that one from everybody else for two minutes.
    """
    waiting = {side: [address for address, owner in owners.items() if owner is side] for side in (True, False)}
    found = dict[str, str]()
    for mac in macs:
        own = waiting[bucket(mac) < split] or (waiting[True] + waiting[False] if split in (0, 256) else [])
        if own:
            found[mac] = own[0]
            for some in waiting.values():
                some[:] = [address for address in some if address != found[mac]]
    return found


@dataclass(frozen=True)
class Starve:
    """Every free address of the pool is leased by synthetic clients, which give all of them back."""

    kind: ClassVar[str] = "starve"
    takes_node: ClassVar[bool] = False
    part_of: ClassVar[str | None] = None
    patience_s: ClassVar[float] = OFFERED_S + 25.0
    longest_s: ClassVar[float] = LEASE_S - 2 * TAKE_S

    @property
    def nodes(self) -> tuple[str, ...]:
        """No node is taken away."""
        return ()

    @property
    def losing(self) -> str:
        """What new clients would be given."""
        return "its free addresses"

    @property
    def title(self) -> str:
        """What happens."""
        return "every free address of the DHCP pool is taken"

    @property
    def undoing(self) -> str:
        """What brings it back."""
        return "every address that was taken is given back"

    def fits(self, inventory: Inventory) -> None:
        """Every inventory has a pool."""

    def check(self, means: Means) -> None:
        """Whatever speaks against it is found out by taking."""

    def ended(self, means: Means) -> str:
        """Leases that end are only seen by who asks for them."""
        return ""

    def apply(self, means: Means) -> None:
        """Take them; raises ProbeFailed when some could not be taken, and NodeError."""
        owners = free(means)
        if len(owners) > MOST:
            raise ProbeFailed(f"the pool has more than {MOST} free addresses; it is not starved", reason="pool")
        asked = askers(owners, clients(int(time.time() // 60) % GENERATIONS), means.inventory.dhcp.split)
        # Others may be given some of them meanwhile: the pool is starved as soon as nothing is free.
        if not take(_interface(means), asked, lambda: not free(means)) and (left := free(means)):
            raise ProbeFailed(
                f"{len(left)} of {len(owners)} free addresses could not be taken within {TAKE_S:g} s", reason="timeout"
            )

    def undo(self, means: Means) -> None:
        """Give all back, and wait until a newcomer is offered an address by each server; raises WaitTimeout, NodeError.

        Where it ended in the middle of taking, what was on offer, up to half of all, is nobody's for two minutes.
        """
        give_back(means)
        newcomer = dhcp.Client(_interface(means), f"{PREFIX}ff:{int.from_bytes(os.urandom(1)):02x}")
        pair = {
            str(means.inventory.node(name).address)
            for name in (means.inventory.dhcp.primary, means.inventory.dhcp.secondary)
        }

        def offered() -> bool:
            return pair <= {offer.server for offer in newcomer.discover(10, enough=pair)}

        until(offered, deadline=OFFERED_S, what="an address for a newcomer, of each server", every=1.0)


def give_back(means: Means) -> None:
    """Release what our clients hold, until neither lease file has any of it; raises WaitTimeout, NodeError."""
    until(partial(_give_back, means), deadline=20.0, what=Starve().undoing, every=0.5)


def ours(entries: Mapping[str, LeaseEntry]) -> dict[str, LeaseEntry]:
    """The leases of a file that our clients hold."""
    return {a: e for a, e in entries.items() if e.state == "active" and e.mac and e.mac.startswith(PREFIX)}


def _interface(means: Means) -> str:
    return wire.interface_towards(str(means.inventory.network.floating))


def _files(means: Means) -> dict[str, Mapping[str, LeaseEntry]]:
    """Both lease files as they are now; raises NodeError and LeaseFileError."""
    plan = means.inventory.dhcp
    texts = {
        name: means.fleet[name].get(LEASE_FILE, sudo=True, deadline=5.0) for name in (plan.primary, plan.secondary)
    }
    return {name: dhcp.leases(text.decode(), growing=True).leases for name, text in texts.items()}


def free(means: Means) -> dict[str, bool]:
    """The addresses that a new client could be given, and whether they are the primary's; by the primary's file.

    In the order in which dhcpd gives them: those that were abandoned are its last resort.
    """
    plan = means.inventory.dhcp
    states = dhcp.states(_files(means)[plan.primary], plan.pool_first, plan.pool_last)
    ranked = sorted(states.items(), key=lambda one: one[1] == "abandoned")
    return {address: state != "backup" for address, state in ranked if state in ("free", "backup", "abandoned")}


def take(interface: str, asked: Mapping[str, str], starved: Callable[[], bool]) -> bool:
    """Let these clients get a lease, half of them at a time, of the address that each asks for where it can.

    Ends when each has one, when `starved` says so, or after a while; whether each has one.
    """
    end, look = Deadline.after(TAKE_S), Deadline.after(LOOK_S)
    short = ((51, LEASE_S.to_bytes(4)),)
    machines = {mac: ClientMachine(mac, wanted=address, extra=short) for mac, address in asked.items()}
    at_once = -(-len(machines) // AT_ONCE)
    with wire.packet_socket(interface, wire.ETH_IP, wire.only_udp_to(CLIENT_PORT), accept=tuple(machines)) as sock:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while (left := [m for m in machines.values() if m.state is not State.BOUND]) and not end.passed:
            if look.passed:
                if starved():
                    break
                look = Deadline.after(LOOK_S)
            for machine in left[:at_once]:
                if machine.state is State.IDLE:
                    machine.discover(time.monotonic())
                while (frame := machine.send(time.monotonic())) is not None:
                    sock.send(frame)
            timers = [m.next_timer for m in left if m.next_timer is not None]
            poll.poll(max(0.0, min([*timers, end.at, look.at]) - time.monotonic()) * 1000)
            while (got := wire.receive(sock)) is not None:
                for machine in left:
                    machine.receive(got.t, got.data, verify=got.verify)
    return not left


def _give_back(means: Means) -> bool:
    """Release what our clients hold, by either file; whether there was nothing."""
    files, interface = _files(means), _interface(means)
    for name, entries in files.items():
        server = means.inventory.node(name)
        for address, entry in ours(entries).items():
            dhcp.Client(interface, str(entry.mac)).give_back(address, str(server.address), server.mac)
    return not any(ours(entries) for entries in files.values())
