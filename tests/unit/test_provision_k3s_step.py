"""The step that sets up K3s, compute/40-k3s.sh, and what asks whether it works: run below a folder of their own.

What they call of the system is played; tests/lab/test_k3s.py has the real thing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cluster import artifacts, secrets
from cluster.inventory import Inventory, load
from provision import k3s, render
from tests.unit.test_artifacts import DOCKER, tarball
from tests.unit.test_provision_scripts import ME, ROOT, SYSTEMCTL

STEP = "compute/40-k3s.sh"
PLACES = ("/var/lib/", "/usr/local/bin/", "/etc/", "/opt/", "/run/")
PLAYED = {
    "systemctl": SYSTEMCTL.replace(
        "disable) rm -f enabled ;;", 'disable) echo "$*" >>asked; rm -f enabled active; touch failed ;;'
    ).replace("daemon-reload | reset-failed) ;;", "daemon-reload) ;;\n  reset-failed) rm -f failed ;;"),
    "systemd-detect-virt": "#!/bin/sh\n",
    "systemd-analyze": '#!/bin/sh\n[ -f "$3" ]\n',
    "journalctl": "#!/bin/sh\n",
    "dpkg": "#!/bin/sh\necho amd64\n",
    "dpkg-query": '#!/bin/sh\nshift 2\nfor one; do echo "installed $one"; done\n',
    "curl": "#!/bin/sh\necho pong\n",
    "pgrep": "#!/bin/sh\nexit 1\n",
    "ip": "#!/bin/sh\nexit 1\n",
    "iptables-save": "#!/bin/sh\n",
    "ip6tables-save": "#!/bin/sh\n",
}
READY = "#!/bin/sh\nexit 0\n"


def binary(version: str) -> bytes:
    """Like the real one, it calls itself what its file is called."""
    return f'#!/bin/sh\necho "${{0##*/}} version {version} (5a67e8dc)"\n'.encode()


class Machine:
    """A node's disk below a folder, the artifacts of where it is configured from, and the step that is run on it."""

    def __init__(self, folder: Path, inventory: Inventory) -> None:
        self.disk, self.artifacts, self.inventory = folder / "disk", folder / "home/artifacts", inventory
        self.bin, self.units, self.ready = folder / "played", folder / "units", READY
        for path in (self.disk / "bin", self.artifacts, self.bin, self.units, self.disk / "etc/systemd/system"):
            path.mkdir(parents=True)
        (self.disk / "bin/busybox").write_bytes(b"busybox")
        (self.disk / "bin/busybox").chmod(0o755)
        for name, text in PLAYED.items():
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        self.have("k3s", binary("v1.21.2+k3s1"))

    def have(self, name: str, content: bytes) -> None:
        """An artifact is at hand."""
        (self.artifacts / self.inventory.artifacts[name].file).write_bytes(content)

    def images(self) -> None:
        """The tarball with CoreDNS is at hand."""
        tarball(self.artifacts / self.inventory.artifacts["k3s-images"].file, {"manifest.json": DOCKER})

    def path(self, place: str) -> Path:
        return self.disk / place.lstrip("/")

    def within(self, text: str) -> str:
        """With every place of a node below the folder."""
        for place in PLACES:
            text = text.replace(place, f"{self.disk}{place}")
        return (
            text.replace(" /bin/busybox", f" {self.disk}/bin/busybox")
            .replace("root:root", ME)
            .replace("VERIFY_S=180", "VERIFY_S=1")
        )

    def step(self, name: str = "epsilon", *, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Bring its files and run it, as `python -m provision NAME` does."""
        plan = self.inventory.node(name)
        bundle = self.disk.parent / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        made = render.bundle(self.inventory, plan, secrets.ensure(self.inventory), only=[STEP])
        for path, content in {**made, "compute/k3s-ready": self.ready.encode()}.items():
            (bundle / path).parent.mkdir(parents=True, exist_ok=True)
            text = content.decode()
            (bundle / path).write_text(self.within(text) if path in ("lib.sh", "params.sh", STEP) else text)
        if not check:
            waiting = self.path(k3s.WAITING)
            waiting.mkdir(parents=True, exist_ok=True)
            for found, _ in k3s.files(self.inventory, plan):
                shutil.copy(found.path, waiting / found.sha256)
        return subprocess.run(
            ["bash", str(bundle / STEP)], capture_output=True, text=True, timeout=60, check=False,
            env={"PATH": f"{self.bin}:{os.environ['PATH']}", "UNITS": str(self.units), "CHECK": "1" if check else "",
                 "DAEMON_CONF": "/dev/null"},
        )  # fmt: skip

    def said(self, name: str = "epsilon", *, check: bool = False) -> list[str]:
        """What a step that went well reported, with places as on a node."""
        done = self.step(name, check=check)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.replace(str(self.disk), "").splitlines()

    def setting(self) -> str:
        return next(
            line for line in self.path("/etc/rancher/k3s/config.yaml").read_text().splitlines() if "disable" in line
        )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv(artifacts.HOME_VARIABLE, str(tmp_path / "home"))
    shutil.copy(ROOT / "inventory.yaml", tmp_path)
    found = Machine(tmp_path, load(tmp_path / "inventory.yaml"))
    (found.units / "installed").touch()
    return found


def with_k3s(inventory: Inventory, **changes: object) -> Inventory:
    assert inventory.k3s is not None
    return inventory.model_copy(update={"k3s": inventory.k3s.model_copy(update=changes)})


def newer(inventory: Inventory) -> Inventory:
    """The next release, under a file name of its own."""
    release = {"version": "v1.22.0+k3s1", "file": "k3s-v1.22.0"}
    changed = inventory.artifacts["k3s"].model_copy(update=release)
    return inventory.model_copy(update={"artifacts": {**inventory.artifacts, "k3s": changed}})


def test_it_is_set_up_once(machine: Machine) -> None:
    machine.images()
    said = machine.said()
    assert "change: /usr/local/bin/k3s" in said and any(line.startswith("change: k3s: ") for line in said)
    assert machine.path("/usr/local/bin/k3s").stat().st_mode & 0o777 == 0o755
    assert machine.path(f"{k3s.IMAGES}/k3s-airgap-images-v1.21.2.tar").exists()
    assert "coredns" not in machine.setting()
    assert machine.said() == [] and machine.said(check=True) == []


# --- images that are not at hand


def test_dns_that_runs_stays_where_its_image_is_not_at_hand(machine: Machine) -> None:
    machine.images()
    machine.said()
    (machine.artifacts / machine.inventory.artifacts["k3s-images"].file).unlink()
    assert machine.said(check=True) == [] and machine.said() == []
    assert "coredns" not in machine.setting()


def test_dns_that_never_ran_waits_for_its_image(machine: Machine) -> None:
    machine.said()
    assert "coredns" in machine.setting()
    assert machine.said() == []
    machine.images()
    machine.said()
    assert "coredns" not in machine.setting()


def test_dns_that_is_declared_no_more_ends(machine: Machine) -> None:
    machine.images()
    machine.said()
    machine.inventory = with_k3s(machine.inventory, images=())
    gone = f"{k3s.IMAGES}/k3s-airgap-images-v1.21.2.tar"
    assert f"change: remove {gone}" in machine.said()
    assert "coredns" in machine.setting() and not machine.path(gone).exists()


def test_images_of_other_releases_are_removed(machine: Machine) -> None:
    machine.images()
    machine.said()
    folder = machine.path(k3s.IMAGES)
    for name in ("k3s-airgap-images-v1.20.tar", "k3s-airgap-images-v1.19.tar.gz", "old.tar.zst", "wanted.txt"):
        (folder / name).write_bytes(b"old")
    names = ("k3s-airgap-images-v1.20.tar", "k3s-airgap-images-v1.19.tar.gz", "old.tar.zst")
    assert machine.said(check=True) == [f"would change: remove {k3s.IMAGES}/{name}" for name in names]
    assert machine.said() == [f"change: remove {k3s.IMAGES}/{name}" for name in names]
    left = {"k3s-airgap-images-v1.21.2.tar", "rpicluster.tar", "wanted.txt"}
    assert {path.name for path in folder.iterdir()} == left
    assert machine.said() == []


# --- another release


def test_a_new_release_would_change(machine: Machine) -> None:
    machine.said()
    machine.inventory = newer(machine.inventory)
    machine.have("k3s", binary("v1.22.0+k3s1"))
    would = ["would change: /usr/local/bin/k3s", "would change: k3s: /etc/rancher/k3s/files"]
    assert machine.said(check=True) == would
    assert machine.said() == [line.removeprefix("would ") for line in would]
    assert b"v1.22.0" in machine.path("/usr/local/bin/k3s").read_bytes()
    assert machine.said() == []
    assert [path.name for path in machine.path("/usr/local/bin").glob("k3s*")] == ["k3s"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (binary("v1.21.9+k3s1"), "is of version v1.21.9+k3s1"),
        (b"\x7fELF of another processor", "is no K3s that runs here"),
        (b"#!/bin/sh\nexit 0\n", "is no K3s that runs here"),
    ],
)
def test_a_wrong_file_leaves_the_old_one(machine: Machine, content: bytes, why: str) -> None:
    machine.said()
    machine.inventory = newer(machine.inventory)
    machine.have("k3s", content)
    old = machine.path("/usr/local/bin/k3s").read_bytes()
    done = machine.step()
    failed = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1 and failed[0].startswith(f"failed: epsilon: {STEP} line "), done.stdout + done.stderr
    assert f"k3s-v1.22.0 {why}; /usr/local/bin/k3s stays as it was: " in failed[0].replace(str(machine.disk), "")
    assert "put K3s v1.22.0+k3s1 there" in failed[0] and done.returncode == 75
    assert machine.path("/usr/local/bin/k3s").read_bytes() == old and (machine.units / "active").exists()
    assert not list(machine.path(k3s.WAITING).iterdir()), "another file must be brought"


def test_a_release_that_does_not_come_up_gives_way_to_the_old_one(machine: Machine) -> None:
    machine.said()
    old = machine.path("/usr/local/bin/k3s").read_bytes()
    machine.inventory = newer(machine.inventory)
    machine.have("k3s", binary("v1.22.0+k3s1"))
    machine.ready = machine.within("#!/bin/sh\ngrep -q v1.21.2 /usr/local/bin/k3s\n")
    done = machine.step()
    assert done.returncode != 0 and "it runs again with the old one" in done.stdout
    assert machine.path("/usr/local/bin/k3s").read_bytes() == old


# --- a node that is taken out


def test_a_node_that_is_taken_out_loses_its_k3s(machine: Machine) -> None:
    machine.images()
    machine.said("zeta")
    machine.path("/etc/rancher/node").mkdir()
    machine.path("/etc/rancher/node/password").write_text("secret")
    (machine.units / "asked").unlink()
    machine.inventory = with_k3s(machine.inventory, agents=("gamma", "delta"))
    (change,) = machine.said("zeta", check=True)
    assert change.startswith("would change: K3s is taken away") and machine.path("/usr/local/bin/k3s").exists()
    assert machine.said("zeta") == [change.removeprefix("would ")]
    assert (machine.units / "asked").read_text().splitlines() == ["disable --now k3s"]
    assert not (machine.units / "failed").exists(), "K3s ends badly when it is told to"
    left = {path for path in machine.disk.rglob("*") if path.is_file() or path.is_symlink()}
    assert left == {machine.path("/bin/busybox")}
    assert machine.said("zeta") == []


def test_a_k3s_of_somebody_elses_stays(machine: Machine) -> None:
    machine.inventory = with_k3s(machine.inventory, agents=("gamma", "delta"))
    unit = machine.path("/etc/systemd/system/k3s.service")
    unit.write_text("[Service]\nExecStart=/usr/local/bin/k3s agent\n")
    assert machine.said("zeta") == [] and unit.exists()


# --- whether it works


KUBECTL = """#!/bin/sh
[ "$1" = kubectl ] && who=${2##*/} && shift 2
echo "$who $*" >>"$ASKED"
case "$who $*" in
  "kubelet.kubeconfig get lease epsilon "*) date -u -d '5 seconds' +%FT%TZ ;;
  "kubelet.kubeconfig get node epsilon "*) echo "$OWN" ;;
  "kubeproxy.kubeconfig get nodes "*) [ -n "$OTHERS" ] && printf '%b' "$OTHERS" && exit
    echo 'Error from server (Forbidden): nodes is forbidden: User "system:kube-proxy" cannot list' >&2; exit 1 ;;
  *) echo "Error from server (Forbidden): $*: node 'epsilon' can only read its own Node object" >&2; exit 1 ;;
