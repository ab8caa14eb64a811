"""K3s: every node is ready and of one version, and work that is spread over all of them is reached from each.

Without its binary there is no K3s: then these specs are skipped, and say which file is missing where.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

import pytest

from cluster import k3s as material
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes.k3s import KubeNode
from specs.compute.kube import Absent, Asked, Canary, Kube, kubelets, without_dns
from specs.lanservices.looks import must

pytestmark = pytest.mark.group("compute")

T = TypeVar("T")
SLACK_S = 5.0  # between the renewal of a lease and our question


def there(seen: T | Absent | ClusterError, spec: str) -> T:
    """What a look saw; skips where there is no K3s, and where it failed, which one spec is about."""
    if isinstance(seen, Absent):
        pytest.skip(seen.reason)
    if isinstance(seen, ClusterError):
        pytest.skip(f"{spec} has failed: {seen}")
    return seen


@pytest.fixture(scope="module")
def server(kube: Kube | Absent | ClusterError) -> Kube:
    """What the server says."""
    return there(kube, "test_the_api_is_ready")


@pytest.fixture(scope="module")
def bird(canary: Canary | Absent | ClusterError) -> Canary:
    """The canary."""
    return there(canary, "test_the_service_leads_to_every_canary")


@pytest.fixture(scope="module")
def mine(node: Node, server: Kube, inventory: Inventory) -> KubeNode:
    """What the server says of the node."""
    if node.name not in kubelets(inventory):
        pytest.skip(f"the inventory has no K3s on {node.name}")
    assert node.name in server.nodes, f"K3s does not know {node.name}: {', '.join(server.nodes)} have joined"
    return server.nodes[node.name]


@pytest.fixture(scope="module")
def asked(node: Node, bird: Canary, inventory: Inventory) -> Asked:
    """What the node got to hear from the canary."""
    if node.name not in kubelets(inventory):
        pytest.skip(f"the inventory has no K3s on {node.name}")
    return must(bird.asked[node.name])


@pytest.mark.semantics("k3s-api")
def test_the_api_is_ready(kube: Kube | Absent | ClusterError) -> None:
    if isinstance(kube, Absent):
        pytest.skip(kube.reason)
    wrong = [check.name for check in must(kube).checks if not check.ok]
    assert not wrong, f"K3s's API is not ready: {', '.join(wrong)}"


@pytest.mark.semantics("k3s-nodes")
def test_nobody_else_has_joined(server: Kube, inventory: Inventory) -> None:
    strange = sorted(set(server.nodes) - set(kubelets(inventory)))
    assert inventory.k3s is not None
    assert not strange, (
        f"joined K3s, and are not of the inventory: {', '.join(strange)}; where they are gone for good, run "
        f"on {inventory.k3s.server}: k3s kubectl delete node {' '.join(strange)}"
    )


@pytest.mark.semantics("k3s-nodes")
def test_the_node_is_ready(node: Node, mine: KubeNode) -> None:
    assert mine.ready == "True", f"{node.name} is not ready ({mine.ready}): {mine.why}"


@pytest.mark.semantics("k3s-nodes")
def test_it_takes_pods(node: Node, mine: KubeNode) -> None:
    why = ["it is cordoned"] if mine.cordoned else []
    why += [f"taint {one.key}:{one.effect}" for one in mine.taints if one.effect != "PreferNoSchedule"]
    why += list(mine.pressures)
    assert not why, f"{node.name} takes no pods: {', '.join(why)}"


@pytest.mark.semantics("k3s-nodes")
def test_its_address_is_the_inventorys(node: Node, mine: KubeNode) -> None:
    assert mine.address == node.address, f"K3s has {node.name} at {mine.address or 'no address'}, not {node.address}"


@pytest.mark.semantics("k3s-leases")
def test_its_sign_of_life_is_fresh(node: Node, mine: KubeNode, server: Kube) -> None:
    """The kubelet renews its lease when a quarter of it is over."""
    assert mine.name in server.leases, f"{node.name} has never given a sign of life"
    lease = server.leases[mine.name]
    age, most = lease.age(server.now), lease.seconds / 4 + SLACK_S
    assert -SLACK_S <= age <= most, f"{node.name} gave its last sign of life {age:.1f} s ago, {most:g} s at most"


@pytest.mark.semantics("k3s-versions")
def test_its_version_is_the_inventorys(node: Node, mine: KubeNode, inventory: Inventory) -> None:
    assert inventory.k3s is not None
    wanted = inventory.artifacts[inventory.k3s.binary].version
    told = f"kubelet {mine.kubelet or 'of no version'}" + (f" and proxy {mine.proxy}" if mine.proxy else "")
    assert mine.kubelet == wanted and mine.proxy in ("", wanted), (
        f"{node.name} runs {told}, the inventory says {wanted}"
    )


@pytest.mark.semantics("k3s-versions")
def test_the_servers_version_is_the_inventorys(server: Kube, inventory: Inventory) -> None:
    assert inventory.k3s is not None
    wanted = inventory.artifacts[inventory.k3s.binary].version
    assert server.version == wanted, f"K3s's API is of {server.version}, the inventory says {wanted}"


@pytest.mark.semantics("k3s-versions")
def test_its_container_runtime_is_that_of_the_others(node: Node, mine: KubeNode, server: Kube) -> None:
    assert mine.runtime, f"{node.name} tells of no container runtime"
    runtimes = Counter(one.runtime for one in server.nodes.values() if one.runtime)
    common = runtimes.most_common(1)[0][0]
    assert mine.runtime == common, f"{node.name} has {mine.runtime}, others have {common}"


@pytest.mark.semantics("k3s-system")
def test_of_its_own_runs_what_is_declared(server: Kube, inventory: Inventory) -> None:
    """CoreDNS where the server is set to run it, or its image is at hand; nothing else of what K3s brings along."""
    wanted = {material.DNS} if without_dns(inventory, server.disabled) is None else set()
    found = {one.name for one in server.deployments if one.namespace == "kube-system"}
    assert found == wanted, f"in kube-system run {sorted(found) or 'no deployments'}, not {sorted(wanted) or 'none'}"
    short = [
        f"{one.name} ({one.available} of {one.wanted})" for one in server.deployments if one.available < one.wanted
    ]
    assert not short, f"in kube-system do not serve: {', '.join(short)}"


@pytest.mark.semantics("k3s-system")
def test_no_pod_is_in_trouble(server: Kube) -> None:
    """Whatever runs there; the canary's pods come and go."""
    wrong = [
        f"{pod.namespace}/{pod.name} on {pod.node or 'no node'}: {pod.why or pod.phase}"
        for pod in server.pods
        if not pod.ready and pod.phase != "Succeeded" and not pod.deleting and not pod.namespace.startswith("canary-")
    ]
    assert not wrong, f"pods that do not serve: {'; '.join(wrong)}"


