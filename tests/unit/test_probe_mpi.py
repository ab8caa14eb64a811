"""MPI jobs: what a job says is read, or refused; the number of the ring is that of the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.probes import mpi
from tests.probing import cases, plain


@pytest.mark.parametrize(("path", "expected"), cases("mpi", ".job"))
def test_recorded_jobs(path: Path, expected: dict[str, Any]) -> None:
    text = path.read_text(encoding="utf-8")
    if "error" in expected:
        with pytest.raises(ValueError):
            mpi.parse(text)
        return
    job = mpi.parse(text)
    assert plain(job) == expected
    assert job.ring == mpi.ring(job.ranks)


def test_a_job_ends_before_who_waits_for_it() -> None:
    words = mpi.command("mpiuser", seconds=20, without=["zeta", "delta"], keep=7.5)
    assert words.index("MPIEXEC_TIMEOUT=20") < words.index("timeout") and words[words.index("timeout") + 1] == "25"
    assert words[words.index(mpi.RUN) :] == [
        mpi.RUN, "--without", "zeta", "--without", "delta", mpi.PROGRAM, "neighbours", "7.5",
    ]  # fmt: skip
    few = mpi.command("mpiuser", seconds=20, each=2)
    assert few[few.index(mpi.RUN) :] == [mpi.RUN, "--each", "2", mpi.PROGRAM, "neighbours"]


@pytest.mark.parametrize(
    ("err", "said"),
    [
        (b"", "it said nothing"),
        (b"\n  Permission denied (publickey).\r\nmore\n", "Permission denied (publickey)."),
        (b"@@@@@@\n@  WARNING: UNPROTECTED PRIVATE KEY FILE!  @\n@@@@@@\n", "WARNING: UNPROTECTED PRIVATE KEY FILE!"),
        (b"----\n\n====\n", "----"),
        (b"\xff" * 300, "\N{REPLACEMENT CHARACTER}" * 200),
    ],
)
def test_the_first_word_tells_why(err: bytes, said: str) -> None:
    assert mpi.why(err) == said
