"""Outages as intervals, from recorded looks.  Pure functions; all times are seconds on the monotonic clock.

Terms.  A *look* is one `probe` event; its `sent` is the first transmission, `last_try` the last one (a
resolver or a DHCP client tries more than once), `answered` the answer.  A failed look proves that the service
did not answer what was sent at `sent`, nor at `last_try`; a good one proves it was there between its last
transmission and `answered`.  Looks that carry a `client` are that client's own: whether one client is served
says nothing about another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from cluster.record import Event


@dataclass(frozen=True)
class Look:
    """One look at a service by one client."""

    sent: float
    ok: bool
    answered: float | None = None
    last_try: float | None = None
    client: str | None = None
    server: str | None = None

    @property
    def tried(self) -> float:
        """When it last asked."""
        return self.sent if self.last_try is None else self.last_try

    @property
    def seen(self) -> float:
        """When it knew that the service is there, or when it last asked in vain."""
        return self.tried if self.answered is None else self.answered


@dataclass(frozen=True)
class Outage:
    """A contiguous stretch of failed looks; `at_most` is infinite while it has no good look on both sides."""

    first_failed: float
    last_failed: float
    last_good: float | None
    first_good: float | None
    looks: int

    @property
    def at_least(self) -> float:
        """From the first failed look to the last one."""
        return self.last_failed - self.first_failed

    @property
    def at_most(self) -> float:
        """From the last good look before it to the first good one after it."""
        if self.last_good is None or self.first_good is None:
            return inf
        return self.first_good - self.last_good


UNFINISHED_S = 5.0
"""A look that was left so soon says nothing: a client of a dead DHCP server is served within these by its partner.
The observer leaves what is under way a second later than this at the earliest."""
Stall = tuple[float, float]
"""From when to when the observer itself stood still."""


@dataclass(frozen=True)
class Window:
    """The stretch in which a claim must hold: from the start of the fault to the end of the recording."""

    began: float
    ended: float


def looks(events: Iterable[Event]) -> dict[str, list[Look]]:
    """Every look by service, in the order they were sent."""
    found: dict[str, list[Look]] = defaultdict(list)
    for event in events:
        if event["kind"] == "probe":
            found[event["service"]].append(
                Look(
                    sent=event["sent"],
                    ok=bool(event["ok"]),
                    answered=event["answered"],
                    last_try=event.get("last_try"),
                    client=event.get("client"),
                    server=event.get("server"),
                )
            )
    for service in found.values():
        service.sort(key=lambda look: look.sent)
    return dict(found)


def outages(seen: Iterable[Look]) -> list[Outage]:
    """Every outage in the looks of one service, those of each client apart, the longest first."""
    streams: dict[str | None, list[Look]] = defaultdict(list)
    for look in seen:
        streams[look.client].append(look)
    found = [outage for stream in streams.values() for outage in _outages(stream)]
    return sorted(found, key=lambda outage: (-outage.at_least, -outage.at_most))


def _outages(stream: Sequence[Look]) -> list[Outage]:
    found: list[Outage] = []
    failed: list[Look] = []
    good: float | None = None
    for look in sorted(stream, key=lambda look: look.sent):
        if not look.ok:
            failed.append(look)
            continue
        if failed:
            found.append(_outage(failed, good, look.seen))
            failed = []
        good = look.tried if good is None else max(good, look.tried)
    if failed:
        found.append(_outage(failed, good, None))
    return found


def _outage(failed: Sequence[Look], last_good: float | None, first_good: float | None) -> Outage:
    # Looks overlap: a patient one that began earlier may have got its answer after this outage began.
    first, last = failed[0].sent, max(look.tried for look in failed)
    return Outage(
        first,
        last,
        None if last_good is None else min(last_good, first),
        None if first_good is None else max(first_good, last),
        len(failed),
    )


def stalls(events: Iterable[Event]) -> list[Stall]:
    """Every time in which the observer itself was late."""
    return [(e["at"] - e["late_s"], e["at"]) for e in events if e["kind"] == "stall"]


def blind(seen: Sequence[Look], window: Window, stood: Sequence[Stall] = ()) -> float:
    """The longest stretch of the window, in seconds, in which no look was under way, or the observer `stood` still.

    A look that outlasts a stall was answered at any time in it: where the kernel does not say when, nobody knows.
    """
    unseen, covered = list(stood), window.began
    for look in sorted(seen, key=lambda look: look.sent):
        if look.sent >= window.ended:
            break
        if look.sent > covered:
            unseen.append((covered, look.sent))
        covered = max(covered, look.seen)
    longest, began, ended = 0.0, window.began, window.began
    for one, other in sorted([*unseen, (covered, window.ended)]):
        if one >= ended:
            began = one
        ended = max(ended, other)
        longest = max(longest, min(ended, window.ended) - began)
    return longest


def unfinished(events: Iterable[Event], service: str, window: Window) -> str | None:
    """Why nobody knows what became of a look that was under way when the observer left, or None."""
    for e in events:
        ours = e["kind"] == "unfinished" and e["service"] == service and e["sent"] < window.ended
        if ours and (waited := e["t"] - e["sent"]) >= UNFINISHED_S:
            return f"{e['client']} was not served for {waited:.2f} s, and nobody waited for more"
    return None


def fault_window(events: Sequence[Event]) -> Window | None:
    """From the moment the fault began to the last look, or until it was undone where nobody looked any more.

    None when no fault was applied.
    """
    faults = [e for e in events if e["kind"] == "fault"]
    began = [e["began"] for e in faults if e["state"] == "applied"]
    ends = [look.sent for service in looks(events).values() for look in service]
    ends += [e["ended"] for e in faults if e["state"] == "undone"]
    return Window(began[0], max([began[0], *ends])) if began else None
