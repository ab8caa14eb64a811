"""`skew`: one daemon lives in another time than its node."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import NodeFault, drop_in, must_run, no_drop_in
from cluster.errors import InputError
from cluster.wait import until

MOST_S = 86_400.0
CHRONY = "chrony"
FOLLOW_S = 30.0
"""How long who forgot may take to follow somebody again: a burst of four is 8 s (chronyc(1)), twice and more."""
FOLLOWS = """
sources=$(chronyc -n -c sources)
tracking=$(chronyc -c tracking)
echo "$sources" | cut -d, -f2 | grep -qxF '*' && exit 0
case $tracking in 7F7F0101,*) exit 0;; esac
echo "$(hostname) follows nobody yet" >&2
exit 1
"""
"""Whether a node's clock follows a source, or is the reference of all while no real time can be reached."""


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
    """Let those who ask `liar` for the time, and doubt it now, begin anew; raises WaitTimeout when they follow nobody.

    By themselves they would doubt it for minutes, until no false sample is among those that they average.  Who cannot
    be asked is left out: a node without power has forgotten already.
    """
    model = means.inventory
    address = model.nodes[liar].address
    script = (
        f'doubted=$(chronyc -n -c sources | awk -F, \'$3 == "{address}" && ($2 == "x" || $2 == "~")\')\n'
        'if [ -n "$doubted" ]; then chronyc reset sources >/dev/null; chronyc burst 4/8 >/dev/null; echo forgot; fi\n'
    )
    asking = [name for name in model.debian if liar in model.ntp.asked_by(name)]
    said = means.fleet.each(lambda node: node.run(["sh", "-euc", script], sudo=True, deadline=10.0).text, asking)
    for name in (name for name, text in said.items() if isinstance(text, str) and text.strip() == "forgot"):
        until(partial(_follows, means, name), deadline=FOLLOW_S, what=f"{name} follows somebody", every=0.5)


def _follows(means: Means, name: str) -> bool:
    means.fleet[name].run(["sh", "-euc", FOLLOWS], sudo=True, deadline=10.0, check=True)
    return True
