"""A claim as a small picture: the budget as a mark, the measured outage as an interval."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

WIDTH, HEIGHT, PAD = 240.0, 26.0, 6.0


def scale(values: Iterable[float | None]) -> float:
    """The right end, in seconds, of an axis on which all `values` have room; None counts for nothing."""
    return max((v for v in values if v is not None), default=0.0) * 1.15 or 1.0


def bar(budget: float, at_least: float, at_most: float | None, verdict: str, right: float) -> Markup:
    """One claim on an axis from 0 to `right` seconds; `at_most` None is an outage whose end was not seen.

    The sure part of the outage is solid, what lies between `at_least` and `at_most` is hatched.
    """

    def x(seconds: float) -> float:
        return PAD + min(max(seconds, 0.0), right) / right * (WIDTH - 2 * PAD)

    middle = HEIGHT / 2
    sure, most, mark = x(at_least), x(right if at_most is None else at_most), x(budget)
    parts = [f'<line x1="{x(0):.1f}" y1="{middle}" x2="{WIDTH - PAD}" y2="{middle}" class="bar-axis"/>']
    kind = verdict if verdict in ("held", "broken") else "unsure"
    if at_least > 0:
        parts.append(
            f'<rect x="{x(0):.1f}" y="{middle - 5}" width="{max(sure - x(0), 1):.1f}" height="10" class="bar-{kind}"/>'
        )
    if most > sure:
        parts.append(
            f'<rect x="{sure:.1f}" y="{middle - 5}" width="{max(most - sure, 3):.1f}" height="10"'
            f' class="bar-{kind} bar-most"/>'
        )
    if at_least <= 0 and most <= sure:
        parts.append(f'<circle cx="{x(0):.1f}" cy="{middle}" r="4" class="bar-{kind}"/>')
    parts.append(f'<path d="M{mark:.1f} 3v{HEIGHT - 6}m-4 {6 - HEIGHT}h8l-4 5z" class="bar-budget"/>')
    return Markup(
        f'<svg class="bar" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" width="{WIDTH:.0f}" height="{HEIGHT:.0f}"'
        f' aria-hidden="true">{"".join(parts)}</svg>'
    )


def interval(at_least: float | None, at_most: float | None) -> Markup:
    """An outage in words: what is sure, and what is possible."""
    least = at_least or 0.0
    if at_most is None:
        return Markup("at least {}, end not seen").format(length(least))
    if at_most <= 0:
        return Markup("never out")
    low, high = length(least), length(at_most)
    if low == high:
        return escape(high)
    number, _, unit = low.partition(" ")
    return escape(f"{number if unit == high.partition(' ')[2] else low} to {high}")


def length(seconds: float) -> str:
    """Seconds for people: milliseconds below one second, whole precision of the measurement above."""
    if seconds == 0:
        return "0 s"
    if abs(seconds) < 0.9995:
        return f"{seconds * 1000:.0f} ms" if abs(seconds) >= 0.01 else f"{seconds * 1000:.1f} ms"
    if abs(seconds) < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
