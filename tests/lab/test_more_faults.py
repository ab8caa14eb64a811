"""Faults of links, loads and whole nodes, on the real lab: each takes hold, is undone, and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.faults import (
    Busy,
    Delay,
    Duplicate,
    Fill,
    Hang,
    Lose,
    Means,
    Partition,
    Reboot,
    Reset,
    SigKill,
    Squat,
    Squeeze,
    Unplug,
    admit,
)
from chaos.faults.on_node import left_on
from chaos.lasting import lasting
from chaos.recovery import undo
from cluster import power
from cluster.errors import ClusterError, ProbeFailed, Refused
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.probes import arp, icmp, wire
from cluster.reboot import answers
from cluster.wait import until

FOLDER = "/run/rpired-small"
STRANGE = "192.168.10.77"


@pytest.fixture
def means(inventory: Inventory, fleet: Fleet) -> Means:
    return Means(inventory, fleet, power.driver(inventory), hold_s=2.0)


@pytest.fixture
def small_disk(fleet: Fleet) -> Iterator[str]:
    """A disk of 8 MB on zeta, which nobody shares."""
    mount = f"mkdir -p {FOLDER} && mount -t tmpfs -o size=8m none {FOLDER}"
    fleet["zeta"].run(mount, sudo=True, check=True)
    yield FOLDER
    fleet["zeta"].run(f"umount {FOLDER} && rmdir {FOLDER}", sudo=True, check=True)


def pings(address: str) -> bool:
    try:
        icmp.ping(address)
    except ProbeFailed:
        return False
    return True


def test_every_fault_of_links_and_loads_takes_hold_and_is_undone(
    inventory: Inventory, fleet: Fleet, small_disk: str
) -> None:
    gamma, zeta = fleet["gamma"], fleet["zeta"]
    interface = wire.interface_towards(gamma.address)
    faults = (
        Partition("gamma", "zeta"), Squat("gamma", STRANGE), Squeeze("zeta", "50"), Busy("gamma", "1"),
        SigKill("zeta", "distcc"), Fill("zeta", small_disk), Lose("gamma", "10"),
    )  # fmt: skip
    with lasting(inventory, fleet, *faults):
        for node, other in ((gamma, zeta), (zeta, gamma)):
            assert node.run(["ping", "-c1", "-W1", other.address]).code == 1
        owners = until(
            lambda: set(arp.who_have(interface, [STRANGE])[STRANGE]), deadline=10, what="an answer by a bad link"
        )
        assert owners == {inventory.node("gamma").mac}
        assert zeta.run(["df", "--output=pcent", small_disk]).text.split()[-1] == "100%"
        taken = zeta.run("ps -eo rss=,comm= --sort=-rss | awk '$2 == \"tail\" { print int($1 / 1024) }'").text
        assert int(taken.split()[0]) >= 50
        assert len(left_on(gamma)) == 8 and len(left_on(zeta)) == 7, (left_on(gamma), left_on(zeta))
    for node, other in ((gamma, zeta), (zeta, gamma)):
        assert left_on(node) == ()
        assert node.run(["ping", "-c1", "-W1", other.address]).code == 0
    assert not arp.who_have(interface, [STRANGE]).get(STRANGE)


def test_a_node_that_is_cut_off_comes_back_by_itself(means: Means) -> None:
    """Nobody reaches it, so it has to; a cable is seen to be pulled by silence, a node that hangs answers pings."""
    node = means.fleet["zeta"]
    for fault, silent in ((Unplug("zeta"), True), (Hang("zeta"), False)):
        fault.apply(means)
        assert pings(node.address) is not silent
        assert not answers(node)
        until(lambda: answers(node), deadline=15, what="its own timer")  # nobody asked it to
        undo(means, [fault])
        assert left_on(node) == ()


def test_a_node_is_reset_and_rebooted(means: Means) -> None:
    node = means.fleet["zeta"]
    for fault in (Reset("zeta"), Reboot("zeta")):
        before = node.run(["stat", "-c", "%Z", "/proc/1"], check=True).text
        fault.check(means)
        fault.apply(means)
        undo(means, [fault])
        assert node.run(["stat", "-c", "%Z", "/proc/1"], check=True).text != before


def test_what_cannot_be_done_here_is_refused_before_anything_is_done(means: Means) -> None:
    for fault, words in (
        (Fill("zeta", "/var"), "which others share"),
        (Fill("zeta", "/nowhere"), "is no folder"),
        (Squeeze("zeta", "999999"), "take less"),
        (Squat("zeta", str(means.inventory.node("zeta").address)), "name another"),
    ):
        with pytest.raises(Refused, match=words):
            admit(fault, means)
    for link in (Delay("zeta", "100"), Duplicate("zeta", "10")):
        try:
            link.check(means)
        except Refused as refused:
            assert "has no netem" in str(refused) and "lose" in str(refused)  # as on the kernel of this machine
        else:
            link.apply(means)
            assert "netem" in " ".join(left_on(means.fleet["zeta"]))
            undo(means, [link])
    with pytest.raises(ClusterError):
        power.demand_on(type("Sysrq", (), {"cannot_switch_on": "nothing can"})(), "zeta")
    assert left_on(means.fleet["zeta"]) == ()
