"""What the specs cost for each node where there are many, against as many as are shipped: it must not grow.

Two labs, one after the other, which take a quarter of an hour: `pytest tests/bench/bench_growth.py --long`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.inventories import with_compute
from tests.lab import test_growth as growth
from tests.lab.test_growth import MANY, SHIPPED, USUAL, bring, cluster_of, verify

pytestmark = growth.pytestmark  # the same labs: they need minutes, and root
DEARER = 1.5  # how much more a node may cost among many; the looks that all share are spread over more of them


def test_a_node_costs_no_more_among_many(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    cost = {}
    for count in (USUAL, MANY):
        (folder := tmp_path / str(count)).mkdir()
        with cluster_of(with_compute(SHIPPED, count), folder) as model:
            bring(model)
            cost[count] = verify(model) / len(model.nodes)
        record_property(f"s for a node of {count}", round(cost[count], 2))
    assert cost[MANY] <= DEARER * cost[USUAL], f"the specs of one node take {cost} s, by the number of compute nodes"
