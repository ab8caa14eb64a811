"""Whose the floating address was, from recorded events alone: nobody's, one node's, two nodes' at once."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.judge import Interval
from chaos.ownership import Reign, announced, believed, late, noticed, ownership, reigns, stretches

Event = dict[str, Any]
A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def owners(t: float, *macs: str, before: float | None = None) -> Event:
    return {"kind": "owners", "t": t, "macs": list(macs), "before": before}


def ad(src: str, t: float, priority: int = 100, vrid: int = 51) -> Event:
    about = {"src": src, "mac": {"a": A, "b": B}[src], "interval_s": 1.0}
    return {"kind": "frame", "proto": "vrrp", "t": t, "vrid": vrid, "priority": priority, **about}


def garp(mac: str, t: float) -> Event:
    return {"kind": "frame", "proto": "arp", "t": t, "mac": mac}


def entry(mac: str | None, t: float) -> Event:
    return {"kind": "neighbour", "t": t, "mac": mac}


# ---------------------------------------------------------------- who answers


def test_gap_and_overlap_are_counted_apart() -> None:
    events = [
        owners(1.0, A),
        owners(5.0, before=4.9),
        owners(8.0, B, before=7.9),
        owners(9.0, A, B, before=8.9),
        owners(9.5, A, before=9.4),
    ]
    found = ownership(events)
    assert found is not None
    assert (found.gap.at_least, found.gap.at_most) == pytest.approx((2.9, 3.1))
    assert (found.overlap.at_least, found.overlap.at_most) == pytest.approx((0.4, 0.6))
    assert found.as_json()["gap_s"] == {"at_least": 2.9, "at_most": 3.1}


def test_one_owner_all_the_time_is_neither() -> None:
    assert ownership([owners(1.0, A)]) == ownership([owners(1.0, A), owners(2.0, B, before=1.9)])
    assert ownership([owners(1.0, A)]) is not None
    assert ownership([owners(1.0, A)]).as_json() == {  # type: ignore[union-attr]
        "gap_s": {"at_least": 0, "at_most": 0},
        "overlap_s": {"at_least": 0, "at_most": 0},
    }


def test_several_gaps_are_added() -> None:
    events = [owners(0.0, A), owners(1.0, before=0.9), owners(2.0, A, before=1.9), owners(5.0, before=4.9)]
    found = ownership([*events, owners(6.0, A, before=5.9)])
    assert found is not None and found.gap.at_least == pytest.approx(1.8) and found.gap.at_most == pytest.approx(2.2)


@pytest.mark.parametrize(("macs", "field"), [((), "gap"), ((A, B), "overlap")])
def test_what_lasts_to_the_end_has_no_upper_bound(macs: tuple[str, ...], field: str) -> None:
    found = ownership([owners(1.0, A), owners(3.0, *macs, before=2.9), ad("a", 7.0)])
    assert getattr(found, field) == Interval(4.0, inf)


def test_what_lasts_is_counted_for_as_long_as_somebody_asked() -> None:
    looks = [{"kind": "probe", "service": service, "t": t} for service, t in (("vip", 6.0), ("k3s", 20.0))]
    found = ownership([owners(1.0, A), owners(3.0, before=2.9), *looks, {"kind": "proof", "t": 30.0}])
    assert found is not None and found.gap == Interval(3.0, inf)


def test_nobody_asked() -> None:
    assert ownership([ad("a", 1.0)]) is None


@given(st.lists(st.tuples(st.floats(0.02, 3.0), st.sampled_from([(), (A,), (B,), (A, B)])), min_size=2, max_size=20))
def test_no_stretch_is_upside_down(rows: list[tuple[float, tuple[str, ...]]]) -> None:
    t, events = 0.0, list[Event]()
    for step, macs in rows:
        events.append(owners(t + step, *macs, before=t + step / 2 if events else None))
        t += step
    for stretch in stretches(events):
        assert 0 <= stretch.length.at_least <= stretch.length.at_most


# ---------------------------------------------------------------- who advertises


def test_a_reign_ends_with_silence_or_with_a_goodbye() -> None:
    events = [ad("a", 1.0), ad("a", 2.0), ad("b", 5.6, 90), ad("b", 6.6, 90), ad("a", 9.0), ad("a", 9.3, 0)]
    assert reigns(events, 51) == [
        Reign("a", A, 1.0, 2.0),
        Reign("b", B, 5.6, 6.6),
        Reign("a", A, 9.0, 9.3, goodbye=True),
    ]


def test_one_lost_advertisement_ends_no_reign() -> None:
    assert reigns([ad("a", 1.0), ad("a", 3.0), ad("a", 4.0)], 51) == [Reign("a", A, 1.0, 4.0)]


def test_reigns_of_two_masters_overlap() -> None:
    events = [ad("a", 1.0), ad("b", 1.5), ad("a", 2.0), ad("b", 2.5), ad("a", 3.0)]
    assert reigns(events, 51) == [Reign("a", A, 1.0, 3.0), Reign("b", B, 1.5, 2.5)]


def test_other_routers_do_not_reign_here() -> None:
    assert reigns([ad("a", 1.0, vrid=7)], 51) == []


# ---------------------------------------------------------------- who says so, who believes it


def test_an_announcement_counts_from_its_owner_and_from_then_on() -> None:
    events = [garp(A, 1.0), garp(B, 2.0), garp(A, 3.0)]
    assert announced(events, A, 1.5) == 3.0
    assert announced(events, B, 2.5) is None


def test_whom_we_believe() -> None:
    events = [entry(A, 1.0), entry(B, 5.0)]
    assert [believed(events, t) for t in (0.5, 1.0, 4.9, 6.0)] == [None, A, A, B]
    assert noticed(events, B, 2.0) == 5.0
    assert noticed(events, A, 2.0) is None


def test_how_late_the_observer_was() -> None:
    events = [{"kind": "stall", "at": 5.0, "late_s": 0.3}, {"kind": "stall", "at": 9.0, "late_s": 0.1}]
    assert late(events, 4.8, 6.0) == 0.3
    assert late(events, 5.5, 8.0) == 0.0
    assert late(events, 0.0, 10.0) == 0.3
