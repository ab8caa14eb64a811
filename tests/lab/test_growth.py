"""Another cluster is another inventory and nothing else: the same code brings it up, verifies it and proves its claims.

With more nodes or fewer, and with nothing called or placed as in the shipped one.  Each has a lab of its own.  What the
specs cost a node is told; tests/bench/bench_growth.py compares.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.inventory import Inventory, load
from tests.inventories import OTHER_NAMES, elsewhere, with_compute

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.long, pytest.mark.skipif(os.geteuid() != 0, reason="making namespaces and nodes needs root")]

SHIPPED = (ROOT / "inventory.yaml").read_text()
FEW, USUAL, MANY = 2, 4, 24


def run(*words: str | Path, seconds: float = 900) -> tuple[float, str]:
    """A command of the project that must end well: how long it took, s, and what it printed."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    said = f"{done.stdout[-6000:]}{done.stderr[-3000:]}"
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {said}"
    return time.monotonic() - began, done.stdout


@contextmanager
def cluster_of(text: str, folder: Path) -> Iterator[Inventory]:
    """The cluster of an inventory's text; its lab is taken down at the end."""
    file = folder / "inventory.yaml"
    file.write_text(text)
    try:
        yield load(file)
    finally:
        run("lab", "--inventory", file, "down")


def bring(model: Inventory) -> tuple[float, float]:
    """Lab up and provisioned: how long either took, s."""
    up_s, _ = run("lab", "--inventory", model.path, "up")
    provision_s, said = run("provision", "--inventory", model.path, "all", "--json")
    assert {node["name"] for node in json.loads(said)["nodes"]} == set(model.nodes)
    return up_s, provision_s


def verify(model: Inventory) -> float:
    """Its specs, green: how long they took, s; the better of two, as the first starts what was never asked before."""
    specs = ["pytest", "-q", "--no-report", "-p", "no:cacheprovider", f"--inventory={model.path}", "specs/"]
    return min(run(*specs)[0] for _ in range(2))


@pytest.mark.parametrize("count", [FEW, USUAL, MANY], ids=lambda count: f"{count}-compute-nodes")
def test_a_cluster_of_another_size_is_one_more_inventory(
    count: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with cluster_of(with_compute(SHIPPED, count), tmp_path) as model:
        up_s, provision_s = bring(model)
        specs_s = verify(model)
    told = {
        "up_s": up_s,
        "provision_s": provision_s,
        "specs_s": specs_s,
        "specs_s_per_node": specs_s / len(model.nodes),
    }
    for what, seconds in told.items():
        record_property(what, round(seconds, 2))


def test_one_more_node_is_one_more_line(tmp_path: Path) -> None:
    with cluster_of(with_compute(SHIPPED, FEW), tmp_path) as model:
        bring(model)
        model.path.write_text(with_compute(SHIPPED, FEW + 1))
        bring(load(model.path))
        verify(load(model.path))


def test_nothing_depends_on_what_the_shipped_inventory_says(tmp_path: Path) -> None:
    with cluster_of(elsewhere(SHIPPED), tmp_path) as model:
        bring(model)
        verify(model)
        run("chaos", "--inventory", model.path, "kill", OTHER_NAMES["alpha"])  # which ends well where every claim held
