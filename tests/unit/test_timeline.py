"""Looks drawn together to stretches, and stretches drawn: pure functions, tried with chosen and with random looks."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as some

from reports import timeline
from reports.looks import Look, bands, outages, slow, streams


def looks(pattern: str, every: float = 0.02, latency: float = 0.001) -> list[Look]:
    """One look for each character: `+` answered, `-` failed, ` ` nobody looked."""
    return [
        Look(n * every, n * every, n * every + latency if c == "+" else None, c == "+")
        for n, c in enumerate(pattern)
        if c != " "
    ]


def stretches(pattern: str) -> list[tuple[str, float, float]]:
    return [(b.state, round(b.began, 3), round(b.ended, 3)) for b in bands(looks(pattern))]


def test_answers_in_a_row_are_one_band() -> None:
    assert stretches("+++++") == [("good", 0.0, 0.081)]


def test_a_change_is_unsure_from_the_last_good_look_to_the_first_failed_one() -> None:
    assert stretches("++--++") == [
        ("good", 0.0, 0.021),
        ("unsure", 0.021, 0.04),
        ("failed", 0.04, 0.06),
        ("unsure", 0.06, 0.08),
        ("good", 0.08, 0.101),
    ]


def test_a_single_failed_look_is_there_even_at_the_end() -> None:
    assert stretches("+-+")[2] == ("failed", 0.02, 0.02)
    assert stretches("+-")[-1] == ("failed", 0.02, 0.02)


def test_a_long_stretch_without_looks_is_unseen_not_good() -> None:
    assert ("unseen", 0.041, 0.46) in stretches("+++" + " " * 20 + "+++")


def test_a_patient_look_under_way_is_not_a_hole() -> None:
    patient = [Look(n * 0.02, n * 0.02, n * 0.02 + 1.0, True) for n in range(100)]
    assert [b.state for b in bands(patient)] == ["good"]


def test_late_answers_are_joined_to_one_slow_stretch() -> None:
    late = [Look(t, t, t + 1.0, True) for t in (2.0, 2.5, 2.9)]
    assert slow([*looks("+" * 50), *late]) == [(2.0, 3.9)]


def test_a_service_that_always_takes_a_second_is_not_slow() -> None:
    assert slow([Look(float(n), float(n), n + 1.05, True) for n in range(20)]) == []


def test_an_outage_is_an_interval() -> None:
    (outage,) = outages(looks("++---++"))
    assert outage.at_least == pytest.approx(0.04)
    assert outage.at_most == pytest.approx(0.081)


@pytest.mark.parametrize("pattern", ["---++", "++---"])
def test_an_outage_without_a_good_look_on_both_sides_has_no_upper_bound(pattern: str) -> None:
    (outage,) = outages(looks(pattern))
    assert outage.at_most is None


def test_one_client_says_nothing_about_another() -> None:
    a = [Look(float(n), float(n), n + 0.1, True, "a") for n in range(5)]
    b = [Look(n + 0.5, n + 0.5, None, False, "b") for n in range(5)]
    assert [len(outages(stream)) for stream in streams([*a, *b])] == [0, 1]


times = some.floats(0, 100, allow_nan=False)
random_looks = some.lists(
    some.builds(
        lambda sent, patience, ok: Look(sent, sent + patience / 2, sent + patience if ok else None, ok),
        times,
        some.floats(0, 3),
        some.booleans(),
    ),
    max_size=40,
).map(lambda found: sorted(found, key=lambda look: look.sent))


@given(random_looks)
def test_bands_follow_each_other_without_holes_and_show_every_failure(stream: list[Look]) -> None:
    found = bands(stream)
    for a, b in pairwise(found):
        assert a.ended == b.began and a.began <= a.ended and a.state != b.state
    for look in stream:
        if not look.ok:
            assert any(b.state == "failed" and b.began <= look.sent <= b.ended for b in found)


@given(random_looks)
def test_an_outage_is_possible_for_at_least_as_long_as_it_is_sure(stream: list[Look]) -> None:
    for outage in outages(stream):
        assert outage.at_least >= 0
        if outage.at_most is not None and all(look.tried == look.sent for look in stream):
            assert outage.at_most >= outage.at_least


@given(random_looks, times, times)
def test_any_looks_can_be_drawn_and_the_drawing_is_well_formed(stream: list[Look], a: float, b: float) -> None:
    picture = timeline.Picture(
        zero=a,
        began=min(a, b),
        ended=max(a, b),
        marks=[(a, "off <&>"), (b, 'on "')],
        phases=[(0.0, "baseline"), (a, "fault")],
        services=[timeline.Service("vip", stream, "out <1 s>", True)],
        advertisers=[timeline.Advertiser("alpha", [look.sent for look in stream], [a])],
        takeover=timeline.Takeover(a, 3.648, 3.649, (2.648, 3.648)),
        stalls=[(a, a + 0.1)],
    )
    drawn = timeline.draw(picture)
    ElementTree.fromstring(str(drawn))
    assert drawn == timeline.draw(picture)


@pytest.mark.parametrize(
    ("span", "expected"),
    [(1.0, 0.1), (5.0, 0.5), (6.5, 1.0), (33.0, 5.0), (100.0, 10.0), (0.0, 1.0), (1e-4, 1e-5)],
)
def test_axis_steps_are_round(span: float, expected: float) -> None:
    assert timeline.step(span) == pytest.approx(expected)


def test_who_reigned_follows_from_who_advertised_alone() -> None:
    alpha, beta = [0.0, 1.0, 2.0, 20.0, 21.0], [5.65, 6.65, 7.65]
    everybody = sorted(alpha + beta)
    assert timeline.reigns(alpha, everybody) == [(0.0, 2.0), (20.0, 21.0)]
    assert timeline.reigns(beta, everybody) == [(5.65, 7.65)]


def test_two_masters_at_once_reign_not() -> None:
    alpha, beta = [0.0, 1.0, 2.0, 3.0], [0.5, 1.5, 2.5]
    assert timeline.reigns(alpha, sorted(alpha + beta)) == []


def test_ten_thousand_flapping_looks_draw_no_more_than_the_picture_can_show() -> None:
    flapping = looks("+-" * 10_000)
    drawn = timeline.draw(timeline.Picture(0.0, 0.0, 400.0, services=[timeline.Service("vip", flapping)]))
    assert drawn.count("<rect") < 2000
