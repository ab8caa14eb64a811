"""MPI: a job runs on all compute nodes, where it was told to, and comes to results that are known beforehand.

mpiexec(1) (Hydra).  The job is one, started on one of the nodes; what each node brings to it, the node is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from cluster import authority, credentials
from cluster.errors import ClusterError
from cluster.hostkeys import AUTHORITY, HostKeys
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Fleet, Node
from cluster.probes import mpi
from specs.compute.looks import JOB_S, Herd, processes
from specs.compute.previous import Earlier, earlier
from specs.lanservices.looks import must

pytestmark = pytest.mark.group("compute")

# So much worse than the run before, again and again, a pair is not merely busy: a link fell back to 10 Mbit/s, or a
# node swaps.
FAR_OFF = 50.0
LOOKS = 4  # one alone may have met a moment in which the nodes had other things to do


@pytest.fixture(scope="module")
def herd(node: Node, herds: dict[str, Herd | ClusterError]) -> Herd:
    """What the node says of its part in the herd."""
    return must(herds[node.name])


@pytest.mark.semantics("mpi-user")
def test_the_user_of_jobs_may_log_in(node: Node, herd: Herd, inventory: Inventory) -> None:
    user, wanted = inventory.mpi.user, inventory.users.ssh_group
    groups = " ".join(herd.lines("user")).split()
    assert wanted in groups, f"{node.name}: {user} is not in group {wanted}, but in {' '.join(groups) or 'none'}"
    account, ours = " ".join(herd.lines("account")), f"/home/{user}:/bin/bash"
    assert account == ours, f"{node.name}: {user} has {account or 'nothing'} as home and shell, not {ours}"


@pytest.mark.semantics("mpi-user")
def test_nobody_else_reads_the_key_of_jobs(node: Node, herd: Herd, inventory: Inventory) -> None:
    user = inventory.mpi.user
    home = f"/home/{user}"
    wanted = [
        f"{home} 700 {user}",
        f"{home}/.ssh 700 {user}",
        f"{home}/.ssh/id_ed25519 600 {user}",
        f"{home}/.ssh/id_ed25519-cert.pub 600 {user}",
    ]
    strange = sorted(set(wanted) ^ set(herd.lines("modes")))
    assert not strange, f"{node.name}: not as they must be: {'; '.join(strange)}"


@pytest.mark.semantics("mpi-user")
def test_the_next_node_is_reached_without_a_question(node: Node, herd: Herd) -> None:
    said = herd.lines("hop")
    assert said == [herd.next], f"{node.name} does not get to {herd.next} by SSH: {'; '.join(said) or 'silence'}"


@pytest.mark.semantics("mpi-placement")
def test_the_host_file_is_the_inventorys(node: Node, herd: Herd, inventory: Inventory) -> None:
    wanted = [f"{one.name}:{inventory.mpi.ranks_per_node}" for one in inventory.group("compute")]
    assert herd.lines("hosts") == wanted, f"{node.name} places processes on {herd.lines('hosts')}, not {wanted}"


@pytest.mark.semantics("mpi-user")
def test_it_believes_the_authority_about_the_others(node: Node, herd: Herd, inventory: Inventory) -> None:
    known = [line.split() for line in herd.lines("known") if line.startswith(AUTHORITY)]
    believed = {" ".join(words[2:4]) for words in known}
    ours = HostKeys(inventory.state / "known_hosts").authorities()
    assert believed == ours and len(known) == 1, (
        f"{node.name}: {inventory.mpi.user} believes another authority, or none"
    )
    unknown = {one.name for one in inventory.group("compute")} - set(known[0][1].split(","))
    assert not unknown, f"{node.name}: {inventory.mpi.user} believes it about others than {', '.join(sorted(unknown))}"


@pytest.mark.semantics("mpi-user")
def test_the_certificate_of_jobs_holds(
    node: Node, herd: Herd, inventory: Inventory, record_property: Callable[[str, object], None]
) -> None:
    said, user = herd.lines("certificate"), inventory.mpi.user
    try:
        found = authority.read(" ".join(said))
    except ValueError:
        pytest.fail(f"{node.name}: {user} has no certificate: {'; '.join(said)[:80]}", pytrace=False)
    why = found.why_not("user", user, HostKeys(inventory.state / "known_hosts").authorities())
    assert why is None, f"{node.name}: {user}'s certificate does not hold: {why}"
    left, wanted = found.days_left(), inventory.authority.jobs * credentials.RENEWED_AT / 2 / 86400
    record_property("days left", round(left, 1))
    assert left > wanted, (
        f"{node.name}: {user}'s certificate ends in {left:.1f} days: `python -m provision {node.name}`"
    )


@pytest.mark.semantics("mpi-versions")
def test_the_version_is_that_of_the_others(node: Node, herd: Herd, herds: dict[str, Herd | ClusterError]) -> None:
    """Processes of two versions do not understand each other."""
    versions = {name: other.lines("mpich") for name, other in herds.items() if isinstance(other, Herd)}
    mine = herd.lines("mpich")
    assert mine, f"{node.name} does not tell its MPICH's version"
    others = [version for name, version in versions.items() if name != node.name]
    common = max(others or [mine], key=others.count)
    assert mine == common, f"{node.name} has MPICH {mine[0]}, others have {common[0] if common else 'none'}"


@pytest.mark.semantics("mpi-versions")
def test_no_library_is_missing(node: Node, herd: Herd) -> None:
    linked = herd.lines("linked")
    missing = [line for line in linked if "not found" in line]
    found = any("libmpi" in line and "=> /" in line for line in linked)
    assert found and not missing, f"{node.name}: {mpi.PROGRAM} lacks {'; '.join(missing) or linked or 'everything'}"


@pytest.mark.semantics("mpi-placement")
def test_its_processes_run_where_they_were_placed(node: Node, mpi_job: mpi.Job, inventory: Inventory) -> None:
    """Hydra fills one node after the other, in the order of the host file."""
    names = [one.name for one in inventory.group("compute") if one.name in mpi_job.hosts or one.name == node.name]
    each = processes(inventory, len(names))
    begin = names.index(node.name) * each
    there = mpi_job.hosts[begin : begin + each]
    assert there == (node.name,) * each, (
        f"processes {begin} to {begin + each - 1} belong on {node.name}, but ran on {there or 'no node'}"
    )
    strays = mpi_job.hosts.count(node.name) - each
    assert not strays, f"{strays} processes too many on {node.name}"


@pytest.mark.semantics("mpi-result")
def test_its_results_are_right(mpi_job: mpi.Job) -> None:
    """Computed here once more: two sums over all processes, and a number that went around all of them in order."""
    n = mpi_job.ranks
    assert mpi_job.wrong == 0, f"{mpi_job.wrong} of {n} processes got a wrong result"
    assert mpi_job.sum == sum(range(1, n + 1)), f"the sum over {n} processes is {mpi_job.sum}"
    assert mpi_job.squares == sum(k * k for k in range(n)), f"the sum of squares over {n} processes: {mpi_job.squares}"
    assert mpi_job.ring == mpi.ring(n), f"the number that went around {n} processes is {mpi_job.ring}"


def neighbour(inventory: Inventory, node: Plan) -> list[str]:
    """The next compute node in a ring, where there is another one."""
    names = [one.name for one in inventory.group("compute")]
    return [names[(names.index(node.name) + 1) % len(names)]] if len(names) > 1 else []


Note = Callable[[str, object], None]


@pytest.mark.semantics("mpi-pairs")
@pytest.mark.each("other", neighbour)
def test_a_pair_is_about_as_fast_as_before(
    node: Node, other: str, mpi_job: mpi.Job, inventory: Inventory, record_property: Note
) -> None:
    if other not in mpi_job.hosts:
        pytest.skip(f"{other} took no part in the job: it does not answer")

    def alone() -> list[mpi.Pair]:
        others = [one.name for one in inventory.group("compute") if one.name not in (node.name, other)]
        job = mpi.run(node, inventory.mpi.user, seconds=JOB_S, without=others, each=1)
        return list(job.pairs)

    pairs = [pair for pair in mpi_job.pairs if {pair.a, pair.b} == {node.name, other}]
    judge(pairs, f"{node.name} and {other}", earlier(inventory, f"[{node.name}-{other}]"), record_property, alone)


@pytest.mark.slow
@pytest.mark.semantics("mpi-pairs")
def test_all_pairs_are_measured(inventory: Inventory, fleet: Fleet, record_property: Note) -> None:
    names = [node.name for node in inventory.group("compute")]
    job = mpi.run(fleet[names[0]], inventory.mpi.user, seconds=JOB_S, pairs="all", each=1)
    wanted = {frozenset({a, b}) for n, a in enumerate(names) for b in names[n + 1 :]}
    found = {frozenset({pair.a, pair.b}) for pair in job.pairs}
    assert found == wanted, f"not measured: {sorted(map(sorted, wanted - found))}"
    for pair in job.pairs:
        record_property(f"{pair.a}-{pair.b}", f"{pair.latency_us:.0f} us, {pair.bandwidth_mb_s:.0f} MB/s")


def judge(
    pairs: list[mpi.Pair], who: str, before: Earlier | None, record_property: Note, again: Callable[[], list[mpi.Pair]]
) -> None:
    """Note what was measured, beside what it was when it was last well; only what is far off is a finding.

    What is far off is looked at `again`, without other pairs: what it was in its best moment is what counts.
    """
    assert pairs, f"{who} were not measured"
    pair = pairs[0]
    assert pair.latency_us > 0 and pair.bandwidth_mb_s > 0, f"{who}: nothing was exchanged in the time measured"
    if before is not None:
        for _ in range(LOOKS - 1):
            if slower(pair, before) < FAR_OFF:
                break
            pair = min([pair, *again()], key=lambda one: slower(one, before))
    record_property("latency_us", round(pair.latency_us, 1))
    record_property("bandwidth_mb_s", round(pair.bandwidth_mb_s, 1))
    if before is None:
        return
    record_property("latency_us_before", before.latency_us)
    record_property("bandwidth_mb_s_before", before.bandwidth_mb_s)
    times = slower(pair, before)
    assert times < FAR_OFF, (
        f"{who} are {times:.0f} times slower than before: {pair.latency_us:.0f} us, {pair.bandwidth_mb_s:.0f} MB/s; "
        f"before {before.latency_us:.0f} us, {before.bandwidth_mb_s:.0f} MB/s"
    )


def slower(pair: mpi.Pair, before: Earlier) -> float:
    """How many times worse a pair is than it was, in what has become worst."""
    if pair.latency_us <= 0 or pair.bandwidth_mb_s <= 0:
        return inf
    return max(pair.latency_us / before.latency_us, before.bandwidth_mb_s / pair.bandwidth_mb_s)
