"""MPI: a job that proves itself (provision/compute/mpi-check.c.j2), started on one node, and what it says.

mpiexec(1) of Hydra; `mpi-run` gives it the nodes and sets MPIEXEC_TIMEOUT.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from cluster.errors import ProbeFailed
from cluster.node import Node

PROGRAM = "/opt/hpc/bin/mpi-check"
RUN = "/opt/hpc/bin/mpi-run"
#: What runs while a job does; between them they listen on ports of their own choice, open to the cluster's nodes alone.
PROCESSES = frozenset({"mpi-check", "mpi-ssh", "hydra_pmi_proxy", "mpiexec", "mpiexec.hydra", "mpiexec.mpich"})
MODULUS = 1_000_000_007  # of the number that goes around the ring
TIMED_OUT = 124  # timeout(1)
GRACE_S = 5.0  # for mpiexec to end by itself once its time is over

Pairs = Literal["none", "neighbours", "all"]


@dataclass(frozen=True)
class Pair:
    """Two nodes: half of a round trip of one byte in microseconds, and of a megabyte in 10^6 bytes/s."""

    a: str
    b: str
    latency_us: float
    bandwidth_mb_s: float


@dataclass(frozen=True)
class Job:
    """What a job said: `hosts` is where each process ran, by rank; `wrong` how many processes got a wrong result."""

    ranks: int
    wrong: int
    sum: int
    squares: int
    ring: int
    checked_s: float
    hosts: tuple[str, ...]
    pairs: tuple[Pair, ...]


def command(
    user: str,
    *,
    seconds: float,
    pairs: Pairs = "neighbours",
    without: Iterable[str] = (),
    keep: float = 0,
    each: int | None = None,
) -> list[str]:
    """What starts the job as its user, over after `seconds`; with `keep` it goes on exchanging for so long first.

    `each`: how many processes run on each node, where it is not what the host file says.
    """
    fewer = [] if each is None else ["--each", str(each)]
    left_out = [word for name in without for word in ("--without", name)]
    more = [f"{keep:g}"] if keep else []
    limit = max(1, int(seconds))
    return [
        "runuser", "-u", user, "--", "env", "-C", "/", f"MPIEXEC_TIMEOUT={limit}", "timeout", f"{limit + GRACE_S:g}",
        RUN, *fewer, *left_out, PROGRAM, pairs, *more,
    ]  # fmt: skip


def run(
    node: Node, user: str, *, seconds: float, pairs: Pairs = "neighbours", without: Iterable[str] = (),
    each: int | None = None,
) -> Job:  # fmt: skip
    """Start the job on a node and wait for what it says.

    Raises ProbeFailed (`timeout`; `exit`: mpiexec or a process failed; `malformed`), and what Node.run raises.
    """
    words = command(user, seconds=seconds, pairs=pairs, without=without, each=each)
    done = node.run(words, sudo=True, deadline=seconds + 2 * GRACE_S)
    if done.code == TIMED_OUT:
        raise ProbeFailed(f"{node.name}: the job did not end within {seconds:g} s: {why(done.err)}", reason="timeout")
    if done.code:
        raise ProbeFailed(f"{node.name}: the job ended with exit code {done.code}: {why(done.err)}", reason="exit")
    try:
        return parse(done.text)
    except ValueError as error:
        raise ProbeFailed(f"{node.name}: the job's answer cannot be read: {error}", reason="malformed") from error


def why(err: bytes) -> str:
    """The first line with a word in it that mpiexec, ssh and the processes said: what comes later follows from it."""
    lines = [line.strip() for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    worded = (line.strip("@ ") for line in lines if any(map(str.isalpha, line)))  # ssh frames its warnings with @
    return next(worded, lines[0])[:200] if lines else "it said nothing"


def parse(text: str) -> Job:
    """Read the job's JSON, which begins at the first `{`; raises ValueError."""
    start = text.find("{")
    if start < 0:
        raise ValueError("no object in it")
    data = json.loads(text[start:])
    try:
        return Job(
            ranks=_whole(data["ranks"]),
            wrong=_whole(data["wrong"]),
            sum=_whole(data["sum"]),
            squares=_whole(data["squares"]),
            ring=_whole(data["ring"]),
            checked_s=float(data["checked_s"]),
            hosts=tuple(map(str, data["hosts"])),
            pairs=tuple(
                Pair(str(one["from"]), str(one["to"]), float(one["latency_us"]), float(one["bandwidth_mb_s"]))
                for one in data["pairs"]
            ),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not what the job says: {error!r}") from error


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def ring(ranks: int) -> int:
    """What the number must be that went around so many processes, each of which changed it in its turn."""
    token = 7
    for rank in range(ranks):
        token = (token * 31 + rank) % MODULUS
    return token
