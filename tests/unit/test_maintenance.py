"""Maintenance: who goes first, what is refused before anything is done, and who may work while chaos does."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from chaos import journal as writing
from cluster import journal
from cluster.errors import InputError, Refused
from cluster.inventory import load
from provision import maintenance

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = load(ROOT / "inventory.yaml")


def test_standbys_go_before_owners_and_others_as_they_come() -> None:
    assert maintenance.order(INVENTORY, ("alpha", "beta")) == ("beta", "alpha")
    assert maintenance.order(INVENTORY, ("omega", "alpha", "beta", "gamma")) == ("omega", "gamma", "beta", "alpha")


def test_several_nodes_are_not_rebuilt_by_a_slip() -> None:
    command = partial(maintenance.command, INVENTORY, unguarded=False)
    with pytest.raises(InputError, match="lanservices are 2 nodes; say --rolling"):
        command("rebuild", ["lanservices"], ("alpha", "beta"), several=False)
    with pytest.raises(InputError, match="name the node, or --rolling GROUP"):
        command("rebuild", [], tuple(INVENTORY.nodes), several=True)
    command("rebuild", ["lanservices"], ("alpha", "beta"), several=True)
    command("maintain", [], tuple(INVENTORY.nodes), several=False)
    maintenance.command(INVENTORY, "maintain", ["alpha"], ("alpha",), several=False, unguarded=True)
    maintenance.command(INVENTORY, "rebuild", ["omega"], ("omega",), several=False, unguarded=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rebuild",), "rebuild: name the node"),
        (("rebuild", "compute"), "are 4 nodes; say --rolling"),
        (("rebuild", "eta"), "no node or group named eta"),
        (("alpha", "--rolling", "compute"), "go with rebuild or maintain; put it first"),
        (("alpha", "--unguarded"), "go with rebuild or maintain; put it first"),
        (("rebuild", "zeta", "--check"), "rebuild: --check, --json and --bundle are for configuring; leave them out"),
        (("rebuild", "--check", "zeta"), "rebuild: --check, --json and --bundle are for configuring; leave them out"),
        (("maintain", "--check"), "maintain: --check, --json and --bundle are for configuring; leave them out"),
        (("maintain", "zeta", "--json"), "maintain: --check, --json and --bundle are for configuring; leave them out"),
        (("rebuild", "zeta", "--bundle", "/tmp/none"), "are for configuring; leave them out"),
        (("rebuild", "--rolling", "compute", "--unguarded"), "--unguarded is for one node, these are 4"),
        (("maintain", "--unguarded"), "--unguarded is for one node, these are 8"),
        (("maintain", "alpha", "beta", "--unguarded"), "--unguarded is for one node, these are 2"),
        (("maintain", "omega", "--unguarded"), "maintain: omega runs OpenWrt, which is upgraded as a whole"),
        (("maintain", "omega"), "maintain: omega runs OpenWrt, which is upgraded as a whole"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    text = (ROOT / "inventory.yaml").read_text().replace("driver: lab.power", "driver: no.such.driver")
    (tmp_path / "inventory.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "provision", *words, "--inventory", str(tmp_path / "inventory.yaml")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_gate_that_cannot_be_asked_is_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "SPECS_S", 0.01)
    with pytest.raises(Refused, match=r"refused, the specs did not end within 0\.01 s; see why: pytest specs/"):
        maintenance.gate(INVENTORY)
    monkeypatch.setattr(maintenance, "SPECS_S", 60.0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Refused, match="refused, the specs ended with exit code 1: they said nothing"):
        maintenance.gate(INVENTORY)


def test_a_cluster_whose_disks_nobody_can_write_says_how_it_goes_by_hand(tmp_path: Path) -> None:
    text = (
        (ROOT / "inventory.yaml").read_text(encoding="utf-8").replace("driver: lab.power", "driver: cluster.power.none")
    )
    (tmp_path / "inventory.yaml").write_text(text)
    with pytest.raises(InputError, match="cannot write a node's disk; write a fresh image to the card of alpha"):
        maintenance.reflash(load(tmp_path / "inventory.yaml"), "alpha", say=print)


CHECK = "import sys; from pathlib import Path; from cluster import journal; journal.check(Path(sys.argv[1]))"


def test_what_chaos_runs_is_its_own_work_and_nobody_elses(tmp_path: Path) -> None:
    with writing.held(tmp_path, "chaos during alpha"):
        writing.write(tmp_path, {"fault": "during"}, ("alpha",), undo="wait", command="chaos during", run=None)
        child = subprocess.run([sys.executable, "-c", CHECK, str(tmp_path)], cwd=ROOT, check=False)
        assert child.returncode == 0
        with pytest.raises(Refused, match="at work"):
            journal.check(tmp_path)
    entry = json.loads(next((tmp_path / journal.FOLDER).glob("*.json")).read_text())
    assert entry["fault"] == {"fault": "during"}
