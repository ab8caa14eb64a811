"""Experiments that disruptive specs share: each is made once in a run, when the first spec asks for it."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from chaos.experiment import HOLD_S, claims_about, prove
from chaos.faults import Fault
from chaos.outcome import Outcome
from cluster.errors import ClusterError
from cluster.inventory import Claim, Inventory
from cluster.node import Fleet
from cluster.record import Event, events

MISSED_S = 2.5
"""How much longer than its budget a service must be out to have missed it for certain."""
PATIENT = ("dhcp", "k3s")
"""Whose clients ask again after seconds."""


def enough(fault: Fault, claims: Collection[Claim]) -> float:
    """How long a fault must last for the claims about itself, s; what it is a part of has an experiment of its own.

    What is out as long as it lasts must miss its budget; patient clients, and what must never happen, take longer.
    """
    own = [claim for claim in claims if claim.fault == fault.kind]
    if all(claim.kind == "outage" and claim.service not in PATIENT for claim in own):
        return max((claim.budget for claim in own), default=0.0) + MISSED_S
    return HOLD_S


class Experiments:
    """Faults made, watched and undone; the outcome of each is kept for all who ask."""

    def __init__(self, inventory: Inventory, fleet: Fleet) -> None:
        self.inventory, self.fleet = inventory, fleet
        self._done: dict[Fault, Outcome | ClusterError] = {}
        self._seen: dict[Fault, tuple[Event, ...]] = {}

    def of(self, fault: Fault, hold_s: float = 0.0) -> Outcome:
        """The experiment with this fault; fails the spec where it could not be made, which is tried once.

        It lasts for `hold_s`, and as long as claims about it need; what is shared has the `hold_s` of who asks first.
        """
        if fault not in self._done:
            claims = claims_about(self.inventory, fault, patient=True)
            try:
                hold_s = max(hold_s, enough(fault, claims))
                self._done[fault] = prove(self.inventory, self.fleet, fault, claims, hold_s=hold_s)
            except ClusterError as error:  # refused by the guard, for instance
                self._done[fault] = error
        outcome = self._done[fault]
        if isinstance(outcome, ClusterError):
            pytest.fail(f"not tried: {fault.title}: {outcome}", pytrace=False)
        if outcome.reason.startswith("interrupted"):
            pytest.exit(outcome.reason)
        return outcome

    def seen(self, fault: Fault, hold_s: float = 0.0) -> tuple[Event, ...]:
        """Everything that was recorded of it."""
        run = self.of(fault, hold_s).run
        if fault not in self._seen:
            self._seen[fault] = tuple(events(run))
        return self._seen[fault]
