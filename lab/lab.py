"""The whole lab: bring it up, take it down, look at it, keep a provisioned copy of it.

A snapshot is what eight vanilla nodes wrote while they were provisioned once by exactly this code, with these
parameters and secrets; its name is the hash of all that.  `up` starts from it when it is there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from cluster import artifacts
from cluster.errors import ClusterError, InputError, Unreachable
from cluster.inventory import Inventory
from cluster.probes import clock, dns, icmp, k3s
from cluster.wait import Deadline, until
from lab import network
from lab.image import image, mirror
from lab.node import SOURCES, VirtualNode, await_exit, end, find_cgroups, remove_cgroups
from lab.router import STAND_IN, genuine, router
from lab.site import NETNS, Site, digest, prune

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_WANTED = 4096
KEEP_SNAPSHOTS = 3
Say = Callable[[str], None]


@dataclass(frozen=True)
class NodeStatus:
    """One line of `lab status`: state is `off`, `booting` (no SSH yet) or `up`; `remark`: what it stands in for."""

    name: str
    group: str
    state: str
    address: str
    remark: str = ""


class Lab:
    """The virtual cluster of one inventory."""

    def __init__(self, inventory: Inventory, say: Say = lambda line: None) -> None:
        self.inventory, self.say = inventory, say
        for name in (*inventory.nodes, inventory.network.operator.name):
            if why := network.not_a_port(name):
                raise InputError(f"{inventory.path.name}: {name}: {why}; the lab cannot have it, choose another name")
        self.site = Site.of(inventory.root)
        self.nodes = {name: VirtualNode(self.site, inventory, name) for name in inventory.nodes}

    @property
    def exists(self) -> bool:
        """Whether the switch is there: the lab is up, with or without dead nodes."""
        return self.site.netns(network.SWITCH).exists() and self.site.folder.is_dir()

    def up(self, *, vanilla: bool = False) -> None:
        """Bring every node up: from the provisioned snapshot when there is one, else from the vanilla image.

        Nodes that run are left alone, unless `vanilla` asks for fresh ones.
        """
        network_ok = self.exists
        if not network_ok or vanilla:
            self.down()
            self._raise_inotify()
            self._start_bus()
            trees, packages = self._built()
            snapshot = None if vanilla else self._snapshot(trees, packages)
            network.build(self.site, self.inventory)
            for name, node in self.nodes.items():
                layers = [trees[name]] if snapshot is None else [snapshot / name, trees[name]]
                node.create(layers, packages)
            if snapshot is None:
                self.say("starting vanilla nodes")
                self._pins().unlink(missing_ok=True)
            else:
                self.say("starting from the provisioned snapshot")
                self._restore_pins(snapshot)
                os.utime(snapshot)
        new = [name for name, node in self.nodes.items() if not node.made]
        if new:
            trees, packages = self._built()
            for name in new:
                self.say(f"{name} is new")
                self.nodes[name].create([trees[name]], packages)
        for node in self._boot_order():
            node.on()
        self.wait_ready(but=new)

    def wait_ready(self, seconds: float = 90, but: Collection[str] = ()) -> None:
        """Wait until every node that can be reached answers SSH and, once provisioned, its services.

        Nodes that nobody knows yet (`but`) get their addresses when all are provisioned.
        """
        deadline = Deadline.after(seconds)
        provisioned = self.provisioned
        self.enter()
        first = self.inventory.routers or self.inventory.bootstrapped  # the others get their addresses from these
        names = [name for name in (self.inventory.nodes if provisioned else first) if name not in but]
        waits: list[Callable[[], object]] = [partial(self._wait_ssh, name, deadline) for name in names]
        if provisioned:
            waits += self._service_waits(deadline)
        with ThreadPoolExecutor(len(waits)) as pool:
            for future in [pool.submit(wait) for wait in waits]:
                future.result()
        self.say(f"{len(names)} of {len(self.nodes)} nodes answer" + ("" if provisioned else " (not provisioned yet)"))

    def _wait_ssh(self, name: str, deadline: Deadline) -> None:
        address = str(self.inventory.nodes[name].address)
        until(partial(banner, name, address), deadline=deadline, every=0.02, what=f"{name}: SSH")

    def _service_waits(self, deadline: Deadline) -> list[Callable[[], object]]:
        inventory = self.inventory
        waits: list[Callable[[], object]] = []
        for name in (inventory.dns.primary, inventory.dns.secondary):
            ask = partial(dns.query, str(inventory.nodes[name].address), f"{inventory.fqdn(name)}.", "A")
            waits.append(partial(until, ask, lambda answer: answer.aa, deadline=deadline, what=f"{name}: DNS"))
        for name in inventory.ntp.servers:
            look = partial(clock.query, str(inventory.nodes[name].address))
            waits.append(
                partial(until, look, lambda reply: 0 < reply.stratum < 16, deadline=deadline, what=f"{name}: NTP")
            )
        for node in inventory.k3s_nodes:
            waits.append(partial(self._wait_k3s, node.name, deadline))
        floating = partial(icmp.ping, str(inventory.network.floating), 0.3)
        waits.append(partial(until, floating, lambda _: True, deadline=deadline, what="the floating address"))
        return waits

    def _wait_k3s(self, name: str, deadline: Deadline) -> None:
        """Until the node's K3s works, where it has one."""
        node = self.nodes[name]
        if any((Path(layer) / k3s.READY.lstrip("/")).exists() for layer in node.layers()):
            ready = node.command([k3s.READY])
            until(lambda: subprocess.run(ready, capture_output=True, timeout=30, check=False).returncode == 0,
                  deadline=deadline, every=0.5, what=f"{name}: K3s")  # fmt: skip

    def _boot_order(self) -> Iterator[VirtualNode]:
        """Statically addressed nodes first, of these the routers: the others get their addresses from them."""
        first = {**self.inventory.routers, **self.inventory.bootstrapped}
        for name in (*first, *(name for name in self.nodes if name not in first)):
            yield self.nodes[name]

    def down(self) -> None:
        """Remove every process, namespace, cgroup and file of this lab, however it was left."""
        for pid in self._processes():
            end(pid)
        for pid in self._processes():
            await_exit(pid, 10)
        network.demolish(self.site)
        remove_cgroups(self._is_ours)
        self._forget_scopes()
        if self.site.folder.exists():
            shutil.rmtree(self.site.folder)
        self._restore_inotify()

    def _forget_scopes(self) -> None:
        """Where systemd runs the host, drop what it remembers of scopes that ended badly (systemctl(1))."""
        if Path("/run/systemd/system").is_dir():
            scopes = f"{self.site.tag}-*.scope"
            subprocess.run(["systemctl", "reset-failed", scopes], check=False, capture_output=True, timeout=30)

    def leftovers(self) -> list[str]:
        """Everything of this lab that is there, as text: empty after `down`."""
        found = [f"process {pid}" for pid in self._processes()]
        found += [f"namespace {path.name}" for path in NETNS.glob(f"{self.site.tag}-*")]
        found += [f"cgroup {path}" for path in find_cgroups(self._is_ours)]
        mounts = Path("/proc/mounts").read_text().splitlines()
        found += [f"mount {line.split()[1]}" for line in mounts if f"/{self.site.tag}/" in line]
        return found

    def _is_ours(self, cgroup: str) -> bool:
        return cgroup.startswith(f"{self.site.tag}-") or cgroup.startswith(f"machine-{self.site.tag}\\x2d")

    def _processes(self) -> list[int]:
        """Launchers and supervisors of this lab, and the first process of each node, by their tag."""
        tag = os.fsencode(f"{self.site.tag}-")
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if any(word.startswith((tag, b"--machine=" + tag)) for word in words):
                    found.append(int(entry))
        return found

    def status(self) -> list[NodeStatus]:
        """One entry a node, in the inventory's order."""
        if not self.exists:
            nodes = self.inventory.nodes.values()
            return [NodeStatus(n.name, n.group, "off", str(n.address), self.remark(n.name)) for n in nodes]
        self.enter()

        def look(name: str) -> NodeStatus:
            node = self.inventory.nodes[name]
            state = "off"
            if self.nodes[name].supervisor() is not None:
                try:
                    banner(name, str(node.address), seconds=1)
                    state = "up"
                except ClusterError:
                    state = "booting"
            return NodeStatus(name, node.group, state, str(node.address), self.remark(name))

        with ThreadPoolExecutor(len(self.nodes)) as pool:
            return list(pool.map(look, self.nodes))

    def remark(self, name: str) -> str:
        """What a node only stands in for; empty for one that is what the inventory says."""
        return STAND_IN if name in self.inventory.routers and not genuine(self.inventory) else ""

    def node(self, name: str) -> VirtualNode:
        """The node of that name; InputError names the ones there are."""
        return self.nodes[self.inventory.node(name).name]

    def reflash(self, name: str) -> None:
        """Give a node a blank vanilla disk and boot it; its pinned host key is forgotten."""
        node = self.node(name)
        self.require()
        trees, packages = self._standing()
        node.create([trees[name]], packages)
        forget_pin(self._pins(), str(self.inventory.nodes[name].address))
        node.on()

    def enter(self) -> None:
        """Move this process to the operator's place on the LAN."""
        self.require()
        place = self.inventory.network.operator.name
        if not network.inside(self.site, place):
            network.enter(self.site, place)

    def require(self) -> None:
        """Raise InputError where the lab is down."""
        if not self.exists:
            raise InputError("lab: it is down; `python -m lab up` brings it up")

    # -- images and snapshots

    def _built(self) -> tuple[dict[str, Path], Path]:
        """The vanilla root of each node, and the mirror that the nodes see."""
        tree = image(self.site, self.inventory, self.say)
        packages = mirror(self.site, tree, SOURCES / "provision", self.say)
        roots = dict.fromkeys(self.inventory.debian, tree / "root")
        if self.inventory.routers:
            roots |= dict.fromkeys(self.inventory.routers, router(self.site, self.inventory, self.say) / "root")
        return roots, packages

    def _standing(self) -> tuple[dict[str, Path], Path]:
        """The same of the lab that is up, whatever would be built by now."""
        for node in self.nodes.values():
            node.require()
        mirrors = {(node.folder / "mirror").read_text() for node in self.nodes.values() if not node.router}
        return {name: node.layers()[-1] for name, node in self.nodes.items()}, Path(mirrors.pop())

    def _key(self, trees: Mapping[str, Path], packages: Path) -> str:
        """The name of the snapshot that these sources, parameters and secrets make."""
        # The operator's own certificate is renewed every few days, and no node has it.
        secrets = [path for path in sorted((self.inventory.state / "secrets").glob("*")) if path.suffix != ".pub"]
        return digest([*sorted({str(tree) for tree in trees.values()}), packages.name, self.inventory.path,
                       SOURCES / "provision", SOURCES / "lab/node.py", *secrets, *self._artifacts()])  # fmt: skip

    def _artifacts(self) -> list[str]:
        """The hashes of what K3s is installed from, as far as it is at hand."""
        plan = self.inventory.k3s
        names = [] if plan is None else [plan.binary, *plan.images]
        found = []
        for name in names:
            with suppress(artifacts.ArtifactMissing):
                found.append(artifacts.find(self.inventory, name).sha256)
        return found

    def _snapshot(self, trees: Mapping[str, Path], packages: Path) -> Path | None:
        if not (self.inventory.state / "secrets").is_dir():
            return None
        path = self.site.snapshots / self._key(trees, packages)
        return path if path.is_dir() else None

    @property
    def provisioned(self) -> bool:
        """Whether the nodes stand on a snapshot or were provisioned since."""
        return (self.site.folder / "provisioned").exists() or any(
            str(self.site.snapshots) in (node.folder / "layers").read_text()
            for node in self.nodes.values() if node.made
        )  # fmt: skip

    def snapshot(self) -> bool:
        """Keep what the nodes wrote since they were vanilla, and start them from it; False if there is one.

        Every node is shut down in order first, so a snapshot also shows that what was provisioned survives a
        reboot.
        """
        self.require()
        (self.site.folder / "provisioned").touch()
        trees, packages = self._standing()
        done = self.site.snapshots / self._key(trees, packages)
        vanilla = all(":" not in (node.folder / "layers").read_text() for node in self.nodes.values())
        if done.exists() or not vanilla:
            return False
        self.say("keeping a snapshot of the provisioned nodes")
        deadline = Deadline.after(60)
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(lambda node: node.shut_down(deadline), self.nodes.values()))
        part = self.site.snapshots / f".{done.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, node in self.nodes.items():
            node.upper.rename(part / name)
        shutil.copyfile(self._pins(), part / ".known_hosts")
        part.rename(done)
        for name, node in self.nodes.items():
            node.create([done / name, trees[name]], packages)
        (self.site.folder / "provisioned").touch()
        prune(self.site.snapshots, KEEP_SNAPSHOTS, self.site.labs)
        for node in self._boot_order():
            node.on()
        self.wait_ready()
        return True

    def _pins(self) -> Path:
        return self.inventory.state / "known_hosts"

    def _restore_pins(self, snapshot: Path) -> None:
        self.inventory.state.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(snapshot / ".known_hosts", self._pins())

    # -- the host's settings

    def _raise_inotify(self) -> None:
        """systemd needs several inotify instances a node; the default of 128 ends at about 40 nodes."""
        before = int(INOTIFY.read_text())
        if before >= INOTIFY_WANTED:
            return
        saved = self.site.home / "inotify-before"
        try:
            INOTIFY.write_text(f"{INOTIFY_WANTED}\n")
        except OSError:
            self.say(f"the host keeps fs.inotify.max_user_instances at {before}: enough for {before // 4} nodes")
            return
        if not saved.exists():
            saved.write_text(f"{before}\n")
        self.say(f"host: fs.inotify.max_user_instances {before} -> {INOTIFY_WANTED} until the last lab is down")

    def _start_bus(self) -> None:
        """nspawn asks the host's systemd for scopes over D-Bus, which a fresh install does not start."""
        if Path("/run/systemd/system").is_dir() and not Path("/run/dbus/system_bus_socket").exists():
            self.say("host: starting dbus.socket, through which nodes get their scopes")
            subprocess.run(["systemctl", "start", "dbus.socket"], check=True, timeout=30)

    def _restore_inotify(self) -> None:
        saved = self.site.home / "inotify-before"
        others = [path for path in self.site.labs.glob("rpi*") if path.is_dir()]
        if saved.exists() and not others:
            before = saved.read_text().strip()
            INOTIFY.write_text(f"{before}\n")
            saved.unlink()
            self.say(f"host: fs.inotify.max_user_instances back to {before}")


def banner(name: str, address: str, port: int = 22, seconds: float = 0.2) -> str:
    """The SSH banner of a node; raises Unreachable."""
    try:
        with socket.create_connection((address, port), timeout=seconds) as connection:
            line = connection.recv(64)
    except OSError as error:
        raise Unreachable(name, f"{address}:{port}: {error}") from None
    if not line.startswith(b"SSH-"):
        raise Unreachable(name, f"{address}:{port}: no SSH banner")
    return line.decode("ascii", "replace").strip()


def forget_pin(pins: Path, address: str) -> None:
    """Drop a host's pinned key, as `ssh-keygen -R` would: its disk was replaced by our own hand."""
    if pins.exists():
        lines = pins.read_text(errors="surrogateescape").splitlines(keepends=True)
        kept = [line for line in lines if address not in re.split(r"[, ]", line.split(" ")[0])]
        part = pins.with_name(f".{pins.name}.part")
        part.write_text("".join(kept), errors="surrogateescape")
        part.replace(pins)


def as_json(statuses: Iterable[NodeStatus]) -> str:
    """The machine-readable form of `status`: a list of objects."""
    return json.dumps([asdict(status) for status in statuses], indent=1)
