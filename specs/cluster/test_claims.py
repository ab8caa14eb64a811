"""The claims of the inventory: losing a node is out for at most as long as claimed, tried and measured.

Disruptive: each node that a claim is about is lost once, and all claims about losing it share that experiment.
A claim that could not be judged is as red as a broken one: not seeing is no proof.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from chaos import judge
from chaos.faults import FAULTS
from chaos.outcome import Outcome
from cluster.inventory import Claim, Inventory
from specs.cluster.experiments import Experiments

pytestmark = pytest.mark.disruptive


def experiment(claim: Claim, experiments: Experiments) -> Outcome:
    """The experiment that a claim is judged by."""
    return experiments.of(FAULTS[claim.fault].make(claim.experiment[1:]))


@pytest.mark.each("claim", lambda inventory: inventory.claims)
def test_a_claim_holds(claim: Claim, experiments: Experiments) -> None:
    outcome = experiment(claim, experiments)
    found = [judged for judged in outcome.claims if judged.claim == claim.name]
    if not found:
        pytest.fail(f"{claim.name} was not judged: {outcome.reason}", pytrace=False)
    (judged,) = found
    if judged.verdict == judge.NOT_VERIFIED:
        pytest.skip(judged.reason)
    if judged.verdict != judge.HELD:
        pytest.fail(
            f"losing {claim.losing}: {claim.service} is {judged.verdict} (claimed: {claim.promise}): "
            f"{judged.reason or outcome.reason}; recorded in {outcome.run}",
            pytrace=False,
        )


class Loss(NamedTuple):
    """One experiment, by one of the claims that it serves."""

    name: str
    claim: Claim


def losses(inventory: Inventory) -> list[Loss]:
    """Every experiment once."""
    return list({c.experiment: Loss(c.loss, c) for c in inventory.claims}.values())


@pytest.mark.each("loss", losses)
def test_what_was_taken_away_is_proven_back(loss: Loss, experiments: Experiments) -> None:
    outcome = experiment(loss.claim, experiments)
    if not outcome.healed:
        pytest.fail(f"{loss.name} is not proven undone: {outcome.reason}", pytrace=False)
