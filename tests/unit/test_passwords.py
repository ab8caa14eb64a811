"""Where the cluster's secrets are read from the deployer's password store, and where they are not."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import here, passwords, secrets
from cluster.errors import InputError
from cluster.inventory import Inventory, default_path, parse


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return parse(default_path().read_text(encoding="utf-8"), tmp_path / "inventory.yaml")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inventory: Inventory) -> Path:
    """A store of this cluster's, as provisioning makes it, and this computer is its deployer."""
    folder = tmp_path / "store"
    (folder / "cluster").mkdir(parents=True)
    (folder / ".gpg-id").write_text(f"{inventory.cluster.name}\n")
    monkeypatch.setenv("PASSWORD_STORE_DIR", str(folder))
    become(tmp_path, monkeypatch, str(inventory.node("psi").mac))
    return folder


def become(folder: Path, monkeypatch: pytest.MonkeyPatch, mac: str) -> None:
    """This computer has one network card."""
    (folder / "net" / "eth0").mkdir(parents=True, exist_ok=True)
    (folder / "net" / "eth0" / "address").write_text(f"{mac}\n")
    monkeypatch.setattr(here, "INTERFACES", folder / "net")


def test_only_the_deployer_reads_a_store_and_only_one_of_its_cluster(
    store: Path, inventory: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "cluster" / "tsig_key.gpg").touch()
    assert list(passwords.entries(inventory)) == ["tsig_key"]
    for other in (str(inventory.node("alpha").mac), "02:00:00:00:00:01"):
        become(tmp_path, monkeypatch, other)
        assert not passwords.entries(inventory), other
    become(tmp_path, monkeypatch, str(inventory.node("psi").mac))
    (store / ".gpg-id").write_text("somebody\n")
    assert not passwords.entries(inventory)
    (store / ".gpg-id").unlink()
    assert not passwords.entries(inventory)


def test_an_entry_that_cannot_be_read_is_one_line_and_no_new_secret_is_made(store: Path, inventory: Inventory) -> None:
    (store / "cluster" / "ssh_ca.gpg").write_bytes(b"no gpg")
    with pytest.raises(InputError) as caught:
        secrets.ensure(inventory)
    assert len(str(caught.value).splitlines()) == 1 and "pass" in str(caught.value)
    assert not (inventory.state / "secrets" / "ssh_ca").exists()


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inventory: Inventory) -> Iterator[None]:
    """A key of the store's, as provisioning makes it, and an agent that ends with the test."""
    if shutil.which("pass") is None:
        pytest.skip("pass is not installed")
    (tmp_path / "gpg").mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "gpg"))
    gpg, name = ["gpg", "--batch", "--quiet", "--passphrase", ""], inventory.cluster.name
    subprocess.run([*gpg, "--quick-generate-key", name, "ed25519", "cert", "never"], check=True, capture_output=True)
    listed = subprocess.run([*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, text=True).stdout
    primary = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    subprocess.run([*gpg, "--quick-add-key", primary, "cv25519", "encr", "never"], check=True, capture_output=True)
    yield
    subprocess.run(["gpgconf", "--kill", "all"], check=True)


@pytest.mark.usefixtures("key")
def test_what_the_store_says_is_taken_and_taken_anew_when_it_changes(
    store: Path, inventory: Inventory, tmp_path: Path
) -> None:
    def put(name: str, value: bytes) -> None:
        words = ["pass", "insert", "--multiline", "--force", f"cluster/{name}"]
        subprocess.run(words, input=value, check=True, capture_output=True)

    elsewhere = secrets.ensure(parse(default_path().read_text(encoding="utf-8"), _folder(tmp_path / "laptop")))
    for name in ("deployer_key", "ssh_ca", "vrrp_password"):
        put(name, (elsewhere.folder / name).read_bytes())
    found = secrets.ensure(inventory)
    assert found.ssh_authority_public() == elsewhere.ssh_authority_public()
    assert found.ssh_public().split()[1] == found.deployer_public().split()[1] == elsewhere.deployer_public().split()[1]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found.folder.iterdir()} == {0o600}

    (found.folder / "vrrp_password").unlink()
    assert secrets.ensure(inventory).vrrp_password() == elsewhere.vrrp_password()
    put("vrrp_password", b"another1\n")
    assert secrets.ensure(inventory).vrrp_password() == "another1"


def _folder(path: Path) -> Path:
    path.mkdir()
    return path / "inventory.yaml"
