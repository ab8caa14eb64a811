"""`fill`, `squeeze` and `busy`: a node's disk is full, its memory taken, its processors at work for nobody."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means, number
from chaos.faults.on_node import FILLER, FOLDER, NodeFault, transient
from cluster.errors import CommandFailed, InputError, Refused

SPARE_MB = 64
"""What `squeeze` leaves: with nothing left the kernel ends processes, which is another fault."""
MOST_MB = 1_000_000
MOST_LOOPS = 64


@dataclass(frozen=True)
class Fill(NodeFault):
    """The file system of a folder has no room left for anybody but root (ext4 keeps some for it)."""

    node: str
    folder: str
    kind: ClassVar[str] = "fill"
    TITLE: ClassVar[str] = "the disk below {folder} of {node} is full"
    UNDOING: ClassVar[str] = "{node} deletes what filled {folder}"

    def __post_init__(self) -> None:
        if not self.folder.startswith("/") or not self.folder.isprintable():
            raise InputError(f"fill: {self.folder!r} is not the path of a folder; write one such as /var/log")

    @property
    def _file(self) -> str:
        return shlex.quote(f"{self.folder.rstrip('/')}/{FILLER}")

    def check(self, means: Means) -> None:
        """A disk that the node shares with others is not filled."""
        folder = shlex.quote(self.folder)
        script = f"""
[ -d {folder} ] || {{ echo {folder} "is no folder" >&2; exit 1; }}
kind=$(stat -f -c %T {folder})
case $kind in overlayfs|nfs|smb*|cifs) echo {folder} "is on $kind, which others share" >&2; exit 1;; esac
"""
        try:
            self._run(means, script)
        except CommandFailed as error:
            raise Refused(f"fill: {self.node}: {str(error).rsplit(': ', 1)[-1]}") from None

    def begin(self, means: Means) -> str:
        """One file of all that is free."""
        return (
            f"mkdir -p {FOLDER}\necho {self._file} is a filler > {FOLDER}/{self.key}\n"
            f"free=$(df --output=avail -B1 {shlex.quote(self.folder)} | tail -n 1)\n"
            f'[ "$free" -lt 4096 ] || fallocate -l "$free" {self._file} || head -c "$free" /dev/zero > {self._file}\n'
        )

    def end(self, means: Means) -> str:
        """Delete it."""
        return f"rm -f {self._file} {FOLDER}/{self.key}\n"


@dataclass(frozen=True)
class Squeeze(NodeFault):
    """So many megabytes of a node's memory are taken by a process that the kernel ends first."""

    node: str
    megabytes: str
    kind: ClassVar[str] = "squeeze"
    TITLE: ClassVar[str] = "{megabytes} MB of the memory of {node} are taken"
    UNDOING: ClassVar[str] = "{node} has its memory again"

    def __post_init__(self) -> None:
        number(self.kind, self.megabytes, "megabytes", MOST_MB)

    def check(self, means: Means) -> None:
        """So much must be there."""
        told = self._run(means, "awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo")
        most = int(told) - SPARE_MB
        if int(self.megabytes) > most:
            raise Refused(f"squeeze: {self.node} can spare {max(0, most)} MB now, not {self.megabytes}; take less")

    def begin(self, means: Means) -> str:
        """tail(1) keeps a last line whole, however long; zeros have no end of line."""
        hold = f"{{ head -c {self.megabytes}M /dev/zero; exec sleep infinity; }} | tail -n 1 >/dev/null\n"
        return transient(self.worker, hold, "OOMScoreAdjust=1000")

    def end(self, means: Means) -> str:
        """End it."""
        return f"systemctl stop {self.worker} 2>/dev/null || true\n"


@dataclass(frozen=True)
class Busy(NodeFault):
    """So many endless loops run on a node, at ordinary priority."""

    node: str
    loops: str
    kind: ClassVar[str] = "busy"
    TITLE: ClassVar[str] = "{loops} processes of {node} compute without end"
    UNDOING: ClassVar[str] = "{node} ends them"

    def __post_init__(self) -> None:
        number(self.kind, self.loops, "processes", MOST_LOOPS)

    def begin(self, means: Means) -> str:
        """Start them."""
        loops = f"for _ in $(seq {self.loops}); do (while :; do :; done) & done\nwait\n"
        return transient(self.worker, loops)

    def end(self, means: Means) -> str:
        """End them."""
        return f"systemctl stop {self.worker} 2>/dev/null || true\n"
