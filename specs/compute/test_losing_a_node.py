"""A compute node fails under a running job and in the middle of a build: what is on it is lost, nothing else is.

mpiexec(1): a job that loses a node is aborted, it does not survive; distcc(1): what a volunteer does not compile is
compiled elsewhere.  In each scene a job and a build have begun when the node dies, stands still, or stops its services;
it is made once, and all specs look at what became of the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from chaos.faults import Fault, Hang, PowerOff, Stop
from chaos.lasting import lasting
from cluster.errors import ClusterError, ProbeFailed
from cluster.inventory import Inventory
from cluster.node import Fleet, Node, Result
from cluster.probes import mpi
from cluster.wait import until
from specs.compute.looks import BUILDS, JOB_S, build, fewer, processes

pytestmark = [pytest.mark.disruptive]

KEEP_S = 60.0  # how long a job would go on that does not survive: longer than anybody waits for its end here
SURVIVES_S = 12.0  # how long one goes on that does
BEGIN_S = 40.0
Note = Callable[[str, object], None]

LEFT = "pgrep -u {user} -l 'mpi-check|hydra_pmi_proxy|mpiexec' || true"


class Scene(NamedTuple):
    """What happens to a node: its name in ids; the first node is where job and build were begun."""

    name: str
    faults: Callable[[str], tuple[Fault, ...]]
    first: bool = False
    survives: bool = False
    """Whether the job does."""


LOST = Scene("lost", lambda node: (PowerOff(node),))
FIRST = Scene("first", lambda node: (PowerOff(node),), first=True)
FROZEN = Scene("frozen", lambda node: (Hang(node),))
STOPPED = Scene("stopped", lambda node: (Stop(node, "distcc"), Stop(node, "ssh")), survives=True)


@dataclass(frozen=True)
class Seen:
    """What became of a job and of a build when something happened to `victim`; seconds count from then."""

    victim: str
    job: Result | ClusterError
    ended_s: float
    orphans: dict[str, str]
    gone_s: float
    refused: Result | None
    """What a job said that wanted the node, where the node was there and took no connection."""
    refused_s: float
    next_job: mpi.Job | ClusterError
    next_s: float
    build: Result | None
    """None where it was lost with the node on which it was begun."""


@pytest.fixture(scope="module")
def seen(inventory: Inventory, fleet: Fleet) -> Callable[[Scene], Seen]:
    """What was seen in a scene, which is made when the first spec asks for it."""
    made: dict[str, Seen | ClusterError] = {}

    def once(scene: Scene) -> Seen:
        if len(inventory.group("compute")) < 3:
            pytest.skip("needs three compute nodes: one that is lost, and two that go on")
        if scene.name not in made:
            try:
                made[scene.name] = play(scene, inventory, fleet)
            except ClusterError as error:  # tried once
                made[scene.name] = error
        found = made[scene.name]
        if isinstance(found, ClusterError):
            raise found
        return found

    return once


def play(scene: Scene, inventory: Inventory, fleet: Fleet) -> Seen:
    """Begin a job and a build, let the node fail, and watch both."""
    names = [node.name for node in inventory.group("compute")]
    starter, victim = fleet[names[0]], names[0] if scene.first else names[-1]
    others = [name for name in names if name != victim]
    user, budget = inventory.mpi.user, inventory.mpi.abort
    keep = SURVIVES_S if scene.survives else KEEP_S
    began: list[Future[Result]] = []
    with ThreadPoolExecutor(2) as pool:
        words = mpi.command(user, seconds=keep + JOB_S, pairs="none", keep=keep, each=fewer(inventory, len(names)))
        job = pool.submit(lambda: starter.run(words, sudo=True, deadline=keep + 2 * JOB_S))
        until(
            lambda: job.done() or all(len(left(fleet[name], user).split()) > 2 for name in (victim, others[-1])),
            deadline=BEGIN_S,
            what="the job",
        )

        def begin(line: str) -> None:
            """The guard has looked: the next thing to happen is the fault, under which the job must run."""
            if line != faults[0].title:
                return
            if not scene.first:
                began.append(pool.submit(build, starter, user))
                until(lambda: compiling(starter), deadline=BEGIN_S, what="the build")
            if job.done():
                raise ProbeFailed(f"the job was over before {victim} was {scene.name}: {end(job)}", reason="over")

        faults = scene.faults(victim)
        with lasting(inventory, fleet, *faults, command=f"spec: a compute node is {scene.name}", say=begin):
            lost = time.monotonic()
            done = outcome(job, 2 * budget + keep + JOB_S)
            ended = time.monotonic() - lost
            orphans = without_orphans(fleet, others, user, max(1.0, budget - ended))
            gone = time.monotonic() - lost
            built = began[0].result(KEEP_S) if began else None
            refused, refused_s = None, 0.0
            if scene.survives:
                words = mpi.command(user, seconds=JOB_S, pairs="none", each=1)
                refused = starter.run(words, sudo=True, deadline=2 * JOB_S)
                refused_s = refused.seconds
            again = time.monotonic()
            after = next_job(inventory, fleet[others[0]], victim, len(others))
            took = time.monotonic() - again
        if not scene.first and not orphans:  # on the node itself, once it goes on
            orphans = without_orphans(fleet, [victim], user, budget)
    return Seen(victim, done, ended, orphans, gone, refused, refused_s, after, took, built)


def outcome(job: Future[Result], seconds: float) -> Result | ClusterError:
    """How the job ended, or why nobody knows: the node on which it was begun has no power."""
    try:
        return job.result(seconds)
    except ClusterError as error:
        return error


def end(job: Future[Result]) -> str:
    """How a job that is over ended."""
    done = outcome(job, 0)
    return f"exit code {done.code}: {mpi.why(done.err)}" if isinstance(done, Result) else str(done)


def next_job(inventory: Inventory, starter: Node, victim: str, nodes: int) -> mpi.Job | ClusterError:
    """A job on all nodes but one."""
    each = fewer(inventory, nodes)
    try:
        return mpi.run(starter, inventory.mpi.user, seconds=JOB_S, pairs="none", without=[victim], each=each)
    except ClusterError as error:
        return error


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


def scenes(*chosen: Scene) -> pytest.MarkDecorator:
    """One spec for each of them."""
    return pytest.mark.parametrize("scene", chosen, ids=lambda scene: scene.name)


@pytest.mark.semantics("mpi-abort")
@scenes(LOST, FROZEN)
def test_the_job_is_aborted_in_time(
    scene: Scene, seen: Callable[[Scene], Seen], inventory: Inventory, record_property: Note
) -> None:
    found, budget = seen(scene), inventory.mpi.abort
    record_property("ended_after_s", round(found.ended_s, 2))
    assert isinstance(found.job, Result), f"nobody knows how the job ended: {found.job}"
    assert found.job.code != 0, f"the job went on without {found.victim}"
    assert found.ended_s <= budget, (
        f"the job was over {found.ended_s:.1f} s after {found.victim} was {scene.name}, not {budget:g} s"
    )


@pytest.mark.semantics("mpi-goes-on")
def test_a_job_that_runs_goes_on(seen: Callable[[Scene], Seen]) -> None:
    """Its connections are there; that the node takes no new ones is no matter of its."""
    found = seen(STOPPED)
    assert isinstance(found.job, Result), f"nobody knows how the job ended: {found.job}"
    said = found.job.err.decode("utf-8", "replace").strip()
    assert found.job.code == 0, f"{found.victim} took no new connections, and the job ended: {said or 'silently'}"


@pytest.mark.semantics("mpi-goes-on")
def test_a_new_job_says_in_time_whom_it_misses(
    seen: Callable[[Scene], Seen], inventory: Inventory, record_property: Note
) -> None:
    found = seen(STOPPED)
    assert found.refused is not None
    record_property("refused_after_s", round(found.refused_s, 2))
    said = found.refused.err.decode("utf-8", "replace")
    assert found.refused.code != 0, f"a job ran on {found.victim}, which was to take no new connections"
    assert found.victim in said, f"a job that could not begin does not name {found.victim}: {said.strip()[:200]}"
    assert found.refused_s <= inventory.mpi.abort, (
        f"a job that could not begin was over after {found.refused_s:.1f} s, not {inventory.mpi.abort:g} s"
    )


@pytest.mark.semantics("mpi-abort")
@scenes(LOST, FIRST, FROZEN, STOPPED)
def test_no_process_is_left_anywhere(
    scene: Scene, seen: Callable[[Scene], Seen], inventory: Inventory, record_property: Note
) -> None:
    found = seen(scene)
    record_property("gone_after_s", round(found.gone_s, 2))
    told = "; ".join(f"{name}: {text}" for name, text in found.orphans.items())
    assert not found.orphans, f"left {inventory.mpi.abort:g} s after {found.victim} was {scene.name}: {told}"


@pytest.mark.semantics("mpi-next")
@scenes(LOST, FIRST, FROZEN, STOPPED)
def test_the_next_job_succeeds_on_those_that_are_left(
    scene: Scene, seen: Callable[[Scene], Seen], inventory: Inventory, record_property: Note
) -> None:
    found = seen(scene)
    record_property("next_job_s", round(found.next_s, 2))
    assert isinstance(found.next_job, mpi.Job), f"without {found.victim}: {found.next_job}"
    left_over = len(inventory.group("compute")) - 1
    n = left_over * processes(inventory, left_over)
    job = found.next_job
    assert (job.ranks, job.wrong, job.ring) == (n, 0, mpi.ring(n)), f"without {found.victim} it came to {job}"
    assert found.victim not in job.hosts, f"a process ran on {found.victim}, which was left out"


@pytest.mark.semantics("distcc-killed")
@scenes(LOST, FROZEN, STOPPED)
def test_the_build_succeeds_and_names_who_failed(
    scene: Scene, seen: Callable[[Scene], Seen], inventory: Inventory, record_property: Note
) -> None:
    found = seen(scene)
    assert found.build is not None
    record_property("build_s", round(found.build.seconds, 2))
    said = found.build.err.decode("utf-8", "replace")
    last = " | ".join(said.strip().splitlines()[-3:])
    assert found.build.code == 0, f"the build failed when {found.victim} was {scene.name}: {last}"
    address = str(inventory.node(found.victim).address)
    assert address in said, f"nobody said that {found.victim} ({address}) failed: {last}"
