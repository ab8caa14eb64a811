"""One self-contained HTML page for a recorded run, and an index over all of them.

`render` is a pure function of the run's folder: no clock, no network, no other file.  Rendering a run twice
gives the same bytes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from cluster import record
from reports import bars, experiment, headline, results
from reports.experiment import Claim, Fault
from reports.pictures import label, pictures
from reports.run import Run, instant, load, nodes_of, number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jinja2 import Environment

    from reports.nights import Night, Row

REPORT_FILE = "report.html"
INDEX_FILE = "index.html"
TEMPLATES = Path(__file__).parent / "templates"
NO_SERVICE = frozenset(
    {"recovery", "two-owners", "duplicate-lease", "wrong-answer", "rogue-server", "k3s-not-ready", "k3s-replaced"}
)
"""What claims about the cluster, not about a service that clients use, have in a service's place."""


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.globals.update(
        length=bars.length,
        interval=bars.interval,
        symbol=headline.SYMBOL,
        mark=headline.MARK,
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
    )
    return found


def render(folder: Path) -> Path:
    """Write `report.html` into a run's folder and return its path.

    Raises FileNotFoundError when the folder holds no run; a run that was interrupted or is damaged says so.
    """
    return _write(folder / REPORT_FILE, page(load(folder)))


def index(runs: Path) -> Path:
    """Write `index.html` over all runs into their folder and return its path."""
    return _write(runs / INDEX_FILE, index_page(runs))


def _write(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", errors="replace")
    part.replace(path)
    return path


def folders(runs: Path) -> list[Path]:
    """The folders of recorded runs, oldest first."""
    return sorted(path.parent for path in runs.glob(f"*/{record.RUN_FILE}"))


def index_page(runs: Path) -> str:
    """The page that lists every run with its verdict, newest first."""
    rows = []
    for folder in reversed(folders(runs)):
        run = load(folder)
        rows.append(
            {
                "id": folder.name,
                "kind": run.kind,
                "head": headline.headline(run),
                "command": str(run.about.get("command") or ""),
                "took": _took(run) or "not ended",
            }
        )
    return _environment().get_template("index.html.j2").render(rows=rows, tone="good")


def nights_page(rows: Sequence[Row], *, cluster: str, at: str, due: datetime, zone: str) -> str:
    """The page that lists the deployer's last nights, newest first, and says when the next one begins."""
    tone = "unsure" if not rows else rows[0].night.tone if rows[0].night else "bad"
    values = {"rows": rows, "cluster": cluster, "at": at, "due": due, "zone": zone, "tone": tone}
    return _environment().get_template("nights.html.j2").render(values)


def night_page(night: Night, *, cluster: str, row: Row) -> str:
    """The page of a night that recorded no run, or whose run is gone."""
    values = {"night": night, "row": row, "cluster": cluster, "tone": night.tone}
    return _environment().get_template("night.html.j2").render(values)


def page(run: Run) -> str:
    """The page of one run."""
    fault = experiment.fault_of(run)
    looks = experiment.looks_of(run)
    claims = experiment.claims_of(run)
    specs = results.specs_of(run)
    wire = experiment.wire_of(run)
    stalls = experiment.stalls_of(run)
    counts = Counter(spec.outcome for spec in specs)
    right = bars.scale([c.budget for c in claims] + [c.at_most or c.at_least for c in claims])
    head = headline.headline(run)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            tone=head.tone,
            head=head,
            cluster=str(run.about.get("cluster") or "cluster"),
            started=instant(run.about.get("started")),
            sentences=sentences(run, fault),
            warnings=warnings(run),
            claims=[asdict(c) | {"bar": _bar(c, right)} for c in claims],
            right=bars.length(right),
            pictures=pictures(run, fault, looks, wire, claims),
            has_adverts=bool(wire.adverts),
            has_arp=bool(wire.arp),
            has_stalls=bool(stalls),
            stalls=stalls,
            worst_stall=max((s.ended - s.began for s in stalls), default=0.0),
            services=[asdict(s) | {"label": label(s.name, fault)} for s in experiment.services_of(looks, fault)],
            checks=experiment.checks_of(run),
            specs=specs,
            counts=counts,
            rate=_rate(run, len(specs)),
            red=[s for s in specs if s.outcome == "failed"] + [s for s in specs if s.outcome == "error"],
            skips=results.skips(specs),
            measured=results.measured(specs),
            left_out=_left_out(run),
            matrix=results.matrix(run, specs),
            facts=facts(run),
            nodes=[{key: str(node.get(key, "")) for key in ("name", "group", "address")} for node in nodes_of(run)],
        )
    )


def _left_out(run: Run) -> dict[str, int]:
    """How many specs of which kind were not run; older runs have one number, of disruptive ones."""
    found = run.about.get("left_out") or {}
    return {"disruptive": found} if isinstance(found, int) else found


def _bar(claim: Claim, right: float) -> Markup:
    if claim.verdict == "not verified":
        return Markup()
    return bars.bar(claim.budget, claim.at_least, claim.at_most, claim.verdict, right)


