"""The write side of the fault journal; `cluster.journal` is what everybody reads.

An entry reaches the disk before its fault reaches the cluster, and leaves only when the undo is proven, so
whatever kills this process, the next command knows.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.errors import Refused
from cluster.journal import FOLDER, LOCK, SUFFIX, Entry, Owner, running


def folder(state: Path) -> Path:
    """The journal's folder, made when missing (mode 0700, as everything in the state folder)."""
    path = state / FOLDER
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def held(state: Path, command: str) -> Iterator[None]:
    """Be the one chaos command at work on this cluster; Refused names the other one.

    The lock is flock(2) on a file that is closed on exec, so it ends with this process, however it ends.
    """
    path = folder(state) / LOCK
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = running(state)
            raise Refused(f"{owner or 'another command'} is at work on this cluster; wait for it") from None
        text = json.dumps(asdict(Owner.me(command))).encode()
        os.pwrite(fd, text, 0)
        os.ftruncate(fd, len(text))
        yield
    finally:
        os.close(fd)


def write(
    state: Path,
    fault: Mapping[str, Any],
    nodes: tuple[str, ...],
    *,
    undo: str,
    command: str,
    run: Path | None,
) -> Entry:
    """Announce a fault; on return the entry is on the disk, not only in the cache."""
    name = uuid.uuid4().hex[:12]
    where = folder(state)
    entry = Entry(
        id=name,
        fault=dict(fault),
        nodes=nodes,
        undo=undo,
        owner=Owner.me(command),
        run=str(run) if run else None,
        written=time.time(),
        path=where / f"{name}{SUFFIX}",
    )
    part = where / f".{name}.part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, entry.to_json().encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    part.rename(where / f"{name}{SUFFIX}")
    _sync(where)
    return entry


def proven(entry: Entry) -> None:
    """Take an entry away: its undo is proven."""
    if entry.path is not None:
        entry.path.unlink(missing_ok=True)
        _sync(entry.path.parent)


def _sync(path: Path) -> None:
    """Make a rename or an unlink in this folder last (fsync(2) asks for it on the folder itself)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
