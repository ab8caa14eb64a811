"""The board: enough memory, not too much load, cool, and fed with the volts it needs.

In a lab all of these are the host's, and say nothing about a node.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.facts import Facts
from cluster.node import Node

Spec = Callable[[Node, dict[str, str]], None]

LEAST_MEMORY = 0.1  # of all; below it Linux begins to throw away what it will need again
MOST_LOAD = 4.0  # processes that want to run, for each processor, over a minute
MOST_CELSIUS = 80.0  # from there on the firmware of a Raspberry Pi slows the processor down
UNDER_VOLTAGE_NOW, THROTTLED_NOW = 0x1, 0x4  # bits of `vcgencmd get_throttled`
MOST_REFUSED = 60  # an hour; the log of them is limited to 6 a minute, so this is ten minutes of knocking


@pytest.fixture
def board(node: Node, facts: Facts) -> dict[str, str]:
    """What the board's sensors tell."""
    if facts.container:
        pytest.skip("the hardware and the kernel's log are the host's where the node is a container")
    return facts.hardware


def figure(node: Node, board: dict[str, str], name: str) -> float:
    """One figure; skips where the board has none."""
    if name not in board:
        pytest.skip(f"{node.name} has nothing that measures {name}")
    return float(int(board[name], 16) if board[name].startswith("0x") else float(board[name]))


def test_memory_is_left(node: Node, board: dict[str, str]) -> None:
    part = figure(node, board, "MemAvailable") / figure(node, board, "MemTotal")
    assert part >= LEAST_MEMORY, f"{node.name}: {part:.0%} of its memory is left, {LEAST_MEMORY:.0%} at least"


def test_it_is_not_overloaded(node: Node, board: dict[str, str]) -> None:
    load, processors = figure(node, board, "load"), figure(node, board, "processors")
    assert load <= MOST_LOAD * processors, f"{node.name}: load {load:g} on {processors:g} processors"


def test_it_is_cool(node: Node, board: dict[str, str]) -> None:
    celsius = figure(node, board, "millidegrees") / 1000
    assert celsius < MOST_CELSIUS, f"{node.name} has {celsius:.1f} degrees Celsius, below {MOST_CELSIUS:g} wanted"


def test_it_has_enough_volts_now(node: Node, board: dict[str, str]) -> None:
    bits = int(figure(node, board, "throttled"))
    assert not bits & UNDER_VOLTAGE_NOW, f"{node.name}: under-voltage now (throttled={bits:#x}): change its cable"
    assert not bits & THROTTLED_NOW, f"{node.name} is slowed down now (throttled={bits:#x})"


def test_it_had_enough_volts(node: Node, board: dict[str, str]) -> None:
    times = int(figure(node, board, "undervoltage"))
    assert not times, f"{node.name}: its kernel told of under-voltage {times} times in the last hour"


def test_nobody_keeps_knocking(node: Node, board: dict[str, str]) -> None:
    times = int(figure(node, board, "refused"))
    assert times <= MOST_REFUSED, f"{node.name}: its firewall logged {times} refusals in the last hour: by whom?"
