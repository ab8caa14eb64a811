"""Rebuilding under the gate, on the real lab: refused while anything is red, measured where it is done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cluster import journal
from cluster.health import Health
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.record import about, events
from cluster.wait import until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.long


def provision(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provision", *words], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )


def born(fleet: Fleet, name: str) -> str:
    """When a node's first process began."""
    return fleet[name].run(["stat", "-c", "%Z", "/proc/1"], check=True).text


def test_nothing_is_rebuilt_while_a_spec_is_red(fleet: Fleet) -> None:
    before = born(fleet, "zeta")
    fleet["gamma"].run(["systemctl", "stop", "distcc"], sudo=True, check=True)
    try:
        done = provision("rebuild", "zeta")
    finally:
        fleet["gamma"].run(["systemctl", "start", "distcc"], sudo=True, check=True)
    assert done.returncode == 3, done.stderr
    assert "specs are red" in done.stderr and "gamma" in done.stderr.splitlines()[-1]
    assert born(fleet, "zeta") == before, "it was not touched"


def test_a_node_is_rebuilt_while_what_clients_notice_is_measured(inventory: Inventory, fleet: Fleet) -> None:
    before = born(fleet, "zeta")
    done = provision("rebuild", "zeta")
    assert done.returncode == 0, done.stderr + done.stdout
    fleet["zeta"].close()
    assert born(fleet, "zeta") != before
    run = max((ROOT / "reports/runs").glob("*-chaos*"), key=lambda path: path.stat().st_mtime)
    assert about(run)["fault"]["fault"] == "during" and (run / "report.html").exists()
    claims = {e["claim"]: e["verdict"] for e in events(run) if e["kind"] == "claim"}
    assert {"losing-zeta-vip", "losing-zeta-dhcp"} <= set(claims)
    assert set(claims.values()) - {"not verified"} == {"held"}  # of a K3s that is not there
    assert journal.entries(inventory.state) == ()
    until(
        lambda: all(c.ok for c in Health(inventory, fleet).look(inventory.nodes)),
        deadline=30,
        every=1.0,
        what="healthy again",
    )
