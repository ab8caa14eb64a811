"""Specs about jobs and builds judge right what a lab rarely shows, and the shell they are made of says what it did."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster.errors import ClusterError, ProbeFailed
from cluster.inventory import Inventory, load
from cluster.node import Fleet, Node, Result
from specs.compute import looks, previous
from specs.compute import test_distcc as distcc
from specs.compute import test_losing_a_node as losing
from specs.compute import test_mpi as mpi_specs
from specs.compute.looks import Herd

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "provision" / "compute"
INVENTORY = load()
NAMES = [node.name for node in INVENTORY.group("compute")]
DELTA = cast(Node, SimpleNamespace(name="delta"))


def red(spec: Callable[..., object], *arguments: Any) -> str:
    """What a spec complains of, in one line."""
    with pytest.raises((AssertionError, ClusterError, pytest.fail.Exception)) as caught:
        spec(*arguments)
    return str(caught.value).splitlines()[0]


def program(folder: Path, name: str, text: str) -> None:
    """A shell script that is found instead of the real program."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def ours(template: str, folder: Path, **paths: Path) -> Path:
    """A script as on a node, with files of a folder in the place of the node's."""
    text = (TEMPLATES / template).read_text().replace("{{ managed }}", "made by a test")
    for old, new in paths.items():
        text = text.replace({"hosts": "/etc/distcc/hosts"}[old], str(new))
    path = folder / template.removesuffix(".j2")
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(folder: Path, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run something that finds the programs of `folder` first."""
    path = {"PATH": f"{folder}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [str(word) for word in words], env={**path, **environment}, capture_output=True, text=True, timeout=30
    )


# ---------------------------------------------------------------- a stranger, and one volunteer alone

REFUSED = "distcc[7] (dcc_writex) ERROR: failed to write: Connection reset by peer"
DENIED = "distccd[9] (dcc_check_client) ERROR: connection from client '127.0.0.1:54644' denied by access list"
DEAF = "distcc[7] ERROR: nonblocking connect to 127.0.0.1:3632 failed: Connection refused"


def said(**sections: str) -> Herd:
    return Herd("epsilon", {"stranger": "", "denied": "", "alone": "", **sections})


def test_a_stranger_that_the_volunteer_says_it_denied_is_refused() -> None:
    distcc.test_a_stranger_is_refused(DELTA, said(stranger=f"{REFUSED}\n\nexit 116\n", denied=DENIED))


@pytest.mark.parametrize(
    ("stranger", "denied", "says"),
    [
        ("exit 0", "", "delta compiles for 127.0.0.1, which is not of the LAN"),
        ("exit 0", DENIED, "delta compiles for 127.0.0.1"),
        (f"{DEAF}\nexit 116", "", f"was not tried, because {DEAF}"),
        (f"{REFUSED}\nexit 116", "", "was not tried, because distcc[7]"),
        ("full\nlocal: there is no folder", "", "was not tried, because full; local: there is no folder"),
        ("No space left on device\nexit 1", "", "was not tried, because No space left on device; exit 1"),
        (f"{DEAF}\nexit 116", "Failed to open the journal", f"because {DEAF}; exit 116; Failed to open the journal"),
        ("exit 124", "", "was not tried, because exit 124"),
        ("exit 124", DENIED, "was not tried, because exit 124"),
        ("", "", "was not tried, because silence"),
    ],
)
def test_only_a_denial_by_the_volunteer_is_a_refusal(stranger: str, denied: str, says: str) -> None:
    told = red(distcc.test_a_stranger_is_refused, DELTA, said(stranger=stranger, denied=denied))
    assert says in told and ("compiles for" in told) == ("compiles for" in says)


def test_who_cannot_ask_is_blamed_for_it_not_who_is_asked() -> None:
    herds = {"gamma": said(alone="mktemp: No space left on device\nlocal: there is no folder to compile in\n")}
    told = red(distcc.test_alone_it_compiles_what_then_runs, DELTA, "gamma", herds)
    assert told.startswith("gamma could not ask delta: local: there is no folder") and "did not compile" not in told
    herds = {"gamma": said(alone=f"{DEAF}\nexit 116\n")}
    assert "delta did not compile for gamma" in red(distcc.test_alone_it_compiles_what_then_runs, DELTA, "gamma", herds)


@pytest.fixture
def compiles(tmp_path: Path) -> Callable[..., list[str]]:
    """What the shell of a look says when it compiles, with some programs replaced."""

    def ask(then: str = "gcc one.o -o one && ./one", **programs: str) -> list[str]:
        folder = tmp_path / "bin"
        program(folder, "runuser", 'shift 3; exec "$@"')
        program(folder, "distcc", 'exec "$@"')
        for name, text in programs.items():
            program(folder, name, text)
        script = f"exec 2>&1\n{looks.COMPILE.format(user='mpiuser')}\ncompile 192.0.2.1:3632/1 '{then}'"
        lines = run(folder, "sh", "-c", script).stdout.splitlines()
        return [line for line in lines if line.strip()]

    return ask


def test_what_is_compiled_runs(compiles: Callable[..., list[str]]) -> None:
    assert compiles() == [looks.NUMBER, "exit 0"]
    assert compiles("true") == ["exit 0"]
    assert compiles(distcc="echo no >&2; exit 116") == ["no", "exit 116"]


@pytest.mark.parametrize(
    ("programs", "last"),
    [
        ({"mktemp": "echo full >&2; exit 1"}, "local: there is no folder to compile in"),
        ({"cat": "echo full >&2; exit 1"}, "local: the source cannot be written"),
        ({"gcc": "echo full >&2; exit 1"}, "local: gcc does not preprocess"),
    ],
)
def test_what_fails_here_stops_it_with_a_word_of_its_own(
    compiles: Callable[..., list[str]], programs: Mapping[str, str], last: str
) -> None:
    assert compiles(**programs) == ["full", last]


def test_a_distcc_that_is_not_there_is_our_own_fault(compiles: Callable[..., list[str]], tmp_path: Path) -> None:
    compiles()
    (tmp_path / "bin" / "distcc").unlink()
    script = f"exec 2>&1\n{looks.COMPILE.format(user='mpiuser')}\ncompile 192.0.2.1:3632/1 true"
    assert run(tmp_path / "bin", "sh", "-c", script).stdout.strip() == "local: there is no distcc"


# ---------------------------------------------------------------- a build by all of them

ADDRESSES = [str(node.address) for node in INVENTORY.group("compute")]
COUNTS = (16, 14, 12, 7)
ALONE = "0123456789abcdef 4.5\n49\n"
TOGETHER = "0123456789abcdef 2.5\n49\n" + "".join(f"   {n} {a}\n" for n, a in zip(COUNTS, ADDRESSES, strict=True))


def built(text: str, code: int = 0, err: str = "herd-make: no pump mode\n") -> Result:
    return Result((), code, text.encode(), err.encode(), 1.0)


def judged(alone: Result, together: Result, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    noted: dict[str, object] = {}
    monkeypatch.setattr(distcc, "build", lambda node, user, how="herd": alone if how == "alone" else together)
    fleet = cast(Fleet, {name: SimpleNamespace(name=name) for name in NAMES})
    distcc.test_the_herd_builds_what_one_node_builds(INVENTORY, fleet, noted.__setitem__)
    return noted


def test_a_build_by_all_is_told_by_who_compiled_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = judged(built(ALONE), built(TOGETHER), monkeypatch)
    assert noted["compiled"] == ", ".join(f"{name} {n}" for name, n in zip(NAMES, COUNTS, strict=True))
    assert noted["speed_up"] == "1.80" and noted["pump_mode"] is False


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((), f"the herd compiled 0 of 49 files; nothing: {', '.join(NAMES)}"),
        (tuple(f"16 {a}" for a in ADDRESSES[:3]), f"the herd compiled 48 of 49 files; nothing: {NAMES[3]}"),
        ((*(f"16 {a}" for a in ADDRESSES[:3]), f"1 {ADDRESSES[3]}"), None),
        ((f"46 {ADDRESSES[0]}", f"1 {ADDRESSES[1]}", f"2 {ADDRESSES[2]}"), f"49 of 49 files; nothing: {NAMES[3]}"),
        ((*(f"8 {a}" for a in ADDRESSES), "17 localhost"), "the herd compiled 32 of 49 files; others: localhost 17"),
    ],
)
def test_a_build_that_was_not_distributed_is_none_of_the_herds(
    lines: tuple[str, ...], says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = built("0123456789abcdef 2.5\n49\n" + "\n".join(lines))
    if says is None:
        judged(built(ALONE), together, monkeypatch)
    else:
        assert says in red(judged, built(ALONE), together, monkeypatch)


def test_another_program_is_told_before_who_compiled_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the herd's program prints f" in red(judged, built(ALONE), built("f 2.5\n49\n"), monkeypatch)
    assert "the herd did not build: no" in red(judged, built(ALONE), built("", 1, "no\n"), monkeypatch)


@pytest.fixture
def herd_cc(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the herd's compiler with a distcc that says and does what it is told."""
    (tmp_path / "hosts").write_text("# ours\n192.168.10.21:3632/4,cpp,lzo\n192.168.10.22:3632/4,cpp,lzo\n")
    script = ours("herd-cc.j2", tmp_path, hosts=tmp_path / "hosts")

    def compile(does: str, **environment: str) -> subprocess.CompletedProcess[str]:
        program(tmp_path / "bin", "distcc", does)
        return run(tmp_path / "bin", script, "-c", "one.c", **environment)

    return compile


def log(*lines: str) -> str:
    return "\n".join(f"echo 'distcc[7] {line}' >>$DISTCC_LOG" for line in lines)


def test_who_compiled_is_written_down_where_it_is_asked_for(
    herd_cc: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    record = tmp_path / "record"
    first, second = (f"exec on 192.168.10.2{n}:3632/4,lzo: gcc -c one.c -o one.o" for n in (1, 2))
    assert herd_cc(log(first), HERD_RECORD=str(record)).returncode == 0
    other = herd_cc(log(first, "ERROR: nonblocking connect failed", second), HERD_RECORD=str(record))
    assert other.stderr == "herd-cc: 192.168.10.21 did not compile: nonblocking connect failed\n"
    assert herd_cc(log("exec on localhost: gcc -march=native"), HERD_RECORD=str(record)).returncode == 0
    assert record.read_text().splitlines() == ["192.168.10.21", "192.168.10.22", "localhost"]
    assert herd_cc(log(first) + "\nexit 1", HERD_RECORD=str(record)).returncode == 1  # an error in the source
    assert herd_cc(log(first) + "\nexit 116", HERD_RECORD=str(record)).returncode == 116
    assert herd_cc(log(first)).returncode == 0
    assert len(record.read_text().splitlines()) == 3


# ---------------------------------------------------------------- what a pair was like before


def event(latency: float, outcome: str = "passed", pair: str = "gamma-delta", before: float | None = None) -> str:
    measured = {"latency_us": str(latency), "bandwidth_mb_s": "800.0"}
    if before is not None:
        measured |= {"latency_us_before": str(before), "bandwidth_mb_s_before": "800.0"}
    return json.dumps({"test": f"{previous.SPEC}[{pair}]", "outcome": outcome, "measured": measured})


@pytest.fixture
def earlier(tmp_path: Path) -> Callable[..., float | None]:
    """How late a pair was in the runs before, given their events, the newest run last."""

    def latency(*runs: tuple[str, ...], pair: str = "gamma-delta") -> float | None:
        for n, lines in enumerate(runs):
            folder = tmp_path / "reports" / "runs" / f"{n:02}-specs"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "events.jsonl").write_text("\n".join(lines))
        previous._measured.cache_clear()
        found = previous.earlier(cast(Inventory, SimpleNamespace(root=tmp_path)), f"[{pair}]")
        return None if found is None else found.latency_us

    return latency


def test_a_pair_is_compared_with_the_last_run_that_was_well(earlier: Callable[..., float | None]) -> None:
    assert earlier((event(70.0),), (event(80.0),)) == 80.0
    assert earlier((event(70.0),), (event(7000.0, "failed"),), (event(7100.0, "failed"),)) == 70.0
    assert earlier((event(70.0, "failed"),), ('{"cut',)) is None


def test_what_a_failed_run_was_compared_with_is_not_forgotten(earlier: Callable[..., float | None]) -> None:
    """However many runs fail: else what stays slow would be green once the last good run is too long ago."""
    bad = (event(7000.0, "failed", before=70.0),)
    assert earlier((event(70.0),), *[bad] * (previous.RUNS + 2)) == 70.0


def test_a_run_of_one_pair_leaves_the_others_theirs(earlier: Callable[..., float | None]) -> None:
    runs = (event(70.0), event(90.0, pair="delta-epsilon")), (event(75.0),)
    assert earlier(*runs) == 75.0
    assert earlier(*runs, pair="delta-epsilon") == 90.0


# ---------------------------------------------------------------- the user of jobs


@pytest.mark.parametrize(
    ("user", "account", "says"),
    [
        ("mpiuser sshusers", "/home/mpiuser:/bin/bash", None),
        ("mpiuser", "/home/mpiuser:/bin/bash", "delta: mpiuser is not in group sshusers, but in mpiuser"),
        ("mpiuser sshusers", "/home/mpiuser:/usr/sbin/nologin",
         "delta: mpiuser has /home/mpiuser:/usr/sbin/nologin as home and shell, not /home/mpiuser:/bin/bash"),
        ("mpiuser sshusers", "/nowhere:/bin/bash", "delta: mpiuser has /nowhere:/bin/bash as home and shell"),
        ("mpiuser sshusers", "", "delta: mpiuser has nothing as home and shell"),
    ],
)  # fmt: skip
def test_who_may_log_in_has_a_shell_and_a_home(user: str, account: str, says: str | None) -> None:
    herd = said(user=user, account=account)
    if says is None:
        mpi_specs.test_the_user_of_jobs_may_log_in(DELTA, herd, INVENTORY)
    else:
        assert says in red(mpi_specs.test_the_user_of_jobs_may_log_in, DELTA, herd, INVENTORY)


@pytest.mark.parametrize("code", [0, 1, 255])
def test_a_node_on_which_a_job_cannot_begin_is_named(code: int, tmp_path: Path) -> None:
    program(tmp_path / "bin", "ssh", f"exit {code}")
    script = ours("mpi-ssh.j2", tmp_path)
    # mpiexec, which is its parent, is told to end: a shell that does not mind.
    done = run(tmp_path / "bin", "sh", "-c", f"trap : INT; {script} -x delta hydra_pmi_proxy; exit $?")
    assert done.returncode == code
    assert ("delta" in done.stderr) == (code != 0), done.stderr


# ---------------------------------------------------------------- a job that is over too soon


@pytest.mark.parametrize("scene", [losing.LOST, losing.FIRST, losing.STOPPED], ids=lambda scene: scene.name)
def test_a_job_that_was_over_before_the_fault_proves_nothing(
    scene: losing.Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[str] = []

    @contextmanager
    def lasting(
        inventory: Inventory, fleet: Fleet, *faults: Any, command: str, say: Callable[[str], None]
    ) -> Iterator[None]:
        for fault in faults:
            say(fault.title)
            applied.append(fault.title)
        yield

    def ran(words: object, **_: object) -> Result:
        if isinstance(words, list) and "timeout" in words:
            return Result((), 255, b"", b"@@@@@@\nmpiuser@zeta: Permission denied (publickey).\n", 0.1)
        return Result((), 0, b"/tmp/herd.abc/work_1.o" if "ls" in str(words) else b"", b"", 0.1)

    monkeypatch.setattr(losing, "lasting", lasting)
    monkeypatch.setattr(losing, "build", lambda node, user: Result((), 0, b"", b"", 1.0))
    fleet = cast(Fleet, {name: SimpleNamespace(name=name, run=ran) for name in NAMES})
    with pytest.raises(ProbeFailed, match=r"over before .* exit code 255: mpiuser@zeta: Permission denied"):
        losing.play(scene, INVENTORY, fleet)
    assert not applied
