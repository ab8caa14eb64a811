"""Secrets are made once, for one pair of eyes, and appear nowhere else."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import InputError
from cluster.hostkeys import HostKeys
from cluster.inventory import Inventory, default_path, parse
from cluster.secrets import Secrets, ensure
from provision.order import Provisioning

FILES = (
    "ssh_key",
    "ssh_key.pub",
    "deployer_key",
    "mpi_key",
    "ssh_ca",
    "tls_ca",
    "vrrp_password",
    "tsig_key",
    "omapi_key",
    "k3s_token",
    "backup_passphrase",
)


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return parse(default_path().read_text(encoding="utf-8"), tmp_path / "inventory.yaml")


def content(secrets: Secrets) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in secrets.folder.iterdir()}


def test_all_are_made_with_their_modes_and_nothing_else_remains(inventory: Inventory) -> None:
    mask = os.umask(0)  # the modes are ours, not the caller's
    try:
        secrets = ensure(inventory)
    finally:
        os.umask(mask)
    assert secrets.folder == inventory.state / "secrets"
    assert sorted(content(secrets)) == sorted(FILES)
    for folder in (inventory.state, secrets.folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in secrets.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_each_is_what_its_daemon_wants(inventory: Inventory) -> None:
    secrets = ensure(inventory)
    assert len(secrets.vrrp_password()) == 8 and secrets.vrrp_password().isalnum()
    for key in (secrets.tsig_key(), secrets.omapi_key()):
        assert len(base64.b64decode(key, validate=True)) == 32
    assert secrets.tsig_key() != secrets.omapi_key()
    assert secrets.tsig_name == "rpicluster-xfer"
    # OpenSSH's own tool agrees about the key and its public half.
    told = subprocess.run(
        ["ssh-keygen", "-y", "-f", secrets.ssh_key], capture_output=True, text=True, check=True, timeout=10
    )
    assert told.stdout.split()[:2] == secrets.ssh_public().split()[:2]
    assert secrets.ssh_public().startswith("ssh-ed25519 ") and "\n" not in secrets.ssh_public()


def test_a_second_call_changes_nothing(inventory: Inventory) -> None:
    first = content(ensure(inventory))
    assert content(ensure(inventory)) == first


def test_two_clusters_have_different_secrets(inventory: Inventory, tmp_path: Path) -> None:
    other = inventory.model_copy(update={"path": tmp_path / "other" / "inventory.yaml"})
    other.root.mkdir()
    mine, theirs = content(ensure(inventory)), content(ensure(other))
    assert all(mine[name] != theirs[name] for name in FILES)


def test_commands_that_start_together_agree(inventory: Inventory) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ensure(inventory).tsig_key(), range(16)))
    assert len(set(made)) == 1
    assert sorted(content(ensure(inventory))) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_only_what_is_missing_is_made_again(inventory: Inventory, name: str) -> None:
    secrets = ensure(inventory)
    before = content(secrets)
    (secrets.folder / name).unlink()
    if name == "ssh_key":  # its public half follows it
        before.pop("ssh_key.pub")
    after = content(ensure(inventory))
    assert after[name] == before[name] if name == "ssh_key.pub" else after[name] != before[name]
    assert {k: v for k, v in after.items() if k in before and k != name} == {
        k: v for k, v in before.items() if k != name
    }


def test_modes_that_were_loosened_are_tightened(inventory: Inventory) -> None:
    secrets = ensure(inventory)
    secrets.folder.chmod(0o755)
    secrets.ssh_key.chmod(0o644)
    ensure(inventory)
    assert stat.S_IMODE(secrets.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(secrets.ssh_key.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["ssh_key", "vrrp_password", "tsig_key", "omapi_key", "k3s_token"])
@pytest.mark.parametrize("damage", [b"", b"no secret\n", b"\xff\xfe"])
def test_a_damaged_secret_is_named_never_replaced_and_never_quoted(
    inventory: Inventory, name: str, damage: bytes
) -> None:
    path = ensure(inventory).folder / name
    path.write_bytes(damage)
    with pytest.raises(InputError, match="remove it to have a new one made") as caught:
        ensure(inventory)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "no secret" not in str(caught.value)
    assert path.read_bytes() == damage


def encrypted(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", path], check=True, timeout=10)


@pytest.mark.parametrize("damage", [b"", b"no secret\n", b"\xff\xfe", None])
def test_a_damaged_authority_is_never_to_be_removed(inventory: Inventory, damage: bytes | None) -> None:
    """A new one would be believed by no node."""
    secrets = ensure(inventory)
    if damage is None:
        encrypted(secrets.ssh_authority)
    else:
        secrets.ssh_authority.write_bytes(damage)
    with pytest.raises(InputError, match=r"put back a copy of it: docs/authority\.md") as caught:
        secrets.ssh_authority_public()
    assert "remove" not in str(caught.value) and "\n" not in str(caught.value)


def test_without_the_authority_the_operators_key_is_not_to_be_removed_either(inventory: Inventory) -> None:
    secrets = ensure(inventory)
    HostKeys(inventory.state / "known_hosts").trust(["alpha"], "ssh-ed25519 AAAA")
    secrets.ssh_authority.unlink()
    encrypted(secrets.ssh_key)
    with pytest.raises(InputError, match=r"ssh_key: .*; put back a copy of it: docs/authority.md"):
        ensure(inventory)
    with pytest.raises(InputError, match=r"ssh_ca: is not here; put back a copy of it: docs/authority.md"):
        secrets.ssh_authority_public()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"serial: 5\n# caf\xc3\xa9\n", ":2: not plain ASCII text; correct line 2, and do not remove the file"),
        (b"serial: 5\nkey: hello world\n", ":2: not a public key of OpenSSH's; correct line 2"),
        (b"serial: 0\n", ":1: neither a serial"),
        (b"serial: 99999999999999999999\n", ":1: a serial is a number from 1 to 18446744073709551615; correct line 1"),
    ],
)
def test_a_list_of_what_is_revoked_is_corrected_and_never_removed(inventory: Inventory, text: bytes, said: str) -> None:
    secrets = ensure(inventory)
    secrets.revocations.write_bytes(text)
    with pytest.raises(InputError) as caught:
        secrets.revoked()
    assert f"{secrets.revocations}{said}" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="correct line"):  # before any node is touched
        Provisioning(inventory, secrets, inventory.nodes, check=False, say=lambda *_: None)
    assert secrets.revocations.read_bytes() == text


def test_a_place_that_cannot_be_used_is_one_clear_line(inventory: Inventory) -> None:
    inventory.state.write_text("a file where the folder should be")
    with pytest.raises(InputError, match="a folder belongs here, remove it") as caught:
        ensure(inventory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ssh_ca", "ssh_key", "mpi_key"])
def test_a_secret_that_cannot_be_read_is_not_to_be_removed(inventory: Inventory, name: str) -> None:
    path = ensure(inventory).folder / name
    path.rename(path.with_name("kept"))
    path.mkdir()  # root reads everything else
    with pytest.raises(InputError, match=f"{name}: Is a directory; make it yours to read and write"):
        ensure(inventory).ssh_authority_public()


def test_no_value_is_ever_shown(inventory: Inventory) -> None:
    secrets = ensure(inventory)
    for shown in (repr(secrets), str(secrets), f"{secrets}", repr([secrets]), repr(vars(secrets))):
        keys = (secrets.tsig_key(), secrets.omapi_key(), secrets.k3s_token(), secrets.ssh_key.read_text().split()[5])
        for value in (secrets.vrrp_password(), *keys):
            assert value not in shown
    with pytest.raises(AttributeError):
        secrets.folder = Path("/elsewhere")  # type: ignore[misc]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")
def test_under_sudo_they_belong_to_the_owner_of_the_checkout(inventory: Inventory) -> None:
    os.chown(inventory.root, 1234, 1234)
    secrets = ensure(inventory)
    for path in (inventory.state, secrets.folder, *secrets.folder.iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234), path
