"""Where this clone's lab lives on the host, and what everything of it is called.

Every process, namespace and cgroup of a lab carries the tag `rpi<id>`, where the id comes from the checkout's
path: two clones can each have a lab at the same time, and `down` finds what belongs to it without any state
that a crash could have lost.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cluster import artifacts
from cluster.errors import InputError

NETNS = Path("/run/netns")


@dataclass(frozen=True)
class Site:
    """The lab of one checkout: `root` is the checkout, `home` holds caches and every lab's own files."""

    root: Path
    home: Path

    @classmethod
    def of(cls, root: Path) -> Site:
        """The lab that belongs to the checkout at `root`."""
        return cls(root.resolve(), artifacts.home())

    @property
    def tag(self) -> str:
        """What names of processes, namespaces and cgroups of this lab begin with."""
        return "rpi" + hashlib.sha256(os.fsencode(self.root)).hexdigest()[:6]

    @property
    def images(self) -> Path:
        return self.home / "images"

    @property
    def routers(self) -> Path:
        return self.home / "routers"

    @property
    def mirrors(self) -> Path:
        return self.home / "mirrors"

    @property
    def snapshots(self) -> Path:
        return self.home / "snapshots"

    @property
    def labs(self) -> Path:
        return self.home / "labs"

    @property
    def folder(self) -> Path:
        """This lab's own files: one folder a node."""
        return self.labs / self.tag

    def node(self, name: str) -> Path:
        """The folder of one node: its writable layer, pid and console."""
        return self.folder / "nodes" / name

    def machine(self, name: str) -> str:
        """The machine name of a node, unique on the host."""
        return f"{self.tag}-{name}"

    def netns(self, name: str) -> Path:
        """The network namespace of a node, of `switch` or of the operator."""
        return NETNS / f"{self.tag}-{name}"

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Hold this lab's lock: one command at a time changes it; another one is told which holds it."""
        try:
            self.labs.mkdir(parents=True, exist_ok=True)
            lock = (self.labs / f".{self.tag}.lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"lab: {error.filename}: {error.strerror}; set {artifacts.HOME_VARIABLE} to a folder of the lab's own, "
                f"or leave it unset for {artifacts.DEFAULT_HOME}"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "another command"
                raise InputError(f"lab: {holder} is at work on this lab; wait for it to end") from None
            lock.truncate(0)
            lock.write(f"`lab {what}` (pid {os.getpid()})")
            lock.flush()
            yield


def digest(parts: Iterable[str | bytes | Path]) -> str:
    """Sixteen hexadecimal digits that change when any of the parts, or any file below a path, changes."""
    total = hashlib.sha256()

    def add(data: bytes) -> None:
        total.update(len(data).to_bytes(8, "big") + data)

    for part in parts:
        if isinstance(part, Path):
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if file.is_file() and "__pycache__" not in file.parts:
                    add(os.fsencode(file.relative_to(part) if file != part else file.name))
                    add(file.read_bytes())
        else:
            add(part.encode() if isinstance(part, str) else part)
    return total.hexdigest()[:16]


def prune(folder: Path, keep: int, labs: Path) -> None:
    """Keep the `keep` most recently used entries of a cache folder, and all that a lab stands on."""
    if not folder.is_dir():
        return
    used = ":".join(file.read_text() for file in labs.glob("*/nodes/*/[lm]*") if file.name in ("layers", "mirror"))
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    for old in sorted(entries, key=_last_used, reverse=True)[keep:]:
        if str(old) not in used:
            with suppress(OSError):  # the lab of another clone was quicker
                old.rename(folder / f".gone-{old.name}")
    for gone in folder.glob(".gone-*"):
        shutil.rmtree(gone, ignore_errors=True)


def _last_used(entry: Path) -> float:
    """When an entry of a cache was used last; one that is gone by now never was."""
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0
