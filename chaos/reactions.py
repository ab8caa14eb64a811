"""Verdicts on what K3s does about an agent that is lost, and on whether anything about K3s can be verified at all.

Pure functions of the recorded events (chaos/canary.py).  As of an outage, broken means that it surely came too late.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from chaos.judge import BROKEN, HELD, INCONCLUSIVE, NOT_VERIFIED, Interval, Judged, Verdict
from chaos.outages import Window
from cluster.model import K3S, Claim
from cluster.record import Event

NEWS = f"{K3S}-news"
UNKNOWN = Interval(0.0, inf)


def not_verified(claim: Claim, events: Sequence[Event]) -> Judged | None:
    """The claim as not verified, where it is about a K3s that is not there; else None."""
    absent = [e["absent"] for e in events if e["kind"] == K3S and "absent" in e]
    if not claim.about_k3s or not absent:
        return None
    return Judged(claim.name, claim.losing, claim.service, NOT_VERIFIED, claim.budget, UNKNOWN, str(absent[0]))


def doubt(claim: Claim, events: Sequence[Event]) -> str | None:
    """Why a claim about K3s cannot be believed to be kept, or None."""
    doubts = [str(e["doubt"]) for e in events if e["kind"] == K3S and "doubt" in e]
    return doubts[0] if doubts and claim.about_k3s else None


def judged(claim: Claim, events: Sequence[Event], window: Window | None, why_not: str | None) -> Judged:
    """The verdict on a claim of kind `reaction`; its budget is counted from what K3s itself is set to.

    Both are intervals: that a node is not ready is counted from the fault, that its pods are replaced from then on.
    """
    limits: dict[str, float] = next((e["limits"] for e in events if e["kind"] == K3S and "limits" in e), {})
    budget = limits.get(claim.service, 0.0) + claim.budget

    def verdict(what: Verdict, reason: str, measured: Interval = UNKNOWN) -> Judged:
        return Judged(claim.name, claim.losing, claim.service, what, budget, measured, reason)

    fault = next((e for e in events if e["kind"] == "fault" and e["state"] == "applied"), None)
    if window is None or fault is None or claim.service not in limits:
        return verdict(INCONCLUSIVE, why_not or "K3s does not tell what it is set to")
    undone = min([e["began"] for e in events if e["kind"] == "fault" and e["state"] == "undone"], default=inf)
    news = [e for e in events if e["kind"] == NEWS and window.began <= e["sent"] and e["answered"] <= undone]
    if not any(e["ready"] for e in events if e["kind"] == NEWS and e["answered"] < window.began):
        return verdict(INCONCLUSIVE, why_not or f"K3s did not take {claim.losing} to be ready before the fault")
    replaced = claim.service == f"{K3S}-replaced"
    measured = _replaced(news) if replaced else _not_ready(news, window.began, fault["ended"])
    if measured is None:
        return verdict(INCONCLUSIVE, why_not or "the fault was undone before K3s took notice of it")
    if measured.at_least > budget:
        return verdict(BROKEN, f"not before {measured.at_least:.3f} s", measured)
    if measured.at_most == inf:
        return verdict(INCONCLUSIVE, why_not or "the fault was undone before K3s did it", measured)
    if why_not or measured.at_most > budget:
        return verdict(INCONCLUSIVE, why_not or "not known more exactly", measured)
    return verdict(HELD, f"after {measured.at_most:.3f} s at most", measured)


def _not_ready(news: Sequence[Event], began: float, ended: float) -> Interval:
    """From the fault until the node was not ready."""
    good = [e["sent"] for e in news if e["ready"]]
    bad = [e["asked"] for e in news if not e["ready"]]
    return Interval(max(0.0, max(good, default=ended) - ended), min(bad, default=inf) - began)


def _replaced(news: Sequence[Event]) -> Interval | None:
    """From the node's not being ready until as many pods serve again as did; None where it never came so far."""
    bad = [e for e in news if not e["ready"]]
    if not bad:
        return None
    good = [e["sent"] for e in news if e["ready"]]
    missing = [e["asked"] for e in bad if not e["replaced"]]
    there = [e["answered"] for e in bad if e["replaced"]]
    since = max(good, default=bad[0]["sent"])
    return Interval(max(0.0, max(missing, default=0.0) - bad[0]["asked"]), min(there, default=inf) - since)
