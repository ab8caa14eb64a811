"""Thousands of single looks at a service, drawn together to the few stretches a person can see.

All times are seconds on whatever clock the looks carry.  A look may ask more than once (a resolver, a DHCP
client): `sent` is its first question, `tried` its last.  A failed look proves silence at both, a good one an
answer at `answered`; this is how the verdicts count too.  Looks of one client say nothing about another's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from statistics import median

SLOW_AT_LEAST = 0.25
"""Seconds below which an answer is never called slow: nobody notices it."""
SLOW_TIMES = 3.0
"""How many times the usual latency of a service makes an answer slow."""
UNSEEN_TIMES = 5.0
"""How many usual intervals without any look make a stretch unseen."""
UNSEEN_AT_LEAST = 0.25
"""Seconds without a look that are never called unseen."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look: its first and last question, its answer (None: never), and whether it was a good one."""

    sent: float
    tried: float
    answered: float | None
    ok: bool
    client: str | None = None

    @property
    def known(self) -> float:
        """When it knew that the service is there, or when it last asked in vain."""
        return self.tried if self.answered is None else self.answered


@dataclass(frozen=True)
class Band:
    """A stretch of one state: good, failed, unsure (between a good look and a failed one) or unseen."""

    state: str
    began: float
    ended: float


@dataclass(frozen=True)
class Outage:
    """A row of failed looks of one client; `at_most` is None when it has no good look on both sides."""

    began: float
    ended: float
    at_most: float | None

    @property
    def at_least(self) -> float:
        """Seconds from the first failed question to the last."""
        return self.ended - self.began


def streams(looks: Iterable[Look]) -> list[list[Look]]:
    """The looks of each client apart, each in the order they were sent."""
    found: dict[str | None, list[Look]] = defaultdict(list)
    for look in looks:
        found[look.client].append(look)
    return [sorted(stream, key=lambda look: look.sent) for stream in found.values()]


def latencies(looks: Iterable[Look]) -> list[float]:
    """Seconds from first question to answer, of every good look."""
    return [look.answered - look.sent for look in looks if look.ok and look.answered is not None]


def bands(stream: Sequence[Look]) -> list[Band]:
    """The states of one client's looks, in order and without holes."""
    gaps = [after.sent - before.sent for before, after in pairwise(stream)]
    unseen = max(UNSEEN_AT_LEAST, UNSEEN_TIMES * median(gaps)) if gaps else 0.0
    found: list[Band] = []

    def add(state: str, began: float, ended: float) -> None:
        if found and found[-1].state == state:
            found[-1] = Band(state, found[-1].began, max(ended, found[-1].ended))
        else:
            found.append(Band(state, began, ended))

    for before, after in zip_longest(stream, stream[1:]):
        state = "good" if before.ok else "failed"
        # Looks may overlap (one every 20 ms, each patient for a second): the next one takes over when it is sent.
        end = before.known if after is None else min(before.known, after.sent)
        add(state, before.sent, end)
        if after is None:
            break
        if after.sent - end > unseen:
            state = "unseen"
        elif before.ok != after.ok:
            state = "unsure"
        add(state, end, after.sent)
    return found


def slow(looks: Iterable[Look]) -> list[tuple[float, float]]:
    """Stretches in which an answer came, but much later than usual; overlapping ones are joined."""
    looks = [look for look in looks if look.ok and look.answered is not None]
    found: list[tuple[float, float]] = []
    if not looks:
        return found
    limit = max(SLOW_AT_LEAST, SLOW_TIMES * median(latencies(looks)))
    for look in looks:
        end = look.known
        if end - look.sent <= limit:
            continue
        if found and look.sent <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((look.sent, end))
    return found


def outages(stream: Sequence[Look]) -> list[Outage]:
    """Every row of failed looks of one client, in order."""
    found: list[Outage] = []
    good: float | None = None
    row: list[Look] = []
    for look in stream:
        if not look.ok:
            row.append(look)
            continue
        if row:
            most = None if good is None else look.known - good
            found.append(Outage(row[0].sent, max(failed.tried for failed in row), most))
            row = []
        good = look.tried if good is None else max(good, look.tried)
    if row:
        found.append(Outage(row[0].sent, max(failed.tried for failed in row), None))
    return found
