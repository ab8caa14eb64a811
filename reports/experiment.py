"""What a chaos run recorded, as values: its claims, its fault, the looks, the captured frames.

Nothing is judged here: verdicts were recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from reports.looks import Look, latencies, outages, streams
from reports.run import Run, nodes_of, number

ITSELF = "node"
"""The pseudo service that is the lost node's own address."""
ORDER = (ITSELF, "vip", "tcp", "tftp", "http", "vip-dns", "vip-ntp", "dns", "ntp", "dhcp")


@dataclass(frozen=True)
class Claim:
    """A judged claim as it was recorded."""

    name: str
    losing: str
    service: str
    verdict: str
    budget: float
    at_least: float
    at_most: float | None
    reason: str


def claims_of(run: Run) -> list[Claim]:
    """The judged claims, broken ones first, then inconclusive, then not verified, then held."""
    found = []
    for event in run.of("claim"):
        outage = event.get("outage_s") or {}
        found.append(
            Claim(
                str(event.get("claim", "?")),
                str(event.get("losing", "?")),
                str(event.get("service", "?")),
                str(event.get("verdict", "?")),
                number(event.get("budget_s")) or 0.0,
                number(outage.get("at_least")) or 0.0,
                number(outage.get("at_most")),
                str(event.get("reason") or ""),
            )
        )
    rank = {"broken": 0, "inconclusive": 1, "not verified": 2}
    return sorted(found, key=lambda claim: rank.get(claim.verdict, 3))


def looks_of(run: Run) -> dict[str, list[Look]]:
    """Every look by service: the well-known services first, the others by name."""
    found: dict[str, list[Look]] = defaultdict(list)
    for event in run.events:
        if event.get("kind") != "probe":
            continue
        sent = number(event.get("sent"))
        if sent is None:
            continue
        tried, client = number(event.get("last_try")), event.get("client")
        found[str(event.get("service"))].append(
            Look(
                sent,
                sent if tried is None else tried,
                number(event.get("answered")),
                event.get("ok") is True,
                None if client is None else str(client),
            )
        )
    place = {name: n for n, name in enumerate(ORDER)}
    return {name: found[name] for name in sorted(found, key=lambda name: (place.get(name, 99), name))}


@dataclass(frozen=True)
class Fault:
    """A fault with the moments (monotonic seconds) at which its doing and undoing began and ended."""

    name: str
    node: str
    began: float
    applied: float
    undo_began: float | None = None
    undone: float | None = None
    wall: float | None = None


def fault_of(run: Run) -> Fault | None:
    """The first fault that was applied, if any was."""
    found: Fault | None = None
    for event in run.of("fault"):
        began, ended = number(event.get("began")), number(event.get("ended"))
        t, wall = number(event.get("t")), number(event.get("wall"))
        state = event.get("state")
        if state == "applied" and found is None:
            began = began if began is not None else t
            if began is not None:
                at = wall - (t - began) if wall is not None and t is not None else None
                ended = ended if ended is not None else began
                found = Fault(str(event.get("fault", "?")), str(event.get("node", "?")), began, ended, wall=at)
        elif state == "undone" and found is not None and found.undone is None:
            undone = ended if ended is not None else t
            undo = began if began is not None else undone
            found = Fault(found.name, found.node, found.began, found.applied, undo, undone, found.wall)
    return found


@dataclass(frozen=True)
class Advert:
    """A VRRP advertisement: when, from which address, with which priority."""

    t: float
    src: str
    priority: float | None


@dataclass(frozen=True)
class Wire:
    """What was captured: advertisements and gratuitous ARP by node, and who answered for the address since when."""

    adverts: Mapping[str, Sequence[Advert]] = field(default_factory=dict)
    arp: Mapping[str, Sequence[float]] = field(default_factory=dict)
    owners: Sequence[tuple[float, tuple[str, ...]]] = ()


