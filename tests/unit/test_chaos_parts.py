"""The parts of chaos that need no lab: interrupts, faults as data, the guard's refusal, the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from chaos import guard, judge
from chaos.arguments import parser, seconds
from chaos.experiment import claims_about
from chaos.faults import FAULTS, Fault, Means, PowerOff, admit, data, from_data, starve
from chaos.faults.on_node import NodeFault
from chaos.interrupt import Interrupts
from chaos.judge import Interval, Judged
from chaos.outcome import Outcome
from cluster.errors import ClusterError, InputError, Refused, Unreachable
from cluster.health import FACTS, Check, Health
from cluster.inventory import load
from cluster.node import Fleet
from cluster.power import none
from cluster.probes import wire
from cluster.probes.dhcp import LeaseEntry
from cluster.probes.dhcp_balance import bucket

ROOT = Path(__file__).resolve().parents[2]

# ---------------------------------------------------------------- interrupts


def test_ctrl_c_is_a_request_that_ends_the_wait() -> None:
    with Interrupts() as interrupts:
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        began = time.monotonic()
        assert interrupts.wait(10.0)
        assert time.monotonic() - began < 5
        assert interrupts.asked is signal.SIGINT
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.wait(10.0), "asked once, every later wait ends at once"
        assert interrupts.asked is signal.SIGINT, "the first one counts"


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_request_the_wait_lasts() -> None:
    with Interrupts() as interrupts:
        began = time.monotonic()
        assert not interrupts.wait(0.1)
        assert time.monotonic() - began >= 0.1


def test_many_requests_do_not_block() -> None:
    with Interrupts() as interrupts:
        for _ in range(100):
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.wait(0.0)


def test_outside_the_main_thread_nobody_asks() -> None:
    asked: list[bool] = []

    def work() -> None:
        with Interrupts() as interrupts:
            asked.append(interrupts.wait(0.05))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [False]


# ---------------------------------------------------------------- faults


@dataclass
class Switches:
    """A power driver of three switches, which notes what was done."""

    on_now: set[str] = field(default_factory=lambda: {"alpha", "beta", "zeta"})
    done: list[str] = field(default_factory=list)

    def off(self, node: str) -> None:
        self.done.append(f"off {node}")
        self.on_now.discard(node)

    def on(self, node: str) -> None:
        self.done.append(f"on {node}")
        self.on_now.add(node)

    def is_on(self, node: str) -> bool:
        return node in self.on_now


@pytest.fixture
def means(tmp_path: Path) -> Means:
    """The shipped inventory, moved to loopback, where nobody answers and nothing leaves this machine."""
    text = (ROOT / "inventory.yaml").read_text()
    (tmp_path / "inventory.yaml").write_text(text.replace("192.168.10.", "127.99.10."))
    inventory = load(tmp_path / "inventory.yaml")
    return Means(inventory, Fleet(inventory), Switches())


ARGUMENTS = {"NODE": "alpha", "PEER": "beta", "UNIT": "keepalived", "TRAFFIC": "vrrp", "OFFSET": "-2.5"} | {
    "TEXT": "hello-1",
    "ADDRESS": "192.0.2.1",
    "PERCENT": "20",
    "MILLISECONDS": "100",
    "FOLDER": "/var/log",
    "MEGABYTES": "50",
    "LOOPS": "2",
    "COMMAND": "true",
}


def made() -> list[Fault]:
    """One of every kind."""
    return [kind.make([ARGUMENTS[argument] for argument in kind.arguments]) for kind in FAULTS.values()]


def switches(means: Means) -> Switches:
    assert isinstance(means.power, Switches)
    return means.power


def test_a_fault_survives_the_journal() -> None:
    for fault in made():
        assert from_data(json.loads(json.dumps(data(fault)))) == fault


@pytest.mark.parametrize("written", [{}, {"fault": "melt", "node": "alpha"}, {"fault": "kill"}, {"fault": None}])
def test_a_fault_from_elsewhere_is_told(written: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not known here"):
        from_data(written)


def test_power_off_and_on(means: Means) -> None:
    fault = PowerOff("alpha")
    fault.apply(means)
    assert not means.power.is_on("alpha")
    fault.undo(means)
    assert switches(means).done == ["off alpha", "on alpha"]


class Timed(Switches):
    """Switches with timers."""

    def off_for(self, node: str, seconds: float) -> None:
        self.off(node)
        self.done.append(f"on again in {seconds:g} s")


@pytest.mark.parametrize(("hold_s", "later"), [(10.0, "600"), (3600.0, "3630")])
def test_a_switch_with_a_timer_is_told_when_to_give_power_again(means: Means, hold_s: float, later: str) -> None:
    timed = replace(means, power=Timed(), hold_s=hold_s)
    PowerOff("alpha").apply(timed)
    assert switches(timed).done == ["off alpha", f"on again in {later} s"]
    assert not PowerOff("alpha").ended(timed)
    timed.power.on("alpha")
    assert PowerOff("alpha").ended(timed) == "alpha had power again before"


def test_a_node_that_has_power_and_does_not_answer_is_switched_off_first(
    means: Means, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half off: the process that took it away was killed between the wire and the power."""
    monkeypatch.setattr("chaos.faults.power_off.ANSWERS_S", 0.1)
    PowerOff("alpha").undo(means)  # nobody answers at its address here
    assert switches(means).done == ["off alpha", "on alpha"]


