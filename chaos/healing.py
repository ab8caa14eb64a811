"""Bringing the cluster back outside of an experiment: after a crash (`heal`), or one node by hand (`boot`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chaos import guard, journal, recovery
from chaos.faults import Fault, Means, PowerOff, Skew, from_data, starve
from chaos.faults.on_node import sweep
from chaos.faults.skew import CHRONY, forget
from chaos.interrupt import Interrupts
from cluster import power
from cluster.errors import ClusterError, InputError, NotUndone
from cluster.health import Check, Health
from cluster.inventory import Inventory
from cluster.journal import Entry, check_undone, entries
from cluster.node import Fleet

Say = Callable[[str], None]


def heal(
    inventory: Inventory, fleet: Fleet, *, command: str = "chaos heal", say: Say = lambda line: None
) -> tuple[Check, ...]:
    """Bring back everything: what the journal names and every node without power; then prove it.

    Idempotent.  Nothing that fails keeps the rest from being undone.  Returns the proof and takes the entries away;
    raises NotUndone (exit 5), the entries staying, when it could not be proven or an entry names a node that the
    inventory does not, and Refused while another command is at work.
    """
    with journal.held(inventory.state, command), Interrupts():
        announced = entries(inventory.state)
        means = Means(inventory, fleet, power.driver(inventory))
        has_power = _powered(means, say)
        faults: dict[Fault, None] = {}
        for entry in announced:
            say(f"{entry.story}; undoing: {entry.undo}")
            try:
                faults[_fault(entry, inventory)] = None
            except InputError as error:
                # What it stood for is unknown, so every node is made to answer.
                say(f"{error}; every node is made to answer, and to undo what waits there")
                faults |= {PowerOff(name): None for name, known in has_power.items() if known is not None}
        for name, known in has_power.items():
            if known is False:
                say(f"{name} has no power; giving it some")
                faults[PowerOff(name)] = None
        checks = _healed(means, faults, say)
        if trouble := [check for check in checks if not check.ok]:
            raise NotUndone(f"not healed: {guard.story(trouble)}")
        foreign = []
        for entry in announced:
            if strangers := _strangers(entry, inventory):
                foreign.append(
                    f"{entry.path} names {', '.join(strangers)}, which {inventory.path.name} does not: put it back "
                    "there and run this again, or delete that file if the node is gone for good"
                )
            else:
                journal.proven(entry)
        if foreign:
            raise NotUndone(f"all else is healed, but {'; '.join(foreign)}")
        return checks


def _powered(means: Means, say: Say) -> dict[str, bool | None]:
    """Of each node whether it has power; None, and told with the reason, where nobody can tell."""
    found: dict[str, bool | None] = {}
    unknown: dict[str, ClusterError] = {}
    for name in means.inventory.nodes:
        try:
            found[name] = means.power.is_on(name)
        except ClusterError as error:
            found[name], unknown[name] = None, error
    if unknown:
        say(f"nobody can tell whether {', '.join(unknown)} has power ({next(iter(unknown.values()))})")
    return found


def _fault(entry: Entry, inventory: Inventory) -> Fault:
    """What an entry announced; raises InputError where that is not known here."""
    if entry.damaged:
        raise InputError("it is not known what was done")
    if strangers := _strangers(entry, inventory):
        raise InputError(f"{inventory.path.name} has no node named {', '.join(strangers)}")
    return from_data(entry.fault)


def _strangers(entry: Entry, inventory: Inventory) -> tuple[str, ...]:
    """The nodes that an entry names and the inventory does not."""
    return tuple(name for name in entry.nodes if name not in inventory.nodes)


def _healed(means: Means, faults: dict[Fault, None], say: Say) -> tuple[Check, ...]:
    """Undo, and prove, each part whatever the others came to; every check with its outcome."""
    checks = recovery.attempt("undo", lambda: recovery.undo(means, faults))
    checks += _swept(means, say)
    say("waiting until every node and every service is proven back")
    try:
        health = Health(means.inventory, means.fleet)
    except ClusterError as error:  # this machine is not on the LAN, and can only undo
        return (*checks, Check("proof", None, False, str(error)))
    checks += recovery.prove(health, means.inventory.nodes)
    checks += recovery.attempt("leases", lambda: _given_back(means, health, say))
    return checks + recovery.residue(health, means.inventory.nodes)


def _swept(means: Means, say: Say) -> tuple[Check, ...]:
    """Undo what waits on nodes, whoever made it; only what failed is returned."""
    failed: tuple[Check, ...] = ()
    for name, found in means.fleet.each(sweep).items():
        if isinstance(found, ClusterError):  # it has no power yet to answer with, or it never will: proven later
            say(f"{name}: not asked for undos that wait there: {found}")
            continue
        for what in found:
            say(f"{name}: undone there: {what}")
            if what.startswith(f"{Skew.kind} {name} {CHRONY} "):
                failed += recovery.attempt("undo", partial(forget, means, name))
    return failed


def _given_back(means: Means, health: Health, say: Say) -> None:
    """Give back the leases of our clients, also of a machine whose journal is not here."""
    starve.give_back(means)
    if given := recovery.give_back_leases(health):
        say(f"gave back {given} leases of synthetic clients")


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
        checks = health.await_all([name], recovery.PROOF_S, but=shared)
        if trouble := [check for check in checks if not check.ok]:
            raise NotUndone(guard.story(trouble))
        return checks
