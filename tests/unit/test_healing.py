"""What brings the cluster back goes on whatever it meets: plugs, faults and nodes that are not there any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from chaos import halt, healing, journal, recovery, show
from chaos.faults import Means, PowerOff, data
from chaos.lasting import lasting
from cluster.errors import ClusterError, NotUndone, Refused
from cluster.health import Check
from cluster.inventory import Inventory, load
from cluster.journal import entries
from cluster.node import Fleet

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Switches:
    """A power driver of which some switches do not answer."""

    mute: set[str] = field(default_factory=set)
    off_now: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)

    def off(self, node: str) -> None:
        self._asked(node)
        self.done.append(f"off {node}")
        self.off_now.add(node)

    def on(self, node: str) -> None:
        self._asked(node)
        self.done.append(f"on {node}")
        self.off_now.discard(node)

    def is_on(self, node: str) -> bool:
        self._asked(node)
        return node not in self.off_now

    def _asked(self, node: str) -> None:
        if node in self.mute:
            raise ClusterError(f"the plug of {node} does not answer")


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """The shipped one, moved to loopback, where nobody answers."""
    text = (ROOT / "inventory.yaml").read_text()
    (tmp_path / "inventory.yaml").write_text(text.replace("192.168.10.", "127.99.10."))
    return load(tmp_path / "inventory.yaml")


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch) -> Switches:
    """The power driver of all; what is undone is proven by saying so, in no time."""
    found = Switches()
    monkeypatch.setattr("cluster.power.driver", lambda inventory: found)
    monkeypatch.setattr("chaos.faults.power_off.ANSWERS_S", 0.0)
    monkeypatch.setattr("cluster.probes.wire.interface_towards", lambda address: "lo")
    monkeypatch.setattr(PowerOff, "patience_s", 0.0)
    monkeypatch.setattr(recovery, "prove", lambda *args, **more: (Check("ssh", "alpha", True, "fine"),))
    monkeypatch.setattr(recovery, "residue", lambda *args, **more: ())
    monkeypatch.setattr(recovery, "give_back_leases", lambda health: 0)
    monkeypatch.setattr("chaos.faults.starve.give_back", lambda means: None)
    monkeypatch.setattr("chaos.guard.look", lambda health, names: FIT)
    monkeypatch.setattr(recovery, "failed_units", lambda health, names: frozenset())
    return found


class _Fit:
    def demand(self) -> None:
        """All is well."""


FIT = _Fit()


@pytest.fixture
def heal(inventory: Inventory) -> Iterator[Callable[[], list[str]]]:
    """Heal; what it said."""
    with Fleet(inventory) as fleet:

        def run() -> list[str]:
            said.clear()
            healing.heal(inventory, fleet, say=said.append)
            return said

        said: list[str] = []
        yield run


def announce(inventory: Inventory, fault: dict[str, Any], *nodes: str) -> None:
    journal.write(inventory.state, fault, nodes, undo="as it was", command="a test", run=None)


def test_a_plug_that_does_not_answer_keeps_nothing_from_being_undone(
    inventory: Inventory, switches: Switches, heal: Callable[[], list[str]]
) -> None:
    switches.mute, switches.off_now = {"gamma"}, {"alpha", "zeta"}
    announce(inventory, data(PowerOff("alpha")), "alpha")
    said = heal()
    assert [done for done in switches.done if done.startswith("on")] == ["on alpha", "on zeta"]
    assert "nobody can tell whether gamma has power (the plug of gamma does not answer)" in said
    assert entries(inventory.state) == ()


def test_what_is_off_is_told_although_a_plug_does_not_answer(
    inventory: Inventory, switches: Switches, capsys: pytest.CaptureFixture[str]
) -> None:
    switches.mute, switches.off_now = {"gamma"}, {"alpha"}
    assert show.status(inventory, False) == 0
    assert "without power: alpha\nnobody can tell: gamma\n" in capsys.readouterr().out


def test_an_undo_that_fails_keeps_no_other_from_being_tried(
    inventory: Inventory, switches: Switches, heal: Callable[[], list[str]]
) -> None:
    """Also the sweep goes on, and the entries stay until all is proven."""
    switches.mute, switches.off_now = {"alpha", "beta"}, {"zeta"}
    for name in ("alpha", "beta", "zeta"):
        announce(inventory, data(PowerOff(name)), name)
    with pytest.raises(NotUndone, match=r"not healed: undo \(.*plug of alpha does not.*; .*plug of beta does not"):
        heal()
    assert "on zeta" in switches.done
    assert len(entries(inventory.state)) == 3
    switches.mute = set()
    said = heal()
    assert entries(inventory.state) == ()
    assert any(line.startswith("zeta: not asked for undos that wait there") for line in said)


def test_what_waits_on_nodes_is_undone_although_an_undo_failed(
    inventory: Inventory, switches: Switches, heal: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healing, "sweep", lambda node: (f"busy {node.name} 1",))
    switches.mute = {"alpha"}
    announce(inventory, data(PowerOff("alpha")), "alpha")
    said: list[str] = []
    with Fleet(inventory) as fleet, pytest.raises(NotUndone):
        healing.heal(inventory, fleet, say=said.append)
    assert "delta: undone there: busy delta 1" in said


@pytest.mark.parametrize("fault", [{"fault": "melt", "node": "beta"}, {"fault": "kill"}, {}])
def test_a_fault_that_is_not_known_here_keeps_nothing_from_being_undone(
    inventory: Inventory, switches: Switches, heal: Callable[[], list[str]], fault: dict[str, Any]
) -> None:
    """It is taken as an entry that cannot be read is: every node must answer."""
    switches.off_now = {"alpha"}
    announce(inventory, fault, "beta")
    announce(inventory, data(PowerOff("alpha")), "alpha")
    said = heal()
    assert {f"on {name}" for name in inventory.nodes} <= set(switches.done)
    (told,) = [line for line in said if "every node is made to answer" in line]
    assert "not known here" in told
    assert entries(inventory.state) == ()


def test_a_node_that_the_inventory_no_longer_has_is_told_with_the_remedy(
    inventory: Inventory, switches: Switches, heal: Callable[[], list[str]]
) -> None:
    """All else is healed; whether that node still is as the fault left it, nobody here can prove."""
    switches.off_now = {"alpha"}
    announce(inventory, {"fault": "kill", "node": "omikron"}, "omikron")
    announce(inventory, data(PowerOff("alpha")), "alpha")
    with pytest.raises(NotUndone) as told:
        heal()
    assert "names omikron, which inventory.yaml does not: put it back" in str(told.value)
    assert "or delete that file" in str(told.value) and "\n" not in str(told.value)
    assert "on alpha" in switches.done
    (left,) = entries(inventory.state)
    assert left.nodes == ("omikron",) and str(left.path) in str(told.value)


# ---------------------------------------------------------------- faults that last as long as a block


@dataclass(frozen=True)
class Bent(PowerOff):
    """A fault that cannot be undone."""

    kind: ClassVar[str] = "bent"
    patience_s: ClassVar[float] = 0.0

    def undo(self, means: Means) -> None:
        raise KeyError(self.node)


def test_every_fault_of_a_block_is_undone_whatever_one_says(inventory: Inventory, switches: Switches) -> None:
    faults = (PowerOff("alpha"), Bent("beta"))
    with (
        Fleet(inventory) as fleet,
        pytest.raises(NotUndone, match=r"KeyError: 'beta'.*run: python -m chaos heal"),
        lasting(inventory, fleet, *faults),
    ):
        pass
    assert switches.done == ["off alpha", "off beta", "on alpha"]
    assert len(entries(inventory.state)) == 2


def test_a_file_that_comes_while_faults_are_made_stops_the_next_one(
    inventory: Inventory, switches: Switches, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = PowerOff.apply

    def and_then_halt(fault: PowerOff, means: Means) -> None:
        apply(fault, means)
        halt.path(inventory).write_text("an exam\n")

    monkeypatch.setattr(PowerOff, "apply", and_then_halt)
    with (
        Fleet(inventory) as fleet,
        pytest.raises(Refused, match=r"HALT is there \(an exam\)"),
        lasting(inventory, fleet, PowerOff("alpha"), PowerOff("beta")),
    ):
        pytest.fail("the block was entered")
    assert switches.done == ["off alpha", "on alpha"]
    assert entries(inventory.state) == ()
