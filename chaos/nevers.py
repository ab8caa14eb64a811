"""Verdicts on what must never happen, and on how soon all is back; pure functions of the recorded events.

As of an outage, broken means that it surely was so, held that it surely was not and that somebody looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from chaos.judge import BLIND_S, BROKEN, HELD, INCONCLUSIVE, Interval, Judged, Verdict
from chaos.outages import Look, Stall, Window, blind, stalls
from chaos.ownership import stretches, watched_until
from cluster.model import Claim
from cluster.record import Event

NOTHING = Interval(0.0, 0.0)
UNKNOWN = Interval(0.0, inf)


def judged(
    claim: Claim, events: Sequence[Event], services: dict[str, list[Look]], window: Window | None, doubt: str | None
) -> Judged:
    """The verdict on a claim of kind `never` or `recovery`; `doubt` is why the run cannot prove anything."""

    def verdict(what: Verdict, reason: str, measured: Interval) -> Judged:
        return Judged(claim.name, claim.losing, claim.service, what, claim.budget, measured, reason)

    if window is None:
        return verdict(INCONCLUSIVE, doubt or "no fault was applied", UNKNOWN)
    if claim.kind == "recovery":
        measured, unseen = _recovery(events)
        said = f"back after {_span(measured)}"
    elif claim.service == "two-owners":
        measured, unseen = _overlap(events, services.get("vip", []), window, claim.budget)
        said = "never" if not measured.at_most else f"two nodes answered for the floating address for {_span(measured)}"
    else:
        find, needed = _OF[claim.service]
        if found := find(events, window):
            return verdict(BROKEN, found[0] if len(found) == 1 else f"{len(found)} times, first {found[0]}", UNKNOWN)
        measured, said, unseen = NOTHING, "never", _unseen(services, needed, window, stalls(events))
        if claim.service == "rogue-server" and not any(_served(e, window) for e in events):
            unseen = unseen or "no DHCP server was overheard while the fault lasted, not even the cluster's own"
    if measured.at_least > claim.budget:
        return verdict(BROKEN, said, measured)
    if doubt or unseen:
        return verdict(INCONCLUSIVE, doubt or unseen, measured)
    if measured.at_most > claim.budget:
        return verdict(INCONCLUSIVE, f"{said}: not known more exactly", measured)
    return verdict(HELD, said, measured)


def _span(measured: Interval) -> str:
    most = "an unknown time" if measured.at_most == inf else f"{measured.at_most:.3f} s"
    return f"{measured.at_least:.3f} s to {most}"


def _recovery(events: Sequence[Event]) -> tuple[Interval, str]:
    """From the start of the undo until everything was proven back; the last doubt is its `at_least`."""
    found = [e for e in events if e["kind"] == "recovered"]
    if not found:
        return UNKNOWN, "nobody saw it come back"
    most = found[-1]["at_most"]
    return Interval(found[-1]["at_least"], inf if most is None else most), ""


def _overlap(events: Sequence[Event], vip: Sequence[Look], window: Window, budget: float) -> tuple[Interval, str]:
    """The longest time in which two nodes answered ARP for the floating address; why more may be hidden, or nothing.

    Who answers is recorded when it changes; that it was asked for all the time is known by the looks at the address,
    which the same loop sends more often.  Of an overlap that began before the fault, only the rest surely counts.
    """
    changes = [e for e in events if e["kind"] == "owners"]
    if not any(e["t"] < window.began for e in changes):
        return UNKNOWN, "nobody was seen to answer for the floating address before the fault"
    found = [
        Interval(max(0.0, s.length.at_least - max(0.0, window.began - s.began)), s.length.at_most)
        for s in stretches(events)
        if len(s.macs) > 1 and s.ended > window.began
    ]
    if len(changes[-1]["macs"]) > 1:
        found.append(Interval(max(0.0, watched_until(events) - max(window.began, changes[-1]["t"])), inf))
    longest = Interval(max((f.at_least for f in found), default=0.0), max((f.at_most for f in found), default=0.0))
    gap = blind(vip, window, stalls(events))
    return longest, f"nobody asked whose the floating address is for {gap:.2f} s" if gap > max(budget, BLIND_S) else ""


def _duplicates(events: Sequence[Event], window: Window) -> list[str]:
    """Each lease that was given for an address that another of our clients still had, as a clause."""
    holders: dict[str, str] = {}
    found = []
    for event in sorted((e for e in events if e["kind"] in ("probe", "release")), key=lambda e: float(e["t"])):
        client, address = event.get("client"), event.get("address")
        if client is None or address is None:
            continue
        if event["kind"] == "release":
            if holders.get(address) == client:
                del holders[address]
            continue
        if not event["ok"]:
            continue
        other = holders.get(address)
        if other not in (None, client) and event["t"] >= window.began:
            found.append(f"{event['server']} leased {address} to {client} while {other} had it")
        holders = {a: holder for a, holder in holders.items() if holder != client} | {address: client}
    return found


def _wrong(events: Sequence[Event], window: Window) -> list[str]:
    """Each wrong answer of a name, time or DHCP server, as a clause."""
    return [
        f"{e['service']}: {e['server']} said {e['said']}"
        for e in events
        if e["kind"] == "wrong" and e["t"] >= window.began
    ]


def _rogues(events: Sequence[Event], window: Window) -> list[str]:
    """Each word of a DHCP server that is none of the cluster's, as a clause."""
    return [
        f"{e['src']} ({e['mac']}) said {e['said']} of {e['address']} to {e['client']}"
        for e in foreign(events)
        if _served(e, window)
    ]


def _served(event: Event, window: Window) -> bool:
    """Whether it is a DHCP server that speaks."""
    return bool(event["kind"] == "frame" and event["proto"] == "dhcp" and event["t"] >= window.began)


def foreign(events: Sequence[Event]) -> list[Event]:
    """What DHCP servers were overheard to say that are none of those which leases are expected from."""
    known = {server for e in events if e["kind"] == "clients" for server in e.get("dhcp", ())}
    spoke = (e for e in events if e["kind"] == "frame" and e["proto"] == "dhcp")
    return [e for e in spoke if {e["src"], e["server"]} - known]


_OF = {
    "duplicate-lease": (_duplicates, ("dhcp",)),
    "wrong-answer": (_wrong, ("dns", "ntp", "dhcp")),
    "rogue-server": (_rogues, ("dhcp",)),
}
"""What is found for each of these events, and which services somebody must have looked at to know that it never was."""


def _unseen(services: dict[str, list[Look]], needed: Sequence[str], window: Window, stood: Sequence[Stall]) -> str:
    """Why nobody can know what these services answered, or nothing."""
    for service in needed:
        seen = services.get(service, [])
        if not any(look.ok and look.sent < window.began for look in seen):
            return f"{service} gave no good look before the fault"
        if (gap := blind(seen, window, stood)) > BLIND_S:
            return f"nobody looked at {service} for {gap:.2f} s"
    return ""
