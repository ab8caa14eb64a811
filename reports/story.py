"""What a recorded run says, as values a page can show; a pure function of the run's folder.

Nothing is judged here: verdicts were recorded.  A run that was cut off, or whose record is damaged, still tells
what it can, and says that it was.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from cluster import record
from reports.looks import Look, latencies, outages, streams

Event = Mapping[str, Any]

ITSELF = "node"
"""The pseudo service that is the lost node's own address."""
ORDER = (ITSELF, "vip", "tcp", "dns", "ntp", "dhcp")
SYMBOL = {
    "held": "\N{HEAVY CHECK MARK}",
    "broken": "\N{HEAVY BALLOT X}",
    "inconclusive": "?",
    "passed": "\N{HEAVY CHECK MARK}",
    "failed": "\N{HEAVY BALLOT X}",
    "error": "!",
    "skipped": "\N{EN DASH}",
}
WORST_FIRST = ("failed", "error", "skipped", "passed")


@dataclass(frozen=True)
class Run:
    """A run as it was recorded: its description, its events, and whether the record is whole."""

    folder: Path
    about: Mapping[str, Any]
    events: Sequence[Event]
    damaged: str | None = None

    @property
    def id(self) -> str:
        """The run's name."""
        return str(self.about.get("id") or self.folder.name)

    @property
    def kind(self) -> str:
        """specs, chaos, ..."""
        return str(self.about.get("kind") or "run")

    @property
    def ended(self) -> bool:
        """Whether the run closed its own record."""
        return bool(self.about.get("ended"))

    def of(self, kind: str) -> list[Event]:
        """The events of one kind, in the order they were written."""
        return [event for event in self.events if event.get("kind") == kind]


def load(folder: Path, *, events: bool = True) -> Run:
    """Read a run; without `events`, only its description.  Raises FileNotFoundError when it is no run at all."""
    damaged: str | None = None
    if not (folder / record.RUN_FILE).is_file():
        raise FileNotFoundError(f"{folder}: no {record.RUN_FILE}, so this is not a recorded run")
    try:
        about = record.about(folder)
    except ValueError:
        about, damaged = {}, f"{record.RUN_FILE} cannot be read"
    found: list[Event] = []
    if events:
        try:
            found.extend(event for event in record.events(folder) if isinstance(event, dict))
        except ValueError:  # JSON or UTF-8: a crash of the machine can leave rubbish behind
            damaged = f"{record.EVENTS_FILE} cannot be read beyond its first {len(found)} events"
    return Run(folder, about if isinstance(about, dict) else {}, found, damaged)


# --- the verdict in one line


@dataclass(frozen=True)
class Headline:
    """The verdict on a run in a few words; `tone` is good, bad or unsure."""

    tone: str
    text: str


def headline(run: Run) -> Headline:
    """The worst that can be said of a run, first."""
    claims = Counter(str(c.get("verdict")) for c in run.of("claim"))
    specs = Counter(s.outcome for s in specs_of(run))
    return _headline(run, claims, specs)


def _headline(run: Run, claims: Counter[str], specs: Counter[str]) -> Headline:
    status, code = run.about.get("status"), run.about.get("exit")
    red = specs["failed"] + specs["error"]
    if code == 5 and run.kind != "specs":
        return Headline("bad", "Not undone: the fault may still be in place")
    if claims["broken"]:
        return Headline("bad", _of(claims["broken"], claims.total(), "claim", "broken"))
    if red:
        return Headline("bad", _of(red, specs.total(), "spec", "failed"))
    if not run.ended or status == "interrupted":
        return Headline("unsure", "Interrupted: this run did not come to its end")
    if run.kind == "specs" and not specs.total():
        return Headline("bad", "Nothing was collected, so nothing was verified")
    if code == 3 and run.kind != "specs":
        return Headline("unsure", "Refused")
    if claims["inconclusive"]:
        return Headline("unsure", _of(claims["inconclusive"], claims.total(), "claim", "inconclusive"))
    if claims.total() and claims["held"] == claims.total():
        return Headline("good", _all(claims.total(), "claim", "held"))
    if run.kind == "specs" and code not in (0, None):
        return Headline("bad", f"The run failed with exit code {code}")
    if specs["passed"]:
        skipped = f", {specs['skipped']} skipped" if specs["skipped"] else ""
        return Headline("good", _all(specs["passed"], "spec", "passed") + skipped)
    if specs.total():
        return Headline("unsure", "Every spec was skipped, so nothing was verified")
    return Headline("unsure", "No claim was judged")


def _of(some: int, total: int, noun: str, what: str) -> str:
    if total == 1:
        return f"The only {noun} {'is ' if what == 'inconclusive' else ''}{what}"
    return f"{some} of {total} {noun}s {what}"


def _all(total: int, noun: str, what: str) -> str:
    return f"The only {noun} {what}" if total == 1 else f"All {total} {noun}s {what}"


# --- chaos


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
    """The judged claims, broken ones first, then inconclusive, then held."""
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
    rank = {"broken": 0, "inconclusive": 1}
    return sorted(found, key=lambda claim: rank.get(claim.verdict, 2))


