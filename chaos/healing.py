"""Bringing the cluster back outside of an experiment: after a crash (`heal`), or one node by hand (`boot`)."""

from __future__ import annotations

from collections.abc import Callable

from chaos import guard, journal, recovery
from chaos.faults import Fault, Means, PowerOff, Skew, from_data, starve
from chaos.faults.on_node import sweep
from chaos.faults.skew import CHRONY, forget
from chaos.interrupt import Interrupts
from cluster import power
from cluster.errors import ClusterError, InputError, NotUndone
from cluster.health import Check, Health
from cluster.inventory import Inventory
from cluster.journal import check_undone, entries
from cluster.node import Fleet

Say = Callable[[str], None]


def heal(
    inventory: Inventory, fleet: Fleet, *, command: str = "chaos heal", say: Say = lambda line: None
) -> tuple[Check, ...]:
    """Bring back everything: what the journal names and every node without power; then prove it.

    Idempotent.  Returns the proof and takes the entries away; raises NotUndone (exit 5), the entries staying,
    when it could not be proven, and Refused while another command is at work.
    """
    with journal.held(inventory.state, command), Interrupts():
        announced = entries(inventory.state)
        means = Means(inventory, fleet, power.driver(inventory))
        faults: dict[Fault, None] = {}
        for entry in announced:
            say(f"{entry.story}; undoing: {entry.undo}")
            # What a damaged entry stood for is unknown, so every node is made to answer.
            damaged = [PowerOff(name) for name in inventory.nodes]
            faults |= dict.fromkeys(damaged if entry.damaged else [from_data(entry.fault)])
        for name in inventory.nodes:
            if power.known_on(means.power, name) is False:
                say(f"{name} has no power; giving it some")
                faults[PowerOff(name)] = None
        try:
            checks = _healed(means, faults, say)
        except InputError:
            raise
        except ClusterError as error:
            raise NotUndone(f"not healed: {error}") from error
        for entry in announced:
            journal.proven(entry)
        return checks


def _healed(means: Means, faults: dict[Fault, None], say: Say) -> tuple[Check, ...]:
    """Undo, and prove; raises NotUndone with what could not be proven."""
    recovery.undo(means, faults)
    health = Health(means.inventory, means.fleet)
    for name, found in means.fleet.each(sweep).items():
        if isinstance(found, ClusterError):  # it has no power yet to answer with, or it never will: proven below
            say(f"{name}: not asked for undos that wait there: {found}")
        else:
            for what in found:
                say(f"{name}: undone there: {what}")
                if what.startswith(f"{Skew.kind} {name} {CHRONY} "):
                    forget(means, name)
    say("waiting until every node and every service is proven back")
    checks = _all_good(recovery.prove(health, means.inventory.nodes))
    starve.give_back(means)  # leases of a machine whose journal is not here
    if given := recovery.give_back_leases(health):
        say(f"gave back {given} leases of synthetic clients")
    return (*checks, *_all_good(recovery.residue(health, means.inventory.nodes)))


def _all_good(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    if trouble := [check for check in checks if not check.ok]:
        raise NotUndone(guard.story(trouble))
    return checks


def boot(
    inventory: Inventory, fleet: Fleet, name: str, *, command: str, say: Say = lambda line: None
) -> tuple[Check, ...]:
    """Give a node power and wait until it serves; what it shares with a partner is not asked for.

    Raises NotUndone when it does not come, Refused while a fault is not undone or a command is at work.
    """
    inventory.node(name)
    with journal.held(inventory.state, command), Interrupts():
        check_undone(inventory.state)
        driver = power.driver(inventory)
        say(f"{name} has power already" if driver.is_on(name) else f"giving {name} power")
        driver.on(name)
        health = Health(inventory, fleet)
        shared = [key for key in health.checks([name]) if key[1] is None]
        return _all_good(health.await_all([name], recovery.PROOF_S, but=shared))
