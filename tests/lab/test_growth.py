"""Other numbers of compute nodes are other inventories and nothing else: the same code brings up and verifies them.

Each has a lab of its own.  What the specs cost a node must not grow with the number of nodes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.inventory import Inventory, load
from tests.inventories import with_compute

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.long, pytest.mark.skipif(os.geteuid() != 0, reason="making namespaces and nodes needs root")]

FEW, USUAL, MANY = 2, 4, 24
DEARER = 1.5  # how much more a node may cost among many; the looks that all share are spread over more of them
cost: dict[int, float] = {}
"""How long the specs took for each node of a cluster, s, by the number of its compute nodes."""


def run(*words: str | Path, seconds: float = 900) -> tuple[float, str]:
    """A command of the project that must end well: how long it took, s, and what it printed."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    said = f"{done.stdout[-6000:]}{done.stderr[-3000:]}"
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {said}"
    return time.monotonic() - began, done.stdout


@pytest.fixture(params=[FEW, USUAL, MANY], ids=lambda count: f"{count}-compute-nodes")
def grown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """A cluster of that many compute nodes, whose lab is taken down at the end."""
    file = tmp_path_factory.mktemp(f"compute{request.param}") / "inventory.yaml"
    file.write_text(with_compute((ROOT / "inventory.yaml").read_text(), request.param))
    yield load(file)
    run("lab", "--inventory", file, "down")


def test_a_cluster_of_another_size_is_one_more_inventory(
    grown: Inventory, record_property: Callable[[str, object], None]
) -> None:
    file, nodes = grown.path, len(grown.nodes)
    up_s, _ = run("lab", "--inventory", file, "up")
    provision_s, said = run("provision", "--inventory", file, "all", "--json")
    assert {node["name"] for node in json.loads(said)["nodes"]} == set(grown.nodes)

    # What the better of two runs needs is what it costs; the first one starts what was never asked before.
    specs = ["pytest", "-q", "--no-report", "-p", "no:cacheprovider", f"--inventory={file}", "specs/"]
    specs_s = min(run(*specs)[0] for _ in range(2))
    herd = len(grown.group("compute"))
    cost[herd] = specs_s / nodes
    for what, seconds in (("up_s", up_s), ("provision_s", provision_s), ("specs_s", specs_s)):
        record_property(what, round(seconds, 1))
    record_property("specs_s_per_node", round(cost[herd], 2))


def test_a_node_costs_no_more_among_many() -> None:
    if not {USUAL, MANY} <= set(cost):
        pytest.skip("both sizes have to be tried in the same run")
    assert cost[MANY] <= DEARER * cost[USUAL], f"the specs of one node take {cost} s, by the number of compute nodes"
