"""The authority in the lab: renewal through psi, a revoked laptop, secrets that are nowhere; psi from its backup."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import authority, credentials, secrets, tls
from cluster.authority import Authority
from cluster.errors import AuthenticationFailed
from cluster.inventory import Inventory
from cluster.node import Fleet, Node
from cluster.ssh import Login, load_key
from cluster.wait import until
from tests.checkout import Checkout, checkout
from tests.lab.conftest import ROOT
from tests.unit.sshd import Sshd

WITHOUT = ("omega", "delta", "epsilon", "zeta")


def provision(inventory: Inventory, *words: str, code: int = 0) -> str:
    """What `python -m provision` printed to both, having ended with `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "provision", *words, "--inventory", str(inventory.path)],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def without_authority(inventory: Inventory, folder: Path) -> Iterator[Authority]:
    """A computer on which the authority's key is not; it is there again afterwards."""
    made = secrets.ensure(inventory)
    shutil.move(made.ssh_authority, folder / "ssh_ca")
    try:
        yield Authority.read(folder / "ssh_ca")
    finally:
        shutil.move(folder / "ssh_ca", made.ssh_authority)


def test_a_computer_without_the_authority_is_renewed_by_psi(inventory: Inventory, fleet: Fleet, tmp_path: Path) -> None:
    made = secrets.ensure(inventory)
    with without_authority(inventory, tmp_path) as ours:
        old = ours.sign(made.ssh_public(), "user", [inventory.users.login], identity="old", seconds=86400)
        credentials.keep(inventory, old)
        with Fleet(inventory) as another:
            another["alpha"].run(["true"], check=True)
        found = credentials.certificate(inventory)
        assert found is not None and found[1].days_left() > 6.9 and found[1].identity != "old"
        credentials.keep(inventory, ours.sign(made.ssh_public(), "user", ["pi"], identity="over", seconds=-1))
        said = provision(inventory, "certificate", code=2)
        assert len(said.splitlines()) == 1 and "cannot be used: it was valid until" in said
    assert credentials.certificate(inventory) is not None


def test_a_revoked_laptop_is_refused_by_every_node_and_a_new_one_is_not(inventory: Inventory, tmp_path: Path) -> None:
    made = secrets.ensure(inventory)
    Sshd.keygen(tmp_path / "laptop")
    provision(inventory, "certificate", "--key", str(tmp_path / "laptop.pub"), "--for", "1h")

    def let_in() -> set[str]:
        text = (tmp_path / "laptop-cert.pub").read_text()
        login = Login(inventory.users.login, None, None, load_key(str(tmp_path / "laptop"), text))
        found = set()
        with Fleet(inventory) as nodes:
            for name, node in ((name, nodes[name]) for name in inventory.debian):
                node._login = lambda: login
                try:
                    node.connect()
                    found.add(name)
                except AuthenticationFailed:
                    pass
        return found

    assert let_in() == set(inventory.debian)
    try:
        said = provision(inventory, "revoke", str(tmp_path / "laptop-cert.pub"))
        assert f"revoked: serial: {authority.read((tmp_path / 'laptop-cert.pub').read_text()).serial}" in said
        assert let_in() == set()
        provision(inventory, "certificate", "--key", str(tmp_path / "laptop.pub"), "--for", "1h")
        assert let_in() == set(inventory.debian)
    finally:
        made.revocations.unlink()
        provision(inventory, "renew")


def test_psi_renews_what_is_near_its_end(inventory: Inventory, fleet: Fleet) -> None:
    """By itself, as every night: a node's certificate by SSH, and one of its own by TLS."""
    gamma, psi, day = fleet["gamma"], fleet["psi"], 86400.0
    host, leaf = "/etc/ssh/ssh_host_ed25519_key-cert.pub", f"/etc/ssl/{inventory.cluster.name}/reports"
    key, names = gamma.get("/etc/ssh/ssh_host_ed25519_key.pub").decode(), credentials.host_names(inventory, "gamma")
    short = credentials.trusted(inventory).sign(key, "host", names, identity=inventory.fqdn("gamma"), seconds=day)
    gamma.put(f"{short}\n".encode(), host, sudo=True)
    plan = inventory.model_copy(update={"authority": inventory.authority.model_copy(update={"leaf": day})})
    root = secrets.ensure(inventory).tls_authority
    pair = tls.new_leaf(root.read_bytes(), root, plan, "psi", "reports")
    psi.put(pair.key, f"{leaf}.key", mode=0o600, sudo=True)
    psi.put(pair.chain, f"{leaf}.crt", sudo=True)

    old = tls.new_leaf(root.read_bytes(), root, plan, "psi", "ara")  # ARA must take up what comes in its place
    psi.put(old.key, leaf.replace("reports", "ara.key"), mode=0o600, sudo=True)
    psi.put(old.chain, leaf.replace("reports", "ara.crt"), sudo=True)
    psi.run(["systemctl", "restart", "rpi-ara"], sudo=True, check=True)

    psi.run(["systemctl", "start", "rpi-renew"], sudo=True, deadline=150, check=True)
    left = authority.read(gamma.get(host).decode()).days_left()
    assert left > inventory.authority.host / day - 1, left
    ends = tls.until(psi.get(f"{leaf}.crt")).timestamp()
    assert ends - time.time() > inventory.authority.leaf - day
    page = ["curl", "-fsS", "-o", "/dev/null", f"https://localhost:{inventory.tools.ara_port}/"]
    until(lambda: psi.run(page).code == 0, deadline=60, what="ARA with its new certificate")


FROM_PSI = """
cd /opt/cluster/rpicluster
rm -rf .state/secrets
.venv/bin/python -m provision psi --check
cd .state/secrets && sha256sum ssh_key deployer_key ssh_ca tls_ca vrrp_password
"""


def test_provisioning_on_psi_reads_its_secrets_from_the_store(inventory: Inventory, fleet: Fleet) -> None:
    """And finds with them that nothing is to be done; routers know the key that it logs in with there."""
    said = fleet["psi"].run(["bash", "-euc", FROM_PSI], deadline=120, check=True).text
    found = {name: digest for digest, name in (line.split() for line in said.splitlines()[-5:])}
    ours = secrets.ensure(inventory).folder
    wanted = {name: hashlib.sha256((ours / name).read_bytes()).hexdigest() for name in found}
    assert found == wanted | {"ssh_key": wanted["deployer_key"]}


#: What psi keeps for itself: NAME, a space, and something of it that is nowhere else.
ITS_OWN = """
echo ansible_vault $(runuser -u pi -- env HOME=/home/pi pass show ansible/vault/current)
echo ara_secret_key $(sed -n "s/^ *SECRET_KEY: *//p" /var/lib/ara/settings.yaml)
for key in /etc/ssl/rpicluster/*.key; do echo tls_$(basename $key) $(sed -n 2p $key); done
"""


def values(inventory: Inventory, psi: Node) -> dict[str, str]:
    """Something of each secret that is nowhere else, also of those that psi alone has."""
    found = {}
    for path in secrets.ensure(inventory).folder.iterdir():
        if path.suffix == ".pub" or path.name == "revoked":
            continue
        lines = [line for line in path.read_text().splitlines() if not line.startswith("-----")]
        found[path.name] = lines[-2] if len(lines) > 1 else lines[0]  # of an OpenSSH key, where its seed is
    tls = secrets.ensure(inventory).tls_authority.read_text().split("-----END PRIVATE KEY")[0]
    found["tls_ca"] = tls.splitlines()[2]
    said = psi.run(["sh", "-euc", ITS_OWN], sudo=True, check=True).text
    return found | {name: value for name, value in (line.split() for line in said.splitlines())}


class Watcher(threading.Thread):
    """Looks at the command lines of every process there is, those of all nodes included, until told to stop."""

    def __init__(self, wanted: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.wanted = {name: value.encode() for name, value in wanted.items()}
        self.found: set[str] = set()
        self.looks = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            self.looks += 1
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                self.found |= {f"{name}: {line[:60]!r}" for name, value in self.wanted.items() if value in line}


#: In the journal, logs, ARA's records, Redis, and the reports of Serverspec and of nightly runs.
GREP = """
patterns=$(cat)
{
  journalctl -q --no-pager -o cat
  find /var/log -type f ! -name '*.journal*' -exec cat {} +
  cd /opt && find cluster/serverspec cluster/rpicluster/reports chroot_bb/www -type f -exec cat {} +
  find /var/lib/ara -type f ! -name settings.yaml -exec cat {} +
  redis-cli --scan | while read -r key; do redis-cli get "$key"; done
} 2>/dev/null | grep -aFo -e "$patterns" | sort -u
"""


def test_no_secret_is_in_any_log_report_process_list_or_recorded_event(inventory: Inventory, fleet: Fleet) -> None:
    wanted = values(inventory, fleet["psi"])
    assert len(wanted) >= 13 and all(len(value) >= 8 for value in wanted.values())
    watcher = Watcher(wanted)
    watcher.start()
    provision(inventory, "alpha", "gamma", "psi")
    provision(inventory, "backup")
    provision(inventory, "certificate")
    fleet["psi"].run(["/opt/cluster/bin/rpi-ansible"], deadline=120, check=True)
    fleet["psi"].run(["/opt/cluster/bin/rpi-serverspec", "psi"], deadline=120, check=True)
    watcher.over.set()
    watcher.join()
    assert watcher.looks > 20 and watcher.found == set()

    patterns = "\n".join(wanted.values()).encode()

    def logged_on(node: Node) -> str:
        return node.run(["sh", "-c", GREP], sudo=True, input=patterns, deadline=60).text

    logged = fleet.each(logged_on, inventory.debian)
    assert set(logged.values()) == {""}, {name: found for name, found in logged.items() if found}
    assert fleet["psi"].run(["sh", "-c", GREP], sudo=True, input=b"rpicluster").text, "it would be found"

    folders = [ROOT / "reports" / "runs", inventory.state]
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and "secrets" not in path.parts:
                data = path.read_bytes()
                found = [name for name, value in wanted.items() if value.encode() in data]
                assert not found, f"{path} holds {found}"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A cluster of psi, the pair and one compute node, provisioned."""
    with checkout(tmp_path_factory.mktemp("small"), WITHOUT) as copy:
        for words in (("lab", "up"), ("provision", "all")):
            done = copy.module(*words, timeout=600)
            assert done.returncode == 0, done.stdout + done.stderr
        yield copy


@pytest.mark.long
def test_psi_is_itself_again_from_its_backup(small: Checkout) -> None:
    def on(node: str, script: str) -> str:
        done = small.lab("exec", node, "--", "sh", "-euc", script)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    fingerprint = (
        "ssh-keygen -lf /home/pi/.ssh/my-ssh-ca/ssh_ca; sha256sum /home/pi/my-tls-ca/tls_ca; "
        "runuser -u pi -- env HOME=/home/pi pass show ansible/vault/current | sha256sum"
    )
    before = on("psi", fingerprint)
    on("psi", "mkdir -p /srv/tool; echo precious >/srv/tool/state; echo /srv/tool >/etc/rpicluster/backup.d/tool.list")
    done = small.module("provision", "backup")
    assert done.returncode == 0, done.stderr
    [archive] = (small.root / ".state" / "backups").glob("*.gpg")

    # A full disk on psi: told before anything is written, and the last good one stays.
    kept = on("psi", "cat /opt/cluster/backup/psi/last-good")
    on(
        "psi",
        "mkdir /run/kept && mv /opt/cluster/backup/psi/* /run/kept/ && "
        "mount -t tmpfs -o size=32k none /opt/cluster/backup/psi && cp /run/kept/last-good /opt/cluster/backup/psi/",
    )
    full = small.module("provision", "backup")
    assert full.returncode == 1 and len(full.stderr.splitlines()) == 1, full.stderr
    assert "the disk is full" in full.stderr and "the last good one stays" in full.stderr
    assert on("psi", "cat /opt/cluster/backup/psi/last-good; ls -A /opt/cluster/backup/psi") == f"{kept}\nlast-good"
    on("psi", "umount /opt/cluster/backup/psi && mv /run/kept/* /opt/cluster/backup/psi/")

    # psi is lost; so is the operator's copy of the keys.  Archive and passphrase are left.
    folder = small.root / ".state" / "secrets"
    passphrase = small.root / "passphrase"
    shutil.copy(folder / "backup_passphrase", passphrase)
    for name in ("ssh_ca", "tls_ca", "backup_passphrase", "ssh_key", "ssh_key.pub", "ssh_key-cert.pub"):
        (folder / name).unlink()
    assert small.lab("reflash", "psi").returncode == 0
    wrong = small.module("provision", "restore", "psi", str(archive), "--passphrase-file", str(small.root / "run"))
    assert wrong.returncode == 2 and "wrong passphrase" in wrong.stderr and not (folder / "ssh_ca").exists()
    done = small.module("provision", "restore", "psi", str(archive), "--passphrase-file", str(passphrase), timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ssh_ca: was missing, came back from the backup" in done.stdout
    assert on("psi", fingerprint) == before
    assert on("psi", "cat /srv/tool/state") == "precious"

    # Every node is reached as before, by the new operator's key; nothing is to be done anywhere.
    done = small.module("provision", "all", timeout=300)
    assert done.returncode == 0 and re.search(r"^alpha +0 +yes", done.stdout, re.MULTILINE), done.stdout + done.stderr
    done = small.module(
        "pytest", "-q", "--no-report", "-p", "no:cacheprovider", "specs/base", "specs/deployer", timeout=200
    )
    assert done.returncode == 0, done.stdout

    # A disk on psi that is full while it is put back: nothing is overwritten.
    said = on("psi", FULL)
    assert re.fullmatch(r"1 restore: the disk is full: .*; nothing was overwritten\nnewest", said), said


FULL = """
cd /srv/tool; head -c 200000 /dev/urandom >big; tar -cf /run/full.tar -C / srv/tool; echo newest >state
mount -t tmpfs -o size=64k none /var/lib/rpicluster
code=0; said=$(/root/bin/rpi-restore </run/full.tar 2>&1) || code=$?
umount /var/lib/rpicluster
echo "$code $said"
cat state
"""
