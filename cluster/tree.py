"""The project's own files, as the deployer is given them to run the harness itself: what runs, not what tests it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

HOME = "/opt/cluster/rpicluster"
"""Where the harness lies on the deployer."""
ROOMS = ("cluster", "lab", "provision", "chaos", "specs", "reports")
FILES = ("conftest.py", "tasks.py", "run", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")
INVENTORY = "inventory.yaml"
MANIFEST = ".manifest"
"""On the deployer, the hash of each file as sha256sum(1) writes it; that it is there says whose checkout this is."""
MADE_THERE = ("reports/runs/", "reports/nights/")


def files(root: Path, inventory: Path) -> dict[str, Path]:
    """Every file of the harness below `root` by its path there; the inventory in use is its `inventory.yaml`."""
    found = {name: root / name for name in FILES} | {INVENTORY: inventory}
    for room in ROOMS:
        found |= {path.relative_to(root).as_posix(): path for path in _below(root / room)}
    return dict(sorted((name, path) for name, path in found.items() if not name.startswith(MADE_THERE)))


def manifest(tree: Mapping[str, Path]) -> str:
    """The hash of each file, in the words of sha256sum(1)."""
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in tree.items())


def _below(folder: Path) -> Iterator[Path]:
    """The files below a folder, but nothing that Python or an editor left there."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == "__pycache__" or path.name.endswith(("~", ".pyc")):
            continue
        if path.is_dir():
            yield from _below(path)
        elif path.is_file():
            yield path
