"""Whose the floating address was, from recorded events: nobody's, one node's, or two nodes' at once.

Pure functions; times are seconds on the monotonic clock.  Who answers ARP is asked every so often, so how long
nobody or more than one did is known as an interval, as outages are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from chaos.judge import Interval
from cluster.record import Event

MISSED = 2.5
"""After so many intervals without an advertisement a node no longer reigns: one may be lost, as one may be late."""


@dataclass(frozen=True)
class Stretch:
    """A time in which the same nodes answered for the address, from when it was first seen until others were."""

    macs: frozenset[str]
    began: float
    ended: float
    length: Interval


def stretches(events: Sequence[Event]) -> list[Stretch]:
    """Every stretch of answers but the last one, whose end is not known."""
    changes = [e for e in events if e["kind"] == "owners"]
    found = []
    for one, after in pairwise(changes):
        # Good until the last question before the next change; since the last one before this change at the earliest.
        since = one["t"] if one.get("before") is None else one["before"]
        until = after["t"] if after.get("before") is None else after["before"]
        length = Interval(max(0.0, until - one["t"]), after["t"] - since)
        found.append(Stretch(frozenset(one["macs"]), one["t"], after["t"], length))
    return found


def watched_until(events: Sequence[Event]) -> float:
    """When who asks for the owners was last heard of: it is one loop that does, overhears and looks at the address."""
    heard = (e for e in events if e["kind"] in ("owners", "frame", "neighbour") or _at_the_address(e))
    return max((float(e["t"]) for e in heard), default=float("-inf"))


def _at_the_address(event: Event) -> bool:
    return bool(event["kind"] == "probe" and event["service"] == "vip")


@dataclass(frozen=True)
class Ownership:
    """How long altogether nobody answered for the address (`gap`), and how long more than one did (`overlap`)."""

    gap: Interval
    overlap: Interval

    def as_json(self) -> dict[str, Any]:
        """As `chaos --json` prints it."""
        return {"gap_s": self.gap.as_json(), "overlap_s": self.overlap.as_json()}


def ownership(events: Sequence[Event]) -> Ownership | None:
    """Gap and overlap, counted apart; None where nobody asked, infinite at most where one lasted to the end."""
    changes = [e for e in events if e["kind"] == "owners"]
    if not changes:
        return None
    found, last = stretches(events), changes[-1]
    ended = watched_until(events)

    def total(which: Sequence[Stretch], still: bool) -> Interval:
        least = sum(stretch.length.at_least for stretch in which) + (ended - last["t"] if still else 0.0)
        return Interval(least, float("inf") if still else sum(stretch.length.at_most for stretch in which))

    return Ownership(
        total([s for s in found if not s.macs], not last["macs"]),
        total([s for s in found if len(s.macs) > 1], len(last["macs"]) > 1),
    )


@dataclass(frozen=True)
class Reign:
    """A time in which one node advertised, from its first to its last word; `goodbye` says it ended with priority 0."""

    src: str
    mac: str
    began: float
    ended: float
    goodbye: bool = False


def reigns(events: Sequence[Event], vrid: int) -> list[Reign]:
    """Every reign over a virtual router, by when it began; they overlap where two advertised at once."""
    ads = [e for e in events if e["kind"] == "frame" and e["proto"] == "vrrp" and e["vrid"] == vrid]
    found = [reign for src in sorted({ad["src"] for ad in ads}) for reign in _of([a for a in ads if a["src"] == src])]
    return sorted(found, key=lambda reign: reign.began)


def _of(ads: Sequence[Event]) -> Iterator[Reign]:
    """The reigns of one node."""
    mine: list[Event] = []
    for ad in sorted(ads, key=lambda ad: float(ad["t"])):
        if mine and ad["t"] - mine[-1]["t"] > MISSED * ad["interval_s"]:
            yield _reign(mine)
            mine = []
        mine.append(ad)
        if ad["priority"] == 0:
            yield _reign(mine)
            mine = []
    if mine:
        yield _reign(mine)


def _reign(ads: Sequence[Event]) -> Reign:
    first, last = ads[0], ads[-1]
    return Reign(first["src"], first["mac"], first["t"], last["t"], last["priority"] == 0)


def announced(events: Sequence[Event], mac: str, since: float) -> float | None:
    """When a node first told all (gratuitous ARP) that the address is its own, from some moment on."""
    told = (e["t"] for e in events if e["kind"] == "frame" and e["proto"] == "arp" and e["mac"] == mac)
    return min((t for t in told if t >= since), default=None)


def believed(events: Sequence[Event], t: float) -> str | None:
    """Whom our own neighbour entry took the address for at some moment; None where that was never told."""
    told = [e for e in events if e["kind"] == "neighbour" and e["t"] <= t]
    return max(told, key=lambda e: float(e["t"]))["mac"] if told else None


def noticed(events: Sequence[Event], mac: str, since: float) -> float | None:
    """When our own neighbour entry was changed to a node, from some moment on."""
    told = (e["t"] for e in events if e["kind"] == "neighbour" and e["mac"] == mac)
    return min((t for t in told if t >= since), default=None)


def late(events: Sequence[Event], began: float, ended: float) -> float:
    """By how much the observer itself was late at worst in some time, s; what it saw there is known no better."""
    stalls = (e for e in events if e["kind"] == "stall" and began <= e["at"] and e["at"] - e["late_s"] <= ended)
    return max((float(e["late_s"]) for e in stalls), default=0.0)
