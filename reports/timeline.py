"""The picture of an experiment as inline SVG: who answered when, who advertised when, around the fault.

A pure function of recorded events.  The clock starts at the fault; coordinates are rounded to a tenth, so the
same events give the same bytes.  Colours come from the page's style sheet, by class; each state also has a
shape of its own (height, hatching), so that the picture can be read without colours.

It is long because a picture has many parts: the values to draw come first, then one short function a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, log10

from markupsafe import Markup, escape

from reports.looks import Look, bands, slow, streams

WIDTH, LEFT, RIGHT = 1000.0, 150.0, 16.0
TOP, LANE, GAP, BOTTOM = 46.0, 26.0, 10.0, 40.0
SLIM = 2.5
"""The least width of a failed stretch: a single failed look must not be too thin to see."""


@dataclass(frozen=True)
class Service:
    """One lane of looks: `note` is the outage in words, `bad` whether it is worth a warning colour."""

    name: str
    looks: Sequence[Look]
    note: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Advertiser:
    """One lane of VRRP advertisements: when a node sent them, and its gratuitous ARP beside them."""

    name: str
    sent: Sequence[float]
    arp: Sequence[float] = ()


@dataclass(frozen=True)
class Reign:
    """Who answered for the floating address from one moment on: nobody, one, or more than one."""

    since: float
    names: tuple[str, ...]


@dataclass(frozen=True)
class Takeover:
    """The arithmetic of a takeover: from the last advertisement of the lost owner, on the events' clock."""

    last: float
    predicted: float | None = None
    measured: float | None = None
    window: tuple[float, float] | None = None
    """Seconds after the fault between which clients may expect the address back."""


@dataclass(frozen=True)
class Picture:
    """Everything that is drawn, on the events' own clock; `zero` is when the fault began."""

    zero: float
    began: float
    ended: float
    marks: Sequence[tuple[float, str]] = ()
    phases: Sequence[tuple[float, str]] = ()
    services: Sequence[Service] = ()
    advertisers: Sequence[Advertiser] = ()
    owners: Sequence[Reign] = ()
    takeover: Takeover | None = None
    stalls: Sequence[tuple[float, float]] = ()
    axis: str = "seconds from the fault"
    title: str = "Timeline"
    summary: str = ""


