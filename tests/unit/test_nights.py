"""The deployer's nights: what is written down, what the pages tell, and what counts as missed."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path

import pytest

from cluster.record import Recorder
from reports import nights
from reports.__main__ import main
from reports.nights import Night
from reports.render import render

DAY = 86400.0
AT = "03:30"


def when(text: str) -> float:
    """A moment in this machine's time zone, as epoch seconds."""
    return datetime.fromisoformat(text).timestamp()


def site(folder: Path, runs: Path, now: float, keep: int = 14) -> dict[str, str]:
    """The pages, by their names."""
    made = nights.pages(folder, runs, cluster="test", at=AT, keep=keep, now=now)
    return {path.name: path.read_text() for path in made.iterdir()}


def recorded(runs: Path, *outcomes: str) -> str:
    """A run of specs with these outcomes, as pytest leaves it."""
    recorder = Recorder.start(runs, "specs", {"status": "running", "nodes": []})
    for number, outcome in enumerate(outcomes):
        recorder.event(
            "spec", test=f"test_{number}", file="specs/base/test_x.py", node=None, outcome=outcome, message="why"
        )
    recorder.finish(status="passed", exit=0 if "failed" not in outcomes else 1)
    render(recorder.folder)
    return recorder.folder.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where nights are written down; they count from the first of March on."""
    (tmp_path / "nights").mkdir()
    (tmp_path / "nights" / nights.SINCE).write_text(f"{int(when('2026-03-01T12:00'))}\n")
    return tmp_path / "nights"


def test_a_night_is_told_with_its_verdict_and_its_report(folder: Path, tmp_path: Path) -> None:
    now = time.time()
    nights.begin(folder, now - 60)
    run = recorded(tmp_path / "runs", "passed", "failed", "skipped")
    done = nights.end(folder, tmp_path / "runs", now, 1, "")
    assert (done.run, done.tone, done.text, done.counts) == (
        run,
        "bad",
        "1 of 3 specs failed",
        "1 passed, 1 failed, 1 skipped",
    )
    (folder / nights.SINCE).write_text(f"{int(now - 120)}\n")
    found = site(folder, tmp_path / "runs", now)
    page = f"night-{done.id}.html"
    assert set(found) == {"index.html", "due", page}
    assert "1 of 3 specs failed" in found["index.html"] and f'href="{page}"' in found["index.html"]
    assert found[page] == (tmp_path / "runs" / run / "report.html").read_text()
    assert "<script" not in found["index.html"]


def test_the_commands_that_psis_timer_calls(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("reports.__main__.NIGHTS", folder)
    monkeypatch.setattr("reports.__main__.RUNS", tmp_path / "runs")
    (folder / nights.SINCE).write_text(f"{int(time.time()) - 120}\n")
    (tmp_path / "said").write_text("one\nthe disk is full\n")
    assert main(["night", "begin"]) == 0
    assert main(["night", "end", "--exit", "3", "--log", str(tmp_path / "said")]) == 0
    assert "no spec was run" in capsys.readouterr().out
    assert main(["night", "pages", "--at", AT, "--keep", "2", "--cluster", "berry"]) == 0
    made = Path(capsys.readouterr().out.strip())
    assert "berry" in (made / "index.html").read_text()
    assert any("the disk is full" in page.read_text() for page in made.glob("night-*.html"))


@pytest.mark.parametrize("mistake", [("--at", "25:00"), ("--at", "soon"), ("--keep", "0"), ("--keep", "x")])
def test_a_mistake_in_the_call_is_one_line(mistake: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["night", "pages", *mistake])
    said = capsys.readouterr().err.splitlines()[-1]
    assert mistake[0] in said and mistake[1] in said


def test_another_run_beside_it_is_not_taken_for_its_own(folder: Path, tmp_path: Path) -> None:
    nights.begin(folder, time.time() - 60)
    others, own = recorded(tmp_path / "runs", "passed"), recorded(tmp_path / "runs", "failed")
    said = f"1 failed\nreport: reports/runs/{own}/report.html\n1 failed in 1 s\n"
    done = nights.end(folder, tmp_path / "runs", time.time(), 1, said)
    assert done.run == own != others and done.tone == "bad"


def test_a_night_that_recorded_nothing_is_bad_and_keeps_its_last_words(folder: Path, tmp_path: Path) -> None:
    recorded(tmp_path / "runs", "passed")
    began = time.time() + 5  # so the run is of before
    nights.begin(folder, began)
    done = nights.end(folder, tmp_path / "runs", began + 9, 2, "one\ninventory.yaml:3: <wrong>\n")
    assert (done.tone, done.run, done.text) == ("bad", "", "Nothing was recorded: exit code 2")
    page = site(folder, tmp_path / "runs", began + 10)[f"night-{done.id}.html"]
    assert "inventory.yaml:3: &lt;wrong&gt;" in page


@pytest.mark.parametrize(("code", "why"), [(124, "it took too long"), (137, "it was killed"), (3, "exit code 3")])
def test_why_nothing_was_recorded_is_said(folder: Path, tmp_path: Path, code: int, why: str) -> None:
    nights.begin(folder, when("2026-03-02T03:30"))
    assert nights.end(folder, tmp_path / "runs", when("2026-03-02T03:31"), code, "").text.endswith(why)


def test_a_run_that_passed_with_another_exit_code_is_not_good(folder: Path, tmp_path: Path) -> None:
    nights.begin(folder, time.time() - 5)
    recorded(tmp_path / "runs", "passed")
    assert nights.end(folder, tmp_path / "runs", time.time(), 124, "").tone == "bad"


def test_a_night_that_was_cut_off_says_so(folder: Path, tmp_path: Path) -> None:
    nights.begin(folder, when("2026-03-02T03:30"))
    found = site(folder, tmp_path / "runs", when("2026-03-02T05:00"))
    assert "It did not come to its end" in found["index.html"]


def test_missed_nights_have_a_line_each_and_are_on_top(folder: Path, tmp_path: Path) -> None:
    nights.begin(folder, when("2026-03-02T03:30"))
    nights.end(folder, tmp_path / "runs", when("2026-03-02T03:31"), 2, "")
    found = site(folder, tmp_path / "runs", when("2026-03-04T10:00"))["index.html"]
    assert found.count("Missed: nothing began at that time") == 2
    assert "The night of 4 March 2026 was missed" in found and 'class="tone-bad"' in found
    assert found.index("2026-03-04 03:30") < found.index("2026-03-03 03:30") < found.index("2026-03-02 03:30")


def test_no_night_is_missed_before_nights_are_counted_or_while_it_may_still_begin(folder: Path, tmp_path: Path) -> None:
    assert "No night yet" in site(folder, tmp_path / "runs", when("2026-03-01T20:00"))["index.html"]
    assert "Missed" not in site(folder, tmp_path / "runs", when("2026-03-02T04:29"))["index.html"]
    assert "Missed" in site(folder, tmp_path / "runs", when("2026-03-02T04:31"))["index.html"]


def test_the_same_nights_give_the_same_bytes_until_one_is_missed(folder: Path, tmp_path: Path) -> None:
    nights.begin(folder, when("2026-03-02T03:30"))
    nights.end(folder, tmp_path / "runs", when("2026-03-02T03:31"), 2, "")
    first = site(folder, tmp_path / "runs", when("2026-03-02T04:00"))
    assert site(folder, tmp_path / "runs", when("2026-03-03T03:00")) == first
    assert site(folder, tmp_path / "runs", when("2026-03-03T09:00")) != first


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-03-01T20:00", "2026-03-02T03:30"),  # no night yet: the first one
        ("2026-03-02T09:00", "2026-03-03T03:30"),  # the first one was missed, and is told
    ],
)
def test_when_the_next_one_begins_is_for_programs_to_read(folder: Path, tmp_path: Path, now: str, due: str) -> None:
    lines = dict(line.split() for line in site(folder, tmp_path / "runs", when(now))["due"].splitlines())
    assert float(lines["due"]) == when(due) and float(lines["late"]) == nights.LATE_S and "told" in lines


def test_a_night_by_hand_does_not_stand_for_the_one_at_its_time(folder: Path, tmp_path: Path) -> None:
    nights.begin(folder, when("2026-03-01T22:00"))
    nights.end(folder, tmp_path / "runs", when("2026-03-01T22:01"), 2, "")
    found = site(folder, tmp_path / "runs", when("2026-03-02T09:00"))["index.html"]
    assert found.count("Missed") == 1 and "2026-03-01 22:00" in found


def test_only_so_many_are_told_and_kept(folder: Path, tmp_path: Path) -> None:
    for day in range(2, 8):
        nights.begin(folder, when(f"2026-03-0{day}T03:30"))
        nights.end(folder, tmp_path / "runs", when(f"2026-03-0{day}T03:31"), 2, "")
    (tmp_path / "runs" / "old").mkdir(parents=True)
    first = nights.nights(folder)[0]
    nights._save(folder, Night(**{**vars(first), "run": "old"}))
    nights.prune(folder, tmp_path / "runs", 3)
    assert [night.id for night in nights.nights(folder)] == ["20260305-033000", "20260306-033000", "20260307-033000"]
    assert not (tmp_path / "runs" / "old").exists()
    found = site(folder, tmp_path / "runs", when("2026-03-07T04:00"), keep=2)
    assert [name for name in sorted(found) if name.startswith("night-")] == [
        "night-20260306-033000.html", "night-20260307-033000.html"
    ]  # fmt: skip


def test_a_record_that_cannot_be_read_is_told_as_that(folder: Path, tmp_path: Path) -> None:
    nights.begin(folder, when("2026-03-02T03:30"))
    next((folder / nights.RECORDS).glob("*.json")).write_text('{"began": ')
    assert "Its record cannot be read" in site(folder, tmp_path / "runs", when("2026-03-02T05:00"))["index.html"]


def test_the_record_is_plain_json(folder: Path) -> None:
    night = nights.begin(folder, when("2026-03-02T03:30"))
    assert json.loads((folder / nights.RECORDS / f"{night.id}.json").read_text())["began"] == night.began
