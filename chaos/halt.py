"""The file `HALT` beside the inventory: while it is there, nothing is broken on purpose."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cluster.errors import Refused
from cluster.inventory import Inventory

NAME = "HALT"


def path(inventory: Inventory) -> Path:
    """Where the file is looked for."""
    return inventory.root / NAME


def is_set(inventory: Inventory) -> bool:
    """Whether it is there; whatever it is, and whatever it holds."""
    return os.path.lexists(path(inventory))


def check(inventory: Inventory) -> None:
    """Raise Refused while it is there; its first line is told, as the reason."""
    if is_set(inventory):
        told: list[str] = []
        with suppress(OSError):  # a folder, or nobody's to read: it is there all the same
            told = path(inventory).read_text(encoding="utf-8", errors="replace").strip().splitlines()[:1]
        why = f" ({told[0][:120]})" if told else ""
        raise Refused(f"{path(inventory)} is there{why}, so nothing is broken; remove it to go on")