def number(value: object) -> float | None:
    """A finite number as it is, anything else as None."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf"):
        return float(value)
    return None


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
    """What was captured: advertisements by node, and gratuitous ARP by node."""

    adverts: Mapping[str, Sequence[Advert]] = field(default_factory=dict)
    arp: Mapping[str, Sequence[float]] = field(default_factory=dict)


def wire_of(run: Run) -> Wire:
    """The captured frames by the name of the node that sent them (its address where it has no name)."""
    names = {str(n.get("address")): str(n.get("name")) for n in _nodes(run)}
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
    order = {str(n.get("name")): i for i, n in enumerate(_nodes(run))}
    by_place = sorted(adverts, key=lambda name: (order.get(name, 99), name))
    return Wire({name: sorted(adverts[name], key=lambda a: a.t) for name in by_place}, dict(arp))


def _nodes(run: Run) -> list[Mapping[str, Any]]:
    nodes = run.about.get("nodes")
    return [node for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []


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


# --- specs


@dataclass(frozen=True)
class Spec:
    """A spec's result as it was recorded."""

    test: str
    file: str
    node: str | None
    group: str | None
    outcome: str
    seconds: float
    message: str

    @property
    def function(self) -> str:
        """The test without its parameters."""
        return self.test.partition("[")[0]


def specs_of(run: Run) -> list[Spec]:
    """Every spec's result, in the order they ran."""
    return [
        Spec(
            str(event.get("test", "?")),
            str(event.get("file", "?")),
            None if event.get("node") is None else str(event["node"]),
            None if event.get("group") is None else str(event["group"]),
            str(event.get("outcome", "?")),
            number(event.get("seconds")) or 0.0,
            str(event.get("message") or ""),
        )
        for event in run.of("spec")
    ]


@dataclass(frozen=True)
class Cell:
    """How the specs of one row went on one node."""

    counts: Counter[str]

    @property
    def worst(self) -> str:
        """The outcome that decides the cell's look; empty when there was no spec."""
        return next((o for o in WORST_FIRST if self.counts[o]), "")

    @property
    def single(self) -> bool:
        """Whether it stands for one spec, which needs no number."""
        return self.counts.total() == 1


@dataclass(frozen=True)
class Row:
    """One file or one spec function, with a cell for each column of the matrix."""

    name: str
    cells: Sequence[Cell]
    total: Cell
    rows: Sequence[Row] = ()

    @property
    def used(self) -> list[int]:
        """The columns that have something in them."""
        return [n for n, cell in enumerate(self.cells) if cell.worst]


@dataclass(frozen=True)
class Matrix:
    """Spec results by file and node: `groups` are column headings over `nodes`; '' is the cluster as a whole."""

    groups: Sequence[tuple[str, int]]
    nodes: Sequence[str]
    rows: Sequence[Row]


def matrix(run: Run, specs: Sequence[Spec]) -> Matrix:
    """Specs by file, and within it by function, against nodes in the inventory's order."""
    known = [str(n.get("name")) for n in _nodes(run)]
    group = {str(n.get("name")): str(n.get("group")) for n in _nodes(run)}
    used = {spec.node for spec in specs}
    strangers = sorted({n for n in used if n is not None} - set(known))
    columns = [n for n in known if n in used] + strangers + ([""] if None in used else [])
    groups: list[tuple[str, int]] = []
    for node in columns:
        name = group.get(node, "") if node else ""
        if groups and groups[-1][0] == name:
            groups[-1] = (name, groups[-1][1] + 1)
        else:
            groups.append((name, 1))
    files: dict[str, list[Spec]] = defaultdict(list)
    for spec in specs:
        files[spec.file].append(spec)
    rows = []
    for file, inside in sorted(files.items()):
        functions: dict[str, list[Spec]] = defaultdict(list)
        for spec in inside:
            functions[spec.function].append(spec)
        below = [_row(name, found, columns) for name, found in functions.items()]
        rows.append(_row(file, inside, columns, below))
    return Matrix(groups, columns, rows)


def _row(name: str, specs: Sequence[Spec], columns: Sequence[str], rows: Sequence[Row] = ()) -> Row:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for spec in specs:
        counts[spec.node or ""][spec.outcome] += 1
    total = Counter(spec.outcome for spec in specs)
    return Row(name, [Cell(counts[column]) for column in columns], Cell(total), rows)


def skips(specs: Iterable[Spec]) -> list[tuple[str, int, str]]:
    """The reasons of skipped specs, most frequent first: reason, how many, on which nodes."""
    found: dict[str, list[Spec]] = defaultdict(list)
    for spec in specs:
        if spec.outcome == "skipped":
            found[spec.message or "no reason given"].append(spec)
    by_count = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        (reason, len(some), ", ".join(dict.fromkeys(s.node for s in some if s.node is not None)))
        for reason, some in by_count
    ]


# --- when


def instant(value: object) -> datetime | None:
    """A moment from ISO 8601 text or epoch seconds, in UTC; None for anything else."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).astimezone(UTC)
        if (seconds := number(value)) is not None:
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None
