"""A night in the lab: what came of it is read at the floating address while a LAN node is off, and while psi is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import sensehat, tree
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.probes import http
from cluster.record import about
from lab.lab import Lab
from tests.lab.conftest import ROOT

RUNS = ROOT / "reports" / "runs"


@pytest.fixture
def no_nights(fleet: Fleet) -> Iterator[None]:
    """What nights a test made are gone at the end, from all pages."""
    yield
    clear = f"cd {tree.HOME}/reports && rm -rf runs/* nights/records/* && /opt/cluster/bin/rpi-tell"
    fleet["psi"].run(["bash", "-c", clear], deadline=60, check=True)


def page(address: object, path: str, inventory: Inventory) -> str:
    """What the web server at an address shows."""
    response = http.get(str(address), path, inventory.http.port).response
    assert response.status == 200, f"{address}{path}: {response.status}"
    return response.text


def from_psi(*words: str) -> tuple[int, str, list[Path]]:
    """Run specs from psi as a user does: the exit code, what was said, and the runs that were brought back."""
    before = set(RUNS.glob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "--from", "psi"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr, sorted(set(RUNS.glob("*")) - before)


def test_specs_run_from_psi_bring_their_record_back(inventory: Inventory, fleet: Fleet, no_nights: None) -> None:
    code, said, runs = from_psi("specs/base/test_names.py", "specs/base/test_ssh.py", "-q")
    assert code == 0, said
    [run] = runs
    told = about(run)
    assert told["place"] == "psi" and told["status"] == "passed" and told["exit"] == 0
    assert f"brought back from psi: reports/runs/{run.name}/report.html" in said
    assert {"report.html", "junit.xml", "events.jsonl", "run.json"} <= {path.name for path in run.iterdir()}
    tested = {json.loads(line).get("node") for line in (run / "events.jsonl").read_text().splitlines()}
    assert set(inventory.debian) <= tested

    code, said, runs = from_psi("specs/base/test_names.py", "-k", "no_such_spec", "--no-report")
    assert code == 5 and runs == [], said


def test_it_is_only_run_where_it_is(inventory: Inventory) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "specs/base/test_names.py", "--from", "alpha"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["--from alpha: the harness is only on psi; name that one"]


@pytest.mark.long
def test_a_night_is_read_while_a_node_is_off(inventory: Inventory, fleet: Fleet, no_nights: None) -> None:
    lab, psi, floating = Lab(inventory), fleet["psi"], inventory.network.floating
    assert "No night yet" in page(floating, "/reports/", inventory)
    lab.node("beta").off()
    try:
        psi.run(["systemctl", "start", "rpi-nightly.service"], sudo=True, deadline=400, check=True)
        index = page(floating, "/reports/", inventory)
        found = re.search(r'href="(night-[\d-]+\.html)"', index)
        assert found is not None and "specs failed" in index, index
        report = page(floating, f"/reports/{found[1]}", inventory)
        assert "beta" in report and "specs failed" in report
        assert "<title>fine</title>" in page(floating, "/cgi-bin/nights", inventory)
        lights = psi.get(str(sensehat.EMULATED))
        seen = sensehat.draw(sensehat.decode(lights)).split("/")
        assert [row[7] for row in seen] == list("F.F.F.F."), seen
        assert (
            seen[list(inventory.nodes).index("beta")][0] == "F" and seen[list(inventory.nodes).index("zeta")][0] == "P"
        )
    finally:
        lab.node("beta").on()
        fleet.forget("beta")
        lab.wait_ready()
    assert "No night yet" in page(inventory.nodes["beta"].address, "/reports/", inventory)
    psi.run(["systemctl", "start", "rpi-tell.service"], sudo=True, deadline=60, check=True)
    assert page(inventory.nodes["beta"].address, "/reports/", inventory) == index

    # Psi is dead, and the next night does not come: the pages stay, and say that it is overdue.
    lab.node("psi").off()
    try:
        due = f"{inventory.http.chroot}/www/reports/due"
        fleet["alpha"].run(["sed", "-i.kept", "s/^due .*/due 1767238200/", due], check=True)
        assert page(floating, "/reports/", inventory) == index
        assert "<title>overdue</title>" in page(floating, "/cgi-bin/nights", inventory)
        fleet["alpha"].run(["mv", f"{due}.kept", due], check=True)
    finally:
        lab.node("psi").on()
        fleet.forget("psi")
        lab.wait_ready()
