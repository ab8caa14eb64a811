"""Verdicts on claims about K3s: as recorded looks and news have it, and not verified where there is no K3s."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import pytest

from chaos import judge
from chaos.canary import Times
from chaos.experiment import claims_about
from chaos.faults import FAULTS, PowerOff
from chaos.judge import BROKEN, HELD, INCONCLUSIVE, NOT_VERIFIED, Judged
from chaos.verdicts import verdicts
from cluster.inventory import Claim, InventoryError, load

ROOT = Path(__file__).resolve().parents[2]
BEGAN, UNDONE = 10.0, 100.0
FAULT = [
    {"kind": "fault", "state": "applied", "began": BEGAN, "ended": 10.1, "takes_node": False, "t": 10.1},
    {"kind": "fault", "state": "undone", "began": UNDONE, "ended": 100.1, "takes_node": False, "t": 100.1},
]
NOT_READY = Claim("a", "zeta", "kill", (), "reaction", "k3s-not-ready", 3.0)
REPLACED = Claim("b", "zeta", "kill", (), "reaction", "k3s-replaced", 30.0)
OUT = Claim("c", "zeta", "kill", (), "outage", "k3s", 0.0)
SET = {"kind": "k3s", "t": 1.0, "limits": {"k3s-not-ready": 50.0, "k3s-replaced": 10.0}}
ABSENT = {"kind": "k3s", "t": 1.0, "absent": "not verified: artifact missing: put k3s-v1.21.2 into /there"}


def news(not_ready: float, replaced: float, until: float = UNDONE, **more: Any) -> list[dict[str, Any]]:
    """A question every second: from when on the node was not ready, and from when on its pods were replaced."""
    times = [8.0 + n for n in range(int(until - 8.0))]
    return [
        {"kind": "k3s-news", "t": t, "sent": t, "asked": t + 0.3, "answered": t + 0.5,
         "ready": t < not_ready, "replaced": t >= replaced} | more
        for t in times
    ]  # fmt: skip


def looks(*failed: float) -> list[dict[str, Any]]:
    """Looks at a pod every 0.1 s, of which those about these times failed."""
    times = [8.0 + n * 0.1 for n in range(1000)]
    bad = [t for t in times if any(abs(t - f) < 0.04 for f in failed)]
    return [
        {"kind": "probe", "service": "k3s", "client": "gamma of delta", "t": t, "sent": t, "ok": t not in bad,
         "answered": None if t in bad else t + 0.03}
        for t in times
    ]  # fmt: skip


def verdict(claim: Claim, *events: dict[str, Any]) -> Judged:
    (found,), _ = verdicts([*events, *FAULT], [claim])
    return found


def test_in_time_by_what_k3s_is_set_to_is_held() -> None:
    found = verdict(NOT_READY, SET, *news(52.0, 58.0))
    assert (found.verdict, found.budget_s) == (HELD, 53.0)
    assert found.outage.at_least == pytest.approx(40.9) and found.outage.at_most == pytest.approx(42.3)
    found = verdict(REPLACED, SET, *news(52.0, 58.0))
    assert (found.verdict, found.budget_s) == (HELD, 40.0)
    assert found.outage.at_least == pytest.approx(5.0) and found.outage.at_most == pytest.approx(7.5)


def test_what_surely_came_too_late_or_not_at_all_is_broken() -> None:
    assert verdict(NOT_READY, SET, *news(70.0, 80.0)).verdict == BROKEN
    assert verdict(NOT_READY, SET, *news(inf, inf)).verdict == BROKEN
    assert verdict(REPLACED, SET, *news(20.0, 70.0)).verdict == BROKEN
    assert verdict(REPLACED, SET, *news(20.0, inf)).verdict == BROKEN


@pytest.mark.parametrize(
    ("claim", "events"),
    [
        (NOT_READY, [SET, *news(inf, inf, until=40.0)]),
        (REPLACED, [SET, *news(inf, inf, until=40.0)]),
        (REPLACED, [SET, *news(52.0, inf, until=70.0)]),
        (NOT_READY, [SET]),
        (NOT_READY, [SET, *news(5.0, inf)]),
        (NOT_READY, news(52.0, 58.0)),
        (NOT_READY, [SET, *news(52.0, 58.0), {"kind": "k3s", "t": 9.0, "doubt": "the server does not tell"}]),
    ],
    ids=["undone before", "never so far", "not replaced yet", "no news", "lost before", "no settings", "a doubt"],
)
def test_what_nobody_saw_is_inconclusive(claim: Claim, events: list[dict[str, Any]]) -> None:
    found = verdict(claim, *events)
    assert found.verdict == INCONCLUSIVE and found.reason


def test_news_of_after_the_undo_are_none_about_the_loss() -> None:
    late = [one for one in news(105.0, 110.0, until=120.0) if one["t"] < 20 or one["t"] > UNDONE]
    assert verdict(NOT_READY, SET, *late).verdict == INCONCLUSIVE


def test_pods_that_go_on_answering() -> None:
    assert verdict(OUT, *looks()).verdict == HELD
    assert verdict(OUT, *looks(20.0, 20.1, 20.2, 20.3)).verdict == BROKEN
    assert verdict(OUT).verdict == INCONCLUSIVE, "nobody looked"
    doubt = {"kind": "k3s", "t": 9.0, "doubt": "gamma cannot ask: it is unreachable"}
    assert verdict(OUT, *looks(), doubt).reason == doubt["doubt"]


@pytest.mark.parametrize("claim", [NOT_READY, REPLACED, OUT], ids=lambda claim: claim.service)
def test_without_a_k3s_nothing_is_verified_and_nothing_is_red(claim: Claim) -> None:
    found = verdict(claim, ABSENT)
    assert (found.verdict, found.reason) == (NOT_VERIFIED, ABSENT["absent"])
    held = Judged("d", "zeta", "vip", HELD, 0.0, judge.Interval(0.0, 0.0), "never out")
    assert judge.overall([found, held]) == HELD
    assert judge.overall([found]) == INCONCLUSIVE, "nothing was proven"


def test_no_other_claim_minds_a_k3s_that_is_not_there() -> None:
    vip = Claim("d", "zeta", "kill", (), "outage", "vip", 0.0)
    seen = [one | {"service": "vip"} for one in looks()]
    doubt = {"kind": "k3s", "t": 1.0, "doubt": "no canary"}
    assert verdict(vip, ABSENT, doubt, *seen).verdict == HELD


def test_the_times_are_those_that_k3s_tells() -> None:
    """The defaults of v1.21: a grace of 40 s, a look every 5 s, and the canary's own 5 s."""
    times = Times(40.0, 5.0, 5.0)
    assert (times.limit("k3s-not-ready"), times.limit("k3s-replaced")) == (50.0, 10.0)


