"""The Sense HAT on the deployer: what came of a run, on its 8x8 lights (docs/deployer.md says which means what).

What is shown is a pure function of the recorded run.  It is shown by the real library where there is a Sense HAT, and
by the official emulator's in a container; both keep the lights in one buffer, which can be read back.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster import record

SIDE = 8
ROTATION = 180  # how it is mounted
FOLDERS = ("base", "lanservices", "deployer", "openwrt", "compute", "cluster")
"""Of specs/, in the order of their columns."""
WHOLE, VERDICT = 6, 7  # columns: specs about no single node, and the verdict on the whole run

Pixel = tuple[int, int, int]
Frame = tuple[Pixel, ...]

# The buffer has 5, 6 and 5 bits a colour (RGB565), so all of these are kept exactly.
DARK, WHITE = (0, 0, 0), (96, 96, 96)
LIGHTS: Mapping[str, Pixel] = {
    "failed": (248, 0, 0), "error": (248, 0, 248), "passed": (0, 64, 0), "skipped": (0, 0, 64),
}  # fmt: skip
"""Worst first; what is red is brighter than what is not, for who cannot tell the colours."""
VERDICTS: Mapping[str, tuple[Pixel, tuple[int, ...]]] = {
    "good": ((0, 64, 0), (0, 1, 2, 3, 4, 5, 6, 7)),
    "bad": ((248, 0, 0), (0, 2, 4, 6)),
    "unsure": ((248, 120, 0), (0, 1, 4, 5)),
}
"""By tone: the colour of the last column, and which of its rows are lit."""

FRAME_BUFFER = "RPi-Sense FB"  # how the kernel calls the real one
EMULATED = Path("/dev/shm/rpi-sense-emu-screen")
SHOW_S = 30.0
SHOW = """
import importlib, json, sys
name, rotation = sys.argv[1], int(sys.argv[2])
library = importlib.import_module(name)
lock = importlib.import_module("sense_emu.lock").EmulatorLock(name) if name == "sense_emu" else None
if lock is not None:
    lock.acquire()    # the emulator's window has it otherwise; here is no window
try:
    hat = library.SenseHat()
    hat.set_rotation(rotation, False)
    hat.set_pixels(json.load(sys.stdin))
finally:
    if lock is not None:
        lock.release()
"""


def frame(nodes: Sequence[str], specs: Iterable[Mapping[str, Any]], tone: str | None) -> Frame:
    """The lights for a run, as they are seen, row by row: its `spec` events, and the tone of the verdict on it.

    Where nothing was run yet (`tone` None), the four corners alone are lit.  Nodes from the eighth on share a row.
    """
    lights = [DARK] * (SIDE * SIDE)
    if tone is None:
        for corner in (0, SIDE - 1, SIDE * (SIDE - 1), SIDE * SIDE - 1):
            lights[corner] = WHITE
        return tuple(lights)
    found: dict[tuple[int, int], set[str]] = {}
    for spec in specs:
        folder = str(spec.get("file", "")).removeprefix("specs/").partition("/")[0]
        if folder not in FOLDERS:
            continue
        column, node = FOLDERS.index(folder), spec.get("node")
        place = (min(nodes.index(node), SIDE - 1), column) if node in nodes else (column, WHOLE)
        found.setdefault(place, set()).add(str(spec.get("outcome")))
    for (row, column), outcomes in found.items():
        worst = next((light for outcome, light in LIGHTS.items() if outcome in outcomes), DARK)
        lights[row * SIDE + column] = worst
    colour, rows = VERDICTS[tone]
    for row in rows:
        lights[row * SIDE + VERDICT] = colour
    return tuple(lights)


def last_night(reports: Path, nodes: Sequence[str]) -> Frame:
    """The lights for the last night that came to its end, of those written down below `reports`."""
    written = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(reports.glob("nights/records/*.json"))]
    last = next((night for night in reversed(written) if night["ended"]), None)
    if last is None:
        return frame(nodes, (), None)
    events = record.events(reports / "runs" / last["run"]) if last["run"] else ()
    return frame(nodes, (event for event in events if event["kind"] == "spec"), last["tone"])


def decode(buffer: bytes) -> Frame:
    """What is seen, from the buffer that holds it: RGB565, and turned by `ROTATION`, which is the reverse order."""
    words = struct.unpack_from(f"<{SIDE * SIDE}H", buffer)
    return tuple((word >> 11 << 3, (word >> 5 & 63) << 2, (word & 31) << 3) for word in reversed(words))


def draw(lights: Frame) -> str:
    """The lights as text, a letter each: what a person reads in a message."""
    letters = {DARK: ".", WHITE: "W", **{light: name[0].upper() for name, light in LIGHTS.items()}}
    letters[VERDICTS["unsure"][0]] = "U"
    text = [letters.get(light, "?") for light in lights]
    return "/".join("".join(text[at : at + SIDE]) for at in range(0, len(text), SIDE))


def buffer() -> Path | None:
    """Where the lights of this machine can be read; None where there is no Sense HAT, real or emulated."""
    for name in sorted(Path("/sys/class/graphics").glob("fb*/name")):
        if name.read_text(encoding="ascii").strip() == FRAME_BUFFER:
            return Path("/dev", name.parent.name)
    return EMULATED if in_container() else None


def in_container() -> bool:
    """Whether this machine is a container, which has no hardware of its own."""
    return subprocess.run(["systemd-detect-virt", "--quiet", "--container"], timeout=10, check=False).returncode == 0


def show(lights: Frame) -> bool:
    """Light them; False where there is no Sense HAT.  Raises subprocess.CalledProcessError where its library fails."""
    target = buffer()
    if target is None:
        return False
    # The real library belongs to the system's Python, as Raspberry Pi OS brings it.
    python, library = (sys.executable, "sense_emu") if target == EMULATED else ("/usr/bin/python3", "sense_hat")
    subprocess.run(
        [python, "-c", SHOW, library, str(ROTATION)], input=json.dumps(lights).encode(), timeout=SHOW_S, check=True
    )
    return True
