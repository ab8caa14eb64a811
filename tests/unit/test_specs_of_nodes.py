"""Specs about the board judge right what no lab can be made to show: made-up sensors in, the complaint out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from cluster.facts import Facts
from cluster.node import Node
from specs.base import checks
from specs.base import test_hardware as hardware

ALPHA = cast(Node, SimpleNamespace(name="alpha"))
WELL = """millidegrees=48312
throttled=0x50000
load=0.42
MemTotal=948304
SwapTotal=102396
SwapFree=102396
MemAvailable=700000
processors=4
undervoltage=0
refused=12
"""
SPECS = (
    hardware.test_memory_is_left,
    hardware.test_it_is_not_overloaded,
    hardware.test_it_is_cool,
    hardware.test_it_has_enough_volts_now,
    hardware.test_it_had_enough_volts,
    hardware.test_nobody_keeps_knocking,
)


def board(text: str) -> dict[str, str]:
    """The board of a node that is no container."""
    return Facts({"container": "none\n", "hardware": text}).hardware


@pytest.mark.parametrize(
    ("spec", "was", "now", "says"),
    [
        (SPECS[0], "MemAvailable=700000", "MemAvailable=60000", "alpha: 6% of its memory is left, 10% at least"),
        (SPECS[1], "load=0.42", "load=17.10", "alpha: load 17.1 on 4 processors"),
        (SPECS[2], "millidegrees=48312", "millidegrees=83100", "alpha has 83.1 degrees Celsius"),
        (SPECS[3], "throttled=0x50000", "throttled=0x50005", "alpha: under-voltage now (throttled=0x50005)"),
        (SPECS[3], "throttled=0x50000", "throttled=0x4", "alpha is slowed down now (throttled=0x4)"),
        (SPECS[4], "undervoltage=0", "undervoltage=3", "alpha: its kernel told of under-voltage 3 times"),
        (SPECS[5], "refused=12", "refused=340", "alpha: its firewall logged 340 refusals in the last hour"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_board_that_is_not_well(spec: hardware.Spec, was: str, now: str, says: str) -> None:
    assert was in WELL
    spec(ALPHA, board(WELL))
    with pytest.raises(AssertionError) as caught:
        spec(ALPHA, board(WELL.replace(was, now)))
    assert says in str(caught.value)


@pytest.mark.parametrize("spec", SPECS)
def test_a_board_without_sensors_is_skipped(spec: hardware.Spec) -> None:
    with pytest.raises(pytest.skip.Exception, match="alpha has nothing that measures"):
        spec(ALPHA, {})


def test_what_plugins_say_is_read() -> None:
    text = "\x1eprocesses\n0\nPROCS OK: 21 processes\nmore\n\x1ejournal\n2\n\n\x1eend\n"
    assert checks.parse(text) == {"processes": (0, "PROCS OK: 21 processes"), "journal": (2, "")}


def test_plugins_that_were_cut_off_are_not_read() -> None:
    with pytest.raises(ValueError, match="cut off"):
        checks.parse("\x1eprocesses\n0\nPROCS OK")
