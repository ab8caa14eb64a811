"""The Sense HAT: what is lit is what last night's record says."""

from __future__ import annotations

import pytest

from cluster import sensehat
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Node
from specs.deployer.nights import Harness
from specs.lanservices.looks import must

pytestmark = pytest.mark.group("deployer")


def test_it_shows_what_came_of_last_night(
    node: Node, harnesses: dict[str, Harness | ClusterError], inventory: Inventory
) -> None:
    harness = must(harnesses[node.name])
    if harness.lights is None:
        pytest.skip("there is no Sense HAT")
    assert len(harness.lights) >= 2 * sensehat.SIDE**2, f"{node.name}: the Sense HAT shows nothing"
    tone = harness.told["tone"] if harness.told else None
    wanted = sensehat.frame(list(inventory.nodes), harness.events, tone)
    found = sensehat.decode(harness.lights)
    assert found == wanted, (
        f"{node.name}: the Sense HAT shows {sensehat.draw(found)}, and last night's record says {sensehat.draw(wanted)}"
    )
