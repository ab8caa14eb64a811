"""Faults that are a few lines of shell on one node, and the dead man's timer that undoes them there.

Before such a fault begins, the node is given the undo: a transient timer (systemd-run(1)) that runs it after
`LIMIT_S`, whatever became of this process, of its machine and of the network between them.  The undo is stored
in the unit itself, so any machine that reaches the node can run it at once (`sweep`).
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, ClassVar

from chaos.faults.fault import Means
from cluster.errors import InputError
from cluster.node import Node

LIMIT_S = 600
"""How long a fault on a node lasts at most: longer than any experiment, shorter than anybody's absence."""
DROP_IN = "zz-rpicluster-chaos.conf"
"""The name of every unit drop-in that a fault makes; they lie below /run, so a reboot ends them, too.

systemd reads drop-ins of all folders by their names (systemd.unit(5)): this one comes after the provisioner's.
"""
TIMER = "rpicluster-undo-"
TABLE = "rpicluster_chaos_"
"""How the names of our nftables tables begin; no other table is ever touched."""
MARK = "rpicluster-chaos"
"""What a line that a fault writes into a file ends with, as a comment."""
LABEL = "lo:rpichaos"
"""The label of an address that a fault makes (ip-address(8))."""
UNIT_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789@._-")

SWEEP = f"""
for timer in $(systemctl list-units --all --plain --no-legend --no-pager '{TIMER}*.timer' | cut -d' ' -f1); do
  systemctl start "${{timer%.timer}}.service" && systemctl stop "$timer"
done
"""

LEFT = f"""
timers=$(systemctl list-units --all --plain --no-legend --no-pager '{TIMER}*.timer')
addresses=$(ip -o -4 address show label {LABEL})
processes=$(ps -eo stat=,unit:80=,comm=)
tables=
if command -v nft >/dev/null; then tables=$(nft list tables); fi
find /run/systemd/system -name {DROP_IN}
echo "$tables" | grep {TABLE} || true
grep -rls '{MARK}$' /etc/bind/zones/master || true
echo "$addresses" | cut -d' ' -f2-7
echo "$processes" | awk '$1 ~ /^T/ && $2 ~ /[.]service$/ {{ print $2 " stands still" }}'
echo "$timers" | cut -d' ' -f1
"""


class NodeFault(ABC):
    """A fault made of shell, run as root on `node`; a frozen dataclass below gives `node` and the scripts.

    `TITLE` and `UNDOING` say what happens and what brings it back, with the names of its fields in braces.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    kind: ClassVar[str]
    TITLE: ClassVar[str]
    UNDOING: ClassVar[str]
    takes_node: ClassVar[bool] = False
    part_of: ClassVar[str | None] = None
    node: str

    @property
    def nodes(self) -> tuple[str, ...]:
        """The one node."""
        return (self.node,)

    @property
    def losing(self) -> str:
        """The node."""
        return self.node

    @property
    def title(self) -> str:
        """What happens."""
        return self.TITLE.format_map(asdict(self))

    @property
    def undoing(self) -> str:
        """What brings it back."""
        return self.UNDOING.format_map(asdict(self))

    @property
    def key(self) -> str:
        """A short name for this fault with these arguments, for what it makes on the node."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]

    @abstractmethod
    def begin(self, means: Means) -> str:
        """Shell (sh -eu) that makes the fault; on its return it is in effect."""

    @abstractmethod
    def end(self, means: Means) -> str:
        """Shell (sh -eu) that undoes it, harmless when there is nothing to undo."""

    def apply(self, means: Means) -> None:
        """Hand the undo to the node, then do it; raises NodeError."""
        timer = f"{TIMER}{self.key}"
        # Coded, because a daemon-reload (for a drop-in of ours, or by the provisioner) reads the transient unit again,
        # and systemd 252 then spoils each `;` of its command line: the undo would end with a syntax error.
        coded = base64.b64encode(self.end(means).encode()).decode()
        undo = shlex.quote(f"echo {coded} | base64 -d | sh -eu")
        arm = (
            f"systemctl stop {timer}.timer {timer}.service 2>/dev/null || true\n"
            f"systemd-run --quiet --collect --unit={timer} --service-type=oneshot --on-active={LIMIT_S} "
            f"--timer-property=AccuracySec=1s sh -euc {undo}\n"
        )
        self._run(means, arm + self.begin(means))

    def undo(self, means: Means) -> None:
        """Undo it now, and only then disarm the timer; raises NodeError."""
        timer = f"{TIMER}{self.key}"
        self._run(means, f"{self.end(means)}\nsystemctl stop {timer}.timer 2>/dev/null || true\n")

    def _run(self, means: Means, script: str) -> None:
        means.fleet[self.node].run(["sh", "-euc", script], sudo=True, deadline=30.0, check=True)


def sweep(node: Node) -> None:
    """Undo on a node, now, every fault whose undo still waits there, whoever made it; raises NodeError."""
    node.run(["sh", "-euc", SWEEP], sudo=True, deadline=60.0, check=True)


def left_on(node: Node) -> tuple[str, ...]:
    """What faults have left on a node: drop-ins, tables, undos that still wait; raises NodeError.

    Each tool is asked first and by itself: one that fails is an error, never a node with nothing left.
    """
    found = node.run(["sh", "-euc", LEFT], sudo=True, deadline=10.0, check=True).text
    return tuple(line.strip() for line in found.splitlines() if line.strip())


def unit_name(text: str) -> str:
    """A service's name, without `.service`; raises InputError."""
    name = text.removesuffix(".service")
    if not name or len(name) > 64 or set(name) - UNIT_CHARACTERS or name.startswith(("-", ".")):
        raise InputError(f"{text!r} is not the name of a service; name one such as keepalived")
    return name


def drop_in(unit: str, *lines: str) -> str:
    """Shell that adds these lines of [Service] to a unit until `no_drop_in`; the shell's variables in them count."""
    folder = f"/run/systemd/system/{unit}.service.d"
    text = "\n".join(("[Service]", *lines))
    return f"mkdir -p {folder}\ncat > {folder}/{DROP_IN} <<END\n{text}\nEND\nsystemctl daemon-reload\n"


def no_drop_in(unit: str) -> str:
    """Shell that takes the drop-in away, its folder too where nothing else is in it."""
    folder = f"/run/systemd/system/{unit}.service.d"
    return f"rm -f {folder}/{DROP_IN}\nrmdir {folder} 2>/dev/null || true\nsystemctl daemon-reload\n"


def must_run(unit: str) -> str:
    """Shell that fails, saying so, where a service does not run."""
    return f"systemctl is-active --quiet {unit} || {{ echo '{unit} does not run here' >&2; exit 1; }}\n"
