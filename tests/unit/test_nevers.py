"""Verdicts on what must never happen and on recovery, causes, and which experiments a campaign needs."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import pytest

from chaos import campaign, guard, halt, story
from chaos.causes import causes
from chaos.faults import FAULTS, Partition, PowerOff, Stop, Wake, data
from chaos.judge import BROKEN, HELD, INCONCLUSIVE, Interval, Judged
from chaos.outages import fault_window, looks
from chaos.outcome import Outcome
from chaos.verdicts import verdicts
from cluster.errors import InputError, NotUndone, Refused
from cluster.inventory import Claim, load
from cluster.record import Recorder

ROOT = Path(__file__).resolve().parents[2]
ALPHA, BETA = "192.168.10.6", "192.168.10.8"
FAULT = [
    {"kind": "fault", "state": "applied", "began": 10.0, "ended": 10.1, "takes_node": False, "t": 10.1},
    {"kind": "fault", "state": "undone", "began": 16.0, "ended": 16.1, "takes_node": False, "t": 16.1},
]


def probe(service: str, t: float, **more: Any) -> dict[str, Any]:
    return {"kind": "probe", "service": service, "t": t, "sent": t, "answered": t, "ok": True, "server": BETA} | more


def served(t: float, src: str, **more: Any) -> dict[str, Any]:
    """A word of a DHCP server that was overheard."""
    about = {"kind": "frame", "proto": "dhcp", "src": src, "server": src, "mac": "m", "said": "ack", "client": "a"}
    return about | {"t": t, "address": "192.168.10.200"} | more


def watched() -> list[dict[str, Any]]:
    """Good looks at everything, all the time, and one owner of the floating address."""
    times = [8.0 + n * 0.1 for n in range(121)]
    found = [probe(service, t) for service in ("vip", "dns", "ntp") for t in times]
    found += [probe("dhcp", t, client="a", address="192.168.10.200") for t in times]
    found += [served(t, ALPHA) for t in times]
    found += [{"kind": "clients", "t": 8.0, "dns": [ALPHA, BETA], "ntp": [ALPHA, BETA], "dhcp": [ALPHA, BETA]}]
    return [*found, {"kind": "owners", "t": 8.0, "macs": ["alpha"], "before": None}, *FAULT]


def claim(kind: Any, service: str, budget: float = 0.0) -> Claim:
    return Claim(f"a-{service}", "alpha", "kill", (), kind, service, budget)


def verdict(one: Claim, events: list[dict[str, Any]], *doubts: str) -> Judged:
    (found,), _ = verdicts(events, [one], doubts, names={ALPHA: "alpha", BETA: "beta"})
    return found


NEVER = ("two-owners", "duplicate-lease", "wrong-answer", "rogue-server")


@pytest.mark.parametrize("event", NEVER)
def test_what_never_happened_is_held_where_somebody_looked(event: str) -> None:
    one = claim("never", event)
    assert verdict(one, watched()).verdict == HELD
    assert verdict(one, watched(), "the node went on answering").verdict == INCONCLUSIVE
    assert verdict(one, FAULT).verdict == INCONCLUSIVE, "nobody looked"
    assert verdict(one, watched()[:-2]).verdict == INCONCLUSIVE, "no fault"
    blind = [e for e in watched() if not 12 < e["t"] < 14 or e["kind"] == "fault"]
    assert verdict(one, blind).verdict == INCONCLUSIVE
    frozen = [e for e in watched() if e["t"] <= 10.1 or e["kind"] == "fault"]
    assert verdict(one, frozen).verdict == INCONCLUSIVE, "nobody looked from the fault on"


def owners(t: float, *macs: str, before: float) -> dict[str, Any]:
    return {"kind": "owners", "t": t, "macs": list(macs), "before": before}


@pytest.mark.parametrize(("budget", "expected"), [(2.0, HELD), (1.0, INCONCLUSIVE), (0.5, BROKEN)])
def test_two_owners_for_a_time_that_is_known_as_an_interval(budget: float, expected: str) -> None:
    both = [owners(12.0, "a", "b", before=11.9), owners(13.0, "b", before=12.9)]  # 0.9 to 1.1 s
    found = verdict(claim("never", "two-owners", budget), [*watched(), *both])
    assert found.verdict == expected
    assert found.outage.at_least == pytest.approx(0.9) and found.outage.at_most == pytest.approx(1.1)


def test_two_owners_to_the_end_are_too_many() -> None:
    found = verdict(claim("never", "two-owners", 1.0), [*watched(), owners(12.0, "a", "b", before=11.9)])
    assert (found.verdict, found.outage.at_most) == (BROKEN, inf)


def test_two_owners_are_believed_for_as_long_as_somebody_asked() -> None:
    frozen = [e for e in watched() if e["t"] <= 12.5 or e["kind"] == "fault"]
    found = verdict(claim("never", "two-owners", 1.0), [*frozen, owners(12.0, "a", "b", before=11.9)])
    assert found.verdict == INCONCLUSIVE
    assert found.outage.at_least == pytest.approx(0.5, abs=0.01)


def test_two_owners_unseen_for_less_than_the_budget_keep_it() -> None:
    blind = [e for e in watched() if not 12 < e["t"] < 14 or e["kind"] == "fault"]
    assert verdict(claim("never", "two-owners", 3.0), blind).verdict == HELD
    assert verdict(claim("never", "two-owners", 1.0), blind).verdict == INCONCLUSIVE


@pytest.mark.parametrize(("until", "expected"), [(13.0, BROKEN), (10.3, INCONCLUSIVE), (9.8, HELD)])
def test_two_owners_from_before_the_fault_count_from_its_beginning(until: float, expected: str) -> None:
    both = [owners(8.5, "alpha", "b", before=8.4), owners(until, "b", before=until - 0.1)]
    found = verdict(claim("never", "two-owners", 1.0), [*watched(), *both])
    assert found.verdict == expected


def test_a_lease_that_another_has_is_a_duplicate_until_it_is_released() -> None:
    one = claim("never", "duplicate-lease")
    given = probe("dhcp", 13.05, client="b", address="192.168.10.200")
    found = verdict(one, [*watched(), given])
    assert found.verdict == BROKEN
    assert f"{BETA} leased 192.168.10.200 to b while a had it" in found.reason
    moved = probe("dhcp", 20.05, client="a", address="192.168.10.201")
    release = {"kind": "release", "t": 20.06, "client": "a", "address": "192.168.10.201"}
    later = probe("dhcp", 20.1, client="b", address="192.168.10.201")
    assert verdict(one, [*watched(), moved, release, later]).verdict == HELD


def test_one_wrong_answer_is_one_too_many() -> None:
    lie = {"kind": "wrong", "t": 13.0, "service": "dns", "server": BETA, "said": "NXDOMAIN"}
    found = verdict(claim("never", "wrong-answer"), [*watched(), lie])
    assert (found.verdict, "dns: 192.168.10.8 said NXDOMAIN" in found.reason) == (BROKEN, True)
    before = lie | {"t": 9.0}
    assert verdict(claim("never", "wrong-answer"), [*watched(), before]).verdict == HELD


def test_a_dhcp_server_that_is_none_of_the_clusters_is_named() -> None:
    one, stranger = claim("never", "rogue-server"), "192.168.10.24"
    words = [served(t, stranger, said="offer", address="203.0.113.7") for t in (13.0, 13.1)]
    (found,), _ = verdicts([*watched(), *words], [one], names={stranger: "zeta"})
    assert found.verdict == BROKEN
    assert f"2 times, first {stranger} (m) said offer of 203.0.113.7 to a" in found.reason
    assert "DHCP clients were answered by zeta (m)" in found.reason
    hidden = served(13.0, ALPHA, server=stranger)
    assert verdict(one, [*watched(), hidden]).verdict == BROKEN, "one that borrows an address"
    before = served(9.0, stranger)
    assert verdict(one, [*watched(), before]).verdict == HELD
    deaf = [e for e in watched() if e["kind"] != "frame"]
    assert verdict(one, deaf).verdict == INCONCLUSIVE, "nothing at all was overheard"


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        (4.0, 5.0, HELD),
        (9.0, 11.0, INCONCLUSIVE),
        (11.0, 12.0, BROKEN),
        (90.0, None, BROKEN),
        (4.0, None, INCONCLUSIVE),
    ],
)
def test_recovery_is_an_interval_too(least: float, most: float | None, expected: str) -> None:
    back = {"kind": "recovered", "t": 20.0, "at_least": least, "at_most": most}
    assert verdict(claim("recovery", "recovery", 10.0), [*watched(), back]).verdict == expected


def test_nobody_saw_it_come_back() -> None:
    assert verdict(claim("recovery", "recovery", 10.0), watched()).verdict == INCONCLUSIVE


# ---------------------------------------------------------------- causes


def ad(t: float, src: str) -> dict[str, Any]:
    about = {"kind": "frame", "proto": "vrrp", "src": src, "mac": src, "vrid": 51, "priority": 100, "interval_s": 1.0}
    return about | {"t": t}


def test_an_address_that_changes_hands_again_and_again_is_told() -> None:
    loop = [ad(9.0, ALPHA), ad(11.0, BETA), ad(13.0, ALPHA), ad(13.5, BETA), ad(16.0, ALPHA), ad(17.0, BETA)]
    events = [*watched(), *loop]
    window = fault_window(events)
    assert looks(events) and window is not None
    (told,) = causes(events, "alpha", "vip", window, {ALPHA: "alpha", BETA: "beta"})
    assert "changed hands" in told and "to beta, alpha" in told
    assert causes(events, "alpha", "dhcp", window, {}) == ()
    once = [*watched(), ad(9.0, ALPHA), ad(13.0, BETA)]
    assert causes(once, "alpha", "vip", window, {ALPHA: "alpha"}) == ()
    (told,) = causes(once, "gamma", "vip", window, {ALPHA: "alpha"})
    assert "changed hands 1 times" in told, "nobody lost it, so nobody should have taken it"


def test_what_the_guard_was_told_to_pass_over_and_short_lists_are_causes() -> None:
    passed = {"kind": "guard", "t": 1.0, "name": "daemons", "node": "beta", "ok": False, "detail": "keepalived is dead"}
    clients = {"kind": "clients", "t": 1.0, "dns": [ALPHA], "ntp": [ALPHA, BETA]}
    events = [passed, passed | {"ok": True}, clients]
    assert causes(events, "alpha", "vip", None, {}) == ("before the fault, daemons of beta: keepalived is dead",)
    assert "one name server only, alpha" in causes(events, "alpha", "dns", None, {ALPHA: "alpha"})[-1]
    assert len(causes(events, "alpha", "ntp", None, {})) == 1


# ---------------------------------------------------------------- campaigns


def test_each_experiment_is_made_once_however_many_claims_need_it() -> None:
    inventory = load(ROOT / "inventory.yaml")
    everything = campaign.chosen(inventory, [])
    assert everything == inventory.claims == campaign.chosen(inventory, ["all", "alpha"])
    planned = campaign.trials(everything)
    assert [t.fault for t in planned] == [
        *(PowerOff(name) for name in ("alpha", "beta", "psi", "omega", "gamma", "delta", "epsilon", "zeta")),
        Stop("alpha", "keepalived"), Partition("alpha", "beta"), Wake("omega"),
    ]  # fmt: skip
    assert sum(len(trial.claims) for trial in planned) == len(everything)
    assert {c.losing for c in campaign.chosen(inventory, ["compute", "losing-psi-vip"])} == {
        "psi", "gamma", "delta", "epsilon", "zeta",
    }  # fmt: skip
    (one,) = campaign.trials(campaign.chosen(inventory, ["losing-beta-dns"]))
    assert [c.name for c in one.claims] == ["losing-beta-dns"]
    with pytest.raises(InputError, match="no claim named losing-beta-smoke, and none about it; known: losing-alpha"):
        campaign.chosen(inventory, ["losing-beta-smoke"])


def outcome(verdict: Any, healed: bool = True) -> Outcome:
    judged = Judged("a-vip", "alpha", "vip", verdict, 4.0, Interval(0.0, 0.0), "why")
    return Outcome(PowerOff("alpha"), verdict, healed, Path("run"), (judged,), "")


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([outcome(HELD)], 0),
        ([outcome(HELD), outcome(BROKEN)], 1),
        ([outcome(HELD), Refused("no")], 4),
        ([Refused("no"), Refused("no")], 3),
        ([outcome(BROKEN), Refused("no")], 1),
        ([outcome(HELD, healed=False)], 5),
        ([outcome(HELD), NotUndone("no")], 5),
    ],
)
def test_a_campaign_ends_as_its_worst_part_did(outcomes: list[Any], code: int) -> None:
    trial = campaign.Trial(PowerOff("alpha"), (claim("outage", "vip", 4.0),))
    proof = campaign.Proof(tuple((trial, one) for one in outcomes))
    assert proof.exit_code == code
    assert len(proof.judged) == len(outcomes), "a claim that was not put to the test is told of, too"
    assert proof.as_json()["healed"] is (code != 5)


# ---------------------------------------------------------------- the guard, and HALT


def test_a_halt_file_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text((ROOT / "inventory.yaml").read_text())
    inventory = load(tmp_path / "inventory.yaml")
    halt.check(inventory)
    (tmp_path / "HALT").write_text("exams until Friday\nreally\n")
    with pytest.raises(Refused, match=r"HALT is there \(exams until Friday\), so nothing is broken; remove it"):
        halt.check(inventory)


def test_two_groups_at_once_are_too_many() -> None:
    inventory = load(ROOT / "inventory.yaml")
    fault = FAULTS["partition"].make(["alpha,gamma", "beta"])
    assert fault.nodes == ("alpha", "gamma", "beta")
    (check,) = guard.spread(inventory, fault.nodes)
    assert not check.ok and check.detail == "alpha and gamma and beta are of lanservices, compute"
    assert guard.spread(inventory, ("alpha", "beta")) == ()


# ---------------------------------------------------------------- stories


def test_a_story_is_read_whole_before_anything_is_done(tmp_path: Path) -> None:
    file = tmp_path / "story.yaml"
    file.write_text(
        "name: one\nsteps:\n  - {fault: crash alpha keepalived, for: 6s}\n  - {wait: owner alpha, within: 30s}\n"
        "  - {wait: healthy}\n  - {fault: kill beta}\n"
    )
    inventory = load(ROOT / "inventory.yaml")
    first, owner, healthy, second = story.read(file, inventory)
    assert first == story.Do(FAULTS["crash"].make(["alpha", "keepalived"]), 6.0)
    assert owner == story.Wait(("owner", "alpha"), 30.0) and str(healthy) == "healthy"
    assert second == story.Do(PowerOff("beta"), 10.0)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("{fault: melt alpha}", "step 1: 'melt alpha' is no fault"),
        ("{fault: kill}", "step 1: 'kill' is no fault"),
        ("{fault: kill alfa}", "step 1: inventory.yaml: no node named alfa"),
        ("{fault: 'partition alpha,bet gamma'}", "no node named bet"),
        ("{fault: kill alpha, for: 6}", "step 1: 6 has no unit"),
        ("{fault: kill alpha, for: 0s}", "step 1: kill: it cannot last 0 s; write more than nothing"),
        ("{fault: kill alpha, for: 2023-99-99}", "story.yaml:3: step 1: '2023-99-99'"),
        ("{fault: kill alpha, fault: kill beta}", "story.yaml:3: written twice, first on line 3; remove one"),
        ("[" * 3000, "story.yaml:3: nested deeper than 32 levels"),
        ("{fault: kill alpha", "story.yaml:4: not YAML"),
        ("{fault: hang alpha, for: 2h}", "step 1: hang: it lasts 60 s at most; name a shorter time"),
        ("{fault: rogue omega}", "step 1: rogue: omega is a router"),
        ("{fault: wake gamma}", "step 1: wake: gamma is no router"),
        ("{fault: 'block alpha beta,gamma all'}", "step 1: inventory.yaml: no node named beta,gamma"),
        ("{wait: happy}", "step 1: 'happy' cannot be waited for; known: healthy, answers NODE"),
        ("{wait: owner}", "'owner' cannot be waited for"),
        ("{fault: kill alpha, wait: healthy}", "step 1: a step is"),
        ("{wait: healthy}", "no step is a fault"),
    ],
)
def test_a_step_that_cannot_be_is_told_with_its_number(tmp_path: Path, step: str, words: str) -> None:
    file = tmp_path / "story.yaml"
    file.write_text(f"name: one\nsteps:\n  - {step}\n")
    with pytest.raises(InputError) as told:
        story.read(file, load(ROOT / "inventory.yaml"))
    assert words in str(told.value) and "\n" not in str(told.value)


def test_what_a_run_did_is_known_from_its_record(tmp_path: Path) -> None:
    inventory = load(ROOT / "inventory.yaml")
    recorder = Recorder.start(tmp_path, "chaos", {"fault": data(PowerOff("alpha")), "hold_s": 2.5})
    recorder.finish()
    assert story.of_run(recorder.folder, inventory) == (story.Do(PowerOff("alpha"), 2.5),)
    specs = Recorder.start(tmp_path, "specs", {})
    specs.finish()
    with pytest.raises(InputError, match="a run of kind specs made no fault"):
        story.of_run(specs.folder, inventory)
    with pytest.raises(InputError, match="no recorded run"):
        story.of_run(tmp_path / "nowhere", inventory)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], "run.json: this is no description of a run"),
        ({"fault": "x", "hold_s": 2.5}, "run.json: fault: 'x' is no fault"),
        ({"fault": {"fault": "melt"}, "hold_s": 2.5}, "run.json: a fault that is not known here"),
        ({"fault": data(PowerOff("omikron")), "hold_s": 2.5}, "run.json: inventory.yaml: no node named omikron"),
        ({"fault": data(PowerOff("alpha")), "hold_s": "x"}, "run.json: hold_s: 'x' is no number of seconds"),
        ({"fault": data(PowerOff("alpha")), "hold_s": None}, "run.json: hold_s: None is no number of seconds"),
        ({"fault": data(PowerOff("alpha")), "hold_s": -5}, "run.json: kill: it cannot last -5 s"),
        ({"fault": data(PowerOff("alpha")), "hold_s": 2.5, "status": "refused"}, "this run was refused"),
    ],
)
def test_a_run_that_cannot_be_done_again_is_told(tmp_path: Path, told: Any, words: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps(told))
    with pytest.raises(InputError) as error:
        story.of_run(tmp_path, load(ROOT / "inventory.yaml"))
    assert words in str(error.value) and str(tmp_path) in str(error.value) and "\n" not in str(error.value)
