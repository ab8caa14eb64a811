"""The pair has the timers of this run's profile: what is measured with others would be called by a wrong name."""

from __future__ import annotations

import pytest

from cluster.errors import ProbeFailed
from cluster.health import Health
from cluster.inventory import Inventory
from cluster.node import Fleet, Node

pytestmark = pytest.mark.group("lanservices")


def test_the_timers_are_those_of_the_profile(node: Node, inventory: Inventory, fleet: Fleet) -> None:
    try:
        Health(inventory, fleet).profile(node.name)
    except ProbeFailed as error:
        pytest.fail(str(error), pytrace=False)
