"""The verdict on a run in one line: the worst that can be said of it, first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from reports.results import specs_of
from reports.run import Run

SYMBOL = {
    "held": "\N{HEAVY CHECK MARK}",
    "broken": "\N{HEAVY BALLOT X}",
    "inconclusive": "?",
    "not verified": "\N{EN DASH}",
    "passed": "\N{HEAVY CHECK MARK}",
    "failed": "\N{HEAVY BALLOT X}",
    "error": "!",
    "skipped": "\N{EN DASH}",
}
MARK = {"good": SYMBOL["held"], "bad": SYMBOL["broken"], "unsure": "?"}
"""By tone."""


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
    if claims["held"] and claims["held"] + claims["not verified"] == claims.total():
        rest = f", {claims['not verified']} not verified" if claims["not verified"] else ""
        return Headline("good", _all(claims["held"], "claim", "held") + rest)
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
