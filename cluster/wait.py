"""One monotonic deadline, shared by nested waits, and the one loop that awaits a condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cluster.errors import ClusterError

T = TypeVar("T")


class WaitTimeout(ClusterError):
    """A condition did not come true before its deadline."""


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock (seconds) that nested waits share."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def of(cls, value: float | Deadline) -> Deadline:
        """A deadline as it is, or one that many seconds from now."""
        return value if isinstance(value, Deadline) else cls.after(value)

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the deadline lies in the past."""
        return time.monotonic() >= self.at


def until(
    probe: Callable[[], T],
    predicate: Callable[[T], bool] = bool,
    *,
    deadline: float | Deadline,
    what: str,
    every: float = 0.05,
) -> T:
    """Ask `probe` until `predicate` holds of its value and return that value.

    A `ClusterError` from the probe counts as "not yet" and is quoted when the time is up.  `every` and
    `deadline` are in seconds.  Raises WaitTimeout, which names `what` and the last thing seen.
    """
    end = Deadline.of(deadline)
    while True:
        try:
            value = probe()
            if predicate(value):
                return value
            last = repr(value)
        except ClusterError as error:
            last = str(error)
        if end.passed:
            raise WaitTimeout(f"{what}: not within the deadline; last seen: {last}")
        time.sleep(min(every, end.left))
