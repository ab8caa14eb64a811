"""What is recorded is what is read back, whoever writes it at once and however the writer ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from ipaddress import IPv4Address
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.record import EVENTS_FILE, Recorder, about, events

ROOT = Path(__file__).resolve().parents[2]


def test_events_are_read_back_in_order_with_both_clocks(tmp_path: Path) -> None:
    before = time.monotonic(), time.time()
    run = Recorder.start(tmp_path, "chaos", {"command": "kill alpha"})
    run.event("phase", name="baseline")
    run.event("probe", service="dns", ok=True, value=IPv4Address("10.0.0.1"))
    run.finish(status="held", exit=0)
    first, second = events(run.folder)
    assert (first["kind"], first["name"]) == ("phase", "baseline")
    assert second["value"] == "10.0.0.1"
    assert before[0] <= first["t"] <= second["t"] <= time.monotonic()
    assert before[1] <= first["wall"] <= time.time()


def test_the_description_says_how_it_began_and_how_it_ended(tmp_path: Path) -> None:
    run = Recorder.start(tmp_path, "specs", {"command": "pytest specs/"})
    assert about(run.folder)["command"] == "pytest specs/" and "ended" not in about(run.folder)
    run.finish(status="passed", exit=0)
    told = about(run.folder)
    assert told["kind"] == "specs" and told["id"] == run.folder.name and told["exit"] == 0
    assert told["started"] <= told["ended"]
    assert [p.name for p in run.folder.iterdir() if p.name.startswith(".")] == []


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    runs = [Recorder.start(tmp_path / "runs", "specs", {}) for _ in range(5)]
    assert len({run.folder for run in runs}) == 5
    for run in runs:
        run.finish()


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    run = Recorder.start(tmp_path, "chaos", {})

    def write(who: int) -> None:
        for n in range(500):
            run.event("probe", who=who, n=n, text="x" * 200)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    seen: dict[int, list[int]] = {}
    for event in events(run.folder):
        seen.setdefault(event["who"], []).append(event["n"])
    assert seen == {who: list(range(500)) for who in range(8)}


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    run = Recorder.start(tmp_path, "chaos", {})
    run.event("phase", name="baseline")
    run.finish()
    with (run.folder / EVENTS_FILE).open("a") as file:
        file.write('{"t": 1, "kind": "pro')
    assert [e["kind"] for e in events(run.folder)] == ["phase"]


def test_what_was_flushed_survives_a_kill(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from cluster.record import Recorder\n"
        "run = Recorder.start(Path(sys.argv[1]), 'chaos', {})\n"
        "for n in range(100): run.event('probe', n=n)\n"
        "run.flush(); print('written', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"written\n"
        child.send_signal(signal.SIGKILL)
    (folder,) = tmp_path.iterdir()
    assert [e["n"] for e in events(folder)] == list(range(100))
    assert about(folder)["kind"] == "chaos"


def test_a_run_without_events_is_empty_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert list(events(tmp_path)) == [] and about(tmp_path) == {}


simple = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    st.dictionaries(st.text(min_size=1).filter(lambda k: k not in {"t", "wall", "kind", "self"}), simple, max_size=5)
)
def test_any_value_survives(tmp_path: Path, data: dict[str, object]) -> None:
    run = Recorder.start(tmp_path, "specs", {})
    written = run.event("probe", **data)
    run.finish()
    assert list(events(run.folder)) == [json.loads(json.dumps(written))]
