"""python -m provision backup | restore: the deployer's archive fetched, and put back on one that was flashed anew.

An archive is judged as a whole before anything is touched, here or there: it must decrypt, read to its end, be one
of this cluster's, and of the authority that we have ourselves, if we have one.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cluster import authority, journal, power, secrets, tls
from cluster import inventory as inventories
from cluster.authority import Authority
from cluster.errors import InputError, NodeError
from cluster.here import DEPLOYER, deployers
from cluster.inventory import Inventory, Node
from cluster.node import Fleet
from cluster.secrets import Secrets

MAKE, PUT_BACK = "/root/bin/rpi-backup", "/root/bin/rpi-restore"
MAKE_S, FETCH_S, GPG_S = 300.0, 120.0, 120.0
FORMAT = "rpicluster backup 1"
SECRETS = PurePosixPath("root/rpicluster/secrets")


@dataclass(frozen=True, repr=False)
class Archive:
    """A backup that was found to be whole: its tar, what its manifest says, and the secrets in it."""

    tar: bytes
    manifest: Mapping[str, str]
    secrets: Mapping[str, bytes]


def backup(argv: Sequence[str]) -> int:
    """Make a backup of the deployer now, and fetch it."""
    top = argparse.ArgumentParser(
        prog="python -m provision backup",
        description="Make a backup of the deployer now, and fetch it, encrypted as it is: for a USB key, say.",
    )
    top.add_argument("--to", type=Path, metavar="FOLDER", help="where it goes (default: .state/backups)")
    top.add_argument("--inventory", type=Path, metavar="F", help="inventory file (default: inventory.yaml)")
    options = top.parse_args(argv)
    inventory = inventories.load(options.inventory)
    folder: Path = inventory.state / "backups" if options.to is None else options.to
    if options.to is not None and not folder.is_dir():
        raise InputError(f"--to: {folder} is no folder; make it, or plug it in")
    name = _deployer(inventory).name
    power.enter(inventory)
    journal.check(inventory.state)
    try:
        for one in (inventory.state, folder):
            one.mkdir(mode=0o700, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"--to: {folder}: {error.strerror}; name a folder where you may write") from error
    with Fleet(inventory) as fleet:
        fleet[name].run([MAKE], sudo=True, deadline=MAKE_S, check=True)
        said = fleet[name].get(f"/opt/cluster/backup/{name}/last-good", sudo=True).decode().splitlines()
        about = dict(line.split(": ", 1) for line in said)
        data = fleet[name].get(about["file"], sudo=True, deadline=FETCH_S)
    if hashlib.sha256(data).hexdigest() != about["sha256"]:
        raise NodeError(name, f"{about['file']} did not arrive as it was written; try again")
    path = folder / PurePosixPath(about["file"]).name
    try:
        path.touch(mode=0o600)
        path.write_bytes(data)
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise InputError(f"{path}: {error.strerror}; name another folder with --to") from error
    print(f"{path}: {len(data)} bytes, good; the passphrase is in {inventory.state / 'secrets' / 'backup_passphrase'}")
    return 0


def restore(argv: Sequence[str]) -> int:
    """Provision a deployer that was flashed anew, and put back what the backup holds."""
    top = argparse.ArgumentParser(
        prog="python -m provision restore",
        description="Provision the deployer, flashed anew, and put back what FILE holds.  FILE is judged first; a file "
        "that is wrong in any way changes nothing.  Secrets that are missing here come back from it, too.",
    )
    top.add_argument("node", metavar="NODE", help="the deployer")
    top.add_argument("file", type=Path, metavar="FILE", help="a backup of it")
    top.add_argument("--passphrase-file", type=Path, metavar="P", help="default: .state/secrets/backup_passphrase")
    top.add_argument("--inventory", type=Path, metavar="F", help="inventory file (default: inventory.yaml)")
    options = top.parse_args(argv)
    inventory = inventories.load(options.inventory)
    node = _deployer(inventory)
    if options.node != node.name:
        raise InputError(f"restore: {options.node} has no backup; only {node.name} has")
    found = read(inventory, options.file, options.passphrase_file)
    power.enter(inventory)
    journal.check(inventory.state)
    for name in _put_back(inventory, found):
        print(f"{inventory.state / 'secrets' / name}: was missing, came back from the backup")

    from provision import doing

    with Fleet(inventory) as fleet:
        fleet.forget(node.name)  # it is another computer now, or another card; the authority will sign its key
        if not doing.run(inventory, [node.name]):
            return 1
        fleet[node.name].run([PUT_BACK], sudo=True, input=found.tar, deadline=FETCH_S, check=True)
    print(f"{node.name}: restored from {options.file}, made {authority.when(float(found.manifest['made']))}")
    return 0


def read(inventory: Inventory, path: Path, passphrase: Path | None = None) -> Archive:
    """A backup, judged; raises InputError with the one thing that is wrong with it."""
    key = inventory.state / "secrets" / secrets.BACKUP_PASSPHRASE if passphrase is None else passphrase
    for needed in (path, key):
        if not needed.is_file():
            raise InputError(f"{needed}: no such file" + ("; name it with --passphrase-file" if needed == key else ""))
    tar = _decrypt(path, key)
    kept: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as file:
            members = file.getmembers()
            head = file.extractfile(members[0]) if members and members[0].name == "MANIFEST" else None
            lines = head.read().decode().splitlines() if head is not None else []
            for member in members:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise InputError(f"{path}: foreign: {member.name} is no path below a node's root")
                content = file.extractfile(member) if member.isfile() else None
                data = content.read() if content is not None else b""
                if name.parent == SECRETS:
                    kept[name.name] = data
    except (tarfile.TarError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{path}: corrupt: {error}; take another one") from error
    if not lines or lines[0] != FORMAT:
        raise InputError(f"{path}: foreign: not a backup of a deployer; take one that `provision backup` made")
    manifest = dict(line.partition(": ")[::2] for line in lines[1:])
    _ours(inventory, path, manifest, kept)
    return Archive(tar, manifest, kept)


def _ours(inventory: Inventory, path: Path, manifest: Mapping[str, str], kept: Mapping[str, bytes]) -> None:
    name, cluster = _deployer(inventory).name, inventory.cluster.name
    if (manifest.get("cluster"), manifest.get("node")) != (cluster, name):
        whose = f"{manifest.get('node')} of {manifest.get('cluster')}"
        raise InputError(f"{path}: foreign: a backup of {whose}, not of {name} of {cluster}")
    for wanted in ("ssh_ca", "tls_ca"):
        if wanted not in kept:
            raise InputError(f"{path}: corrupt: there is no {wanted} in it; take another one")
    here = Secrets(inventory.state / "secrets", inventory.dns.tsig_name).ssh_authority
    if here.exists() and Authority.read(here).fingerprint != manifest.get("authority"):
        raise InputError(
            f"{path}: foreign: its authority is {manifest.get('authority')}, ours is {Authority.read(here).fingerprint}"
        )
    tls.root_certificate(kept["tls_ca"], f"{path}: tls_ca")


def _put_back(inventory: Inventory, found: Archive) -> list[str]:
    """Put secrets back that are missing here; those that are here stay."""
    folder = inventory.state / "secrets"
    for one in (inventory.state, folder):
        one.mkdir(mode=0o700, exist_ok=True)
    missing = [name for name in sorted(found.secrets) if not (folder / name).exists()]
    for name in missing:
        secrets.write(folder / name, found.secrets[name], inventory.root)
    return missing


def _decrypt(path: Path, passphrase: Path) -> bytes:
    """The archive's tar; raises InputError for a wrong passphrase, or what is not whole."""
    with tempfile.TemporaryDirectory() as home:
        words = ["gpg", "--batch", "--no-options", "--no-autostart", "--homedir", home, "--pinentry-mode", "loopback"]
        words += ["--passphrase-file", str(passphrase), "--decrypt", str(path)]
        try:
            done = subprocess.run(words, capture_output=True, timeout=GPG_S, check=False)
        except FileNotFoundError:
            raise InputError("restore: gpg is not installed here; apt-get install gpg") from None
        except subprocess.TimeoutExpired:
            raise InputError(f"{path}: gpg did not end within {GPG_S:g} s") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace")
        if "Bad session key" in said:
            raise InputError(f"{path}: wrong passphrase: {passphrase} does not open it")
        last = said.strip().splitlines()[-1:] or ["gpg said nothing"]
        raise InputError(f"{path}: corrupt, or no backup: {last[0]}; take another one")
    return done.stdout


def _deployer(inventory: Inventory) -> Node:
    found = deployers(inventory)
    if not found:
        raise InputError(f"{inventory.path.name}: no node of group {DEPLOYER}, which has backups")
    return found[0]
