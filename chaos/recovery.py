"""Bringing back what a fault took, and proving it: powered, reachable, serving, and nothing left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence

from chaos.faults import Fault, Means
from chaos.faults.on_node import left_on
from chaos.leasing import clients, newcomers
from cluster.errors import ClusterError, NotUndone, ProbeFailed
from cluster.health import Check, Health
from cluster.probes import dhcp
from cluster.wait import Deadline, until

PROOF_S = 90.0
"""How long a recovery may take: a Pi B+ boots in 40 s; its daemons, failover and preemption need 15 s more."""


def undo(means: Means, faults: Iterable[Fault]) -> tuple[float, float]:
    """Undo faults, nodes without power first, and last what is no node's, for which all are needed.

    Insists while a driver fails or a node still boots, and tries each, whatever became of the others.  Returns when it
    began and ended (monotonic s); raises NotUndone, after the last one, with what each said that failed.
    """
    began = time.monotonic()
    failed: list[Exception] = []
    for fault in sorted(faults, key=lambda fault: (not fault.takes_node, not fault.nodes)):
        try:
            _insist(fault, means)
        except Exception as error:  # whatever it was, the other faults are still there to be undone
            failed.append(error)
    if failed:
        raise NotUndone("; ".join(map(told, failed))) from failed[0]
    return began, time.monotonic()


def attempt(name: str, do: Callable[[], object]) -> tuple[Check, ...]:
    """Do it; no check where that was possible, else one that is false and says why.  Raises nothing."""
    try:
        do()
    except Exception as error:  # whatever went wrong, what follows is that it is not proven
        return (Check(name, None, False, told(error)),)
    return ()


def told(error: Exception) -> str:
    """An error for people: ours speak for themselves, others need their kind."""
    return str(error) if isinstance(error, ClusterError) else f"{type(error).__name__}: {error}"


def _insist(fault: Fault, means: Means) -> None:
    def once() -> bool:
        fault.undo(means)
        return True

    until(once, deadline=fault.patience_s, what=fault.undoing, every=0.5)


def prove(
    health: Health,
    names: Iterable[str],
    *,
    deadline: float | Deadline = PROOF_S,
    excused: Sequence[tuple[str, str | None]] = (),
) -> tuple[Check, ...]:
    """Wait until the cluster is as it should be; returns every check with its outcome, but the `excused` ones."""
    return health.await_all(list(dict.fromkeys([*health.pair, *names])), deadline, but=excused)


def failed_units(health: Health, names: Iterable[str]) -> frozenset[tuple[str, str]]:
    """The units that have failed now, each with its node; a node that cannot be asked adds none."""
    found: set[tuple[str, str]] = set()
    for name in names:
        try:
            found |= {(name, unit) for unit in health.facts(name).failed_units}
        except ClusterError:
            continue
    return frozenset(found)


def residue(
    health: Health,
    names: Iterable[str] = (),
    *,
    deadline: float | Deadline = 10.0,
    before: Collection[tuple[str, str]] = (),
    skip: Collection[str] = (),
) -> tuple[Check, ...]:
    """Whether the pair and `names` have anything left: failed units but `before`, faults' own, our clients' leases.

    Waits a moment, because the pair tells each other of a released lease with some delay.  Ask it when no
    observer runs; nodes in `skip` are not asked.
    """
    end = Deadline.of(deadline)
    ours = _ours(health)

    def look(name: str) -> str:
        if remains := left_on(health.fleet[name]):
            raise ProbeFailed(f"{name}: left by a fault: {', '.join(remains)}", reason="fault")
        if name not in health.pair:
            return "none"
        facts = health.facts(name)
        if failed := [unit for unit in facts.failed_units if (name, unit) not in before]:
            raise ProbeFailed(f"{name}: failed units: {', '.join(failed)}", reason="failed-units")
        if left := [address for address, mac in facts.leases if mac in ours]:
            raise ProbeFailed(f"{name}: leases left with synthetic clients: {', '.join(left)}", reason="leases")
        return "none"

    def check(name: str) -> Check:
        try:
            return Check("residue", name, True, until(lambda: look(name), deadline=end, what="residue", every=0.25))
        except ClusterError as error:
            return Check("residue", name, False, str(error))

    return tuple(check(name) for name in dict.fromkeys([*health.pair, *names]) if name not in skip)


def _ours(health: Health) -> frozenset[str]:
    """The hardware addresses of all our clients."""
    split = health.inventory.dhcp.split
    return frozenset((*clients(split), *newcomers(split)))


def give_back_leases(health: Health) -> int:
    """Release what synthetic clients still hold, as after an observer that was killed; how many there were.

    A server takes a release whoever gave the lease, and tells its peer (dhcpd(8), failover).
    """
    ours, found = _ours(health), set[tuple[str, str]]()
    for name in health.pair:
        for address, mac in health.facts(name).leases:
            if mac in ours and (address, mac) not in found:
                found.add((address, mac))
                server = health.inventory.node(name)
                dhcp.Client(health.interface, mac).give_back(address, str(server.address), server.mac)
    return len(found)