@pytest.mark.semantics("k3s-secret")
def test_nobody_else_reads_its_token(node: Node, asked: Asked) -> None:
    wrong = [line for line in asked.modes if not line.startswith("600 root ")]
    assert asked.modes and not wrong, f"{node.name}: others read {', '.join(wrong) or 'no files at all'}"
    assert asked.shown == 0, f"{node.name}: the token is in its list of processes"


@pytest.mark.semantics("k3s-canary")
def test_a_canary_sits_on_every_node(node: Node, bird: Canary, mine: KubeNode) -> None:
    here = [pod for pod in bird.pods if pod.node == mine.name]
    told = "; ".join(f"{pod.name} on {pod.node or 'no node'}: {pod.why or pod.phase}" for pod in bird.pods)
    assert len(here) == 1, f"{node.name} has {len(here)} of {bird.wanted} canaries: {told or 'there are none'}"
    assert here[0].ready, f"{node.name}: its canary does not serve: {told}"


@pytest.mark.semantics("k3s-canary")
def test_the_service_leads_to_every_canary(canary: Canary | Absent | ClusterError) -> None:
    if isinstance(canary, Absent):
        pytest.skip(canary.reason)
    bird = must(canary)
    found, wanted = set(bird.endpoints.ready), {pod.address for pod in bird.pods}
    assert len(found) == bird.wanted and found == wanted, (
        f"the service leads to {sorted(found) or 'nobody'}, not to {bird.wanted} pods at {sorted(map(str, wanted))}"
    )


@pytest.mark.semantics("k3s-service")
def test_the_service_answers_it_every_time(node: Node, asked: Asked, bird: Canary) -> None:
    known = {f"{pod.node} {pod.name}" for pod in bird.pods}
    wrong = sorted(set(asked.service) - known)
    assert asked.service and not wrong, f"{node.name} asked {len(asked.service)} times and heard {wrong or 'nothing'}"


@pytest.mark.semantics("k3s-service")
def test_it_reaches_the_canary_of_the_next(node: Node, asked: Asked) -> None:
    assert asked.pod.startswith(f"{asked.other} "), (
        f"{node.name} asked the canary on {asked.other} and heard {asked.pod!r}"
    )


@pytest.mark.semantics("k3s-dns")
def test_the_canarys_name_is_resolved(bird: Canary) -> None:
    if bird.no_dns is not None:
        pytest.skip(f"not verified: {bird.no_dns}")
    said = bird.resolved or "nobody was there to ask"
    assert "canary." in said and "Address" in said.rpartition("canary.")[2], (
        f"a pod asked for the canary and heard: {said}"
    )
