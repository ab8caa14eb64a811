"""Faults that are a few lines of shell on one node, and the dead man's timer that undoes them there.

Before such a fault begins, the node is given the undo: a transient timer (systemd-run(1)) that runs it after
`LIMIT_S`, whatever became of this process, of its machine and of the network between them.  The undo is stored
in the unit itself, so any machine that reaches the node can run it at once (`sweep`).
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import socket
from abc import ABC, abstractmethod
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, ClassVar

from chaos.faults.fault import PATIENCE_S, Means, OfOneNode, demand_elsewhere
from cluster.errors import InputError
from cluster.node import Node
from cluster.reboot import answers
from cluster.wait import until

LIMIT_S = 600
"""How long a fault on a node lasts at most: longer than any experiment, shorter than anybody's absence."""
MARGIN_S = 30.0
"""How much sooner it must be meant to end: taking hold of it, and undoing it, takes a moment."""
DROP_IN = "zz-rpicluster-chaos.conf"
"""The name of every unit drop-in that a fault makes; they lie below /run, so a reboot ends them, too.

systemd reads drop-ins of all folders by their names (systemd.unit(5)): this one comes after the provisioner's.
"""
TIMER = "rpicluster-undo-"
CUT_S = 60.0
"""How long a node may be cut off from its operator at most: systemd's own watchdogs wait for 180 s."""
SLACK_S = 6.0
"""How much longer than it is meant to last such a fault lasts: taking hold is seen only after 2 s or so."""
WORKER = "rpicluster-chaos-"
"""How the transient services begin that are a fault, such as a load."""
TABLE = "rpicluster_chaos_"
"""How the names of our nftables tables begin; no other table is ever touched."""
MARK = "rpicluster-chaos"
"""What a line that a fault writes into a file ends with, as a comment."""
LABEL = "rpichaos"
"""How the label of an address that a fault makes ends, after the interface's name (ip-address(8))."""
FILLER = ".rpicluster-chaos-full"
"""The file that fills a disk."""
FOLDER = "/run/rpicluster-chaos"
"""Where a fault notes what could not be found otherwise; a reboot ends it."""
UNIT_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789@._-")

SWEEP = f"""
for timer in $(systemctl list-units --all --plain --no-legend --no-pager '{TIMER}*.timer' | cut -d' ' -f1); do
  systemctl show --property=Description --value "$timer"
  systemctl start "${{timer%.timer}}.service" && systemctl stop "$timer"
done
"""

LEFT = f"""
timers=$(systemctl list-units --all --plain --no-legend --no-pager '{TIMER}*.timer')
workers=$(systemctl list-units --all --plain --no-legend --no-pager '{WORKER}*.service')
addresses=$(ip -o -4 address show label '*:{LABEL}')
processes=$(ps -eo stat=,unit:80=,comm=)
tables=
if command -v nft >/dev/null; then tables=$(nft list tables); fi
find /run/systemd/system -name {DROP_IN}
echo "$tables" | grep {TABLE} || true
grep -rls '{MARK}$' /etc/bind/zones/master || true
cat {FOLDER}/* 2>/dev/null || true
if command -v tc >/dev/null; then tc qdisc show | grep -w netem || true; fi
echo "$addresses" | cut -d' ' -f2-7
echo "$processes" | awk '$1 ~ /^T/ && $2 ~ /[.]service$/ {{ print $2 " stands still" }}'
echo "$workers" | cut -d' ' -f1
echo "$timers" | awk 'NF {{ $2 = $3 = $4 = ""; print }}'
"""