def test_only_who_is_patient_is_told_what_k3s_does() -> None:
    inventory = load(ROOT / "inventory.yaml")
    told = {claim.service for claim in claims_about(inventory, PowerOff("zeta"))}
    patient = {claim.service for claim in claims_about(inventory, PowerOff("zeta"), patient=True)}
    assert "k3s" in told and patient - told == {"k3s-not-ready", "k3s-replaced"}
    assert not {"k3s-not-ready", "recovery"} & {
        c.service for c in claims_about(inventory, FAULTS["stop"].make(["zeta", "k3s"]))
    }


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{losing: zeta, k3s: not-ready}", "has no budget"),
        ("{losing: zeta, k3s: gone, budget: 3s}", "gone"),
        ("{losing: epsilon, k3s: replaced, budget: 3s}", "epsilon is no agent of K3s"),
        ("{losing: alpha, k3s: replaced, budget: 3s}", "alpha is no agent of K3s"),
        ("{losing: zeta, k3s: replaced, service: k3s, budget: 3s}", "several things"),
    ],
)
def test_claims_that_make_no_sense_are_told(tmp_path: Path, line: str, complaint: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(f"{(ROOT / 'inventory.yaml').read_text()}  - {line}\n")
    with pytest.raises(InventoryError, match=complaint):
        load(file)


def test_without_a_section_nothing_can_be_claimed(tmp_path: Path) -> None:
    head, _, rest = (ROOT / "inventory.yaml").read_text().partition("k3s:  ")
    file = tmp_path / "inventory.yaml"
    file.write_text(head + rest[rest.index("profiles:") :])
    with pytest.raises(InventoryError, match="no section k3s"):
        load(file)
