"""Which tests may run beside each other: there are three kinds of labs, and each belongs to one process at a time."""

from __future__ import annotations

from pathlib import Path

TWIN, OWN, CHECKOUT = "tests/lab/test_red.py", "tests/lab, their own", "tests/lab"
PLACES = {"test_red.py": TWIN, "test_provision.py": OWN, "test_virtual_lab.py": OWN, "test_growth.py": OWN}
"""The files of tests/lab/ that work with the checkout's lab's twin, or with labs of their own."""

MEASURING = ("test_chaos.py", "test_faults.py")


def place(path: Path) -> str:
    """What stays together, one test after the other: all that use one lab, and else each file."""
    return PLACES.get(path.name, CHECKOUT) if path.parent.name == "lab" else path.name


def turn(path: Path) -> int:
    """Who begins first: what takes longest; what measures outages comes last, when there is less beside it."""
    return {TWIN: 0, OWN: 1, CHECKOUT: 3}.get(place(path), 2) + (path.name in MEASURING)
