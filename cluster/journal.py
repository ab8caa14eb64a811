"""The read side of the fault journal: what is broken on purpose right now, and by whom.

`chaos` writes an entry before it breaks anything and takes it away once the undo is proven.  Everybody else
asks `check` before they start: a verdict about a cluster that somebody is taking apart means nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cluster.errors import Refused

FOLDER = "journal"
LOCK = "lock"
SUFFIX = ".json"


@cache
def boot_id() -> str:
    """The identity of this machine's current boot (proc(5), sys/kernel/random/boot_id)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (proc(5), stat field 22); None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name, in parentheses, may itself hold blanks
    return None if fields[0] in ("Z", "X") else int(fields[19])


@dataclass(frozen=True)
class Owner:
    """A process that can be told from a later one with the same number."""

    pid: int
    started: int
    boot: str
    command: str

    @classmethod
    def me(cls, command: str) -> Owner:
        """This process, known to people as `command`."""
        return cls(os.getpid(), start_time(os.getpid()) or 0, boot_id(), command)

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return self.boot == boot_id() and start_time(self.pid) == self.started

    def __str__(self) -> str:
        return f"`{self.command}` (pid {self.pid})"


NOBODY = Owner(0, 0, "", "unknown command")


@dataclass(frozen=True)
class Entry:
    """One fault that was announced and whose undo is not proven yet."""

    id: str
    fault: Mapping[str, Any]
    """The fault as data: its registry name under `fault`, and its arguments."""
    nodes: tuple[str, ...]
    undo: str
    """How a person undoes it, in words."""
    owner: Owner = NOBODY
    run: str | None = None
    written: float = 0.0
    """Epoch seconds."""
    path: Path | None = field(default=None, compare=False)
    damaged: bool = False
    """The file could not be read as an entry; whatever it stood for is not known to be undone."""

    def to_json(self) -> str:
        """The entry as it lies in the journal."""
        data = asdict(self)
        del data["path"], data["damaged"]
        return json.dumps(data, indent=1) + "\n"

    @property
    def story(self) -> str:
        """One clause for people: what was done, by which command, and when."""
        if self.damaged:
            return f"{self.path} cannot be read, so a fault may still be in place"
        when = datetime.fromtimestamp(self.written, UTC)
        return f"{self.owner} began `{' '.join(map(str, self.fault.values()))}` at {when:%H:%M:%S} UTC"


def parse(text: str, path: Path) -> Entry:
    """The entry that a journal file holds; a file that holds none gives a damaged entry, never nothing."""
    try:
        data = json.loads(text)
        return Entry(
            id=str(data["id"]),
            fault=dict(data["fault"]),
            nodes=tuple(map(str, data["nodes"])),
            undo=str(data["undo"]),
            owner=Owner(**data["owner"]),
            run=data["run"],
            written=float(data["written"]),
            path=path,
        )
    except (ValueError, KeyError, TypeError):
        return Entry(id=path.stem, fault={}, nodes=(), undo="python -m chaos heal", path=path, damaged=True)


def entries(state: Path) -> tuple[Entry, ...]:
    """Every fault whose undo is not proven, oldest first; `state` is the inventory's state folder."""
    found = []
    for path in sorted((state / FOLDER).glob(f"*{SUFFIX}")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue  # its owner proved the undo between the listing and the reading
        found.append(parse(text, path))
    return tuple(sorted(found, key=lambda entry: entry.written))


def running(state: Path) -> Owner | None:
    """The chaos command that holds the journal at this moment, if any (flock(2) on its lock file)."""
    path = state / FOLDER / LOCK
    try:
        with path.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _owner(file.read())
    except FileNotFoundError:
        return None
    return None


def _owner(text: str) -> Owner:
    try:
        return Owner(**json.loads(text))
    except (ValueError, TypeError):  # it took the lock and has not yet written its name
        return NOBODY


def check(state: Path) -> None:
    """Return while nothing is broken on purpose, or by who runs us; else Refused (exit 3) names who and the remedy."""
    if (owner := running(state)) is not None and owner.pid in _ancestors():
        return  # it runs us: we are its work
    if owner is not None:
        raise Refused(f"{owner} is at work on this cluster; wait for it, or stop it with Ctrl-C")
    check_undone(state)


def _ancestors() -> Iterator[int]:
    """The processes that this one descends from (proc(5), stat field 4)."""
    pid = os.getppid()
    while pid > 1:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        pid = int(stat.rpartition(")")[2].split()[1])


def check_undone(state: Path) -> None:
    """Raise Refused while a fault is not proven undone, whether or not its command still runs."""
    for entry in entries(state):
        if entry.owner.alive:
            raise Refused(f"{entry.story} and is still at work; wait for it, or stop it with Ctrl-C")
        raise Refused(f"{entry.story} and never proved its undo; run: python -m chaos heal")
