"""The specs run on the deployer: what they are called with there, and what is taken from there."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import here, record, tree
from cluster.errors import NodeError
from cluster.inventory import Inventory, load
from provision import harness
from specs import away

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    """The one that is shipped."""
    return load()


# --- pytest's words


@pytest.mark.parametrize(
    ("given", "folder", "wanted"),
    [
        (["specs/", "--from", "psi"], "", ["specs"]),
        (["specs/", "--from=psi", "-k", "dns"], "", ["specs", "-k", "dns"]),
        (["--inventory", "other.yaml", "specs/base", "-q"], "", ["specs/base", "-q"]),
        (["base/test_names.py::test_x[alpha]"], "specs", ["specs/base/test_names.py::test_x[alpha]"]),
        (["--inventory=other.yaml", "--slow"], "", ["--slow"]),
    ],
)
def test_the_words_are_those_of_the_other_place(given: list[str], folder: str, wanted: list[str]) -> None:
    assert away.words(given, ROOT / folder, ROOT) == wanted


def packed(fill: Callable[[tarfile.TarFile], None]) -> bytes:
    """A tar as the deployer sends one."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        fill(tar)
    return data.getvalue()


def entry(tar: tarfile.TarFile, name: str, text: bytes = b"x", **kind: object) -> None:
    """One file in it, or something else."""
    one = tarfile.TarInfo(name)
    one.size = len(text)
    for key, value in kind.items():
        setattr(one, key, value)
    tar.addfile(one, io.BytesIO(text) if one.isfile() else None)


def test_a_run_is_brought_back_whole(tmp_path: Path) -> None:
    away.unpack(packed(lambda tar: entry(tar, "run-1/run.json", b"{}")), tmp_path / "runs", "run-1", "psi")
    assert (tmp_path / "runs" / "run-1" / "run.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "run-2/x", "run-1/../../evil"])
def test_nothing_else_is_taken(tmp_path: Path, name: str) -> None:
    with pytest.raises((NodeError, tarfile.TarError)):
        away.unpack(packed(lambda tar: entry(tar, name)), tmp_path / "runs", "run-1", "psi")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_link_is_taken(tmp_path: Path) -> None:
    data = packed(lambda tar: entry(tar, "run-1/x", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"))
    with pytest.raises(NodeError, match="something else"):
        away.unpack(data, tmp_path / "runs", "run-1", "psi")


def test_a_run_that_is_here_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run-1").mkdir()
    with pytest.raises(NodeError, match="same name"):
        away.unpack(packed(lambda tar: entry(tar, "run-1/run.json")), tmp_path, "run-1", "psi")


def test_where_the_report_is_is_found_in_what_pytest_says() -> None:
    said = "2 passed\nreport: reports/runs/20261123-035441-specs/report.html\n"
    assert record.named(said) == ["20261123-035441-specs"]
    assert record.named("report: reports/runs/../x/report.html\n") == []


# --- what is put there


def test_the_harness_is_what_runs_and_nothing_that_is_made_or_secret(inventory: Inventory) -> None:
    found = tree.files(ROOT, inventory.path)
    assert {"run", "tasks.py", "conftest.py", "inventory.yaml", "specs/plugin.py", "reports/render.py"} <= set(found)
    parts = {part for name in found for part in name.split("/")}
    assert not parts & {".git", ".venv", ".state", "__pycache__", "runs", "nights", "tests"}
    assert all(path.is_file() for path in found.values())


def test_another_inventory_is_the_one_that_is_there(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("x")
    assert tree.files(ROOT, other)["inventory.yaml"] == other


def test_sha256sum_reads_the_manifest(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    (tmp_path / "manifest").write_text(tree.manifest({"a": tmp_path / "a", "b": tmp_path / "b"}))
    words = ["sha256sum", "--check", "--quiet", "manifest"]
    assert subprocess.run(words, cwd=tmp_path, timeout=10, check=False).returncode == 0
    (tmp_path / "b").write_text("3")
    done = subprocess.run(words, cwd=tmp_path, timeout=10, check=False, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "b: FAILED\n"


def test_only_the_deployer_is_given_it(inventory: Inventory) -> None:
    assert harness.files(inventory, inventory.nodes["alpha"]) == {}
    assert set(harness.files(inventory, inventory.nodes["psi"])) == {
        "deployer/harness.tar", "deployer/harness.manifest", "deployer/harness.known_hosts"
    }  # fmt: skip


# --- which node this machine is


def test_a_machine_is_the_node_whose_network_card_it_has(
    tmp_path: Path, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "INTERFACES", tmp_path)
    for name, mac in (("lo", "00:00:00:00:00:00"), ("eth0", inventory.nodes["psi"].mac)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "address").write_text(f"{mac}\n")
    found = here.node(inventory)
    assert found is not None and found.name == "psi"


def test_the_operators_computer_is_none(tmp_path: Path, inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here.node(inventory) is None
    monkeypatch.setattr(here, "INTERFACES", tmp_path)
    (tmp_path / "eth0").mkdir()
    (tmp_path / "eth0" / "address").write_text(f"{inventory.network.operator.mac}\n")
    assert here.node(inventory) is None
