"""Faults that last as long as a `with` block, for disruptive specs: guarded, journalled, undone and proven undone.

What is seen meanwhile is the block's own affair; an experiment that measures and judges claims is `chaos.experiment`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from chaos import guard, halt, journal, recovery
from chaos.faults import Fault, Means, admit, data
from chaos.interrupt import Interrupts
from cluster import power
from cluster.errors import NotUndone
from cluster.health import Health
from cluster.inventory import Inventory
from cluster.journal import check_undone
from cluster.node import Fleet

Say = Callable[[str], None]


@contextmanager
def lasting(
    inventory: Inventory,
    fleet: Fleet,
    *faults: Fault,
    command: str = "a disruptive spec",
    say: Say = lambda line: None,
) -> Iterator[Means]:
    """Apply faults in this order; at the block's end undo them in the other one, and prove it.

    Raises Refused when another command is at work, a fault is not undone or the guard says no, and whatever
    applying raises; NotUndone, at the end, when the undo could not be proven: `chaos heal` knows of it then.
    SIGTERM and SIGHUP end the block as Ctrl-C does.
    """
    health, means = Health(inventory, fleet), Means(inventory, fleet, power.driver(inventory))
    names = tuple(dict.fromkeys(name for fault in faults for name in fault.nodes))
    halt.check(inventory)
    with journal.held(inventory.state, command):
        check_undone(inventory.state)
        for fault in faults:
            admit(fault, means)
        guard.look(health, names).demand()
        before = recovery.failed_units(health, health.pair)
        written = []
        with _ending_on_signals():
            try:
                for fault in faults:
                    halt.check(inventory)
                    written.append(
                        journal.write(
                            inventory.state, data(fault), fault.nodes, undo=fault.undoing, command=command, run=None
                        )
                    )
                    say(fault.title)
                    fault.apply(means)
                yield means
            finally:
                if written:
                    with Interrupts():  # an undo is not interrupted
                        _mend(means, health, faults[: len(written)], names, before, say)
                        for entry in written:
                            journal.proven(entry)


def _mend(
    means: Means,
    health: Health,
    faults: tuple[Fault, ...],
    names: tuple[str, ...],
    before: frozenset[tuple[str, str]],
    say: Say,
) -> None:
    """Undo and prove, each part whatever the others came to; raises NotUndone, the journal's entries staying."""
    for fault in reversed(faults):
        say(f"undoing: {fault.undoing}")
    checks = recovery.attempt("undo", lambda: recovery.undo(means, reversed(faults)))
    checks += recovery.prove(health, names)
    recovery.attempt("leases", lambda: recovery.give_back_leases(health))  # the look for residue says what is left
    checks += recovery.residue(health, names, before=before)
    if trouble := [check for check in checks if not check.ok]:
        raise NotUndone(f"not proven undone: {guard.story(trouble)}; run: python -m chaos heal")


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, so that what was begun is undone; only a main thread can."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                stack.callback(signal.signal, number, signal.signal(number, end))
        yield
