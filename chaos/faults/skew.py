"""`skew`: one daemon lives in another time than its node."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.following import FOLLOW_S, begin_anew
from chaos.faults.on_node import NodeFault, drop_in, must_run, no_drop_in
from cluster.errors import InputError
from cluster.probes import clock
from cluster.wait import WaitTimeout, until

MOST_S = 86_400.0
CHRONY = "chrony"


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
        """Give it the true time; and who asks it forgets the false one, where it was a server of time."""
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
    """Let those who ask `liar` for the time begin anew; raises WaitTimeout when they follow nobody then.

    By themselves they would doubt it for minutes, until no false sample is among those that they average.  They do this
    twice: clocks that the first true samples set right were asked by the others before that, too.
    """
    model = means.inventory
    address = str(model.nodes[liar].address)
    with suppress(WaitTimeout):  # it may have no power, or nobody to be told the time by
        until(lambda: clock.query(address).leap != clock.ALARM, deadline=FOLLOW_S, what=f"{liar} tells the time")
    asking = [name for name in model.debian if liar in model.ntp.asked_by(name)]
    for _ in range(2):
        begin_anew(means, asking)
