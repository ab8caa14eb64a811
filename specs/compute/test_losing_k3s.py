"""K3s without one of its nodes: an agent's pods are replaced in time, and without the server those that run go on.

The time comes from the cluster: its controller manager tells the grace period, pods tell how long they tolerate.  The
canary tolerates 5 s, so that nobody waits for the 300 s that others do.  One server is no control plane that survives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import pytest

from chaos.faults import PowerOff
from chaos.lasting import lasting
from cluster.canary import (
    ASK_S,
    PORT,
    STANDS_S,
    START_S,
    kubectl,
    now_of,
    pods_of,
    ready_nodes,
    serving,
    settings,
    standing,
)
from cluster.errors import ClusterError, ProbeFailed
from cluster.inventory import Inventory
from cluster.node import Fleet, Node
from cluster.probes import k3s
from cluster.wait import Deadline, until
from specs.compute.kube import Absent, Kube, kubelets
from specs.lanservices.looks import must

pytestmark = [pytest.mark.disruptive]

Note = Callable[[str, object], None]
POLL_S = 0.5
SLACK_S = 3.0  # for the API and for our own question
WITHOUT_SERVER_S = 15.0
BACK_S = 60.0


@dataclass(frozen=True)
class Lost:
    """What became of the canary when the agent `victim` was lost; seconds count from then."""

    victim: str
    timing: k3s.Timing
    tolerated_s: float
    silent_s: float | None
    """How long after the last sign of life it was no longer ready; None when it stayed so for too long."""
    not_ready_s: float
    replaced_s: float | None
    left: tuple[k3s.Pod, ...]
    ready: dict[str, str | None]
    """Where the service led to then, and on which node."""
    heard: dict[str, list[str]]
    """What those that are left heard from it, each several times."""


@dataclass(frozen=True)
class Alone:
    """What the pods on agents answered while the server was lost, each asked from another agent."""

    asked: int
    wrong: tuple[str, ...]
    restarted: tuple[str, ...]


@pytest.fixture(scope="module")
def server(inventory: Inventory, fleet: Fleet, kube: Kube | Absent | ClusterError) -> Node:
    """The server of a K3s that has two agents at least."""
    if isinstance(kube, Absent):
        pytest.skip(kube.reason)
    must(kube)
    assert inventory.k3s is not None
    if len(kubelets(inventory)) < 3:
        pytest.skip("needs a server and two agents: one that is lost, and one that goes on")
    return fleet[inventory.k3s.server]


@pytest.fixture(scope="module")
def everywhere(inventory: Inventory, server: Node) -> Iterator[str]:
    """A canary that serves on every node, by its namespace; waits for nodes that were lost before."""
    names = set(kubelets(inventory))
    until(lambda: ready_nodes(server), lambda ready: names <= ready, deadline=BACK_S, every=POLL_S, what="K3s")
    with standing(server, len(names)) as space:
        until(lambda: {pod.node for pod in serving(server, space)}, lambda found: found == names, deadline=STANDS_S,
              every=POLL_S, what="the canary")  # fmt: skip
        yield space
        # A server that was lost may still be on its way: what stands there is to be removed.
        until(lambda: bool(ready_nodes(server)), deadline=BACK_S, every=POLL_S, what="the server")


def renewed(server: Node, name: str) -> datetime:
    """When a node gave its last sign of life; raises ProbeFailed (`silent`) for one that never gave any."""
    found = k3s.leases(kubectl(server, "get", "leases", "-n", "kube-node-lease", "-o", "json"))
    if name not in found:
        raise ProbeFailed(f"{name} has never given a sign of life", reason="silent")
    return found[name].renewed


def ask(node: Node, addresses: Sequence[str], times: int = 1) -> list[str]:
    """What is answered at these addresses, or why nothing is, each asked so many times."""
    script = (
        'n=$1; shift; while [ $n -gt 0 ]; do for a; do curl -sS -m 3 "http://$a/" 2>&1 || echo; done; n=$((n-1)); done'
    )
    words = ["sh", "-c", script, "ask", str(times), *addresses]
    return node.run(words, deadline=ASK_S + 3 * times * len(addresses)).text.splitlines()


@pytest.fixture(scope="module")
def lost(inventory: Inventory, fleet: Fleet, server: Node, everywhere: str) -> Lost:
    """What happens when the last agent loses its power, until its pod is replaced."""
    space, victim = everywhere, kubelets(inventory)[-1]
    there = [name for name in kubelets(inventory) if name != victim]
    wanted, timing = len(there) + 1, settings(server)
    tolerated = next(pod.tolerates.get(k3s.UNREACHABLE) for pod in pods_of(server, space) if pod.node == victim)
    assert tolerated is not None, f"the canary on {victim} stays there for ever"
    service = kubectl(server, "get", "service", "canary", "-n", space, "-o", "jsonpath={.spec.clusterIP}")

    def replaced() -> bool:
        found = [pod.node for pod in serving(server, space)]
        return len(found) == wanted and victim not in found

    with lasting(inventory, fleet, PowerOff(victim), command="spec: a node of K3s is lost"):
        began = time.monotonic()
        silent, not_ready, came = None, 0.0, None
        with suppress(ClusterError):
            limit = timing.grace + 2 * timing.period + START_S
            until(lambda: victim not in ready_nodes(server), deadline=limit, every=POLL_S, what="not ready")
            silent = (now_of(server) - renewed(server, victim)).total_seconds()
            not_ready = time.monotonic() - began
            limit = tolerated + timing.period + START_S + SLACK_S
            until(replaced, deadline=limit, every=POLL_S, what="replaced")
            came = time.monotonic() - began
        points = next(iter(k3s.endpoints(kubectl(server, "get", "endpoints", "-n", space, "-o", "json"))))
        heard = {name: ask(fleet[name], [service.strip()], 2 * wanted) for name in there}
        return Lost(
            victim, timing, tolerated, silent, not_ready, came, pods_of(server, space), dict(points.ready), heard
        )


@pytest.mark.semantics("k3s-lost")
def test_it_is_not_ready_once_its_grace_is_over(lost: Lost, record_property: Note) -> None:
    """Counted from its last sign of life, and looked at by the controller once a period, which sees signs so, too."""
    record_property("grace_s", lost.timing.grace)
    record_property("not_ready_after_s", round(lost.not_ready_s, 2))
    assert lost.silent_s is not None, f"{lost.victim} is lost, and K3s takes it to be ready"
    record_property("silent_s", round(lost.silent_s, 2))
    least, most = lost.timing.grace, lost.timing.grace + 2 * lost.timing.period + SLACK_S
    assert least <= lost.silent_s <= most, (
        f"{lost.victim} was not ready {lost.silent_s:.1f} s after its last sign of life, not {least:g} to {most:g} s"
    )


@pytest.mark.semantics("k3s-replaced")
def test_its_pods_are_replaced_once_they_are_tolerated_no_more(lost: Lost, record_property: Note) -> None:
    told = "; ".join(f"{pod.name} on {pod.node or 'no node'}: {pod.why or pod.phase}" for pod in lost.left)
    assert lost.replaced_s is not None, f"what ran on {lost.victim} was not replaced: {told}"
    record_property("replaced_after_s", round(lost.replaced_s, 2))
    took, most = lost.replaced_s - lost.not_ready_s, lost.tolerated_s + lost.timing.period + START_S
    least = lost.tolerated_s - SLACK_S
    assert least <= took <= most, (
        f"replaced {took:.1f} s after {lost.victim} was not ready, not {least:g} to {most:g} s"
    )


@pytest.mark.semantics("k3s-left-out")
def test_nobody_is_led_to_it(lost: Lost) -> None:
    assert lost.ready, f"with {lost.victim} lost, the service leads to nobody"
    assert lost.victim not in lost.ready.values(), f"the service still leads to {lost.victim}: {lost.ready}"


@pytest.mark.semantics("k3s-left-out")
def test_those_that_are_left_hear_an_answer_every_time(lost: Lost) -> None:
    pods = {f"{pod.node} {pod.name}" for pod in lost.left if pod.ready and not pod.deleting}
    wrong = {name: sorted(set(said) - pods) or "nothing" for name, said in lost.heard.items() if not set(said) <= pods}
    silent = [name for name, said in lost.heard.items() if not said]
    assert not wrong and not silent, f"with {lost.victim} lost: {wrong or silent} heard what no pod says"


@pytest.mark.semantics("k3s-back")
def test_it_is_ready_again_when_it_is_back(lost: Lost, server: Node, record_property: Note) -> None:
    began = time.monotonic()
    ready = set[str]()
    with suppress(ClusterError):
        ready = until(lambda: ready_nodes(server), lambda found: lost.victim in found, deadline=BACK_S, every=POLL_S,
                      what="ready")  # fmt: skip
    record_property("ready_again_s", round(time.monotonic() - began, 2))
    assert lost.victim in ready, f"{lost.victim} is back, and not ready for {BACK_S:g} s"


@pytest.fixture(scope="module")
def alone(inventory: Inventory, fleet: Fleet, server: Node, everywhere: str) -> Alone:
    """What pods on agents answer while the server has no power."""
    agents = [name for name in kubelets(inventory) if name != server.name]
    until(lambda: ready_nodes(server), lambda ready: set(agents) <= ready, deadline=BACK_S, every=POLL_S, what="agents")
    before = {pod.name: pod for pod in serving(server, everywhere) if pod.node != server.name}
    assert before, f"no canary serves but on {server.name}"
    addresses = [f"{pod.address}:{PORT}" for pod in before.values()]
    known = {f"{pod.node} {pod.name}" for pod in before.values()}
    asked, wrong = 0, list[str]()
    with lasting(inventory, fleet, PowerOff(server.name), command="spec: the server of K3s is lost"):
        end = Deadline.after(WITHOUT_SERVER_S)
        while not end.passed:
            for name in agents:
                said = ask(fleet[name], addresses)
                asked += len(addresses)
                wrong += [f"{name} heard {line!r}" for line in said if line not in known]
                wrong += [f"{name} heard {len(said)} answers of {len(addresses)}"] * (len(said) != len(addresses))
    until(lambda: ready_nodes(server), lambda ready: set(agents) <= ready, deadline=BACK_S, every=POLL_S, what="agents")
    after = {pod.name: pod for pod in pods_of(server, everywhere)}
    restarted = tuple(name for name, pod in before.items() if name not in after or after[name].restarts != pod.restarts)
    return Alone(asked, tuple(wrong), restarted)


@pytest.mark.semantics("k3s-server")
def test_without_the_server_pods_go_on_answering(alone: Alone, record_property: Note) -> None:
    record_property("asked", alone.asked)
    assert alone.asked and not alone.wrong, f"without K3s's server: {'; '.join(alone.wrong[:3])}"


@pytest.mark.semantics("k3s-server")
def test_no_pod_was_started_anew_for_it(alone: Alone) -> None:
    assert not alone.restarted, f"pods of agents were started anew when the server was lost: {alone.restarted}"