# --- sentences


def sentences(run: Run, fault: Fault | None) -> list[str]:
    """The fault and why the run came to no better end, told; empty when nothing was done to the cluster."""
    reason = str(run.about.get("reason") or "")
    return [*_told(run, fault), *_noticed(run), *([reason[:1].upper() + reason[1:] + "."] if reason else [])]


def _told(run: Run, fault: Fault | None) -> list[str]:
    if fault is None:
        planned = [event for event in run.of("fault") if event.get("state") == "planned"]
        if planned:
            return [f"{planned[0].get('fault')} {planned[0].get('node')} was planned, but not applied."]
        return []
    done = f"{fault.node} was powered off" if fault.name == "kill" else f"{fault.name} was applied to {fault.node}"
    when = instant(fault.wall)
    at = f" at {when:%H:%M:%S} UTC" if when else ""
    if fault.undo_began is None:
        told = [f"{done}{at}, and its undoing was not recorded."]
    else:
        back = "powered on again" if fault.name == "kill" else "undone"
        told = [f"{done}{at} and {back} after {bars.length(fault.undo_began - fault.applied)}."]
    window = next(iter(run.of("window")), None)
    if window is not None:
        predicted, measured = number(window.get("predicted_s")), number(window.get("measured_s"))
        if measured is not None and predicted is not None:
            survivor, lost = window.get("survivor") or "Another node", window.get("lost") or fault.node
            told.append(
                f"{survivor} took over the floating address {measured:.3f} s after {lost}'s last advertisement; "
                f"the protocol predicts {predicted:.3f} s."
            )
    return [*told, *_owned(run)]


def _owned(run: Run) -> list[str]:
    """How long the floating address was nobody's, and how long more than one node's."""
    event = next(iter(run.of("ownership")), None)
    if event is None:
        return []

    def span(name: str) -> str:
        outage = event.get(name) or {}
        return str(bars.interval(number(outage.get("at_least")) or 0.0, number(outage.get("at_most"))))

    gap, overlap = span("gap_s"), span("overlap_s")
    if gap == overlap == "never out":
        return ["The floating address had exactly one owner all the time."]
    told = [
        f"nobody for {gap}" if gap != "never out" else "",
        f"two nodes for {overlap}" if overlap != "never out" else "",
    ]
    return [f"The floating address was answered for by {' and by '.join(filter(None, told))}."]


def _noticed(run: Run) -> list[str]:
    """What clients noticed, by the judged claims about services, and when redundancy was back."""
    judged = experiment.claims_of(run)
    claims = [c for c in judged if c.service not in NO_SERVICE]
    back = [
        f"Full redundancy was back after {bars.interval(c.at_least, c.at_most)}."
        for c in judged if c.service == "recovery" and c.verdict != "inconclusive"
    ]  # fmt: skip
    return [*_out(claims), *back]


def _out(claims: list[Claim]) -> list[str]:
    out = [c for c in claims if c.at_least > 0 or (c.at_most or 0.0) > 0]
    never = ", ".join(c.service for c in claims if c.verdict == "held" and c not in out)
    told = ", ".join(f"{c.service} for {bars.interval(c.at_least, c.at_most)}" for c in out)
    if out:
        return [f"Clients were without {told}" + (f"; {never} never failed." if never else ".")]
    return [f"Clients noticed nothing: {never} never failed."] if never else []


def warnings(run: Run) -> list[str]:
    """What a reader must know before believing the page."""
    found = []
    if not run.ended:
        found.append("This run did not close its record: it was interrupted, or is still going on.")
    if run.damaged:
        found.append(f"The record is damaged: {run.damaged}.")
    return found


def facts(run: Run) -> list[tuple[str, str]]:
    """What the run says of itself."""
    about = run.about
    found = [("Command", str(about.get("command") or "not recorded")), ("Run", run.id)]
    started, ended = instant(about.get("started")), instant(about.get("ended"))
    if started:
        found.append(("Started", f"{started:%Y-%m-%d %H:%M:%S} UTC"))
    found.append(("Ended", f"{ended:%Y-%m-%d %H:%M:%S} UTC, after {_took(run)}" if ended else "not recorded"))
    for name in ("status", "exit", "cluster", "place", "profile"):
        if about.get(name) is not None:
            found.append((name.capitalize() if name != "exit" else "Exit code", str(about[name])))
    versions = about.get("versions")
    if isinstance(versions, dict) and versions:
        found.append(("Versions", ", ".join(f"{name} {value}" for name, value in versions.items())))
    found.append(("Recorded events", str(len(run.events))))
    return found


def _took(run: Run) -> str:
    started, ended = instant(run.about.get("started")), instant(run.about.get("ended"))
    return bars.length((ended - started).total_seconds()) if started and ended else ""


def _rate(run: Run, specs: int) -> str:
    started, ended = instant(run.about.get("started")), instant(run.about.get("ended"))
    took = (ended - started).total_seconds() if started and ended else 0.0
    return f"{specs} in {bars.length(took)}, {specs / took:.0f} a second" if took > 0 and specs else ""
