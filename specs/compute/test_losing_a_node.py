"""A compute node dies under a running job and in the middle of a build: what is on it is lost, nothing else is.

mpiexec(1): the job is aborted, it does not survive; distcc(1): what the dead node had is compiled elsewhere.  One node
is lost once, after a job and a build have begun on another one; all specs look at what became of the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest

from chaos.faults import PowerOff
from chaos.lasting import lasting
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Fleet, Node, Result
from cluster.probes import mpi
from cluster.wait import until
from specs.compute.looks import BUILDS, JOB_S, build, fewer, processes

pytestmark = [pytest.mark.disruptive]

KEEP_S = 60.0  # how long the job would go on: longer than anybody waits for its end here
BEGIN_S = 40.0
Note = Callable[[str, object], None]

LEFT = "pgrep -u {user} -l 'mpi-check|hydra_pmi_proxy|mpiexec' || true"


@dataclass(frozen=True)
class Seen:
    """What became of a job and of a build when `victim` was lost; seconds count from then."""

    victim: str
    job: Result
    ended_s: float
    orphans: dict[str, str]
    gone_s: float
    next_job: mpi.Job | ClusterError
    next_s: float
    build: Result


@pytest.fixture(scope="module")
def seen(inventory: Inventory, fleet: Fleet) -> Iterator[Seen]:
    """The node is lost while this lasts."""
    names = [node.name for node in inventory.group("compute")]
    if len(names) < 3:
        pytest.skip("needs three compute nodes: one that is lost, and two that go on")
    starter, victim = fleet[names[0]], names[-1]
    user, budget = inventory.mpi.user, inventory.mpi.abort
    began: list[Future[Result]] = []
    with ThreadPoolExecutor(2) as pool:
        words = mpi.command(user, seconds=KEEP_S + JOB_S, pairs="none", keep=KEEP_S)
        job = pool.submit(lambda: starter.run(words, sudo=True, deadline=KEEP_S + 2 * JOB_S))
        until(lambda: len(left(fleet[victim], user).split()) > 2 or job.done(), deadline=BEGIN_S, what="the job")

        def begin(line: str) -> None:
            """The guard has looked: the next thing to happen is the fault."""
            if not began:
                began.append(pool.submit(build, starter, user))
                until(lambda: compiling(starter), deadline=BEGIN_S, what="the build")

        with lasting(inventory, fleet, PowerOff(victim), command="spec: a compute node is lost", say=begin):
            lost = time.monotonic()
            done = job.result(2 * budget + KEEP_S)
            ended = time.monotonic() - lost
            orphans = without_orphans(fleet, names[:-1], user, max(1.0, budget - ended))
            gone = time.monotonic() - lost
            built = began[0].result(KEEP_S)
            again = time.monotonic()
            try:
                each = fewer(inventory, len(names) - 1)
                after: mpi.Job | ClusterError = mpi.run(
                    starter, user, seconds=JOB_S, pairs="none", without=[victim], each=each
                )
            except ClusterError as error:
                after = error
            yield Seen(victim, done, ended, orphans, gone, after, time.monotonic() - again, built)


def left(node: Node, user: str) -> str:
    """Processes of jobs on a node."""
    return node.run(LEFT.format(user=user), sudo=True, deadline=10.0).text.strip()


def compiling(node: Node) -> bool:
    """Whether the build has compiled something already."""
    return bool(node.run(f"ls {BUILDS}*/*.o", sudo=True, deadline=10.0).text.strip())


def without_orphans(fleet: Fleet, names: list[str], user: str, seconds: float) -> dict[str, str]:
    """What jobs have left on these nodes in the end; waits until it is nothing."""
    found: dict[str, str] = {}

    def none() -> bool:
        found.clear()
        found.update({name: text for name in names if (text := left(fleet[name], user))})
        return not found

    with suppress(ClusterError):
        until(none, deadline=seconds, what="no orphans")
    return found


@pytest.mark.semantics("mpi-abort")
def test_the_job_is_aborted_in_time(seen: Seen, inventory: Inventory, record_property: Note) -> None:
    record_property("ended_after_s", round(seen.ended_s, 2))
    assert seen.job.code != 0, f"the job went on without {seen.victim}"
    budget = inventory.mpi.abort
    assert seen.ended_s <= budget, (
        f"the job was over {seen.ended_s:.1f} s after {seen.victim} was lost, not {budget:g} s"
    )


@pytest.mark.semantics("mpi-abort")
def test_no_process_is_left_anywhere(seen: Seen, inventory: Inventory, record_property: Note) -> None:
    record_property("gone_after_s", round(seen.gone_s, 2))
    told = "; ".join(f"{name}: {text}" for name, text in seen.orphans.items())
    assert not seen.orphans, f"left {inventory.mpi.abort:g} s after {seen.victim} was lost: {told}"


@pytest.mark.semantics("mpi-next")
def test_the_next_job_succeeds_on_those_that_are_left(seen: Seen, inventory: Inventory, record_property: Note) -> None:
    record_property("next_job_s", round(seen.next_s, 2))
    assert isinstance(seen.next_job, mpi.Job), f"without {seen.victim}: {seen.next_job}"
    left_over = len(inventory.group("compute")) - 1
    n = left_over * processes(inventory, left_over)
    job = seen.next_job
    assert (job.ranks, job.wrong, job.ring) == (n, 0, mpi.ring(n)), f"without {seen.victim} it came to {job}"
    assert seen.victim not in job.hosts, f"a process ran on {seen.victim}, which has no power"


@pytest.mark.semantics("distcc-killed")
def test_the_build_succeeds_and_names_who_failed(seen: Seen, inventory: Inventory, record_property: Note) -> None:
    record_property("build_s", round(seen.build.seconds, 2))
    said = seen.build.err.decode("utf-8", "replace")
    last = " | ".join(said.strip().splitlines()[-3:])
    assert seen.build.code == 0, f"the build failed when {seen.victim} was lost: {last}"
    address = str(inventory.node(seen.victim).address)
    assert address in said, f"nobody said that {seen.victim} ({address}) failed: {last}"
