"""All verdicts of one record: the claims about what was lost, and the takeover of the floating address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chaos import judge, nevers, reactions
from chaos.causes import causes
from chaos.outages import fault_window, looks, stalls, unfinished
from chaos.takeover import takeover
from cluster.model import Claim
from cluster.probes import vrrp
from cluster.record import Event


@dataclass(frozen=True)
class Expected:
    """The takeover that VRRP promises when the owner of the floating address is lost."""

    lost: str
    survivor: str
    lost_address: str
    survivor_address: str
    vrid: int
    window: vrrp.Window


def verdicts(
    seen: Sequence[Event],
    claims: Sequence[Claim],
    doubts: Sequence[str] = (),
    expected: Expected | None = None,
    names: Mapping[str, str] | None = None,
) -> tuple[tuple[judge.Judged, ...], dict[str, Any] | None]:
    """Judge the claims by a record; with `expected`, also the fields of its `window` event.

    `doubts` are reasons why the run can prove nothing; it still can refute.  A claim that is broken is told with what
    was seen that explains it; `names` are those of the nodes by address.
    """
    window = fault_window(seen)
    doubts = list(doubts)
    if window is not None and (why := judge.took_hold(seen, window)):
        doubts.append(why)
    arithmetic = promise = None
    if expected is not None and window is not None:
        promised = expected.window
        promise = judge.Promise(promised.client_low, promised.client_high)
        addresses = expected.lost_address, expected.survivor_address
        found = takeover(seen, *addresses, expected.vrid, promised.master_down, window)
        arithmetic = {
            "low_s": promised.client_low,
            "high_s": promised.client_high,
            "predicted_s": promised.master_down,
            "measured_s": found.measured_s,
            "verdict": found.verdict,
            "lost": expected.lost,
            "survivor": expected.survivor,
            "source": f"keepalived.conf of {expected.survivor}",
        }
    services = looks(seen)
    doubt = doubts[0] if doubts else None
    stood = stalls(seen)

    def one(claim: Claim) -> judge.Judged:
        if (absent := reactions.not_verified(claim, seen)) is not None:
            return absent
        why_not = doubt or reactions.doubt(claim, seen)
        if claim.kind == "reaction":
            return reactions.judged(claim, seen, window, why_not)
        if claim.kind != "outage":
            return nevers.judged(claim, seen, services, window, doubt)
        if window is not None:
            why_not = why_not or unfinished(seen, claim.service, window)
        return judge.judge(
            claim.name,
            claim.losing,
            claim.service,
            claim.budget,
            services.get(claim.service, []),
            window,
            doubt=why_not,
            promise=promise if claim.service == "vip" else None,
            stood=() if claim.about_k3s else stood,  # it is not the observer that looks at K3s
        )

    def told(found: judge.Judged) -> judge.Judged:
        if found.verdict != judge.BROKEN:
            return found
        return replace(
            found, reason="; ".join([found.reason, *causes(seen, found.losing, found.service, window, names or {})])
        )

    return tuple(told(one(claim)) for claim in claims), arithmetic
