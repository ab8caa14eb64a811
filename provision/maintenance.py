"""Work that takes a node out of service, one node after the other, and only while nobody would notice.

The gate: every spec is green, and chaos' guard finds the partner healthy.  Meanwhile chaos measures what clients notice
(`python -m chaos during`), and judges the claims about losing that node.  Both are asked as commands.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cluster import power, secrets
from cluster.errors import InputError, NodeError, Refused
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.reboot import answers, reboot
from cluster.wait import until
from provision import render, runner

ROOT = Path(__file__).resolve().parents[1]
SPECS_S = 900.0
BOOT_S = 180.0
UPGRADE_S = 3000.0
LEASES = "/var/lib/dhcp/dhcpd.leases"
"""What a DHCP server must not forget: without it, it is silent for MCLT (dhcpd.conf(5), failover)."""
UPGRADE = """
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold upgrade
"""
VERBS = ("rebuild", "maintain")
Say = Callable[[str], None]


def order(inventory: Inventory, names: Sequence[str]) -> tuple[str, ...]:
    """Standbys before owners, so that the floating address moves away once and comes back once; else as they come."""
    return tuple(sorted(names, key=lambda name: inventory.vrrp.priorities.get(name, 0)))


def rolling(inventory: Inventory, verb: str, names: Sequence[str], *, say: Say) -> int:
    """One node after the other under the gate; the exit code of the first that was not held and healed, or 0."""
    for n, name in enumerate(order(inventory, names), 1):
        if verb == "maintain" and name in inventory.routers:
            say(f"{n} of {len(names)}: {name} is left alone: OpenWrt is upgraded as a whole, by a new image")
            continue
        say(f"{n} of {len(names)}: {verb} {name}")
        gate(inventory)
        if code := _measured(inventory, verb, name):
            say(f"{verb} {name} ended with exit code {code}; nothing else is touched")
            return code
    gate(inventory)
    say(f"{len(names)} done, and every spec is green")
    return 0


def gate(inventory: Inventory) -> None:
    """Raise Refused, naming them, unless every spec is green now."""
    words = [sys.executable, "-m", "pytest", "-q", "--no-report", "-p", "no:cacheprovider", "--tb=no", "specs/"]
    words += [f"--inventory={inventory.path}", f"--profile={inventory.profile}"]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=SPECS_S, check=False)
    except subprocess.TimeoutExpired:
        raise Refused(f"refused, the specs did not end within {SPECS_S:g} s; see why: pytest specs/") from None
    if done.returncode:
        if red := [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]:
            raise Refused(f"refused, {len(red)} specs are red: {'; '.join(red[:3])}")
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["they said nothing"]
        raise Refused(f"refused, the specs ended with exit code {done.returncode}: {said[0]}")


def _measured(inventory: Inventory, verb: str, name: str) -> int:
    """Do it while chaos looks on; its exit code is chaos' (0 held, 1 broken, 3 refused, 5 not healed)."""
    own = [sys.executable, "-m", "provision", verb, name, "--unguarded"]
    own += [f"--inventory={inventory.path}", f"--profile={inventory.profile}"]
    words = [sys.executable, "-m", "chaos", f"--inventory={inventory.path}", f"--profile={inventory.profile}"]
    return subprocess.run([*words, "during", name, shlex.join(own), "--for", "1s"], cwd=ROOT, check=False).returncode


def maintain(inventory: Inventory, name: str, *, say: Say) -> None:
    """Upgrade a node's packages and reboot it; on return it answers.  Raises NodeError and WaitTimeout."""
    with Fleet(inventory) as fleet:
        node = fleet[name]
        say(f"{name}: upgrading")
        node.run(["sh", "-euc", UPGRADE], sudo=True, deadline=UPGRADE_S, check=True)
        say(f"{name}: rebooting")
        reboot(power.driver(inventory), node)
        until(lambda: answers(node), deadline=BOOT_S, every=0.5, what=f"{name}: SSH")


def who_know(inventory: Inventory, names: Sequence[str]) -> tuple[str, ...]:
    """The nodes to configure after these were flashed anew: of their groups, which keep things about each other.

    K3s's server has each agent's node password, and its agents know the server by its token and certificates.
    """
    groups = {inventory.nodes[name].group for name in names}
    return tuple(node.name for node in inventory.nodes.values() if node.group in groups)


def reflash(inventory: Inventory, name: str, *, say: Say) -> None:
    """Give a node a blank system, and back what it must not forget; raises InputError where nothing can do that."""
    blank = getattr(power.driver(inventory), "reflash", None)
    if blank is None:
        raise InputError(
            f"{inventory.path.name}: power.driver: {inventory.power.driver} cannot write a node's disk; write a fresh "
            f"image to the card of {name}, boot it, then run: python -m provision {name}"
        )
    kept = b""
    with Fleet(inventory) as fleet:
        if name in (inventory.dhcp.primary, inventory.dhcp.secondary):
            with suppress(NodeError):  # it may be dead: that is why it is rebuilt
                fleet[name].run(["systemctl", "stop", "isc-dhcp-server"], sudo=True, deadline=20.0)
                kept = fleet[name].get(LEASES, sudo=True, deadline=10.0)
    say(f"{name}: a blank system")
    began = time.monotonic()
    blank(name)
    if kept:
        authority = render.bundle(inventory, inventory.nodes[name], secrets.ensure(inventory))[render.AUTHORITY]
        with Fleet(inventory) as certified, Fleet(inventory, first_contact=True) as first:

            def opened() -> bool:
                runner.open_by_certificate(certified[name], first[name], authority, check=False)
                return True

            until(opened, deadline=BOOT_S, every=0.5, what=f"{name}: SSH")
            certified[name].run(["mkdir", "-p", str(Path(LEASES).parent)], sudo=True, deadline=10.0, check=True)
            certified[name].put(kept, LEASES, sudo=True, mode=0o644)
    say(f"{name}: blank after {time.monotonic() - began:.0f} s; its leases are {'kept' if kept else 'lost'}")


def command(
    inventory: Inventory, verb: str, words: Sequence[str], names: Sequence[str], *, several: bool, unguarded: bool
) -> None:
    """Look at what was asked for, before anything is done; raises InputError."""
    if not words and verb == "rebuild":
        raise InputError("rebuild: name the node, or --rolling GROUP")
    if verb == "rebuild" and len(names) > 1 and not several:
        raise InputError(
            f"rebuild: {', '.join(words)} are {len(names)} nodes; say --rolling GROUP to rebuild them in turn"
        )
    if unguarded and len(names) != 1:
        raise InputError(f"{verb}: --unguarded is for one node, these are {len(names)}; name one, or leave it out")
    if verb == "maintain" and names and set(names) <= set(inventory.routers):
        raise InputError(
            f"maintain: {', '.join(names)} runs OpenWrt, which is upgraded as a whole, by a new image; name other nodes"
        )
