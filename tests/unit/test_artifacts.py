"""Artifacts: found by name and hash, downloaded where possible, told by file and folder when they are missing."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster import artifacts, images, k3s
from cluster.artifacts import ArtifactMissing
from cluster.errors import InputError
from cluster.inventory import Inventory, load
from cluster.model import Artifact

DATA = b"what no package mirror has\n" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own, empty."""
    monkeypatch.setenv(artifacts.HOME_VARIABLE, str(tmp_path))
    folder = tmp_path / "artifacts"
    folder.mkdir()
    return folder


def inventory(*, url: str | None = None, sha256: str | None = SHA256) -> Inventory:
    """The shipped one, with an artifact `k3s` of our own."""
    one = Artifact.model_construct(version="v1", url=url, sha256=sha256, file="k3s-v1")
    shipped = load()
    return shipped.model_copy(update={"artifacts": {**shipped.artifacts, "k3s": one}})


@pytest.fixture
def site() -> Iterator[str]:
    """A server on loopback: /file is it, /other another one, /cut ends too soon."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = DATA if self.path in ("/file", "/cut") else b"another file"
            self.send_response(200 if self.path != "/missing" else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:100] if self.path == "/cut" else data)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is said."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_what_is_there_is_found(cache: Path) -> None:
    (cache / "k3s-v1").write_bytes(DATA)
    found = artifacts.find(inventory(), "k3s")
    assert (found.path, found.sha256) == (cache / "k3s-v1", SHA256)
    assert artifacts.find(inventory(sha256=None), "k3s").sha256 == SHA256


def test_what_is_missing_is_told_by_file_and_folder(cache: Path) -> None:
    with pytest.raises(ArtifactMissing) as caught:
        artifacts.find(inventory(), "k3s")
    assert str(caught.value) == f"artifact missing: put k3s-v1 (k3s v1) into {cache}"


def test_another_file_is_not_taken(cache: Path) -> None:
    (cache / "k3s-v1").write_bytes(b"another")
    with pytest.raises(ArtifactMissing, match=f"k3s-v1 is another file .* than inventory.yaml wants .{SHA256}"):
        artifacts.find(inventory(), "k3s")
    (cache / "k3s-v1").write_bytes(DATA)
    assert artifacts.find(inventory(), "k3s").sha256 == SHA256, "it was looked at anew"


def test_a_folder_in_its_place_is_told(cache: Path) -> None:
    (cache / "k3s-v1").mkdir()
    with pytest.raises(ArtifactMissing, match="cannot be read: Is a directory"):
        artifacts.find(inventory(), "k3s")


def test_it_is_downloaded_once(cache: Path, site: str) -> None:
    heard: list[str] = []
    plan = inventory(url=f"{site}/file")
    assert artifacts.obtain(plan, "k3s", heard.append).sha256 == SHA256
    assert artifacts.obtain(plan, "k3s", heard.append).path.read_bytes() == DATA
    assert heard == ["downloading k3s-v1"]
    assert [path.name for path in cache.iterdir()] == ["k3s-v1"]


@pytest.mark.parametrize(
    ("path", "why"), [("other", "has SHA-256"), ("cut", "IncompleteRead|SHA-256"), ("missing", "404")]
)
def test_a_download_that_fails_leaves_nothing(cache: Path, site: str, path: str, why: str) -> None:
    with pytest.raises(ArtifactMissing, match=f"put k3s-v1 .k3s v1. into .*; downloading it failed: .*({why})"):
        artifacts.obtain(inventory(url=f"{site}/{path}"), "k3s", print)
    assert list(cache.iterdir()) == []


def test_a_place_that_cannot_be_reached(cache: Path) -> None:
    with pytest.raises(ArtifactMissing, match=r"downloading it failed: .*refused"):
        artifacts.obtain(inventory(url="http://127.0.0.1:9/file"), "k3s", print)


def test_without_a_hash_nothing_is_downloaded(cache: Path, site: str) -> None:
    heard: list[str] = []
    with pytest.raises(ArtifactMissing):
        artifacts.obtain(inventory(url=f"{site}/file", sha256=None), "k3s", heard.append)
    assert heard == []


# --- images


def tarball(path: Path, files: dict[str, object], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


DOCKER = [
    {"Config": "a.json", "RepoTags": ["rancher/pause:3.1", "rancher/coredns:1"], "Layers": []},
    {"RepoTags": None},
]
OCI = {"manifests": [{"annotations": {"io.containerd.image.name": "docker.io/rancher/coredns:1"}}, {"digest": "b"}]}


def test_the_images_of_a_tarball(tmp_path: Path) -> None:
    docker = tarball(tmp_path / "a.tar", {"a.json": {}, "manifest.json": DOCKER})
    assert images.names(docker) == {"rancher/pause:3.1", "rancher/coredns:1"}
    assert images.names(tarball(tmp_path / "b.tar.gz", {"./index.json": OCI}, "w:gz")) == {
        "docker.io/rancher/coredns:1"
    }


@pytest.mark.parametrize("content", [{"other.json": {}}, {"manifest.json": []}, {"manifest.json": {"a": 1}}])
def test_a_tarball_of_something_else(tmp_path: Path, content: dict[str, object]) -> None:
    with pytest.raises(InputError, match="use "):
        images.names(tarball(tmp_path / "a.tar", content))


def test_what_is_no_tarball(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(DATA)
    with pytest.raises(InputError, match="no tarball of images that can be read"):
        images.names(tmp_path / "a.tar")


# --- K3s


def test_k3s_with_nothing_at_hand(cache: Path) -> None:
    found = k3s.at_hand(load())
    assert (
        found.binary is None and found.missing == f"artifact missing: put k3s-v1.21.2 (k3s v1.21.2+k3s1) into {cache}"
    )
    assert found.images == () and "coredns" in found.disabled
    assert str(found.no_dns).startswith("artifact missing: put k3s-airgap-images-v1.21.2.tar ")
    assert not found.sure, "nodes may have them from elsewhere"


def test_k3s_with_all_at_hand(cache: Path) -> None:
    (cache / "k3s-v1.21.2").write_bytes(DATA)
    tarball(cache / "k3s-airgap-images-v1.21.2.tar", {"manifest.json": DOCKER})
    found = k3s.at_hand(load())
    assert found.missing is None and found.no_dns is None
    assert found.binary is not None and found.binary.sha256 == SHA256
    assert found.disabled == k3s.LEFT_OUT and found.sure


def test_images_without_coredns_are_used_and_there_is_no_dns(cache: Path) -> None:
    tarball(cache / "k3s-airgap-images-v1.21.2.tar", {"manifest.json": [{"RepoTags": ["rancher/pause:3.1"]}]})
    found = k3s.at_hand(load())
    assert len(found.images) == 1 and found.no_dns == "k3s-images: no image of CoreDNS in it"
    assert found.disabled[-1] == "coredns" and found.sure


def test_coredns_in_one_of_several_tarballs_is_enough(cache: Path) -> None:
    inventory = load()
    assert inventory.k3s is not None
    more = {"mine": inventory.artifacts["k3s-images"].model_copy(update={"file": "mine.tar"})}
    plan = inventory.k3s.model_copy(update={"images": ("mine", "k3s-images")})
    inventory = inventory.model_copy(update={"k3s": plan, "artifacts": {**inventory.artifacts, **more}})
    tarball(cache / "k3s-airgap-images-v1.21.2.tar", {"manifest.json": DOCKER})
    found = k3s.at_hand(inventory)
    assert (found.no_dns, found.sure, len(found.images)) == (None, True, 1)
