"""K3s is brought to its nodes: who gets which files, what is sent again, and the shell that asks and forgets."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from cluster import artifacts
from cluster.inventory import Inventory, load
from cluster.probes.k3s import BINARY
from provision.k3s import IMAGES, LACKS, declared, files, obtain, role
from tests.unit.test_artifacts import DOCKER, tarball


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(artifacts.HOME_VARIABLE, str(tmp_path))
    folder = tmp_path / "artifacts"
    folder.mkdir()
    return folder


def without_k3s() -> Inventory:
    return load().model_copy(update={"k3s": None})


def test_roles() -> None:
    found = {name: role(load(), name) for name in load().nodes}
    assert {name for name, one in found.items() if one == "agent"} == {"gamma", "delta", "zeta"}
    assert found["epsilon"] == "server" and found["alpha"] == ""
    assert {role(without_k3s(), name) for name in load().nodes} == {""}


def test_nothing_is_sent_without_the_binary(cache: Path) -> None:
    heard: list[str] = []
    obtain(load(), ["gamma"], heard.append)
    assert heard == [f"K3s is left out: artifact missing: put k3s-v1.21.2 (k3s v1.21.2+k3s1) into {cache}"]
    tarball(cache / "k3s-airgap-images-v1.21.2.tar", {"manifest.json": DOCKER})
    assert files(load(), load().node("gamma")) == ()
    assert declared(load(), load().node("gamma")) == ()


def test_who_has_no_k3s_is_told_nothing(cache: Path) -> None:
    heard: list[str] = []
    obtain(load(), ["alpha", "psi"], heard.append)
    obtain(without_k3s(), ["gamma"], heard.append)
    assert heard == []


def test_the_binary_and_then_the_images_are_sent(cache: Path) -> None:
    (cache / "k3s-v1.21.2").write_bytes(b"a binary")
    heard: list[str] = []
    obtain(load(), ["gamma"], heard.append)
    said = "DNS within K3s, unless it is there already, is left out: artifact missing: put k3s-airgap"
    assert len(heard) == 1 and heard[0].startswith(said)
    assert [place for _, place in files(load(), load().node("gamma"))] == [BINARY]
    kept = f"{IMAGES}/k3s-airgap-images-v1.21.2.tar"
    assert declared(load(), load().node("gamma"))[1:] == (("-", kept),), "a node that has it keeps it"
    tarball(cache / "k3s-airgap-images-v1.21.2.tar", {"manifest.json": DOCKER})
    places = [place for _, place in files(load(), load().node("epsilon"))]
    assert places == [BINARY, kept]
    assert declared(load(), load().node("epsilon")) == tuple(
        (found.sha256, place) for found, place in files(load(), load().node("epsilon"))
    )
    assert files(load(), load().node("alpha")) == ()


def test_a_node_says_what_it_lacks(tmp_path: Path) -> None:
    waiting, there, other = tmp_path / "waiting", tmp_path / "there", tmp_path / "other"
    sums = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a", "b", "c")}
    waiting.mkdir()
    there.write_text("a")  # in its place
    (waiting / sums["b"]).write_text("b")  # it waits for its place
    other.write_text("another")  # there is another in its place
    words = [sums["a"], str(there), sums["b"], str(tmp_path / "nowhere"), sums["c"], str(other)]
    done = subprocess.run(
        ["sh", "-c", LACKS, "lacks", str(waiting), *words], capture_output=True, text=True, check=True, timeout=10
    )
    assert done.stdout.split() == [sums["c"]] and waiting.stat().st_mode & 0o777 == 0o700
