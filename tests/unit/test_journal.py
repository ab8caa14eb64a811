"""The fault journal: on disk before the fault, believed after a crash, gone only on proof."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chaos import journal as writing
from cluster import journal
from cluster.errors import Refused

KILL = {"fault": "kill", "node": "alpha"}


def announce(state: Path, command: str = "chaos kill alpha") -> journal.Entry:
    return writing.write(state, KILL, ("alpha",), undo="power alpha on", command=command, run=None)


def test_an_empty_journal_refuses_nobody(tmp_path: Path) -> None:
    journal.check(tmp_path / "never-made")
    assert journal.entries(tmp_path) == ()
    assert journal.running(tmp_path) is None


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    entry = announce(tmp_path)
    assert journal.entries(tmp_path) == (entry,)
    assert entry.owner.alive


def test_entries_are_private_and_leave_no_half_written_file(tmp_path: Path) -> None:
    entry = announce(tmp_path)
    assert entry.path is not None
    assert entry.path.stat().st_mode & 0o777 == 0o600
    assert entry.path.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in entry.path.parent.iterdir()] == [entry.path.name]


def test_an_entry_of_a_living_command_refuses_and_says_which(tmp_path: Path) -> None:
    announce(tmp_path)
    with pytest.raises(Refused, match=r"`chaos kill alpha` \(pid \d+\) .*still at work"):
        journal.check(tmp_path)


def test_an_entry_of_a_dead_command_refuses_and_names_the_remedy(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, '.')\n"
        "from chaos import journal\n"
        f"journal.write(Path({str(tmp_path)!r}), {KILL!r}, ('alpha',), undo='u', command='c', run=None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    with pytest.raises(Refused, match=r"never proved its undo; run: python -m chaos heal"):
        journal.check(tmp_path)


def test_a_process_with_the_same_number_is_not_the_owner(tmp_path: Path) -> None:
    owner = announce(tmp_path).owner
    assert owner.alive
    assert not replace(owner, started=owner.started - 1).alive
    assert not replace(owner, boot="another boot").alive


def test_a_proven_undo_takes_the_entry_away(tmp_path: Path) -> None:
    entry = announce(tmp_path)
    writing.proven(entry)
    writing.proven(entry)
    assert journal.entries(tmp_path) == ()
    journal.check(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "x"}', '{"id":"x","fault":3,"nodes":["a"]}'])
def test_a_damaged_entry_is_never_taken_for_none(tmp_path: Path, text: str) -> None:
    (writing.folder(tmp_path) / "x.json").write_text(text)
    assert [entry.damaged for entry in journal.entries(tmp_path)] == [True]
    with pytest.raises(Refused, match=r"x\.json cannot be read.*heal"):
        journal.check(tmp_path)


def test_one_command_at_a_time(tmp_path: Path) -> None:
    with writing.held(tmp_path, "chaos kill alpha"):
        running = journal.running(tmp_path)
        assert running is not None
        assert running.command == "chaos kill alpha"
        with pytest.raises(Refused, match=r"`chaos kill alpha` \(pid \d+\) is at work"):
            journal.check(tmp_path)
        with pytest.raises(Refused, match="chaos kill alpha"), writing.held(tmp_path, "chaos kill beta"):
            pass
    assert journal.running(tmp_path) is None
    journal.check(tmp_path)


def test_the_lock_ends_with_the_process_even_while_its_children_live(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, signal; from pathlib import Path; sys.path.insert(0, '.')\n"
        "from chaos import journal\n"
        f"with journal.held(Path({str(tmp_path)!r}), 'chaos kill beta'):\n"
        "    child = subprocess.Popen(['sleep', '30'], stdout=-3, stderr=-3)  # DEVNULL\n"
        "    print(child.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30, capture_output=True, text=True)
    try:
        assert done.returncode == -9
        assert journal.running(tmp_path) is None
    finally:
        subprocess.run(["kill", done.stdout.strip()], check=True)


def test_start_time_of_nobody_is_none() -> None:
    assert journal.start_time(2**22 + 1) is None
