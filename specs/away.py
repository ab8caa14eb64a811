"""The specs run on the deployer instead of here, and their record brought back: `pytest specs/ --from psi`."""

from __future__ import annotations

import io
import shlex
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cluster import here, record, tree
from cluster.errors import InputError, NodeError
from cluster.node import Fleet

if TYPE_CHECKING:
    from cluster.inventory import Inventory

PROGRAM = "/opt/cluster/bin/rpi-specs"
LIMIT_S, FETCH_S = 1800.0, 120.0  # disruptive specs take minutes
OURS = ("--from", "--inventory")  # each with a value; the deployer has its own inventory


def run(inventory: Inventory, name: str, words: Sequence[str], runs: Path) -> int:
    """Run pytest there with these words, show what it said, and put the run it recorded below `runs`.

    Returns its exit code.  Raises InputError for a node that has no harness, and what Node.run does.
    """
    known = [node.name for node in here.deployers(inventory)]
    if name not in known:
        raise InputError(f"--from {name}: the harness is only on {' and '.join(known) or 'no node'}; name that one")
    with Fleet(inventory) as fleet:
        node = fleet[name]
        if node.run(["test", "-x", PROGRAM]).code:
            raise InputError(f"--from {name}: the harness is not there; `python -m provision {name}` puts it there")
        print(f"on {name}: pytest {shlex.join(words)}", flush=True)
        done = node.run([PROGRAM, *words], deadline=LIMIT_S)
        print(done.text, end="", flush=True)
        print(done.err.decode("utf-8", "replace"), end="", flush=True)
        for found in record.named(done.text):
            packed = node.run(
                ["tar", "-C", f"{tree.HOME}/reports/runs", "-czf", "-", found], deadline=FETCH_S, check=True
            )
            unpack(packed.out, runs, found, name)
            node.run(["rm", "-rf", f"{tree.HOME}/reports/runs/{found}"], deadline=FETCH_S)
            print(f"brought back from {name}: {(runs / found / 'report.html').relative_to(runs.parent.parent)}")
    return done.code


def unpack(data: bytes, runs: Path, name: str, node: str) -> None:
    """Put a run that a node sent below `runs`; raises NodeError where it is something else, or there is one already."""
    if (runs / name).exists():
        raise NodeError(node, f"recorded a run of the same name as one here: {runs / name}; move that away")
    found: dict[str, bytes | None] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for one in tar.getmembers():
            file = tar.extractfile(one) if one.isfile() else None
            if not one.isdir():
                found[one.name] = file.read() if file is not None else None
    parts = {path: PurePosixPath(path).parts for path in found}
    strange = [p for p, content in found.items() if content is None or parts[p][:1] != (name,) or ".." in parts[p]]
    if strange or not found:
        raise NodeError(node, f"sent something else than the run {name}: {', '.join(strange) or 'nothing'}")
    for path, content in found.items():
        (runs / path).parent.mkdir(parents=True, exist_ok=True)
        (runs / path).write_bytes(content or b"")


def words(arguments: Sequence[str], here: Path, root: Path) -> list[str]:
    """pytest's arguments as they are to be given there: without those that are ours, files as seen from the root."""
    found: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word in OURS:
            next(rest, None)
        elif not word.startswith(tuple(f"{option}=" for option in OURS)):
            file, colons, test = word.partition("::")
            path = (here / file).resolve()
            inside = not word.startswith("-") and path.exists() and path.is_relative_to(root)
            found.append(f"{path.relative_to(root)}{colons}{test}" if inside else word)
    return found
