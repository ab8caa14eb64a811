"""Health: nothing failed, nothing about to fill up, the tools at hand, and nothing that should not run."""

from __future__ import annotations

import pytest

from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes import k3s, mpi
from specs.base import expected
from specs.compute import looks as compute

DISK_PERCENT = 90  # monitoring-plugins' usual warning, check_disk -w 10%
MANY_PROCESSES = 400  # the cluster's own limit; 300 is where it used to warn


def test_no_unit_has_failed(node: Node, facts: Facts) -> None:
    assert not facts.failed, f"{node.name}: failed units: {', '.join(facts.failed)}"


def test_the_system_is_up(node: Node, facts: Facts) -> None:
    """systemctl(1): `degraded` is told by the failed units; `maintenance` or `stopping` would be news."""
    assert facts.system in ("running", "degraded", "starting"), f"{node.name}: systemd says {facts.system!r}"


@pytest.mark.parametrize("unit", expected.RUNNING)
def test_it_runs(node: Node, unit: str, facts: Facts) -> None:
    _, active, _ = facts.units.get(unit, ("", "unknown", ""))
    assert active == "active", f"{node.name}: {unit} is {active}"


@pytest.mark.parametrize("unit", expected.RUNNING)
def test_it_will_run_after_the_next_boot(node: Node, unit: str, facts: Facts) -> None:
    *_, state = facts.units.get(unit, ("", "", "unknown"))
    assert state == "enabled", f"{node.name}: {unit} is {state}: it will be missing after the next boot"


@pytest.mark.parametrize("unit", expected.NEVER)
def test_it_never_runs(node: Node, unit: str, facts: Facts) -> None:
    load, active, state = facts.units.get(unit, ("not-found", "inactive", ""))
    assert active != "active", f"{node.name}: {unit} runs"
    off = load in ("not-found", "masked") or state in ("disabled", "masked", "static", "indirect", "")
    assert off, f"{node.name}: {unit} is {state}: it will run after the next boot"


@pytest.mark.parametrize("command", expected.COMMANDS)
def test_the_command_is_there(node: Node, command: str, facts: Facts) -> None:
    assert command in facts.commands, f"{node.name} has no {command}"


def test_the_disks_have_room(node: Node, facts: Facts) -> None:
    assert facts.disks, f"{node.name}: df told nothing"
    full = {mount: f"{space} %" for mount, (space, _) in facts.disks.items() if space >= DISK_PERCENT}
    assert not full, f"{node.name}: nearly full: {full}"


def test_the_disks_have_inodes(node: Node, facts: Facts) -> None:
    full = {mount: f"{inodes} %" for mount, (_, inodes) in facts.disks.items() if inodes >= DISK_PERCENT}
    assert not full, f"{node.name}: nearly out of inodes: {full}"


def test_not_too_many_processes(node: Node, facts: Facts) -> None:
    assert 0 < facts.processes < MANY_PROCESSES, f"{node.name}: {facts.processes} processes, {MANY_PROCESSES} at most"


def reachable(node: Node, facts: Facts) -> dict[tuple[str, int], str]:
    """What others on the LAN can talk to: protocol and port, and the program behind it."""
    return {(one.protocol, one.port): one.process for one in facts.listeners if not one.local}


@pytest.mark.outside("the specs that run there ask by UDP themselves", own=True)
def test_only_the_groups_services_can_be_reached(node: Node, facts: Facts, inventory: Inventory) -> None:
    """A daemon that nobody asked for is a door that nobody watches."""
    group = inventory.node(node.name).group
    may = {("tcp", port) for port in inventory.groups[group].ssh_ports} | set(inventory.open_ports(node.name))
    if inventory.groups[group].addressing == "dhcp":
        may.add(("udp", 68))  # its own DHCP client
    if node.name in (inventory.dhcp.primary, inventory.dhcp.secondary):
        plan = inventory.dhcp  # for the partner, and for the node itself; the firewall lets nobody else in
        may |= {("tcp", port) for port in (plan.port, plan.peer_port, plan.omapi_port)}
    if group == compute.GROUP:
        may.add(("tcp", inventory.distcc.port))
    if inventory.k3s is not None and inventory.node(node.name) in inventory.k3s_nodes:
        may |= {("tcp", k3s.KUBELET_PORT), ("udp", k3s.VXLAN_PORT)}
        if node.name == inventory.k3s.server:
            may.add(("tcp", inventory.k3s.port))
    found = {
        door: who
        for door, who in reachable(node, facts).items()
        if who not in mpi.PROCESSES and not (door[0] == "udp" and who in expected.ASKING)
    }
    strange = [f"{process or 'the kernel'} on {protocol} {port}" for (protocol, port), process in found.items()
               if (protocol, port) not in may]  # fmt: skip
    assert not strange, f"{node.name} also serves: {', '.join(strange)}"


def test_ssh_is_served_by_sshd(node: Node, facts: Facts, inventory: Inventory) -> None:
    found = reachable(node, facts)
    for port in inventory.groups[inventory.node(node.name).group].ssh_ports:
        process = found.get(("tcp", port), "nobody")
        assert process in ("sshd", "systemd"), f"{node.name}: {process} listens on port {port}, not sshd"
