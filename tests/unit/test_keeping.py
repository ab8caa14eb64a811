"""Backups that must not be put back: each one clear line, and nothing is touched, here or on the node."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cluster import credentials, secrets, tls
from cluster.authority import Authority
from cluster.errors import InputError
from cluster.inventory import Inventory, default_path, parse
from provision import keeping
from provision.order import Provisioning

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    text = default_path().read_text(encoding="utf-8")
    (tmp_path / "inventory.yaml").write_text(text)
    return parse(text, tmp_path / "inventory.yaml")


def tar(manifest: str | None, files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as out:
        for name, content in {**({"MANIFEST": manifest.encode()} if manifest is not None else {}), **files}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def encrypted(folder: Path, data: bytes, passphrase: Path) -> Path:
    path = folder / "backup.gpg"
    path.unlink(missing_ok=True)
    (folder / "gpg").mkdir(mode=0o700, exist_ok=True)
    words = [
        "gpg",
        "--batch",
        "--quiet",
        "--no-autostart",
        "--homedir",
        str(folder / "gpg"),
        "--pinentry-mode",
        "loopback",
    ]
    words += ["--passphrase-file", str(passphrase), "--s2k-count", "1048576", "--symmetric", "--output", str(path)]
    subprocess.run(words, input=data, check=True, capture_output=True)
    return path


def good(inventory: Inventory) -> tuple[str, dict[str, bytes]]:
    made = secrets.ensure(inventory)
    manifest = (
        f"{keeping.FORMAT}\ncluster: rpicluster\nnode: psi\nmade: 1700000000\n"
        f"authority: {Authority.read(made.ssh_authority).fingerprint}\n"
    )
    names = ("ssh_ca", "tls_ca", "vrrp_password", "backup_passphrase")
    files = {f"root/rpicluster/secrets/{name}": (made.folder / name).read_bytes() for name in names}
    return manifest, files


def test_a_good_one_is_read_and_brings_back_what_is_missing(inventory: Inventory, tmp_path: Path) -> None:
    manifest, files = good(inventory)
    made = secrets.ensure(inventory)
    path = encrypted(tmp_path, tar(manifest, files), made.backup_passphrase)
    elsewhere = tmp_path / "passphrase"
    elsewhere.write_bytes(made.backup_passphrase.read_bytes())
    found = keeping.read(inventory, path)
    assert found.manifest["node"] == "psi" and keeping._put_back(inventory, found) == []
    for name in ("ssh_ca", "tls_ca", "backup_passphrase"):
        (made.folder / name).unlink()
    found = keeping.read(inventory, path, elsewhere)
    assert keeping._put_back(inventory, found) == ["backup_passphrase", "ssh_ca", "tls_ca"]
    assert made.ssh_authority.read_bytes() == files["root/rpicluster/secrets/ssh_ca"]
    assert made.ssh_authority.stat().st_mode & 0o777 == 0o600
    assert f"authority: {credentials.trusted(inventory).fingerprint}" in manifest


def test_each_that_is_wrong_is_one_clear_line(inventory: Inventory, tmp_path: Path) -> None:
    manifest, files = good(inventory)
    key = secrets.ensure(inventory).backup_passphrase
    over = tls.new_root(
        inventory.model_copy(update={"authority": inventory.authority.model_copy(update={"root": -60.0})})
    )
    cases = {
        "foreign: not a backup of a deployer": tar(None, files),
        "foreign: not a backup of": tar("something else\n", files),
        "foreign: a backup of psi of another, not of psi": tar(manifest.replace(": rpicluster", ": another"), files),
        "foreign: its authority is SHA256:x": tar(manifest.replace("SHA256:", "SHA256:x "), files),
        "is no path below a node's root": tar(manifest, {**files, "../../etc/passwd": b"x"}),
        "corrupt: there is no tls_ca in it": tar(manifest, {n: c for n, c in files.items() if "tls" not in n}),
        "tls_ca: the TLS root was valid until": tar(manifest, {**files, "root/rpicluster/secrets/tls_ca": over}),
        "corrupt: ": b"this is no tar, but was encrypted with the right passphrase",
    }
    for why, data in cases.items():
        with pytest.raises(InputError) as caught:
            keeping.read(inventory, encrypted(tmp_path, data, key))
        assert why in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


def test_a_wrong_passphrase_and_a_cut_file_change_nothing(inventory: Inventory, tmp_path: Path) -> None:
    """As a person would meet them: the command itself, its exit code and its one line."""
    manifest, files = good(inventory)
    made = secrets.ensure(inventory)
    path = encrypted(tmp_path, tar(manifest, files), made.backup_passphrase)
    whole = path.read_bytes()
    (tmp_path / "wrong").write_text("not the passphrase\n")
    before = {one.name: one.read_bytes() for one in made.folder.iterdir()}
    (tmp_path / "cut.gpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.gpg").write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    (tmp_path / "text.gpg").write_text("hello\n")
    for words, why in (
        (["psi", str(path), "--passphrase-file", str(tmp_path / "wrong")], "wrong passphrase: "),
        (["psi", str(tmp_path / "cut.gpg")], "corrupt"),
        (["psi", str(tmp_path / "flipped.gpg")], "corrupt"),
        (["psi", str(tmp_path / "text.gpg")], "corrupt, or no backup"),
        (["psi", str(tmp_path / "missing.gpg")], "missing.gpg: no such file"),
        (["psi", str(path), "--passphrase-file", str(tmp_path / "none")], "name it with --passphrase-file"),
        (["alpha", str(path)], "alpha has no backup; only psi has"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "provision", "restore", *words, "--inventory", str(inventory.path)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert why in done.stderr and done.stdout == "", done.stderr
    assert {one.name: one.read_bytes() for one in made.folder.iterdir()} == before


def test_nothing_is_put_back_while_a_fault_is_not_undone(tmp_path: Path) -> None:
    text = default_path().read_text(encoding="utf-8").replace("driver: lab.power", "driver: cluster.power.none")
    (tmp_path / "inventory.yaml").write_text(text)
    inventory = parse(text, tmp_path / "inventory.yaml")
    manifest, files = good(inventory)
    made = secrets.ensure(inventory)
    path = encrypted(tmp_path, tar(manifest, files), made.backup_passphrase)
    made.ssh_authority.unlink()
    (inventory.state / "journal").mkdir()
    (inventory.state / "journal" / "kill.json").write_text("cut off")
    done = subprocess.run(
        [sys.executable, "-m", "provision", "restore", "psi", str(path), "--inventory", str(inventory.path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3 and "run: python -m chaos heal" in done.stderr, done.stderr
    assert done.stdout == "" and not made.ssh_authority.exists()


def test_an_authority_that_is_over_stops_provisioning_before_any_node_is_touched(inventory: Inventory) -> None:
    made = secrets.ensure(inventory)
    over = inventory.model_copy(update={"authority": inventory.authority.model_copy(update={"root": -60.0})})
    made.tls_authority.write_bytes(tls.new_root(over))
    before = {one.name: one.read_bytes() for one in made.folder.iterdir()}
    with pytest.raises(InputError, match=r"tls_ca: the TLS root was valid until .*; move it away") as caught:
        Provisioning(inventory, made, inventory.nodes, check=False, say=lambda *_: None)
    assert "\n" not in str(caught.value)
    assert {one.name: one.read_bytes() for one in made.folder.iterdir()} == before
