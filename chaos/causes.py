"""Why a claim may be broken, from what was recorded beside the looks: clauses that a verdict is told with.

Nothing is judged here; each clause is something that was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaos.nevers import foreign
from chaos.outages import Window
from chaos.ownership import reigns
from cluster.record import Event

MOVES = 2
"""How often the floating address moves when its owner is lost and comes back; else it does not move at all."""
OF_THE_ADDRESS = ("vip", "tcp", "tftp", "http", "two-owners")
OF_LEASES = ("dhcp", "wrong-answer", "rogue-server")
LISTS = {"dns": "name", "ntp": "time"}


def causes(
    events: Sequence[Event], losing: str, service: str, window: Window | None, names: Mapping[str, str]
) -> tuple[str, ...]:
    """What was seen that explains an outage of `service`; `names` are those of the nodes by address."""
    found = []
    for event in events:
        if event["kind"] == "guard" and not event["ok"]:
            of = f" of {event['node']}" if event["node"] else ""
            found.append(f"before the fault, {event['name']}{of}: {event['detail']}")
        if event["kind"] == "clients" and service in LISTS and len(event[service]) == 1:
            only = event[service][0]
            found.append(f"clients are told of one {LISTS[service]} server only, {names.get(only, only)} (by DHCP)")
    if service in OF_LEASES and (strangers := {e["src"]: e["mac"] for e in foreign(events)}):
        told = ", ".join(f"{names.get(src, src)} ({mac})" for src, mac in sorted(strangers.items()))
        found.append(f"DHCP clients were answered by {told}, which is none of the cluster's servers")
    if window is not None and service in OF_THE_ADDRESS:
        found_reigns = reigns(events, _vrid(events))
        before = [names.get(r.src, r.src) for r in found_reigns if r.began <= window.began]
        moves = [names.get(r.src, r.src) for r in found_reigns if r.began > window.began]
        if len(moves) > (MOVES if before[-1:] == [losing] else 0):
            found.append(f"the floating address changed hands {len(moves)} times, to {', '.join(moves[:6])}")
    return tuple(found)


def _vrid(events: Sequence[Event]) -> int:
    """The virtual router that is heard of first: the LAN has one, or the guard would have said so."""
    return next((int(e["vrid"]) for e in events if e["kind"] == "frame" and e["proto"] == "vrrp"), 0)
