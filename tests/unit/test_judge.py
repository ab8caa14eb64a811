"""Verdicts from recorded looks: no lab, no clock, only what the definitions say."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.judge import (
    BLIND_S,
    BROKEN,
    HELD,
    INCONCLUSIVE,
    Interval,
    Judged,
    Promise,
    contradiction,
    judge,
    overall,
    took_hold,
)
from chaos.outages import Look, Window, blind, fault_window, looks, outages
from chaos.takeover import takeover
from chaos.verdicts import verdicts
from cluster.model import Claim

WINDOW = Window(10.0, 20.0)


def every(
    period: float, down: tuple[tuple[float, float], ...] = (), end: float = 20.0, begin: float = 8.0
) -> list[Look]:
    """Looks at a service that answers at once, except in the stretches `down`."""
    found = []
    for n in range(round((end - begin) / period) + 1):
        t = begin + n * period
        ok = not any(a <= t < b for a, b in down)
        found.append(Look(t, ok, t if ok else None))
    return found


def verdict(seen: list[Look], budget: float, **more: Any) -> Judged:
    return judge("claim", "alpha", "vip", budget, seen, WINDOW, **more)


# ---------------------------------------------------------------- one claim


@pytest.mark.parametrize(
    ("down", "budget", "expected"),
    [
        ((), 0.0, HELD),
        (((10.0, 13.0),), 4.0, HELD),
        (((10.0, 13.0),), 2.9, BROKEN),
        (((10.0, 13.0),), 3.0, INCONCLUSIVE),  # 2.98 to 3.00 and a bit: the budget lies inside
        (((12.0, 12.02),), 0.0, INCONCLUSIVE),  # one lost look has no length
        (((12.0, 12.05),), 0.0, BROKEN),  # several have
        (((10.0, 25.0),), 4.0, BROKEN),  # long enough, though its end was not seen
        (((19.0, 25.0),), 4.0, INCONCLUSIVE),  # its end was not seen
        (((0.0, 25.0),), 4.0, INCONCLUSIVE),  # never seen before the fault
        (((9.5, 12.0),), 4.0, INCONCLUSIVE),  # already out when the fault began
        (((8.5, 9.0),), 0.0, HELD),  # over before the fault began
        (((10.0, 12.0), (15.0, 18.0)), 2.5, BROKEN),  # the longer one counts
        (((10.0, 12.0), (15.0, 17.0)), 2.5, HELD),  # each for itself
    ],
)
def test_a_claim_against_an_outage(down: tuple[tuple[float, float], ...], budget: float, expected: str) -> None:
    assert verdict(every(0.02, down), budget).verdict == expected


def test_an_outage_is_an_interval() -> None:
    judged = verdict(every(0.02, ((10.0, 13.65),)), 4.0)
    assert judged.outage.at_least <= 3.65 <= judged.outage.at_most
    assert judged.outage.at_most - judged.outage.at_least == pytest.approx(0.04)


def test_a_service_never_out_has_an_outage_of_nothing() -> None:
    assert verdict(every(0.02), 0.0).outage == Interval(0.0, 0.0)


def test_an_observer_that_did_not_look_proves_nothing() -> None:
    seen = [look for look in every(0.02) if not 12.0 < look.sent < 12.0 + BLIND_S + 0.1]
    judged = verdict(seen, 0.0)
    assert judged.verdict == INCONCLUSIVE
    assert "nobody looked" in judged.reason
    assert verdict(seen, 4.0).verdict == HELD, "an outage hidden there would have kept the budget"


def test_a_stall_inside_the_outage_widens_it() -> None:
    seen = [look for look in every(0.02, ((10.0, 13.65),)) if not 13.0 < look.sent < 14.5]
    assert verdict(seen, 4.0).verdict == INCONCLUSIVE
    assert verdict(seen, 5.0).verdict == HELD
    assert verdict(seen, 2.0).verdict == BROKEN, "what was seen is enough to refute"


def test_an_observer_that_stopped_early_proves_nothing() -> None:
    assert verdict(every(0.02, end=15.0), 0.0).verdict == INCONCLUSIVE


def test_a_stall_that_begins_while_a_look_is_under_way_does_not_hide_behind_it() -> None:
    seen = [look for look in every(0.05) if not 12.0 < look.sent < 15.0]
    seen.append(Look(12.05, True, 15.05))  # answered at some time in these, for all that the observer knows
    assert verdict(seen, 0.0).verdict == HELD, "as a client that was patient"
    judged = verdict(seen, 0.0, stood=[(12.06, 15.05)])
    assert (judged.verdict, "for 2.99 s" in judged.reason) == (INCONCLUSIVE, True)
    assert verdict(seen, 4.0, stood=[(12.06, 15.05)]).verdict == HELD, "what may hide there would have kept the budget"


def test_no_fault_no_verdict() -> None:
    judged = judge("claim", "alpha", "vip", 4.0, every(0.02), None)
    assert (judged.verdict, judged.outage.at_most) == (INCONCLUSIVE, inf)


def test_no_looks_no_verdict() -> None:
    assert verdict([], 4.0).verdict == INCONCLUSIVE


def test_a_doubtful_run_refutes_but_proves_nothing() -> None:
    assert verdict(every(0.02), 0.0, doubt="interrupted").verdict == INCONCLUSIVE
    assert verdict(every(0.02, ((10.0, 15.0),)), 4.0, doubt="interrupted").verdict == BROKEN


@pytest.mark.parametrize(
    ("out", "expected"), [(0.5, INCONCLUSIVE), (2.7, HELD), (3.6, HELD), (3.9, INCONCLUSIVE), (4.5, BROKEN)]
)
def test_keeping_the_budget_against_the_protocol_is_not_understood(out: float, expected: str) -> None:
    promise = Promise(2.648, 3.648)
    assert verdict(every(0.02, ((10.0, 10.0 + out),)), 4.0, promise=promise).verdict == expected


def test_no_outage_at_all_contradicts_a_crash_of_the_owner() -> None:
    assert verdict(every(0.02), 4.0, promise=Promise(2.648, 3.648)).verdict == INCONCLUSIVE


def test_infinity_is_null_in_json() -> None:
    json = verdict(every(0.02, ((10.0, 25.0),)), 4.0).as_json()
    assert json["outage_s"]["at_most"] is None
    assert json["outage_s"]["at_least"] == pytest.approx(10.0)


# ---------------------------------------------------------------- patient looks


def test_a_patient_look_that_was_answered_late_is_good() -> None:
    slow = [Look(t, True, t + 1.0, t + 1.0) for t in (8.0, 10.5, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0)]
    judged = judge("c", "alpha", "dns", 0.0, [*slow, *every(0.02, end=10.4)], WINDOW)
    assert judged.outage == Interval(0.0, 0.0)


def test_one_patient_look_in_vain_is_an_outage_as_long_as_it_tried() -> None:
    tries = [Look(9.0, True, 9.5), Look(10.0, False, None, 17.0), Look(18.0, True, 18.5)]
    judged = judge("c", "alpha", "dhcp", 0.0, tries, WINDOW)
    assert judged.verdict == BROKEN
    assert judged.outage == Interval(7.0, 9.5)


def test_clients_are_judged_apart() -> None:
    served = [Look(t / 10, True, t / 10 + 0.1, client="served") for t in range(80, 201)]
    starved = [Look(9.0, True, 9.1, client="starved"), Look(10.0, False, None, 18.0, client="starved")]
    judged = judge("c", "alpha", "dhcp", 0.0, [*served, *starved], WINDOW)
    assert judged.verdict == BROKEN
    assert judged.outage.at_least == 8.0


def test_overlapping_looks_never_make_a_negative_interval() -> None:
    seen = [Look(9.0, True, 11.0, 10.9), Look(9.5, False, None, 10.5), Look(9.6, True, 9.7)]
    (outage,) = outages(seen)
    assert 0 <= outage.at_least <= outage.at_most


# ---------------------------------------------------------------- properties

stretches = st.tuples(st.floats(9.0, 18.0, allow_nan=False), st.floats(0.001, 6.0, allow_nan=False)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)
moments = st.lists(st.floats(8.0, 25.0, allow_nan=False), min_size=2, max_size=200, unique=True)


@given(moments, stretches)
def test_the_truth_lies_within_the_interval(times: list[float], down: tuple[float, float]) -> None:
    seen = [Look(t, not down[0] <= t < down[1], t) for t in times]
    seen = [replace(look, answered=look.sent if look.ok else None) for look in seen]
    for outage in outages(seen):
        assert outage.at_least <= down[1] - down[0] <= outage.at_most
        assert outage.first_failed >= down[0]
        assert outage.last_failed < down[1]


@given(moments, stretches, st.floats(0.0, 8.0, allow_nan=False))
def test_held_and_broken_are_never_wrong(times: list[float], down: tuple[float, float], budget: float) -> None:
    seen = [Look(t, not down[0] <= t < down[1], t if not down[0] <= t < down[1] else None) for t in times]
    judged = judge("c", "alpha", "vip", budget, seen, Window(9.0, 25.0))
    truth = down[1] - down[0]
    if judged.verdict == BROKEN:
        assert truth > budget
    if judged.verdict == HELD:
        # What falls between two looks is bounded by the longest stretch in which nobody looked.
        assert truth <= max(budget, BLIND_S) + 1e-9


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.floats(0, 5), st.sampled_from("ab"))))
def test_intervals_are_never_upside_down(rows: list[tuple[float, bool, float, str]]) -> None:
    seen = [Look(t, ok, t + wait if ok else None, t + wait, client) for t, ok, wait, client in rows]
    for outage in outages(seen):
        assert 0 <= outage.at_least <= outage.at_most


@given(moments, stretches, st.floats(0.0, 4.0), st.floats(0.0, 4.0))
def test_a_larger_budget_is_never_judged_worse(
    times: list[float], down: tuple[float, float], a: float, b: float
) -> None:
    order = {HELD: 0, INCONCLUSIVE: 1, BROKEN: 2}
    seen = [Look(t, not down[0] <= t < down[1], t if not down[0] <= t < down[1] else None) for t in times]
    small, large = sorted((a, b))
    assert order[verdict(seen, large).verdict] <= order[verdict(seen, small).verdict]


@given(st.lists(st.sampled_from([HELD, BROKEN, INCONCLUSIVE])))
def test_the_whole_is_the_worst_of_its_parts(parts: list[Any]) -> None:
    claims = [Judged("c", "alpha", "vip", part, 0.0, Interval(0.0, 0.0), "") for part in parts]
    if BROKEN in parts:
        assert overall(claims) == BROKEN
    elif INCONCLUSIVE in parts or not parts:
        assert overall(claims) == INCONCLUSIVE
    else:
        assert overall(claims) == HELD


# ---------------------------------------------------------------- from events


def probe(service: str, t: float, ok: bool) -> dict[str, Any]:
    return {"kind": "probe", "t": t, "service": service, "sent": t, "answered": t if ok else None, "ok": ok}


def fault(state: str, began: float, ended: float) -> dict[str, Any]:
    return {"kind": "fault", "t": ended, "state": state, "fault": "kill", "began": began, "ended": ended}


def alive(down: tuple[float, float]) -> list[dict[str, Any]]:
    return [probe("node", t / 10, not down[0] <= t / 10 < down[1]) for t in range(80, 200)]


def test_looks_come_from_probe_events_in_the_order_sent() -> None:
    found = looks([probe("vip", 2.0, True), fault("planned", 1, 1), probe("vip", 1.0, False), probe("dns", 3.0, True)])
    assert [look.sent for look in found["vip"]] == [1.0, 2.0]
    assert [look.ok for look in found["vip"]] == [False, True]
    assert set(found) == {"vip", "dns"}


def test_the_window_runs_from_the_fault_to_the_last_look() -> None:
    assert fault_window([probe("vip", 30.0, True), fault("applied", 10.0, 10.1)]) == Window(10.0, 30.0)
    assert fault_window([fault("planned", 10.0, 10.1), probe("vip", 30.0, True)]) is None


def test_the_window_lasts_until_the_undo_though_nobody_looked_any_more() -> None:
    frozen = [probe("vip", 9.9, True), fault("applied", 10.0, 10.1), fault("undone", 20.0, 20.5)]
    assert fault_window(frozen) == Window(10.0, 20.5)
    assert fault_window([*frozen, probe("vip", 22.0, True)]) == Window(10.0, 22.0)


@pytest.mark.parametrize("last", [9.99, 10.2])
@pytest.mark.parametrize("service", ["vip", "dns", "dhcp"])
def test_an_observer_that_is_frozen_at_the_fault_and_stays_so_proves_nothing(service: str, last: float) -> None:
    good = [probe(service, 8.0 + n / 50, True) for n in range(round((last - 8.0) * 50))]
    faults = [
        fault(state, *when) | {"takes_node": False}
        for state, when in (("applied", (10.0, 10.1)), ("undone", (20.0, 20.1)))
    ]
    (judged,), _ = verdicts([*good, *faults], [Claim("c", "alpha", "stop", (), "outage", service, 4.0)])
    assert (judged.verdict, "nobody looked" in judged.reason) == (INCONCLUSIVE, True), judged


@pytest.mark.parametrize(
    ("sent", "left", "expected"),
    [
        (14.0, 21.0, INCONCLUSIVE),  # in vain for longer than a dead server costs
        (14.0, 15.0, HELD),  # a moment ago
        (20.5, 27.0, HELD),  # begun after the window
    ],
)
def test_a_look_that_was_left_unfinished_is_no_good_one(sent: float, left: float, expected: str) -> None:
    good = [probe("dhcp", 8.0 + n / 10, True) | {"client": "a"} for n in range(121)]
    faults = [fault("applied", 10.0, 10.1) | {"takes_node": False}, fault("undone", 15.0, 15.1)]
    under_way = {"kind": "unfinished", "t": left, "service": "dhcp", "client": "b", "sent": sent, "last_try": sent}
    claims = [Claim("c", "alpha", "stop", (), "outage", service, 0.0) for service in ("dhcp", "dns")]
    looked = [*good, *(look | {"service": "dns"} for look in good)]
    (dhcp, dns), _ = verdicts([*looked, *faults, under_way], claims)
    assert (dhcp.verdict, dns.verdict) == (expected, HELD)
    if expected == INCONCLUSIVE:
        assert dhcp.reason == "b was not served for 7.00 s, and nobody waited for more"


@pytest.mark.parametrize(
    ("down", "why"),
    [
        ((10.0, 15.1), None),
        ((0.0, 15.0), "did not answer before"),
        ((10.0, 12.0), "went on answering"),
        ((99.0, 99.0), "went on answering"),
    ],
)
def test_whether_the_fault_took_hold(down: tuple[float, float], why: str | None) -> None:
    events = [fault("applied", 9.95, 10.05), fault("undone", 15.05, 15.2), *alive(down)]
    window = fault_window(events)
    assert window is not None
    told = took_hold(events, window)
    assert (told is None) if why is None else (told is not None and why in told)


def test_one_failed_look_does_not_show_that_a_node_stayed_away() -> None:
    events = [fault("applied", 9.95, 10.05), fault("undone", 15.05, 15.2), *alive((10.0, 15.1))]
    seen = [e for e in events if e["kind"] == "fault" or not 10.2 < e["t"] < 13.0]
    window = fault_window(seen)
    assert window is not None
    assert str(took_hold(seen, window)).startswith("nobody looked at the node for 2.")


def test_a_fault_that_nobody_watched_is_not_believed() -> None:
    events = [
        fault("applied", 10, 10),
        fault("undone", 10.01, 11),
        probe("node", 9.0, True),
        probe("node", 12.0, True),
    ]
    window = fault_window(events)
    assert window is not None
    assert "nobody looked" in str(took_hold(events, window))


# ---------------------------------------------------------------- VRRP arithmetic


def ad(src: str, t: float, vrid: int = 51) -> dict[str, Any]:
    return {"kind": "frame", "proto": "vrrp", "t": t, "src": src, "vrid": vrid, "priority": 100}


def test_a_takeover_is_counted_from_the_last_advertisement() -> None:
    events = [ad("a", 8.0), ad("a", 9.0), ad("b", 12.65), ad("b", 13.65), ad("a", 20.0), ad("a", 21.0)]
    found = takeover(events, "a", "b", 51, 3.648, Window(9.4, 30.0))
    assert found.measured_s == pytest.approx(3.65)
    assert found.verdict == HELD


def test_an_advertisement_that_slips_out_while_the_power_goes_is_the_last_one() -> None:
    events = [ad("a", 8.0), ad("a", 9.0), ad("b", 12.65)]
    assert takeover(events, "a", "b", 51, 3.648, Window(8.99, 30.0)).measured_s == pytest.approx(3.65)


def test_other_routers_do_not_count() -> None:
    events = [ad("a", 9.0), ad("b", 10.0, vrid=7), ad("b", 12.65)]
    assert takeover(events, "a", "b", 51, 3.648, Window(9.4, 30.0)).measured_s == pytest.approx(3.65)


@pytest.mark.parametrize(("came", "expected"), [(12.65, HELD), (12.2, BROKEN), (13.1, BROKEN)])
def test_a_takeover_is_compared_with_the_prediction(came: float, expected: str) -> None:
    assert takeover([ad("a", 9.0), ad("b", came)], "a", "b", 51, 3.648, Window(9.4, 30.0)).verdict == expected


def test_no_takeover_is_inconclusive() -> None:
    assert takeover([ad("a", 9.0)], "a", "b", 51, 3.648, Window(9.4, 30.0)).verdict == INCONCLUSIVE


def test_a_contradiction_names_both_sides() -> None:
    assert contradiction(Interval(3.0, 3.02), Promise(2.648, 3.648)) is None
    assert "no crash" in str(contradiction(Interval(0.3, 0.32), Promise(2.648, 3.648)))
    assert "at least" in str(contradiction(Interval(3.9, 3.92), Promise(2.648, 3.648)))


def test_blindness_is_the_longest_stretch_without_a_look_under_way() -> None:
    assert blind([], WINDOW) == 10.0
    assert blind([Look(9.0, True, 21.0)], WINDOW) == 0.0
    assert blind([Look(9.0, True, 13.0), Look(12.0, True, 12.1), Look(15.0, True, 21.0)], WINDOW) == 2.0


@pytest.mark.parametrize(
    ("stood", "expected"),
    [
        ([], 1.0),
        ([(12.0, 14.5)], 2.5),  # within a look
        ([(8.0, 12.0)], 2.0),  # from before the window
        ([(18.0, 25.0)], 2.0),  # beyond its end
        ([(13.0, 15.5)], 3.0),  # goes over into a time without a look
        ([(12.0, 14.0), (13.0, 15.2)], 4.0),
        ([(12.0, 12.9), (13.1, 14.0)], 1.0),  # one after the other
        ([(15.2, 16.0)], 1.0),  # nobody would have looked anyway
    ],
)
def test_a_stall_is_no_look(stood: list[tuple[float, float]], expected: float) -> None:
    seen = [Look(9.0, True, 15.0), Look(16.0, True, 21.0)]
    assert blind(seen, WINDOW, stood) == pytest.approx(expected)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), max_size=12),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=6),
)
def test_blindness_is_what_counting_moments_says(sent: list[tuple[int, int]], stalled: list[tuple[int, int]]) -> None:
    """Half a second at a time: looks and stalls begin and end at whole seconds, the half ones are one second each."""
    seen = [Look(a, True, a + n) for a, n in sent]
    stood = [(a, a + n) for a, n in stalled]
    longest = run = 0
    for half in range(20, 40):
        t = half / 2
        seeing = any(look.sent <= t <= look.seen for look in seen) and not any(a < t < b for a, b in stood)
        run = 0 if seeing else run + half % 2
        longest = max(longest, run)
    assert blind(seen, WINDOW, stood) == longest
