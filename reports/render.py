"""One self-contained HTML page for a recorded run, and an index over all of them.

`render` is a pure function of the run's folder: no clock, no network, no other file.  Rendering a run twice
gives the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from cluster import record
from reports import bars, story, timeline
from reports.looks import Look, outages, streams
from reports.story import Claim, Fault, Run, Service, Wire

if TYPE_CHECKING:
    from jinja2 import Environment

REPORT_FILE = "report.html"
INDEX_FILE = "index.html"
TEMPLATES = Path(__file__).parent / "templates"
AROUND = 1.5
"""Seconds shown before the fault, and after the last thing that went wrong, in the close-up."""
LONGEST_CLOSE_UP = 20.0
"""Seconds after the fault that the close-up shows at most."""


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
        symbol=story.SYMBOL,
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
    )
    return found


def render(folder: Path) -> Path:
    """Write `report.html` into a run's folder and return its path.

    Raises FileNotFoundError when the folder holds no run; a run that was interrupted or is damaged says so.
    """
    return _write(folder / REPORT_FILE, page(story.load(folder)))


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
        run = story.load(folder)
        rows.append(
            {
                "id": folder.name,
                "kind": run.kind,
                "head": story.headline(run),
                "command": str(run.about.get("command") or ""),
                "took": _took(run) or "not ended",
            }
        )
    return _environment().get_template("index.html.j2").render(rows=rows, tone="good")


def page(run: Run) -> str:
    """The page of one run."""
    fault = story.fault_of(run)
    looks = story.looks_of(run)
    claims = story.claims_of(run)
    specs = story.specs_of(run)
    wire = story.wire_of(run)
    stalls = story.stalls_of(run)
    counts = Counter(spec.outcome for spec in specs)
    right = bars.scale([c.budget for c in claims] + [c.at_most or c.at_least for c in claims])
    head = story.headline(run)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            tone=head.tone,
            head=head,
            cluster=str(run.about.get("cluster") or "cluster"),
            started=story.instant(run.about.get("started")),
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
            services=[asdict(s) | {"label": _label(s.name, fault)} for s in story.services_of(looks, fault)],
            specs=specs,
            counts=counts,
            rate=_rate(run, len(specs)),
            red=[s for s in specs if s.outcome == "failed"] + [s for s in specs if s.outcome == "error"],
            skips=story.skips(specs),
            left_out=run.about.get("left_out") or 0,
            matrix=story.matrix(run, specs),
            facts=facts(run),
            nodes=_nodes(run),
        )
    )


def _bar(claim: Claim, right: float) -> Markup:
    return bars.bar(claim.budget, claim.at_least, claim.at_most, claim.verdict, right)


def _label(service: str, fault: Fault | None) -> str:
    if service == story.ITSELF:
        return f"{fault.node} itself" if fault is not None else "the node itself"
    return service


# --- sentences


def sentences(run: Run, fault: Fault | None) -> list[str]:
    """The fault, told; empty when nothing was done to the cluster."""
    if fault is None:
        planned = [event for event in run.of("fault") if event.get("state") == "planned"]
        if planned:
            return [f"{planned[0].get('fault')} {planned[0].get('node')} was planned, but not applied."]
        return []
    done = f"{fault.node} was powered off" if fault.name == "kill" else f"{fault.name} was applied to {fault.node}"
    when = story.instant(fault.wall)
    at = f" at {when:%H:%M:%S} UTC" if when else ""
    if fault.undo_began is None:
        told = [f"{done}{at}, and its undoing was not recorded."]
    else:
        back = "powered on again" if fault.name == "kill" else "undone"
        told = [f"{done}{at} and {back} after {bars.length(fault.undo_began - fault.applied)}."]
    window = next(iter(run.of("window")), None)
    if window is not None:
        predicted, measured = story.number(window.get("predicted_s")), story.number(window.get("measured_s"))
        if measured is not None and predicted is not None:
            told.append(
                f"The address was taken over {measured:.3f} s after its owner's last advertisement; "
                f"the protocol predicts {predicted:.3f} s."
            )
    return told


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
    started, ended = story.instant(about.get("started")), story.instant(about.get("ended"))
    if started:
        found.append(("Started", f"{started:%Y-%m-%d %H:%M:%S} UTC"))
    found.append(("Ended", f"{ended:%Y-%m-%d %H:%M:%S} UTC, after {_took(run)}" if ended else "not recorded"))
    for name in ("status", "exit", "cluster", "profile"):
        if about.get(name) is not None:
            found.append((name.capitalize() if name != "exit" else "Exit code", str(about[name])))
    versions = about.get("versions")
    if isinstance(versions, dict) and versions:
        found.append(("Versions", ", ".join(f"{name} {value}" for name, value in versions.items())))
    found.append(("Recorded events", str(len(run.events))))
    return found


def _nodes(run: Run) -> list[Mapping[str, Any]]:
    nodes = run.about.get("nodes")
    kept = [node for node in nodes if isinstance(node, dict)] if isinstance(nodes, list) else []
    return [{key: str(node.get(key, "")) for key in ("name", "group", "address")} for node in kept]


def _took(run: Run) -> str:
    started, ended = story.instant(run.about.get("started")), story.instant(run.about.get("ended"))
    return bars.length((ended - started).total_seconds()) if started and ended else ""


def _rate(run: Run, specs: int) -> str:
    started, ended = story.instant(run.about.get("started")), story.instant(run.about.get("ended"))
    took = (ended - started).total_seconds() if started and ended else 0.0
    return f"{specs} in {bars.length(took)}, {specs / took:.0f} a second" if took > 0 and specs else ""


# --- pictures


def pictures(
    run: Run,
    fault: Fault | None,
    looks: Mapping[str, Sequence[Look]],
    wire: Wire,
    claims: Sequence[Claim],
) -> list[dict[str, Any]]:
    """The close-up around the fault and the whole experiment; nothing when nothing was looked at."""
    times = [look.sent for seen in looks.values() for look in seen]
    times += [look.known for seen in looks.values() for look in seen]
    times += [advert.t for adverts in wire.adverts.values() for advert in adverts]
    if not times:
        return []
    began, ended = min(times), max(times)
    zero = fault.began if fault is not None else began
    services = [
        timeline.Service(_label(name, fault), seen, *_note(name, seen, claims, fault)) for name, seen in looks.items()
    ]
    advertisers = [
        timeline.Advertiser(name, [advert.t for advert in adverts], wire.arp.get(name, ()))
        for name, adverts in wire.adverts.items()
    ]
    summary = ". ".join(f"{s.name}: {s.note}" for s in services if s.note)
    takeover = _takeover(run, fault, wire)
    marks = []
    if fault is not None:
        kill = fault.name == "kill"
        marks.append((fault.began, f"{fault.node} off" if kill else fault.name))
        if fault.undo_began is not None:
            marks.append((fault.undo_began, f"{fault.node} on" if kill else "undone"))
    phases = [(t, str(e.get("name"))) for e in run.of("phase") if (t := story.number(e.get("t"))) is not None]

    def picture(title: str, low: float, high: float) -> dict[str, Any]:
        drawn = timeline.Picture(
            zero=zero,
            began=low,
            ended=high,
            marks=marks,
            phases=phases,
            services=services,
            advertisers=advertisers,
            takeover=takeover,
            stalls=[(s.began, s.ended) for s in story.stalls_of(run)],
            axis="seconds from the fault" if fault is not None else "seconds from the start",
            title=title,
            summary=summary,
        )
        return {"title": title, "svg": timeline.draw(drawn)}

    found = []
    if fault is not None:
        end = _settled(fault, looks, takeover) + AROUND
        if end - zero + AROUND < 0.6 * (ended - began):
            found.append(picture("Around the fault", max(began, zero - AROUND), min(ended, end)))
    found.append(picture("The whole experiment", began, ended))
    return found


def _settled(fault: Fault, looks: Mapping[str, Sequence[Look]], takeover: timeline.Takeover | None) -> float:
    """When the last thing that the fault itself broke was over."""
    until = min(fault.undo_began or float("inf"), fault.began + LONGEST_CLOSE_UP)
    ends = [fault.began + 2 * AROUND]
    for name, seen in looks.items():
        if name != story.ITSELF:
            ends += [o.ended for s in streams(seen) for o in outages(s) if fault.began <= o.began < until]
    if takeover is not None:
        ends += [takeover.last + t for t in (takeover.predicted, takeover.measured) if t is not None]
    return min(max(ends), until)


def _note(name: str, seen: Sequence[Look], claims: Sequence[Claim], fault: Fault | None) -> tuple[str, bool]:
    claim = next((c for c in claims if c.service == name), None)
    if claim is not None:
        text = str(bars.interval(claim.at_least, claim.at_most))
        return (text if text == "never out" else f"out {text}"), claim.verdict == "broken"
    found: Service = story.services_of({name: seen}, fault)[0]
    if not found.failed:
        return "never out", False
    text = str(bars.interval(found.at_least, found.at_most))
    return (f"gone {text}" if name == story.ITSELF else f"out {text}"), False


def _takeover(run: Run, fault: Fault | None, wire: Wire) -> timeline.Takeover | None:
    """The recorded arithmetic, hung on the lost owner's last captured advertisement."""
    window = next(iter(run.of("window")), None)
    if window is None or fault is None:
        return None
    until = fault.undo_began if fault.undo_began is not None else float("inf")
    others = [a.t for n, adverts in wire.adverts.items() if n != fault.node for a in adverts if a.t > fault.began]
    until = min([until, *others])
    mine = [advert.t for advert in wire.adverts.get(fault.node, ()) if advert.t < until]
    if not mine:
        return None
    low, high = story.number(window.get("low_s")), story.number(window.get("high_s"))
    return timeline.Takeover(
        last=max(mine),
        predicted=story.number(window.get("predicted_s")),
        measured=story.number(window.get("measured_s")),
        window=(low, high) if low is not None and high is not None else None,
    )
