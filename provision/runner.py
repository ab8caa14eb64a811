"""One node: its bundle goes over the node's own connection, the steps run there, what happened comes back.

One command carries the bundle in (a tar on its standard input), runs it from a folder in memory that only root
can read, and removes that folder at the end.  If the connection is lost the node finishes by itself, within
`LIMIT_S`, and cleans up as well.
"""

from __future__ import annotations

import contextlib
import io
import secrets as token
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.errors import AuthenticationFailed, ClusterError, CommandTimeout, NodeError
from cluster.node import Node, Result

LIMIT_S = 900  # a Pi B+ unpacks BIND in minutes, not in a quarter of an hour
GRACE_S = 30  # for what the node does after that: end, clean up, answer
POLL_S = 0.7  # how often a node is asked how far it is
FOLDER = {"debian": "/run/rpicluster", "openwrt": "/tmp/rpicluster"}  # in memory on both

START = """
umask 077
mkdir -p {parent} && mkdir {folder} || exit 1
tar -xf - -C {folder} || {{ rm -rf {folder}; exit 1; }}
exec {shell} {folder}/run.sh --remove {options}
"""
SHELL = {"debian": f"timeout --kill-after=10 {LIMIT_S} bash", "openwrt": "sh"}  # OpenWrt's BusyBox has no timeout

# Whom the authority (on standard input) lets in, sshd lets in from now on; restarting it ends no session.
TRUST = """
set -eu
umask 022
cat >/etc/ssh/ca.pub.new
mv -f /etc/ssh/ca.pub.new /etc/ssh/ca.pub
line='TrustedUserCAKeys /etc/ssh/ca.pub' drop=/etc/ssh/sshd_config.d/10-rpicluster.conf
grep -qsxF "$line" "$drop" || echo "$line" >>"$drop"
systemctl restart ssh
"""
# Every line of standard input that a router's authorized_keys lacks is added to it; others are kept.
ADD_KEY = """
set -eu
umask 077
keys=/etc/dropbear/authorized_keys
[ -e "$keys" ] || : >"$keys"
while IFS= read -r line; do grep -qxF -e "$line" "$keys" || printf '%s\\n' "$line" >>"$keys"; done
"""

INTRODUCE = {"debian": TRUST, "openwrt": ADD_KEY}

Kind = Literal["step", "change", "reached", "failed", "output", "end", "note"]


@dataclass(frozen=True)
class Line:
    """One thing a node said: a step begins, a change is (or would be) made, a milestone is reached, ..."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Outcome:
    """What provisioning one node came to; with `--check`, `changes` are those that would be made."""

    node: str
    group: str
    ok: bool
    changes: tuple[str, ...]
    seconds: float
    error: str | None = None
    output: tuple[str, ...] = ()


_PREFIXES: Mapping[str, Kind] = {
    "step ": "step",
    "change: ": "change",
    "would change: ": "change",
    "reached: ": "reached",
    "failed: ": "failed",
    "output: ": "output",
    "end ": "end",
}


def parse(text: str) -> Iterator[Line]:
    """The lines of a node's progress; anything else is a note, because steps may say more than they must."""
    for line in text.splitlines():
        for prefix, kind in _PREFIXES.items():
            if line.startswith(prefix):
                yield Line(kind, line.removeprefix(prefix))
                break
        else:
            if line.strip():
                yield Line("note", line)


def pack(files: Mapping[str, bytes]) -> bytes:
    """A tar of the bundle: folders and scripts 0700, everything else 0600, nobody's but root's."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in sorted({path.rpartition("/")[0] for path in files} - {""}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o700
            tar.addfile(entry)
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o700 if path.endswith(".sh") else 0o600
            tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def open_by_certificate(certified: Node, first: Node, authority: bytes, *, check: bool) -> tuple[Node, bool]:
    """A connection to a node, and whether it had to be told of our authority for it.

    `certified` knows no password, `first` that of a fresh node as well.  The steps that close the password door run
    over a connection made without it, so they cannot lock us out.  With `check` nothing is installed and a fresh
    node is looked at with its password.
    """
    try:
        certified.connect()
        return certified, False
    except AuthenticationFailed:
        first.connect()
    if check:
        return first, False
    first.run(["sh", "-c", INTRODUCE[first.system]], sudo=True, input=authority, deadline=20, check=True)
    first.close()
    try:
        certified.connect()
    except AuthenticationFailed as error:
        raise AuthenticationFailed(
            certified.name,
            f"it was told of our authority, yet refuses our certificate; passwords stay as they are ({error})",
        ) from error
    return certified, True


def run(node: Node, files: Mapping[str, bytes], *, check: bool, say: Callable[[Line], None]) -> list[Line]:
    """Run a bundle on a node and return all it said; `say` hears each line while it is still fresh.

    Raises what Node.run raises, and NodeError when the node did not get as far as its first step.
    """
    parent = FOLDER[node.system]
    folder = f"{parent}/provision.{token.token_hex(4)}"
    options = "--check" if check else ""
    script = START.format(parent=parent, folder=folder, shell=SHELL[node.system], options=options)
    follower = _Follower(node, f"{folder}/progress", say)
    try:
        with follower:
            done = node.run(["sh", "-c", script], sudo=True, input=pack(files), deadline=LIMIT_S + GRACE_S)
    except CommandTimeout:  # it was killed, so it cannot clean up; after a lost connection it goes on, and will
        with contextlib.suppress(ClusterError):  # the first error is the one to tell
            node.run(["rm", "-rf", folder], sudo=True, deadline=5)
        raise
    follower.hear(done.text, whole=True)
    lines = list(parse(done.text))
    if not any(line.kind == "end" for line in lines):
        raise NodeError(node.name, _unfinished(done))
    return lines


def outcome(node: str, group: str, lines: Sequence[Line], seconds: float) -> Outcome:
    """What those lines come to."""
    step, changes = "", []
    for line in lines:
        if line.kind == "step":
            step = line.text
        elif line.kind == "change":
            changes.append(f"{step}: {line.text}")
    failed = [line.text for line in lines if line.kind == "failed"]
    ended = [line.text for line in lines if line.kind == "end"]
    error = failed[0] if failed else None if ended == ["0"] else f"{node}: the steps ended with {ended}"
    output = tuple(line.text for line in lines if line.kind == "output") if error else ()
    return Outcome(node, group, error is None, tuple(changes), seconds, error, output)


def _unfinished(done: Result) -> str:
    said = " | ".join((done.err.decode("utf-8", "replace") or done.text).strip().splitlines()[-3:])
    why = f"they did not end within {LIMIT_S} s" if done.code in (124, 137, 143) else f"exit code {done.code}"
    return f"the steps were cut off: {why}" + (f": {said}" if said else "")


class _Follower:
    """Asks a node how far it is while the steps run; what it cannot hear now is heard at the end."""

    def __init__(self, node: Node, path: str, say: Callable[[Line], None]) -> None:
        self._node, self._path, self._say = node, path, say
        self._heard = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> _Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def hear(self, text: str, *, whole: bool = False) -> None:
        """Pass on the lines of `text` (all of it so far) that are new; the last may be cut short."""
        complete = text if whole else text[: text.rfind("\n") + 1]
        for line in parse(complete[self._heard :]):
            self._say(line)
        self._heard = max(self._heard, len(complete))

    def _follow(self) -> None:
        while not self._over.wait(POLL_S):
            try:
                self.hear(self._node.run(["cat", self._path], sudo=True, deadline=5).text)
            except ClusterError:
                return  # the command under way meets the same trouble, and tells it