esac
"""
WORKING = {
    "systemctl": '#!/bin/sh\n[ "$1" != show ] || date\n',
    "curl": "#!/bin/sh\nprintf ok\n",
    "ping": '#!/bin/sh\nfor last; do :; done\necho "ping $last" >>"$ASKED"\n[ "$last" != "$SILENT" ]\n',
}
OTHERS = "epsilon True 10.42.0.0/24 \\nzeta True 10.42.1.0/24 \\ngamma Unknown 10.42.2.0/24 \\n"


def works(machine: Machine, own: str = "True ", others: str = OTHERS, silent: str = "") -> tuple[int, str, list[str]]:
    """What the node says of its K3s, newer than v1.32: exit code, words, and the pings."""
    text = render.bundle(machine.inventory, machine.inventory.node("epsilon"), secrets.ensure(machine.inventory))
    for name, content in WORKING.items():
        (machine.bin / name).write_text(content)
    for name, content in {"/usr/local/bin/k3s": KUBECTL, "/opt/k3s-ready": text["compute/k3s-ready"].decode()}.items():
        machine.path(name).parent.mkdir(parents=True, exist_ok=True)
        machine.path(name).write_text(machine.within(content))
        machine.path(name).chmod(0o755)
    (machine.bin / "ping").chmod(0o755)
    for name in ("kubelet", "kubeproxy"):
        path = machine.path(f"/var/lib/rancher/k3s/agent/{name}.kubeconfig")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    asked = machine.disk / "asked"
    asked.unlink(missing_ok=True)
    env = {"PATH": f"{machine.bin}:{os.environ['PATH']}", "ASKED": str(asked), "OWN": own, "OTHERS": others,
           "SILENT": silent}  # fmt: skip
    done = subprocess.run(
        ["sh", str(machine.path("/opt/k3s-ready"))], capture_output=True, text=True, timeout=30, env=env, check=False
    )
    pings = [line for line in asked.read_text().splitlines() if line.startswith("ping ")]
    return done.returncode, done.stdout + done.stderr, pings


def test_a_node_asks_for_no_other_by_its_own_name(machine: Machine) -> None:
    """From v1.32 on, the API tells a node of itself alone."""
    assert works(machine) == (0, "", ["ping 10.42.1.0"])


def test_others_that_it_may_not_know_are_not_tried(machine: Machine) -> None:
    assert works(machine, others="") == (0, "", [])


def test_pods_that_do_not_reach_each_other(machine: Machine) -> None:
    code, said, _ = works(machine, silent="10.42.1.0")
    assert code == 1 and said == "the pods of zeta and of this node do not reach each other\n"


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ("False ", "the server takes this node to be: ready False"),
        ("True node.kubernetes.io/unreachable", "the server still keeps pods away: node.kubernetes.io/unreachable"),
    ],
)
def test_a_node_that_is_not_ready(machine: Machine, own: str, why: str) -> None:
    assert works(machine, own=own)[:2] == (1, f"{why}\n")
