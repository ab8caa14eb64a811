"""The nights of the deployer: what it looked at by itself, what came of it, and the pages that tell.

A night is one small file, written when it begins and again when it ends, so that one which was cut off is seen as that.
The pages are a pure function of these files, of the runs' own pages, and of the time of day at which nights begin: a
night that should have been and was not has a line of its own.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from cluster import record
from reports import bars, headline, render, results
from reports.headline import Headline
from reports.run import load

RECORDS, SITE, SINCE = "records", "site", "since"
DUE_FILE, INDEX_FILE, PREFIX = "due", "index.html", "night-"
LATE_S = 3600.0
"""A night that begins later than this after its time is another one; a run of its own is over by then."""
SAID_LINES = 40


@dataclass(frozen=True)
class Night:
    """One night: when it began and ended (epoch seconds), the run it recorded, and the verdict on it in a line."""

    began: float
    ended: float | None = None
    exit: int | None = None
    run: str = ""
    tone: str = "unsure"
    text: str = "It did not come to its end"
    counts: str = ""
    said: str = ""
    """The last lines of what it printed, where it recorded no run."""

    @property
    def id(self) -> str:
        """What its file and its page are called."""
        return f"{datetime.fromtimestamp(self.began):%Y%m%d-%H%M%S}"


@dataclass(frozen=True)
class Row:
    """A line of the index: a night, or one that was missed."""

    when: datetime
    night: Night | None
    page: str = ""
    took: str = ""


def begin(folder: Path, now: float) -> Night:
    """Write down that a night begins."""
    night = Night(now)
    _save(folder, night)
    return night


def end(folder: Path, runs: Path, now: float, code: int, said: str) -> Night:
    """Write down what came of the newest night: the run that pytest named in what it said, or else the next begun."""
    began = [night for night in nights(folder) if night.ended is None]
    night = replace(began[-1] if began else Night(now), ended=now, exit=code)
    begun = [path for path in render.folders(runs) if path.name >= _run_name(night.began)]
    named = [path for path in begun if path.name in record.named(said)]
    found = (named or begun)[:1]
    night = _judged(night, found[0]) if found else replace(night, tone="bad", text=_no_run(code), said=_tail(said))
    _save(folder, night)
    return night


def _run_name(began: float) -> str:
    """What no run that began before is called: cluster/record.py names them after the time in UTC."""
    return f"{datetime.fromtimestamp(began, UTC):%Y%m%d-%H%M%S}"


def _no_run(code: int) -> str:
    why = {124: "it took too long", 137: "it was killed"}.get(code, f"exit code {code}")
    return f"Nothing was recorded: {why}"


def _judged(night: Night, folder: Path) -> Night:
    run = load(folder)
    head = headline.headline(run)
    if night.exit and head.tone == "good":
        head = Headline("bad", f"The run failed with exit code {night.exit}")
    counts = Counter(spec.outcome for spec in results.specs_of(run))
    told = ", ".join(f"{counts[one]} {one}" for one in ("passed", "failed", "error", "skipped") if counts[one])
    return replace(night, run=folder.name, tone=head.tone, text=head.text, counts=told)


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-SAID_LINES:])


def _save(folder: Path, night: Night) -> None:
    records = folder / RECORDS
    records.mkdir(parents=True, exist_ok=True)
    part = records / f".{night.id}.part"
    part.write_text(json.dumps(asdict(night), indent=1) + "\n", encoding="utf-8")
    part.replace(records / f"{night.id}.json")


def nights(folder: Path) -> list[Night]:
    """Every night that is written down, oldest first; a file that cannot be read is a night that cannot be told."""
    found = []
    for path in sorted((folder / RECORDS).glob("*.json")):
        try:
            found.append(Night(**json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError):
            began = datetime.strptime(path.stem, "%Y%m%d-%H%M%S").timestamp()
            found.append(Night(began, tone="unsure", text="Its record cannot be read"))
    return found


# --- when


def times(at: str, since: float, until: float) -> Iterator[datetime]:
    """The times in (since, until] at which nights should have begun, in this machine's time zone."""
    clock = time.fromisoformat(at)
    day = datetime.fromtimestamp(since).date()
    last = datetime.fromtimestamp(until)
    while (when := datetime.combine(day, clock)) <= last:
        if when.timestamp() > since:
            yield when
        day += timedelta(days=1)


def due(at: str, after: float) -> datetime:
    """When the first night after a moment begins."""
    return next(times(at, after, after + 2 * 86400))


def rows(found: Sequence[Night], at: str, since: float, now: float) -> list[Row]:
    """A line for each night and each that was missed by now, newest first."""
    told = [_row(night) for night in found]
    for when in times(at, since, now - LATE_S):
        begins = when.timestamp()
        if not any(begins - 60 <= night.began <= begins + LATE_S for night in found):
            told.append(Row(when, None))
    return sorted(told, key=lambda row: row.when, reverse=True)


def _row(night: Night) -> Row:
    took = bars.length(night.ended - night.began) if night.ended is not None else ""
    return Row(datetime.fromtimestamp(night.began), night, f"{PREFIX}{night.id}.html", took)


# --- pages


def pages(folder: Path, runs: Path, *, cluster: str, at: str, keep: int, now: float) -> Path:
    """Make the site anew: an index of the last `keep` nights, a page for each, and when the next one is due.

    The same nights give the same bytes at any time, until another one is missed.
    """
    since = float((folder / SINCE).read_text(encoding="ascii"))
    found = nights(folder)
    lines = rows(found, at, since, now)
    told = max(map(_told, lines), default=since)
    site, part = folder / SITE, folder / f".{SITE}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for night in found[-keep:]:
        _page(part, runs, night, cluster)
    text = render.nights_page(lines[:keep], cluster=cluster, at=at, due=due(at, told), zone=_zone())
    (part / INDEX_FILE).write_text(text, encoding="utf-8")
    (part / DUE_FILE).write_text(f"told {int(told)}\ndue {int(due(at, told).timestamp())}\nlate {int(LATE_S)}\n")
    shutil.rmtree(site, ignore_errors=True)
    part.rename(site)
    return site


def _told(row: Row) -> float:
    """The time up to which a line of the index tells."""
    return (row.night.ended or row.night.began) if row.night else row.when.timestamp()


def _page(site: Path, runs: Path, night: Night, cluster: str) -> None:
    """The run's own page where there is one; else what is known of the night."""
    target = site / f"{PREFIX}{night.id}.html"
    report = runs / night.run / render.REPORT_FILE
    if night.run and report.is_file():
        shutil.copyfile(report, target)
    else:
        target.write_text(render.night_page(night, cluster=cluster, row=_row(night)), encoding="utf-8")


def _zone() -> str:
    return datetime.now().astimezone().tzname() or "UTC"


def prune(folder: Path, runs: Path, keep: int) -> None:
    """Let go of nights, and of the runs they recorded, that are older than the last `keep`."""
    for night in nights(folder)[:-keep]:
        (folder / RECORDS / f"{night.id}.json").unlink(missing_ok=True)
        if night.run:
            shutil.rmtree(runs / night.run, ignore_errors=True)
