"""The Sense HAT's lights: what a run is shown as, and what is read back from the buffer."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from cluster import sensehat
from cluster.sensehat import DARK, LIGHTS, SIDE, WHITE, Frame, decode, draw, frame

NODES = ["omega", "psi", "alpha", "beta", "gamma", "delta", "epsilon", "zeta"]


def spec(file: str, node: str | None, outcome: str) -> dict[str, Any]:
    """What is recorded of a spec, as far as it is shown."""
    return {"file": f"specs/{file}", "node": node, "outcome": outcome}


def rows(lights: Frame) -> list[str]:
    """A text for each row."""
    return draw(lights).split("/")


def encode(lights: Frame) -> bytes:
    """The buffer as the libraries write it, turned by 180 degrees: sense_hat.SenseHat._pack_bin."""
    words = [(r >> 3 << 11) + (g >> 2 << 5) + (b >> 3) for r, g, b in reversed(lights)]
    return struct.pack(f"<{SIDE * SIDE}H", *words) + bytes(32)


def test_a_node_is_a_row_and_a_folder_of_specs_a_column() -> None:
    found = rows(
        frame(NODES, [spec("base/test_x.py", "psi", "passed"), spec("compute/test_x.py", "zeta", "failed")], "bad")
    )
    assert found == [
        "." * 7 + "F",
        "P" + "." * 7,
        "." * 7 + "F",
        "." * 8,
        "." * 7 + "F",
        "." * 8,
        "." * 7 + "F",
        "....F...",
    ]


def test_the_worst_of_a_cell_decides() -> None:
    some = [spec("base/test_x.py", "omega", outcome) for outcome in ("skipped", "passed")]
    assert rows(frame(NODES, some, "good"))[0][0] == "P"
    assert rows(frame(NODES, [*some, spec("base/test_y.py", "omega", "error")], "good"))[0][0] == "E"
    assert rows(frame(NODES, some[:1], "good"))[0][0] == "S"


def test_specs_about_no_single_node_have_a_column_of_their_own() -> None:
    found = rows(
        frame(NODES, [spec("cluster/test_x.py", None, "failed"), spec("base/test_x.py", None, "passed")], "good")
    )
    assert [row[6] for row in found] == ["P", ".", ".", ".", ".", "F", ".", "."]


def test_more_than_eight_nodes_share_the_last_row() -> None:
    more = [*NODES, "eta", "theta"]
    found = rows(
        frame(more, [spec("base/test_x.py", "zeta", "passed"), spec("base/test_x.py", "theta", "failed")], "bad")
    )
    assert found[7][0] == "F"


@pytest.mark.parametrize(("tone", "column"), [("good", "PPPPPPPP"), ("bad", "F.F.F.F."), ("unsure", "UU..UU..")])
def test_the_verdict_is_a_pattern_as_well_as_a_colour(tone: str, column: str) -> None:
    assert "".join(row[7] for row in rows(frame(NODES, [], tone))) == column


def test_before_the_first_night_only_the_corners_are_lit() -> None:
    lights = frame(NODES, [], None)
    assert [at for at, light in enumerate(lights) if light == WHITE] == [0, 7, 56, 63] and lights.count(DARK) == 60


def test_what_is_red_is_brighter_than_what_is_not() -> None:
    assert min(sum(LIGHTS[name]) for name in ("failed", "error")) > 3 * max(
        sum(LIGHTS[n]) for n in ("passed", "skipped")
    )


@pytest.mark.parametrize("tone", [None, "good", "bad", "unsure"])
def test_the_buffer_gives_back_what_was_lit(tone: str | None) -> None:
    lights = frame(NODES, [spec("base/test_x.py", "psi", outcome) for outcome in LIGHTS], tone)
    assert decode(encode(lights)) == lights
    assert decode(bytes(128)) != lights


def test_every_folder_of_specs_has_a_column() -> None:
    from pathlib import Path

    folders = {path.parent.name for path in Path(sensehat.__file__).parents[1].glob("specs/*/test_*.py")}
    assert folders == set(sensehat.FOLDERS)
