"""What the disruptive specs about the floating address look at: faults that move it, and what a third host saw.

Times are seconds on the observer's monotonic clock; advertisements and ARP are stamped by its kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from chaos.faults import Block, Fault, PowerOff, Stop
from chaos.judge import GRACE_S, Interval
from chaos.ownership import Ownership, Reign, late, ownership, reigns
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.probes import vrrp
from cluster.probes.keepalived import Instance
from cluster.record import Event
from specs.cluster.experiments import Experiments
from specs.lanservices.looks import vrrp_instance


class Trial(NamedTuple):
    """A fault that moves the address, or should: its name in ids, and how long it lasts, s."""

    name: str
    fault: Callable[[str, str], Fault]
    """Of the owner and the standby."""
    hold_s: Callable[[float], float]
    """Of how long the standby waits for a dead master."""


HELD_S = 2.5
"""How long the address stays where it went."""
LOST = Trial("lost", lambda owner, standby: PowerOff(owner), lambda down: down + HELD_S)
"""The owner loses its power, for as long as claims about that need, too: they are judged by the same experiment."""
STOPPED = Trial("stopped", lambda owner, standby: Stop(owner, "keepalived"), lambda down: HELD_S)
DEAF = Trial("deaf", lambda owner, standby: Block(standby, owner, "vrrp"), lambda down: down + HELD_S)
"""The standby hears no advertisement of the owner, which hears those of the standby."""


@dataclass(frozen=True)
class Seen:
    """What a third host saw of one trial; `owner` and `standby` are names, and so are the keys of the mappings."""

    trial: Trial
    owner: str
    standby: str
    events: tuple[Event, ...]
    address: dict[str, str]
    mac: dict[str, str]
    instance: dict[str, Instance]
    """The live configuration."""
    note: Callable[[str, object], None]
    """Keeps what was measured in the record of the run."""

    def fault(self, state: str) -> tuple[float, float]:
        """When applying (`applied`) or undoing (`undone`) the fault began and ended."""
        found = [e for e in self.events if e["kind"] == "fault" and e["state"] == state]
        if not found:
            pytest.fail(f"{self.trial.name}: the fault was not {state}", pytrace=False)
        return found[0]["began"], found[0]["ended"]

    @property
    def window(self) -> vrrp.Window:
        """What the standby's live configuration promises."""
        live = self.instance[self.standby]
        return vrrp.window(live.advert_int, live.priority, live.version)

    @property
    def advert_s(self) -> float:
        """The interval of the owner's live configuration, s."""
        return self.instance[self.owner].advert_int

    def reigns(self, name: str) -> list[Reign]:
        """When a node advertised."""
        return [r for r in reigns(self.events, self.instance[name].vrid) if r.src == self.address[name]]

    def advertised(self, name: str) -> list[float]:
        """When a node sent advertisements."""
        ads = (e for e in self.events if e["kind"] == "frame" and e["proto"] == "vrrp")
        return [float(e["t"]) for e in ads if e["src"] == self.address[name]]

    @property
    def before(self) -> Reign:
        """The owner's reign that the fault fell into."""
        began, _ = self.fault("applied")
        found = [reign for reign in self.reigns(self.owner) if reign.began < began]
        if not found:
            pytest.fail(f"{self.owner} did not advertise before it was {self.trial.name}", pytrace=False)
        return found[-1]

    @property
    def meanwhile(self) -> Reign:
        """The standby's first reign after the fault began."""
        began, _ = self.fault("applied")
        found = [reign for reign in self.reigns(self.standby) if reign.began > began]
        if not found:
            pytest.fail(f"{self.standby} never advertised after {self.owner} was {self.trial.name}", pytrace=False)
        return found[0]

    @property
    def after(self) -> Reign:
        """The owner's first reign after the undo began."""
        began, _ = self.fault("undone")
        found = [reign for reign in self.reigns(self.owner) if reign.began > began]
        if not found:
            pytest.fail(f"{self.owner} did not take the address back", pytrace=False)
        return found[0]

    @property
    def owned(self) -> Ownership:
        """How long nobody, and how long both answered for the address."""
        found = ownership(self.events)
        if found is None:
            pytest.fail("nobody asked who owns the address", pytrace=False)
        return found

    def expect(
        self, what: str, measured: Interval | float, low: float, high: float, since: float, until: float
    ) -> None:
        """Fail unless what was measured lies within what is promised, give or take `GRACE_S`, all in s.

        Where it does not and the observer itself was late in that time, nothing is known, and that is red, too.
        """
        span = measured if isinstance(measured, Interval) else Interval(measured, measured)
        told = f"{span.at_least:.3f}" + (f" to {span.at_most:.3f}" if span.at_most != span.at_least else "")
        promised = f"{low:.3f} to {high:.3f}" if high > low else f"{high:.3f}"
        self.note(what, f"{told} s, promised {promised} s")
        if span.at_most >= low - GRACE_S and span.at_least <= high + GRACE_S:
            return
        if (by := late(self.events, since, until)) > GRACE_S:
            pytest.fail(f"inconclusive: the observer itself was late by {by:.3f} s; {what}: {told} s", pytrace=False)
        pytest.fail(f"{what}: {told} s, the live configuration promises {promised} s", pytrace=False)


def watch(
    trial: Trial, inventory: Inventory, fleet: Fleet, experiments: Experiments, note: Callable[[str, object], None]
) -> Seen:
    """The trial as it was seen, made now where no spec asked for it before; fails where it could not be made."""
    standby, owner = sorted(inventory.vrrp.priorities, key=lambda name: inventory.vrrp.priorities[name])
    live = {name: vrrp_instance(fleet[name], inventory) for name in (owner, standby)}
    down = vrrp.window(live[standby].advert_int, live[standby].priority, live[standby].version).master_down
    events = experiments.seen(trial.fault(owner, standby), trial.hold_s(down))
    nodes = {name: inventory.node(name) for name in (owner, standby)}
    return Seen(
        trial,
        owner,
        standby,
        events,
        {name: str(node.address) for name, node in nodes.items()},
        {name: node.mac for name, node in nodes.items()},
        live,
        note,
    )