def wire_of(run: Run) -> Wire:
    """The captured frames by the name of the node that sent them (its address where it has no name)."""
    names = {str(n.get("address")): str(n.get("name")) for n in nodes_of(run)}
    macs: dict[str, str] = {}
    adverts: dict[str, list[Advert]] = defaultdict(list)
    arp: dict[str, list[float]] = defaultdict(list)
    frames = [(t, event) for event in run.of("frame") if (t := number(event.get("t"))) is not None]
    for t, event in frames:
        if event.get("proto") == "vrrp":
            src = str(event.get("src"))
            name = names.get(src, src)
            adverts[name].append(Advert(t, src, number(event.get("priority"))))
            if event.get("mac"):
                macs[str(event["mac"])] = name
    for t, event in frames:
        if event.get("proto") == "arp":
            mac = str(event.get("mac"))
            arp[macs.get(mac, mac)].append(t)
    owners = [
        (t, tuple(macs.get(str(mac), str(mac)) for mac in answered))
        for event in run.of("owners")
        if (t := number(event.get("t"))) is not None and isinstance(answered := event.get("macs"), list)
    ]
    order = {str(n.get("name")): i for i, n in enumerate(nodes_of(run))}
    by_place = sorted(adverts, key=lambda name: (order.get(name, 99), name))
    return Wire({name: sorted(adverts[name], key=lambda a: a.t) for name in by_place}, dict(arp), owners)


@dataclass(frozen=True)
class Service:
    """How one service was seen: counts, outage and latency in seconds (None: no good look)."""

    name: str
    looks: int
    failed: int
    at_least: float
    at_most: float | None
    usual: float | None
    worst: float | None
    worst_at: float | None
    """Seconds after the fault at which the worst answer was asked for."""


def services_of(looks: Mapping[str, Sequence[Look]], fault: Fault | None) -> list[Service]:
    """One line for each service that was looked at."""
    found = []
    for name, seen in looks.items():
        since = fault.began if fault is not None else None
        rows = [o for stream in streams(seen) for o in outages(stream) if since is None or o.ended >= since]
        longest = max(rows, key=lambda o: (o.at_least, o.at_most or 0.0), default=None)
        good = [look for look in seen if look.ok and look.answered is not None]
        worst = max(good, key=lambda look: look.known - look.sent, default=None)
        found.append(
            Service(
                name,
                len(seen),
                sum(not look.ok for look in seen),
                longest.at_least if longest else 0.0,
                longest.at_most if longest else 0.0,
                median(latencies(good)) if good else None,
                worst.known - worst.sent if worst else None,
                worst.sent - (since if since is not None else seen[0].sent) if worst else None,
            )
        )
    return found


@dataclass(frozen=True)
class Check:
    """One question to the cluster before the fault or after its undo, and what was found."""

    title: str
    ok: bool
    detail: str


def checks_of(run: Run) -> dict[str, list[Check]]:
    """The guard's checks and the proofs', by when they were made; those that were not in order first."""
    found: dict[str, list[Check]] = defaultdict(list)
    for event in run.events:
        if event.get("kind") in ("guard", "proof"):
            when = "Before the fault" if event["kind"] == "guard" else f"After: {event.get('when', 'proof')}"
            node = event.get("node")
            title = f"{event.get('name')} of {node}" if node is not None else str(event.get("name"))
            found[when].append(Check(title, event.get("ok") is True, str(event.get("detail") or "")))
    return {when: sorted(checks, key=lambda check: check.ok) for when, checks in found.items()}


@dataclass(frozen=True)
class Stall:
    """The observer itself was late: between these moments it may have missed things."""

    began: float
    ended: float


def stalls_of(run: Run) -> list[Stall]:
    """Every recorded stall of the observer."""
    found = []
    for event in run.of("stall"):
        late = number(event.get("late_s")) or 0.0
        at = number(event.get("at"))
        at = at if at is not None else number(event.get("t"))
        if at is not None:
            found.append(Stall(at - late, at))
    return found
