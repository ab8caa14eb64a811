"""What the disruptive specs about the cluster share; no logic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cluster.inventory import Inventory
from cluster.node import Fleet

if TYPE_CHECKING:
    from specs.cluster.experiments import Experiments


@pytest.fixture(scope="session")
def experiments(inventory: Inventory, fleet: Fleet) -> Experiments:
    """The experiments of this run."""
    from specs.cluster.experiments import Experiments

    return Experiments(inventory, fleet)
