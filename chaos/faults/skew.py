"""`skew`: one daemon lives in another time than its node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import NodeFault, drop_in, must_run, no_drop_in
from cluster.errors import ClusterError, InputError, ProbeFailed
from cluster.node import Node
from cluster.wait import Deadline, WaitTimeout, until

MOST_S = 86_400.0
CHRONY = "chrony"
SETTLE_S = 60.0
"""How long all may take to forget a lie, and to follow somebody again."""
BURST_S = 12.0
"""How long who forgot is left alone: a burst of four takes 8 s (chronyc(1))."""
FORGET = "chronyc reset sources >/dev/null; chronyc burst 4/8 >/dev/null"
MIND = """
sources=$(chronyc -n -c sources)
stats=$(chronyc -n -c sourcestats)
tracking=$(chronyc -c tracking)
if echo "$sources" | cut -d, -f2 | grep -q '[x~]'; then echo doubts
elif echo "$stats" | awk -F, '$2 > 3 && $8 > {most} {{ found = 1 }} END {{ exit !found }}'; then echo doubts
elif echo "$sources" | cut -d, -f2 | grep -qxF '*'; then echo follows
else case $tracking in 7F7F0101,*) echo follows;; *) echo nobody;; esac; fi
"""
"""What a node thinks of its servers: doubts one, or will, as their samples are `most` seconds apart; follows one, or
is itself the reference of all while no real time can be reached; or follows nobody."""


@dataclass(frozen=True)
class Skew(NodeFault):
    """A service is restarted with a clock that is `offset` seconds ahead (negative: behind), by libfaketime.

    Only the time of day is false; what the daemon measures intervals with is not, so its timers stay right.
    """

    node: str
    unit: str
    offset: str
    kind: ClassVar[str] = "skew"
    UNDOING: ClassVar[str] = "{unit} of {node} is restarted with the true time"

    def __post_init__(self) -> None:
        try:
            good = 0 < abs(float(self.offset)) <= MOST_S
        except ValueError:
            good = False
        if not good:
            raise InputError(f"skew: {self.offset!r} is not an offset; write seconds such as 5 or -90.5, at most a day")

    @property
    def title(self) -> str:
        """What happens."""
        offset = float(self.offset)
        way = "behind" if offset < 0 else "ahead"
        return f"the clock of {self.node}'s {self.unit} is {abs(offset):g} s {way}"

    def undo(self, means: Means) -> None:
        """Give it the true time; and who heard the false one forgets it, where it was a server of time."""
        super().undo(means)
        if self.unit == CHRONY:
            forget(means, self.node)

    def begin(self, means: Means) -> str:
        """Restart it under libfaketime."""
        preload = (
            "library=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null) ||"
            " { echo 'libfaketime is not installed here; apt-get install libfaketime' >&2; exit 1; }\n"
        )
        lines = (
            "Environment=LD_PRELOAD=$library",
            f"Environment=FAKETIME={float(self.offset):+f}",
            "Environment=FAKETIME_DONT_FAKE_MONOTONIC=1",
        )
        return f"{must_run(self.unit)}{preload}{drop_in(self.unit, *lines)}systemctl restart {self.unit}\n"

    def end(self, means: Means) -> str:
        """Restart it as it was; one that lives in true time is left alone."""
        return (
            f"{no_drop_in(self.unit)}pid=$(systemctl show --property=MainPID --value {self.unit})\n"
            f'if [ "$pid" = 0 ] || grep -qz ^FAKETIME= "/proc/$pid/environ"; then systemctl restart {self.unit}; fi\n'
        )


def forget(means: Means, liar: str) -> None:
    """Let those who ask `liar` for the time begin anew where they heard a lie; WaitTimeout if they follow nobody then.

    By themselves they would doubt it for minutes, from when some of the samples that they average are true again.  A
    clock that a lie has moved is doubted in turn by those who ask it, so this goes on until nobody doubts anybody, or
    the time is up: somebody else may be wrong.  Who cannot be asked is left out: a node without power has forgotten.
    """
    model = means.inventory
    asking = [name for name in model.debian if liar in model.ntp.asked_by(name)]
    mind = MIND.format(most=model.ntp.max_change / 10)
    forgot = dict[str, Deadline]()

    def of(said: str, found: Mapping[str, str | ClusterError]) -> list[str]:
        return [name for name, text in found.items() if text == said]

    def settled() -> bool:
        found = means.fleet.each(lambda node: _told(node, mind), asking)
        again = [name for name in of("doubts", found) if name not in forgot or forgot[name].passed]
        means.fleet.each(lambda node: _told(node, FORGET), again)
        forgot.update(dict.fromkeys(again, Deadline.after(BURST_S)))
        if lost := set(of("nobody", found)) & set(forgot):
            raise ProbeFailed(f"{', '.join(sorted(lost))} follow nobody", reason="nobody")
        return not of("doubts", found)

    try:
        until(settled, deadline=SETTLE_S, what="all follow somebody whom they do not doubt", every=0.5)
    except WaitTimeout:
        if of("nobody", means.fleet.each(lambda node: _told(node, mind), list(forgot))):
            raise


def _told(node: Node, script: str) -> str:
    return node.run(["sh", "-euc", script], sudo=True, deadline=10.0, check=True).text.strip()
