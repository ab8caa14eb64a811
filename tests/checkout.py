"""A second checkout of the project with a smaller cluster and a lab of its own, beside the one you work with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import inventories

ROOT = Path(__file__).resolve().parents[1]


class Checkout:
    """A copy of the project whose inventory has fewer nodes, and the lab that belongs to it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def module(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `python -m` with these words in this checkout."""
        return subprocess.run(
            [sys.executable, "-m", *words], cwd=self.root, text=True, capture_output=True, timeout=timeout
        )

    def lab(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `python -m lab` in this checkout."""
        return self.module("lab", *words, timeout=timeout)

    def python(self, code: str) -> str:
        """Run Python in the checkout with `lab` bound to its Lab; returns what it printed."""
        head = "from cluster.inventory import load\nfrom lab.lab import Lab\nlab = Lab(load())\n"
        done = subprocess.run(
            [sys.executable, "-c", head + code], cwd=self.root, text=True, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def leftovers(self) -> str:
        """What of this lab is on the host, one thing a line."""
        return self.python("print('\\n'.join(lab.leftovers()))")


@contextmanager
def checkout(folder: Path, without: Collection[str]) -> Iterator[Checkout]:
    """A copy of the project below `folder`, `without` these nodes; at the end its lab must leave nothing."""
    root = folder / "checkout"
    shutil.copytree(
        ROOT, root, ignore=shutil.ignore_patterns(".git", ".venv", ".state", "runs", "__pycache__", ".*_cache")
    )
    inventory = root / "inventory.yaml"
    inventory.write_text(inventories.without(inventory.read_text(), without))
    copy = Checkout(root)
    try:
        yield copy
    finally:
        done = copy.lab("down")
    assert done.returncode == 0, done.stderr
    assert copy.leftovers() == ""