class NodeFault(OfOneNode, ABC):
    """A fault made of shell, run as root on `node`; a frozen dataclass below gives `node` and the scripts.

    `TITLE` and `UNDOING` say what happens and what brings it back, with the names of its fields in braces.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    kind: ClassVar[str]
    TITLE: ClassVar[str]
    UNDOING: ClassVar[str]
    takes_node: ClassVar[bool] = False
    part_of: ClassVar[str | None] = None
    patience_s: ClassVar[float] = PATIENCE_S
    longest_s: ClassVar[float] = LIMIT_S - MARGIN_S
    cuts_off: ClassVar[bool] = False
    """Whether nobody reaches the node while it lasts, so that only the node can undo it."""

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

    @property
    def essentials(self) -> str:
        """What the node keeps of the journal, for whoever heals without it: what this is, whose, and since when."""
        words = " ".join((self.kind, *map(str, asdict(self).values())))
        return f"{words}, begun on {socket.gethostname()} by process {os.getpid()} at {datetime.now(UTC):%H:%M:%S} UTC"

    @abstractmethod
    def begin(self, means: Means) -> str:
        """Shell (sh -eu) that makes the fault; on its return it is in effect."""

    @abstractmethod
    def end(self, means: Means) -> str:
        """Shell (sh -eu) that undoes it, harmless when there is nothing to undo."""

    def check(self, means: Means) -> None:
        """Nothing speaks against it that the guard does not see, unless it would stop this machine."""
        if self.cuts_off:
            demand_elsewhere(self, self.nodes, means.inventory)

    def ended(self, means: Means) -> str:
        """The node's timer waits as long as the fault lasts; one that is cut off cannot be asked for it."""
        if self.cuts_off:
            return ""
        state = means.fleet[self.node].run(["systemctl", "is-active", f"{TIMER}{self.key}.timer"], deadline=5.0).text
        return "" if state.strip() == "active" else f"{self.node} had undone it before"

    def apply(self, means: Means) -> None:
        """Hand the undo to the node, then do it; raises NodeError."""
        timer, told = f"{TIMER}{self.key}", shlex.quote(self.essentials)
        limit = means.hold_s + SLACK_S if self.cuts_off else LIMIT_S
        arm = (
            f"systemctl stop {timer}.timer {timer}.service 2>/dev/null || true\n"
            f"systemd-run --quiet --collect --unit={timer} --service-type=oneshot --on-active={limit:g} "
            f"--description={told} --timer-property=AccuracySec=100ms {_coded(self.end(means))}\n"
        )
        if not self.cuts_off:
            self._run(means, arm + self.begin(means))
            return
        # A moment later, so that the command can still say that it was understood.
        self._run(means, arm + transient(self.worker, f"sleep 0.3\n{self.begin(means)}"))
        node = means.fleet[self.node]
        # Twice: on a busy machine one try may be too slow, and that would be before it began.
        until(lambda: not answers(node) and not answers(node), deadline=10.0, every=0.1, what=self.title)

    def undo(self, means: Means) -> None:
        """Undo it now, and only then disarm the timer; raises NodeError."""
        timer = f"{TIMER}{self.key}"
        self._run(means, f"{self.end(means)}\nsystemctl stop {timer}.timer 2>/dev/null || true\n")

    @property
    def worker(self) -> str:
        """The transient service that is this fault, where one is."""
        return f"{WORKER}{self.key}"

    def _run(self, means: Means, script: str) -> str:
        return means.fleet[self.node].run(["sh", "-euc", script], sudo=True, deadline=30.0, check=True).text


def _coded(script: str) -> str:
    """A shell script as the command line of a transient unit.

    Coded, because a daemon-reload (for a drop-in of ours, or by the provisioner) reads the unit again, and systemd 252
    then spoils each `;` of its command line: the script would end with a syntax error.
    """
    coded = base64.b64encode(script.encode()).decode()
    return f"sh -euc {shlex.quote(f'echo {coded} | base64 -d | sh -eu')}"


def transient(unit: str, script: str, *properties: str) -> str:
    """Shell that runs a script as a transient service, which ends after `LIMIT_S` at the latest."""
    told = " ".join(f"--property={one}" for one in (f"RuntimeMaxSec={LIMIT_S}", *properties))
    run = f"systemd-run --quiet --collect --unit={unit} {told} {_coded(script)}"
    return f"systemctl stop {unit} 2>/dev/null || true\n{run}\n"


AWAKE = "/tmp/rpicluster-awake"
"""In a router's memory while `wake` lasts: what the node keeps of the journal."""
SILENT = f"uci revert dhcp; /etc/init.d/dnsmasq stop; rm -f {AWAKE}"
SILENCE = f"[ ! -e {AWAKE} ] || {{ cat {AWAKE}; {SILENT}; }}\n"
LEFT_ON_ROUTER = f"[ ! -e {AWAKE} ] || echo it serves again; uci changes dhcp"


def sweep(node: Node) -> tuple[str, ...]:
    """Undo on a node, now, every fault whose undo still waits there, whoever made it; what they were.

    Raises NodeError.
    """
    script = SILENCE if node.system == "openwrt" else SWEEP
    return tuple(node.run(["sh", "-euc", script], sudo=True, deadline=60.0, check=True).text.splitlines())


def left_on(node: Node) -> tuple[str, ...]:
    """What faults have left on a node: drop-ins, tables, undos that still wait; raises NodeError.

    Each tool is asked first and by itself: one that fails is an error, never a node with nothing left.
    """
    found = node.run(
        ["sh", "-euc", LEFT_ON_ROUTER if node.system == "openwrt" else LEFT], sudo=True, deadline=10.0, check=True
    ).text
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
