"""Which pictures a run deserves, and what belongs in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports import bars, experiment, timeline
from reports.experiment import Claim, Fault, Wire
from reports.looks import Look, outages, streams
from reports.run import Run, number

AROUND = 1.5
"""Seconds shown before the fault, and after the last thing that went wrong, in the close-up."""
LONGEST_CLOSE_UP = 20.0
"""Seconds after the fault that the close-up shows at most."""


@dataclass(frozen=True)
class Figure:
    """A picture with its heading."""

    title: str
    svg: Markup


def pictures(
    run: Run,
    fault: Fault | None,
    looks: Mapping[str, Sequence[Look]],
    wire: Wire,
    claims: Sequence[Claim],
) -> list[Figure]:
    """The close-up around the fault and the whole experiment; nothing when nothing was looked at."""
    times = [look.sent for seen in looks.values() for look in seen]
    times += [look.known for seen in looks.values() for look in seen]
    times += [advert.t for adverts in wire.adverts.values() for advert in adverts]
    if not times:
        return []
    began, ended = min(times), max(times)
    zero = fault.began if fault is not None else began
    services = [
        timeline.Service(label(name, fault), seen, *_note(name, seen, claims, fault)) for name, seen in looks.items()
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
    phases = [(t, str(e.get("name"))) for e in run.of("phase") if (t := number(e.get("t"))) is not None]

    def picture(title: str, low: float, high: float) -> Figure:
        drawn = timeline.Picture(
            zero=zero,
            began=low,
            ended=high,
            marks=marks,
            phases=phases,
            services=services,
            advertisers=advertisers,
            owners=[timeline.Reign(since, names) for since, names in wire.owners],
            takeover=takeover,
            stalls=[(s.began, s.ended) for s in experiment.stalls_of(run)],
            axis="seconds from the fault" if fault is not None else "seconds from the start",
            title=title,
            summary=summary,
        )
        return Figure(title, timeline.draw(drawn))

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
        if name != experiment.ITSELF:
            ends += [o.ended for s in streams(seen) for o in outages(s) if fault.began <= o.began < until]
    if takeover is not None:
        ends += [takeover.last + t for t in (takeover.predicted, takeover.measured) if t is not None]
    return min(max(ends), until)


def _note(name: str, seen: Sequence[Look], claims: Sequence[Claim], fault: Fault | None) -> tuple[str, bool]:
    claim = next((c for c in claims if c.service == name), None)
    if claim is not None:
        text = str(bars.interval(claim.at_least, claim.at_most))
        return (text if text == "never out" else f"out {text}"), claim.verdict == "broken"
    found = experiment.services_of({name: seen}, fault)[0]
    if not found.failed:
        return "never out", False
    text = str(bars.interval(found.at_least, found.at_most))
    return (f"gone {text}" if name == experiment.ITSELF else f"out {text}"), False


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
    low, high = number(window.get("low_s")), number(window.get("high_s"))
    return timeline.Takeover(
        last=max(mine),
        predicted=number(window.get("predicted_s")),
        measured=number(window.get("measured_s")),
        window=(low, high) if low is not None and high is not None else None,
    )


def label(service: str, fault: Fault | None) -> str:
    """A service in words."""
    if service == experiment.ITSELF:
        return f"{fault.node} itself" if fault is not None else "the node itself"
    return service
