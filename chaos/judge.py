"""From what was recorded to a verdict: claims as held, broken or inconclusive.

Pure functions of the recorded events, so that an old run can be judged again.  All times are seconds on the
monotonic clock; looks and outages are those of `chaos.outages`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from chaos.outages import Look, Stall, Window, blind, looks, outages
from cluster.record import Event

Verdict = Literal["held", "broken", "inconclusive", "not verified"]
HELD: Verdict = "held"
BROKEN: Verdict = "broken"
INCONCLUSIVE: Verdict = "inconclusive"
NOT_VERIFIED: Verdict = "not verified"
"""What a claim is about is not there, because an artifact is missing: neither green nor red, like a skipped spec."""

BLIND_S = 0.25
"""How long nobody may have looked, where the budget allows no outage at all: ten periods of the slowest probe
would be 0.5 s, and an outage shorter than this one costs a client one retransmission (RFC 6298: 1 s)."""
GONE_BLIND_S = 1.0
"""How long nobody may have looked at a node that should be gone: it cannot come, answer, and be gone again in that."""
GRACE_S = 0.1
"""How far a measured takeover may lie outside the window that the protocol promises: a tenth of the usual
advertisement interval covers the daemons' and the observer's own scheduling."""
ALIVE = "node"
"""The pseudo service that looks at the killed node's own address: it shows that the fault took hold."""


@dataclass(frozen=True)
class Interval:
    """An outage's length in seconds as it can be known; `at_most` infinite when its end was not seen."""

    at_least: float
    at_most: float

    def as_json(self) -> dict[str, float | None]:
        """With null for infinity, which JSON has no word for."""
        most = None if self.at_most == inf else round(self.at_most, 4)
        return {"at_least": round(self.at_least, 4), "at_most": most}


@dataclass(frozen=True)
class Promise:
    """What the protocol promises of a takeover: clients miss the address for `low` to `high` seconds."""

    low: float
    high: float


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict; `reason` is one clause for people."""

    claim: str
    losing: str
    service: str
    verdict: Verdict
    budget_s: float
    outage: Interval
    reason: str

    def as_json(self) -> dict[str, Any]:
        """As `chaos --json` prints it."""
        return {
            "claim": self.claim,
            "service": self.service,
            "verdict": self.verdict,
            "budget_s": self.budget_s,
            "outage_s": self.outage.as_json(),
            "reason": self.reason,
        }


def took_hold(events: Sequence[Event], window: Window) -> str | None:
    """Why the fault cannot be believed to have taken hold, or None when it has.

    One that takes less than a node has seen to that itself, or its `apply` had failed.  A killed node's own
    address must have answered before, and been silent from the end of the fault until its undo began.
    """
    fault = next(e for e in events if e["kind"] == "fault" and e["state"] == "applied")
    if not fault.get("takes_node", True):
        return None
    seen, applied = looks(events).get(ALIVE, []), fault["ended"]
    undone = [e["began"] for e in events if e["kind"] == "fault" and e["state"] == "undone"]
    until = min([*undone, window.ended])
    if not any(look.ok and look.sent < window.began for look in seen):
        return "the node did not answer before the fault either"
    during = [look for look in seen if applied <= look.sent < until]
    if not during:
        return "nobody looked at the node while the fault lasted"
    if any(look.ok for look in during):
        return "the node went on answering while it should have been gone"
    if (gap := blind(during, Window(applied, until))) > GONE_BLIND_S:
        return f"nobody looked at the node for {gap:.2f} s while the fault lasted"
    return None


def judge(
    claim: str,
    losing: str,
    service: str,
    budget: float,
    seen: Sequence[Look],
    window: Window | None,
    *,
    doubt: str | None = None,
    promise: Promise | None = None,
    stood: Sequence[Stall] = (),
) -> Judged:
    """The verdict on one claim, from the looks at its service.

    Broken only when the outage was surely longer than the budget; held only when it surely was not, the
    service was seen well before the fault, and somebody looked all the time; else inconclusive.  `doubt` is a
    reason why the whole run cannot prove anything (it still can refute); `promise` is what the protocol says
    of this service: what keeps the budget and yet contradicts the protocol is not understood; `stood` is when
    the observer itself stood still.
    """

    def verdict(what: Verdict, reason: str, outage: Interval) -> Judged:
        return Judged(claim, losing, service, what, budget, outage, reason)

    nothing = Interval(0.0, inf)
    if window is None:
        return verdict(INCONCLUSIVE, doubt or "no fault was applied", nothing)
    before = [look for look in seen if look.sent < window.began]
    if not any(look.ok for look in before):
        return verdict(INCONCLUSIVE, f"{service} gave no good look before the fault", nothing)
    early = [o for o in outages(before) if o.first_good is None]
    started = {o.first_failed for o in early if o.last_failed < window.began}
    # An outage that a client was already in is not this fault's doing, whatever became of it.
    found = [
        o
        for o in outages(seen)
        if o.first_failed not in started and (o.first_good is None or o.first_good > window.began)
    ]
    outage = Interval(
        max((o.at_least for o in found), default=0.0),
        max((o.at_most for o in found), default=0.0),
    )
    if outage.at_least > budget:
        return verdict(BROKEN, f"out for at least {outage.at_least:.3f} s", outage)
    if doubt:
        return verdict(INCONCLUSIVE, doubt, outage)
    if started:
        return verdict(INCONCLUSIVE, f"{service} was already failing when the fault began", outage)
    if outage.at_most == inf:
        return verdict(INCONCLUSIVE, f"{service} was not seen to come back", outage)
    if outage.at_most > budget:
        failed = sum(o.looks for o in found)
        between = f"{outage.at_least:.3f} to {outage.at_most:.3f} s"
        return verdict(INCONCLUSIVE, f"{failed} failed, out for {between}: not known more exactly", outage)
    unseen = blind(seen, window, stood)
    if unseen > max(budget, BLIND_S):
        return verdict(INCONCLUSIVE, f"nobody looked at {service} for {unseen:.2f} s", outage)
    if promise is not None and (why := contradiction(outage, promise)):
        return verdict(INCONCLUSIVE, why, outage)
    return verdict(HELD, "never out" if not found else f"out for at most {outage.at_most:.3f} s", outage)


def contradiction(outage: Interval, promise: Promise) -> str | None:
    """Why an outage does not fit what the protocol promises, or None when it does."""
    promised = f"the protocol says {promise.low:.3f} to {promise.high:.3f} s"
    if outage.at_most < promise.low - GRACE_S:
        return f"out for only {outage.at_most:.3f} s, but {promised}: this was no crash of the owner"
    if outage.at_least > promise.high + GRACE_S:
        return f"out for {outage.at_least:.3f} s at least, but {promised}"
    return None


def overall(claims: Sequence[Judged]) -> Verdict:
    """The worst verdict; of no claim that could be verified, inconclusive: nothing was proven."""
    verdicts = {claim.verdict for claim in claims} - {NOT_VERIFIED}
    if BROKEN in verdicts:
        return BROKEN
    return HELD if verdicts == {HELD} else INCONCLUSIVE


EXIT: Mapping[Verdict, int] = {HELD: 0, BROKEN: 1, INCONCLUSIVE: 4}