@dataclass
class _Canvas:
    picture: Picture
    parts: list[str] = field(default_factory=list)
    y: float = TOP

    def x(self, t: float) -> float:
        began, ended = self.picture.began, self.picture.ended
        share = (min(max(t, began), ended) - began) / ((ended - began) or 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def shown(self, t: float) -> bool:
        return self.picture.began <= t <= self.picture.ended

    def add(self, text: str) -> None:
        self.parts.append(text)

    def text(self, x: float, y: float, text: str, css: str, anchor: str = "start") -> None:
        self.add(f'<text x="{_n(x)}" y="{_n(y)}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>')

    def rect(self, x: float, y: float, width: float, height: float, css: str, tip: str = "") -> None:
        inside = f"<title>{escape(tip)}</title>" if tip else ""
        self.add(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" class="{css}"'
            + (f">{inside}</rect>" if inside else "/>")
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self.add(f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{css}"/>')


def draw(picture: Picture) -> Markup:
    """The picture as one <svg> element, safe to put into a page as it is."""
    canvas = _Canvas(picture)
    lanes = len(picture.services) + len(picture.advertisers) + bool(picture.owners) + 2 * _has_takeover(picture)
    bottom = TOP + lanes * (LANE + GAP) + (GAP if picture.advertisers or picture.owners else 0)
    _grid(canvas, bottom)
    for service in picture.services:
        _service(canvas, service)
    if picture.advertisers or picture.owners:
        canvas.y += GAP
    if picture.owners:
        _owners(canvas, picture)
    for advertiser in picture.advertisers:
        _advertiser(canvas, advertiser, picture)
    if picture.takeover is not None and _has_takeover(picture):
        _takeover(canvas, picture.takeover)
    _stalls(canvas, bottom)
    _marks(canvas, bottom)
    name = "".join(c if c.isalnum() else "-" for c in picture.title.lower())
    return Markup(
        f'<svg class="timeline" viewBox="0 0 {_n(WIDTH)} {_n(bottom + BOTTOM)}" role="img"'
        f' aria-labelledby="{name}-title {name}-desc" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{name}-title">{escape(picture.title)}</title>'
        f'<desc id="{name}-desc">{escape(picture.summary)}</desc>' + "".join(canvas.parts) + "</svg>"
    )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def seconds(value: float) -> str:
    """A time on the axis: as short as its step allows, with a real minus sign."""
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def step(span: float, most: int = 12) -> float:
    """The smallest of 1, 2, 5 times a power of ten that divides `span` seconds into at most `most` parts."""
    if span < 1e-6:  # finer than any clock here
        return 1.0
    raw = span / most
    power = 10.0 ** floor(log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)


def _grid(canvas: _Canvas, bottom: float) -> None:
    picture = canvas.picture
    low, high = picture.began - picture.zero, picture.ended - picture.zero
    each = step(high - low)
    for n in range(ceil(low / each - 1e-9), floor(high / each + 1e-9) + 1):
        x = canvas.x(picture.zero + n * each)
        canvas.line(x, TOP - 4, x, bottom, "tl-grid")
        canvas.text(x, bottom + 14, seconds(round(n * each, 6)), "tl-axis", "middle")
    canvas.text((LEFT + WIDTH - RIGHT) / 2, bottom + 32, picture.axis, "tl-axis", "middle")
    phases = [*picture.phases, (picture.ended, "")]
    for (began, name), (ended, _) in pairwise(phases):
        left, right = canvas.x(began), canvas.x(ended)
        if right - left > 8 * len(name):
            canvas.text((left + right) / 2, 12, name, "tl-phase", "middle")
        if canvas.shown(began):
            canvas.line(left, 3, left, 16, "tl-phase-edge")


def _stalls(canvas: _Canvas, bottom: float) -> None:
    for began, ended in canvas.picture.stalls:
        if ended >= canvas.picture.began and began <= canvas.picture.ended:
            left = canvas.x(began)
            tip = f"the observer itself was late by {ended - began:.3f} s"
            canvas.rect(left, TOP - 4, max(canvas.x(ended) - left, 1.0), bottom - TOP + 4, "tl-stall", tip)


def joined(stretches: Iterable[tuple[float, float]], slim: float = 0.0) -> list[tuple[float, float]]:
    """Stretches in picture units, widened to `slim`, and joined where no eye could tell them apart."""
    found: list[tuple[float, float]] = []
    for left, right in sorted(stretches):
        if right - left < slim:
            middle = (left + right) / 2
            left, right = middle - slim / 2, middle + slim / 2
        if found and left <= found[-1][1] + 0.3:
            found[-1] = (found[-1][0], max(found[-1][1], right))
        else:
            found.append((left, right))
    return found


def _service(canvas: _Canvas, service: Service) -> None:
    y = canvas.y
    _label(canvas, service.name, service.note, "tl-note-bad" if service.bad else "tl-note")
    canvas.rect(LEFT, y, WIDTH - LEFT - RIGHT, LANE, "tl-unseen")
    stretches: dict[str, list[tuple[float, float]]] = {"good": [], "slow": [], "unsure": [], "failed": []}
    picture = canvas.picture
    for stream in streams(service.looks):
        for band in bands(stream):
            if band.state in stretches and band.ended >= picture.began and band.began <= picture.ended:
                stretches[band.state].append((canvas.x(band.began), canvas.x(band.ended)))
        for began, ended in slow(stream):
            if ended >= picture.began and began <= picture.ended:
                stretches["slow"].append((canvas.x(began), canvas.x(ended)))
    inset = {"good": 4.0, "slow": 4.0, "unsure": 4.0, "failed": 0.0}
    for state, found in stretches.items():
        for left, right in joined(found, SLIM if state == "failed" else 0.0):
            if right > left:
                canvas.rect(left, y + inset[state], right - left, LANE - 2 * inset[state], f"tl-{state}")
    canvas.y += LANE + GAP


def _label(canvas: _Canvas, name: str, note: str, css: str) -> None:
    middle = canvas.y + LANE / 2
    canvas.text(LEFT - 10, middle - 1 if note else middle + 4, name, "tl-name", "end")
    if note:
        canvas.text(LEFT - 10, middle + 12, note, css, "end")


def _advertiser(canvas: _Canvas, advertiser: Advertiser, picture: Picture) -> None:
    y, middle = canvas.y, canvas.y + LANE / 2
    _label(canvas, advertiser.name, "advertisements", "tl-note")
    canvas.line(LEFT, middle, WIDTH - RIGHT, middle, "tl-silent")
    everybody = sorted(t for other in picture.advertisers for t in other.sent)
    for began, ended in reigns(advertiser.sent, everybody):
        if ended >= picture.began and began <= picture.ended:
            left = canvas.x(began)
            canvas.rect(left, middle - 3, max(canvas.x(ended) - left, 1.0), 6, "tl-master", "master")
    ticks = joined(((canvas.x(t), canvas.x(t)) for t in advertiser.sent if canvas.shown(t)), 2.0)
    for left, right in ticks:
        canvas.rect(left, y + 2, right - left, LANE - 4, "tl-advert")
    for left, right in joined(((canvas.x(t), canvas.x(t)) for t in advertiser.arp if canvas.shown(t)), 1.0):
        x = (left + right) / 2
        path = f"M{_n(x - 5)} {_n(y - 5)}h10l-5 7z"
        canvas.add(f'<path d="{path}" class="tl-arp"><title>gratuitous ARP</title></path>')
    canvas.y += LANE + GAP


def _owners(canvas: _Canvas, picture: Picture) -> None:
    _label(canvas, "owner", "who answers ARP", "tl-note")
    y = canvas.y
    last = Reign(picture.ended, ())
    for reign, after in pairwise([*sorted(picture.owners, key=lambda r: r.since), last]):
        if after.since <= picture.began or reign.since >= picture.ended:
            continue
        left, right = canvas.x(reign.since), canvas.x(after.since)
        css = {0: "tl-failed", 1: "tl-owner"}.get(len(reign.names), "tl-overlap")
        inset = 4.0 if len(reign.names) == 1 else 0.0
        text = " and ".join(reign.names) or "nobody"
        canvas.rect(left, y + inset, max(right - left, 1.0), LANE - 2 * inset, css, text)
        if right - left > 8 * len(text):
            dark = "tl-owner-name" if len(reign.names) == 1 else "tl-owner-none"
            canvas.text((left + right) / 2, y + LANE / 2 + 4, text, dark, "middle")
    canvas.y += LANE + GAP


def reigns(sent: Sequence[float], everybody: Sequence[float]) -> list[tuple[float, float]]:
    """Stretches in which one node advertised alone: between two of its advertisements, nobody else's."""
    mine = set(sent)
    usual = sorted(b - a for a, b in pairwise(sorted(sent)))
    patience = 2.5 * usual[len(usual) // 2] if usual else 0.0
    found: list[tuple[float, float]] = []
    for a, b in pairwise(everybody):
        if a in mine and b in mine and b - a <= patience:
            if found and found[-1][1] == a:
                found[-1] = (found[-1][0], b)
            else:
                found.append((a, b))
    return found


def _has_takeover(picture: Picture) -> bool:
    takeover = picture.takeover
    if takeover is None or takeover.last > picture.ended:
        return False
    return takeover.predicted is not None or takeover.measured is not None


def _takeover(canvas: _Canvas, takeover: Takeover) -> None:
    """Two bars from the last advertisement: what the protocol predicts, and what was seen."""
    for name, note, length, css in (
        ("takeover", "predicted", takeover.predicted, "tl-predicted"),
        ("", "measured", takeover.measured, "tl-measured"),
    ):
        y = canvas.y
        middle = y + LANE / 2
        _label(canvas, name, note, "tl-note")
        if name and takeover.window is not None:
            low, high = (canvas.picture.zero + t for t in takeover.window)
            if high >= canvas.picture.began and low <= canvas.picture.ended:
                left = canvas.x(low)
                first, last = takeover.window
                tip = f"clients see the address back {first:.3f} to {last:.3f} s after the fault"
                canvas.rect(left, y - 2, max(canvas.x(high) - left, 1.0), 2 * LANE + GAP + 4, "tl-window", tip)
        if length is not None:
            left, right = canvas.x(takeover.last), canvas.x(takeover.last + length)
            canvas.rect(left, middle - 5, max(right - left, 1.0), 10, css)
            canvas.line(right, y + 2, right, y + LANE - 2, "tl-end")
            text = f"{length:.3f} s"
            if right < WIDTH - RIGHT - 70:
                canvas.text(right + 6, middle + 4, text, "tl-value")
            else:
                canvas.text(right - 6, middle + 4, text, "tl-value", "end")
        canvas.y += LANE + GAP


def _marks(canvas: _Canvas, bottom: float) -> None:
    edge = -1e9
    for t, name in sorted(canvas.picture.marks):
        if not canvas.shown(t):
            continue
        x = canvas.x(t)
        canvas.line(x, TOP - 14, x, bottom, "tl-mark")
        width = 7.0 * len(name)
        anchor, left = ("start", x) if x + width < WIDTH else ("end", x - width)
        y = TOP - 18 if left > edge else TOP - 6
        canvas.text(x + (3 if anchor == "start" else -3), y, name, "tl-mark-name", anchor)
        edge = left + width
