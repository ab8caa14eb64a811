"""Deadlines are shared and monotonic; waiting ends when the condition holds, or says what it last saw."""

from __future__ import annotations

import time

import pytest

from cluster.errors import ClusterError, ProbeFailed
from cluster.wait import Deadline, WaitTimeout, until


def test_a_deadline_counts_down_and_passes() -> None:
    end = Deadline.after(0.05)
    assert 0 < end.left <= 0.05 and not end.passed
    time.sleep(end.left)
    assert end.passed and end.left == 0


def test_nested_waits_share_one_deadline() -> None:
    outer = Deadline.after(5)
    assert Deadline.of(outer) is outer
    assert Deadline.of(3).at < outer.at


def test_a_deadline_in_the_past_has_nothing_left() -> None:
    assert Deadline.after(-1).left == 0 and Deadline.after(-1).passed


def test_the_value_that_satisfied_is_returned() -> None:
    values = iter([0, 0, 7])
    assert until(lambda: next(values), deadline=1, what="a number", every=0.001) == 7


def test_a_condition_that_holds_at_once_is_not_waited_for() -> None:
    began = time.monotonic()
    assert until(lambda: "yes", lambda v: v == "yes", deadline=5, what="yes", every=5) == "yes"
    assert time.monotonic() - began < 1


def test_the_probe_is_asked_once_even_when_the_deadline_has_passed() -> None:
    assert until(lambda: 1, deadline=Deadline.after(-1), what="one") == 1


def test_a_probe_that_fails_is_asked_again() -> None:
    answers = iter([None, None, "up"])

    def probe() -> str:
        answer = next(answers)
        if answer is None:
            raise ProbeFailed("refused")
        return answer

    assert until(probe, deadline=1, what="up", every=0.001) == "up"


def test_the_time_out_names_what_and_the_last_thing_seen() -> None:
    with pytest.raises(WaitTimeout, match=r"port 22 of alpha: not within the deadline; last seen: 'no'"):
        until(lambda: "no", lambda v: v == "yes", deadline=0.02, what="port 22 of alpha", every=0.005)

    def refused() -> bool:
        raise ProbeFailed("connection refused")

    with pytest.raises(WaitTimeout, match="last seen: connection refused") as caught:
        until(refused, deadline=0.02, what="it", every=0.005)
    assert isinstance(caught.value, ClusterError)


def test_a_bug_in_the_probe_is_not_waited_out() -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        until(broken, deadline=5, what="never")


def test_the_wait_ends_close_to_its_deadline_even_with_a_long_step() -> None:
    began = time.monotonic()
    with pytest.raises(WaitTimeout):
        until(lambda: False, deadline=0.05, what="never", every=60)
    assert time.monotonic() - began < 1