def test_every_registered_fault_can_be_made_and_named() -> None:
    for name, fault in zip(FAULTS, made(), strict=True):
        assert fault.kind == name
        if FAULTS[name].arguments:
            assert fault.nodes[0] == "alpha" and "alpha" in fault.title
            assert fault.nodes == ("alpha", "beta") or "alpha" in fault.undoing
        else:
            assert fault.nodes == () and "address" in fault.title and "address" in fault.undoing


@pytest.mark.parametrize("split", [0, 1, 128, 255, 256])
def test_who_starves_a_pool_asks_for_every_address_of_its_own_server(split: int) -> None:
    owners = {f"10.0.0.{n}": n % 3 == 0 for n in range(1, 42)}
    asked = starve.askers(owners, starve.clients(3), split)
    if split in (0, 256):
        assert sorted(asked.values()) == sorted(owners), "one server has all clients"
    assert len(set(asked.values())) == len(asked)
    assert all(owners[address] is (bucket(mac) < split) for mac, address in asked.items() if 0 < split < 256)
    if split == 128:
        assert len(asked) == len(owners)


def test_clients_that_starve_a_pool_are_known_by_their_addresses() -> None:
    generations = [list(starve.clients(n)) for n in range(starve.GENERATIONS)]
    macs = {mac for some in generations for mac in some}
    assert len(macs) == sum(map(len, generations)), "no client is in two generations"
    assert all(mac.startswith(starve.PREFIX) and len(wire.mac_bytes(mac)) == 6 for mac in macs)
    assert int(starve.PREFIX[:2], 16) & 3 == 2, "locally administered, unicast"
    mine, other, gone = (
        LeaseEntry(a, state, mac, None, None, None, None, None, None, None, None)
        for a, state, mac in [
            ("a", "active", next(iter(macs))),
            ("b", "active", "02:52:50:49:43:00"),
            ("c", "free", next(iter(macs))),
        ]
    )
    assert starve.ours({e.address: e for e in (mine, other, gone)}) == {"a": mine}


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("stop", ["alpha", "a b"], "not the name of a service"),
        ("crash", ["alpha", "-x"], "not the name of a service"),
        ("stop", ["alpha", ""], "not the name of a service"),
        ("block", ["alpha", "beta", "smoke"], "known: all, vrrp"),
        ("block", ["alpha", "alpha", "all"], "cannot be cut from itself"),
        ("record", ["alpha", 'a" "b'], "write up to 63 lower-case letters"),
        ("source", ["alpha", "192.0.2.256"], "not an IPv4 address"),
        ("skew", ["alpha", "chrony", "soon"], "write seconds"),
        ("partition", ["alpha", ","], "name two sets of nodes"),
        ("partition", ["alpha,beta", "beta,gamma"], "beta cannot be on both sides"),
        ("lose", ["alpha", "51"], "write one from 1 to 50"),
        ("lose", ["alpha", "1.5"], "no number of percent"),
        ("delay", ["alpha", "0"], "write one from 1 to 2000"),
        ("duplicate", ["alpha", "101"], "write one from 1 to 100"),
        ("fill", ["alpha", "var"], "not the path of a folder"),
        ("squeeze", ["alpha", "all"], "no number of megabytes"),
        ("busy", ["alpha", "65"], "write one from 1 to 64"),
        ("busy", ["alpha", "9" * 5000], "write one from 1 to 64"),
        ("squeeze", ["alpha", "9" * 5000], "write one from 1 to 1000000"),
        ("lose", ["alpha", "0" * 5000 + "1"], "write one from 1 to 50"),
        ("squat", ["alpha", "beta"], "not an IPv4 address"),
        ("during", ["alpha", " "], "is no command"),
        ("during", ["alpha", "echo 'half"], "is no command"),
        ("skew", ["alpha", "chrony", "0"], "write seconds"),
        ("skew", ["alpha", "chrony", "nan"], "write seconds"),
        ("skew", ["alpha", "chrony", "1e9"], "at most a day"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(kind: str, arguments: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        FAULTS[kind].make(arguments)


def test_what_a_stopped_service_takes_a_lost_node_takes_too(means: Means) -> None:
    """So the claims about losing the node are put to the test; a deaf node is another matter."""
    lost = tuple(c for c in claims_about(means.inventory, PowerOff("alpha")) if c.kind != "recovery")
    assert claims_about(means.inventory, FAULTS["stop"].make(["alpha", "named"])) == lost
    assert claims_about(means.inventory, FAULTS["block"].make(["alpha", "beta", "all"])) == ()


def test_claims_about_a_fault(means: Means) -> None:
    found = claims_about(means.inventory, PowerOff("alpha"))
    assert found and all(claim.losing == "alpha" for claim in found)
    assert {claim.losing for claim in claims_about(means.inventory, PowerOff("zeta"))} == {"zeta"}, "one of a group"
    assert {claim.losing for claim in claims_about(means.inventory, PowerOff("psi"))} == {"psi"}


# ---------------------------------------------------------------- the guard


def test_the_guard_names_every_check_that_is_false() -> None:
    checks = (
        Check("ssh", "beta", True, "fine"),
        Check("dns", "beta", False, "timeout"),
        Check("dhcp failover", None, False, "beta: communications-interrupted"),
    )
    proof = guard.Proof(("alpha",), checks)
    with pytest.raises(Refused) as refused:
        proof.demand()
    said = str(refused.value)
    assert "lose alpha" in said and "dns of beta (timeout)" in said and "dhcp failover (beta: comm" in said
    assert "ssh" not in said
    assert proof.excused == (("dns", "beta"), ("dhcp failover", None))
    guard.Proof(("alpha",), checks[:1]).demand()


@dataclass
class Told:
    """Nodes of which each has its word about what faults have left, or is silent."""

    said: dict[str, tuple[str, ...] | ClusterError]

    def each(self, ask: Any) -> dict[str, Any]:
        return {name: ask(self.Answering(name, said)) for name, said in self.said.items()}

    @dataclass
    class Answering:
        name: str
        said: tuple[str, ...] | ClusterError

        def connect(self, deadline: float) -> None:
            assert deadline <= 2.5, "the other checks take no longer"
            if isinstance(self.said, ClusterError):
                raise self.said

        def close(self) -> None:
            """Nothing."""


def test_the_guard_sees_faults_that_another_machine_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "left_on", lambda node: node.said)
    left = "rpicluster-undo-ab.timer busy delta 1, begun on psi"
    fleet: Any = Told({"alpha": (), "gamma": Unreachable("gamma", "off"), "delta": (left,)})
    checks = guard.in_place(fleet)
    assert [check.ok for check in checks] == [True, True, False]
    with pytest.raises(Refused) as refused:
        guard.Proof(("beta",), checks).demand()
    assert f"faults of delta (left by a fault: {left}; run: python -m chaos heal)" in str(refused.value)


def test_a_connection_that_had_ended_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [Unreachable("omega", "connection lost")]

    def once(node: Any) -> tuple[str, ...]:
        if lost:
            raise lost.pop()
        return ("it serves again",)

    monkeypatch.setattr(guard, "left_on", once)
    fleet: Any = Told({"omega": ()})
    (check,) = guard.in_place(fleet)
    assert not check.ok and "it serves again" in check.detail


def test_the_guard_asks_every_node(monkeypatch: pytest.MonkeyPatch, means: Means) -> None:
    monkeypatch.setattr("cluster.probes.wire.interface_towards", lambda address: "lo")
    monkeypatch.setattr(Health, "look", lambda health, names: ())
    monkeypatch.setattr(guard, "in_place", lambda fleet: tuple(Check("faults", name, False, "x") for name in fleet))
    found = guard.look(Health(means.inventory, means.fleet), ["alpha"])
    assert {check.node for check in found.failed} >= set(means.inventory.nodes)


# ---------------------------------------------------------------- outcomes


def claim(verdict: judge.Verdict) -> Judged:
    return Judged("losing-alpha-vip", "alpha", "vip", verdict, 4.0, Interval(3.64, inf), "why")


@pytest.mark.parametrize(
    ("verdict", "healed", "code"),
    [("held", True, 0), ("broken", True, 1), ("inconclusive", True, 4), ("held", False, 5), ("broken", False, 5)],
)
def test_exit_codes(verdict: judge.Verdict, healed: bool, code: int) -> None:
    outcome = Outcome(PowerOff("alpha"), verdict, healed, Path("run"), (claim(verdict),), "")
    assert outcome.exit_code == code


def test_the_object_of_json() -> None:
    told = Outcome(PowerOff("alpha"), "held", True, Path("run"), (claim("held"),), "").as_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == {
        "fault": "kill",
        "nodes": ["alpha"],
        "profile": "production",
        "verdict": "held",
        "healed": True,
        "run": "run",
        "claims": [
            {
                "claim": "losing-alpha-vip",
                "service": "vip",
                "verdict": "held",
                "budget_s": 4.0,
                "outage_s": {"at_least": 3.64, "at_most": None},
                "reason": "why",
            }
        ],
        "gap_s": None,
        "overlap_s": None,
        "reason": "",
        "overrode": [],
    }


# ---------------------------------------------------------------- what bounds a fault


@pytest.mark.parametrize("words", [
    "stop beta named", "unplug zeta", "hang zeta", "partition alpha beta", "starve", "kill zeta", "wake omega",
    "rogue zeta", "busy gamma 1", "reset gamma", "during gamma true",
])  # fmt: skip
def test_a_fault_that_would_end_by_itself_before_its_time_is_refused(words: str) -> None:
    kind, *arguments = words.split()
    fault = FAULTS[kind].make(arguments)
    inventory = load(ROOT / "inventory.yaml")
    means = Means(inventory, Fleet(inventory), none.Driver(inventory), fault.longest_s + 0.1)
    with pytest.raises(Refused, match=rf"{kind}: it lasts {fault.longest_s:g} s at most; name a shorter time"):
        admit(fault, means)


def test_a_node_keeps_what_this_is_and_whose() -> None:
    fault = FAULTS["stop"].make(["beta", "named"])
    assert isinstance(fault, NodeFault)
    assert re.fullmatch(
        rf"stop beta named, begun on {socket.gethostname()} by process {os.getpid()} at \d\d:\d\d:\d\d UTC",
        fault.essentials,
    )


HERE_NODES = [
    *(("partition", "alpha", "psi"), ("partition", "psi,gamma", "alpha"), ("block", "alpha", "psi", "all")),
    *((kind, "psi") for kind in ("kill", "reset", "reboot", "hang", "unplug")),
]


@pytest.mark.parametrize("words", HERE_NODES)
def test_nobody_cuts_the_branch_that_they_sit_on(
    means: Means, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    kind, *arguments = words
    fault = FAULTS[kind].make(arguments)
    means.power.on("psi")
    admit(fault, means)
    monkeypatch.setattr("cluster.here.node", lambda inventory: inventory.node("psi"))
    with pytest.raises(Refused, match=f"{kind}: this machine is psi, .*from another machine"):
        admit(fault, means)
    admit(FAULTS["block"].make(["alpha", "psi", "vrrp"]), means)
    admit(FAULTS["partition"].make(["alpha", "beta"]), means)


# ---------------------------------------------------------------- the command line


def test_durations_carry_their_unit(capsys: pytest.CaptureFixture[str]) -> None:
    assert parser().parse_args(["kill", "alpha", "--for", "250ms"]).hold == 0.25
    assert seconds("20s") == 20.0
    for wrong in ("10", "0s", "-3s", "soon"):
        with pytest.raises(SystemExit) as ended:
            parser().parse_args(["kill", "alpha", f"--for={wrong}"])
        assert ended.value.code == 2
    assert "unit" in capsys.readouterr().err


def test_an_unknown_node_is_told_before_anything_is_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chaos", "kill", "nobody", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "no node named nobody; known: omega" in done.stderr and done.stderr.count("\n") == 1
    told = json.loads(done.stdout)
    assert (told["verdict"], told["claims"], told["run"]) == (None, [], None)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("fill", "", "/tmp"), ""),
        (("delay", "alpha,beta", "5"), "alpha,beta"),
        (("block", "alpha", "beta,gamma", "all"), "beta,gamma"),
        (("block", "alpha", "", "all"), ""),
        (("partition", "alpha", "beta,bet"), "bet"),
        (("boot", ""), ""),
    ],
)
def test_a_word_that_is_no_node_is_told_before_anything_is_done(words: tuple[str, ...], name: str) -> None:
    more = () if words[0] == "boot" else ("--dry-run",)
    done = subprocess.run(
        [sys.executable, "-m", "chaos", *words, *more],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and f"no node named {name}; known: omega" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1


def test_list_names_every_fault_and_claim() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chaos", "list"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    inventory = load(ROOT / "inventory.yaml")
    assert all(name in done.stdout for name in FAULTS)
    assert all(claim.name in done.stdout for claim in inventory.claims)


# ---------------------------------------------------------------- what is asked inside a node


def test_the_last_word_on_a_lease_counts(tmp_path: Path) -> None:
    """The shell command that nodes run, on a lease file where one lease was active and is free again."""
    (tmp_path / "dhcpd.leases").write_text(
        """
failover peer "pair" state {
  my state normal at 1 2026/11/23 02:40:12;
  partner state communications-interrupted at 1 2026/11/23 02:40:12;
}
lease 192.168.10.200 {
  binding state active;
  next binding state expired;
  hardware ethernet 02:52:50:49:43:c0;
}
lease 192.168.10.201 {
  binding state active;
  hardware ethernet 02:52:50:49:43:c1;
}
lease 192.168.10.200 {
  binding state free;
  hardware ethernet 02:52:50:49:43:c0;
}
failover peer "pair" state {
  my state normal at 1 2026/11/23 02:50:12;
  partner state normal at 1 2026/11/23 02:50:12;
}
"""
    )
    lines = FACTS.format(daemons="", info="").replace("/var/lib/dhcp", str(tmp_path)).split("echo @failover; ")[1]
    done = subprocess.run(["sh", "-c", lines], capture_output=True, text=True, timeout=10, check=True)
    states, found = done.stdout.split("@leases\n")
    assert states.count("failover peer") == 2 and states.rstrip().endswith("}")
    assert found.split("\n") == ["192.168.10.201 02:52:50:49:43:c1", ""]


def test_a_profile_that_is_not_there_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chaos", "--profile", "none", "kill", "alpha"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2,
        "chaos: inventory.yaml: no profile named none; known: production, short\n",
    )
