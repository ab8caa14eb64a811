"""One virtual node: its layers, its processes, its power.

A node's folder holds `upper` (what it wrote), `layers` (what lies below), `pid`, `timer` and `console.log`.  Its root
is mounted in a mount namespace of its own, so a dead node leaves no mount.  Whether it runs is read from /proc,
never remembered.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from cluster.errors import ClusterError, InputError
from cluster.inventory import Inventory
from cluster.wait import Deadline, WaitTimeout, until
from lab import network
from lab.router import prepare
from lab.site import Site

SOURCES = Path(__file__).resolve().parent.parent
BOOT = Path(__file__).with_name("boot.sh")
FIT_FOR_K3S = Path(__file__).with_name("fit-for-k3s.sh")
#: For K3s: runc makes keyrings, and the kubelet reads the kernel's messages; the host's are not the node's, so none.
K3S_OPTIONS = ("--system-call-filter=@keyring", "--bind=/dev/null:/dev/kmsg")
_POWEROFF = {"systemd": signal.SIGRTMIN + 4, "init": signal.SIGUSR2, "procd": signal.SIGUSR2}
"""What the first process takes for the order to shut down: systemd(1), init of BusyBox, OpenWrt's procd."""


class VirtualNode:
    """The node `name` of the inventory, in the lab of `site`."""

    def __init__(self, site: Site, inventory: Inventory, name: str) -> None:
        self.site, self.inventory, self.name = site, inventory, name
        self.folder = site.node(name)

    @property
    def upper(self) -> Path:
        """What the node has written, as seen from the host."""
        return self.folder / "upper"

    def supervisor(self) -> int | None:
        """The pid of this node's systemd-nspawn (or of the launcher that becomes it); None when off."""
        try:
            pid = int((self.folder / "pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if self._ours(pid) else None

    def leader(self) -> int | None:
        """The node's PID 1 as the host numbers it; None when the node is off or not that far."""
        supervisor = self.supervisor()
        if supervisor is None:
            return None
        try:
            children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
            own = os.readlink(f"/proc/{supervisor}/ns/pid")
            for child in map(int, children):
                if os.readlink(f"/proc/{child}/ns/pid") != own and _comm(child) in _POWEROFF:
                    return child
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # a process that ends shows nobody its own
            return None
        return None

    def _ours(self, pid: int) -> bool:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        machine = os.fsencode(self.site.machine(self.name))
        return machine in command or b"--machine=" + machine in command

    def create(self, layers: Sequence[Path], mirror: Path) -> None:
        """A blank disk over these read-only layers (topmost first); what the node wrote before is gone."""
        self.destroy()
        self.upper.mkdir(parents=True)
        (self.folder / "layers").write_text(":".join(map(str, layers)))
        (self.folder / "mirror").write_text("" if self.router else str(mirror))
        if len(layers) > 1:
            return  # what it was given once is in its snapshot
        if self.router:
            prepare(self.upper, self.inventory, self.name)
        elif not self.inventory.routers and self.name in self.inventory.bootstrapped:
            self._give_address()
        if self._runs_k3s():
            self._make_fit_for_k3s()

    @property
    def router(self) -> bool:
        """Whether it runs OpenWrt, or what stands in for it."""
        return self.name in self.inventory.routers

    def _give_address(self) -> None:
        """A static address from the lab, where the inventory has no router that would give it one at first."""
        lan = self.inventory.network
        folder = self.upper / "etc/systemd/network"
        folder.mkdir(parents=True)
        address = f"{self.inventory.nodes[self.name].address}/{lan.cidr.prefixlen}"
        (folder / "20-lab.network").write_text(
            f"# The lab gives this node its address.\n[Match]\nName={lan.interface}\n"
            f"[Network]\nAddress={address}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        )

    @property
    def made(self) -> bool:
        """Whether it has a disk: a node that is new in the inventory has none."""
        return (self.folder / "layers").exists()

    def require(self) -> None:
        """Raise InputError where it has no disk."""
        if not self.made:
            raise InputError(f"lab: {self.name} is new; `python -m lab up` makes it")

    def layers(self) -> list[Path]:
        """What the node's root is made of, topmost first."""
        return [self.upper, *map(Path, (self.folder / "layers").read_text().split(":"))]

    def _runs_k3s(self) -> bool:
        return self.name in {node.name for node in self.inventory.k3s_nodes}

    def _make_fit_for_k3s(self) -> None:
        """What K3s finds on a computer and a container lacks, made before it starts."""
        folder = self.upper / "etc/systemd/system/k3s.service.d"
        folder.mkdir(parents=True)
        script = "/usr/local/sbin/lab-fit-for-k3s"
        (folder / "lab.conf").write_text(
            f"# A container lacks some of what K3s wants.\n[Service]\nExecStartPre={script}\n"
        )
        target = self.upper / script.lstrip("/")
        target.parent.mkdir(parents=True)
        shutil.copyfile(FIT_FOR_K3S, target)
        target.chmod(0o755)

    def on(self) -> None:
        """Power on: plug the node in and start it; nothing if it is running.  Does not wait for services.

        A node that a killed command left half off (its port dead, its processes dying) is first put out.
        """
        self._stop_timer()
        if self.leader() is not None and network.plugged(self.site, self.name):
            return
        self.off()
        self.require()
        network.plug(self.site, self.inventory, self.name)
        options = K3S_OPTIONS if self._runs_k3s() else ()
        with (self.folder / "console.log").open("ab") as console:
            subprocess.Popen(
                [str(BOOT), self.site.machine(self.name), str(self.folder), (self.folder / "layers").read_text(),
                 str(self.site.netns(self.name)), (self.folder / "mirror").read_text(), *options],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True, cwd="/",
            )  # fmt: skip
        try:
            until(self.leader, deadline=10, every=0.005, what="start")
        except WaitTimeout:
            said = (self.folder / "console.log").read_text(errors="replace").strip().splitlines()[-1:]
            raise ClusterError(f"lab: {self.name} does not start: {' '.join(said) or 'it said nothing'}") from None

    def off(self) -> None:
        """Power off as pulling the plug does: off the wire in this moment, then dead.  Nothing if it is off."""
        self._stop_timer()
        self._die()

    def off_for(self, seconds: float) -> None:
        """Power off, and on again after `seconds` by a process of its own, which waits for that from now on."""
        self._stop_timer()
        words = [f"{seconds:g}", sys.executable, "-m", "lab.later", str(self.inventory.path), self.name]
        with (self.folder / "console.log").open("ab") as console:
            timer = subprocess.Popen(
                ["sh", "-c", 'sleep "$1"; shift; exec "$@" "$0"', self.site.machine(self.name), *words],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True, cwd=SOURCES,
            )  # fmt: skip
        (self.folder / "timer").write_text(str(timer.pid))
        self._die()

    def _stop_timer(self) -> None:
        """End what would switch it on later, unless that is who asks."""
        file = self.folder / "timer"
        try:
            pid = int(file.read_text())
        except (FileNotFoundError, ValueError):
            return
        if pid != os.getpid() and self._ours(pid):
            end(pid)
        file.unlink(missing_ok=True)

    def _die(self) -> None:
        network.pull(self.site, self.name)
        supervisor, leader = self.supervisor(), self.leader()
        for pid in (leader, supervisor):
            if pid is not None:
                _kill(pid)
        self._bury(supervisor, leader)

    def shut_down(self, deadline: float | Deadline) -> None:
        """Shut down in order, everything written; raises WaitTimeout if it does not end by itself."""
        leader, supervisor = self.leader(), self.supervisor()
        if leader is not None:
            os.kill(leader, _POWEROFF[_comm(leader)])
            until(lambda: self.supervisor() is None, deadline=deadline, every=0.02, what=f"{self.name}: shut down")
        self._bury(supervisor, leader)

    def _bury(self, *pids: int | None) -> None:
        """Wait until those processes are gone, then remove the cgroups, namespace and pid they leave."""
        for pid in pids:
            if pid is not None:
                await_exit(pid, 10)
        machine = self.site.machine(self.name)
        remove_cgroups(lambda name: name == machine)
        network.unplug(self.site, self.name)
        (self.folder / "pid").unlink(missing_ok=True)

    def destroy(self) -> None:
        """Power off and throw the disk away."""
        self.off()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def command(self, argv: Sequence[str]) -> list[str]:
        """What runs `argv` inside the node as root without SSH; raises ClusterError when the node is off."""
        leader = self.leader()
        if leader is None:
            raise ClusterError(f"lab: {self.name} is off; `python -m chaos boot {self.name}` switches it on")
        return ["nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd",
                "--", "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/root", "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}", *argv]  # fmt: skip


def _comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def end(pid: int) -> None:
    """Kill a process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (*map(int, children), pid):
            os.kill(each, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return


def await_exit(pid: int, seconds: float) -> None:
    """Wait until a process is gone (and reaped, where it is our child); raises ClusterError after `seconds`."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([handle], [], [], seconds)[0]:
            raise ClusterError(f"lab: process {pid} does not die")
    finally:
        os.close(handle)
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def cgroup_mounts() -> list[Path]:
    """Where the host has its cgroup hierarchies."""
    lines = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return [Path(fields[1]) for fields in lines if fields[2] in ("cgroup", "cgroup2")]


def find_cgroups(ours: Callable[[str], bool]) -> Iterator[Path]:
    """The topmost cgroups, in every hierarchy, whose own name is `ours`."""
    for mount in cgroup_mounts():
        for top, folders, _ in os.walk(mount):
            for mine in [folder for folder in folders if ours(folder)]:
                yield Path(top, mine)
                folders.remove(mine)


def remove_cgroups(ours: Callable[[str], bool]) -> None:
    """Remove those cgroups and what is below them; their processes are dead or dying."""
    for cgroup in find_cgroups(ours):
        for inner, _, _ in os.walk(cgroup, topdown=False):
            until(partial(_rmdir, inner), deadline=5, every=0.01, what=f"remove cgroup {inner}")


def _rmdir(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # busy for the moment in which the kernel reaps the last process
    return True
