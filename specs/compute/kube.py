"""What is looked at once for all specs about K3s: what its server says, and what nodes hear from a canary."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cluster import k3s as material
from cluster.canary import ASK_S, PORT, STANDS_S, kubectl, pods_of, serving, standing, why_absent
from cluster.errors import ClusterError, CommandFailed, CommandTimeout, ProbeFailed
from cluster.node import Node
from cluster.probes import k3s
from cluster.wait import until
from specs.looks import Place

if TYPE_CHECKING:
    from cluster.inventory import Inventory

SECTION = "\x1e"

STATE = r"""
section() {{ printf '\036%s\n' "$1"; }}
tls=/var/lib/rancher/k3s/server/tls
kubectl() {{ timeout 20 {binary} kubectl "$@"; }}
section now; date -u +%FT%T.%NZ
section readyz; curl -sS -k -m 20 --cert $tls/client-admin.crt --key $tls/client-admin.key \
  'https://127.0.0.1:{port}/readyz?verbose' 2>&1
section version; kubectl version -o json
section nodes; kubectl get nodes -o json
section leases; kubectl get leases -n kube-node-lease -o json
section pods; kubectl get pods -A -o json
section deployments; kubectl get deployments -n kube-system -o json
section end
"""

# One command for each node: $1 is the service, $2 the pod on another node, $3 how often the service is asked.
ASK = rf"""
exec 2>&1
section() {{ printf '\036%s\n' "$1"; }}
ask() {{ curl -sS -m 5 "http://$1/"; }}
section modes; stat -c '%a %U %n' /etc/rancher/k3s/*.yaml
section shown; ps -eo args= | awk 'NR == FNR {{ if ($1 == "token:") token = $2; next }}
  index($0, token) {{ n++ }} END {{ print n + 0 }}' /etc/rancher/k3s/config.yaml -
section service; i=0; while [ $i -lt "$3" ]; do ask "$1"; i=$((i + 1)); done
section pod; ask "$2:{PORT}"
section end
"""


@dataclass(frozen=True)
class Absent:
    """There is no K3s, and `reason` says why nothing can be verified."""

    reason: str


@dataclass(frozen=True)
class Kube:
    """What the server said, all in one moment, `now` by its own clock."""

    now: datetime
    checks: tuple[k3s.Check, ...]
    version: str
    nodes: Mapping[str, k3s.KubeNode]
    leases: Mapping[str, k3s.Lease]
    pods: tuple[k3s.Pod, ...]
    deployments: tuple[k3s.Deployment, ...]


@dataclass(frozen=True)
class Asked:
    """What one node got to hear: from the service, and from the pod on `other`; and how its secrets lie about."""

    other: str
    service: tuple[str, ...]
    pod: str
    modes: tuple[str, ...]
    shown: int


@dataclass(frozen=True)
class Canary:
    """The canary: its pods, where its service leads to, what nodes heard, and what its name resolved to."""

    wanted: int
    pods: tuple[k3s.Pod, ...]
    endpoints: k3s.Endpoints
    asked: Mapping[str, Asked | ClusterError]
    resolved: str | None


def absent(inventory: Inventory, server: Node) -> Absent | None:
    """Why there is no K3s to look at, or None; raises ProbeFailed (`absent`) where there should be one."""
    reason = why_absent(inventory, server)
    return Absent(reason) if reason is not None else None


def kubelets(inventory: Inventory) -> list[str]:
    """The names of the nodes that K3s runs on."""
    return [node.name for node in inventory.k3s_nodes]


def sections(text: str, node: str) -> dict[str, str]:
    """The parts of what a node said; raises ProbeFailed (`incomplete`)."""
    parts = [part.partition("\n") for part in text.split(SECTION)[1:]]
    found = {name.strip(): body for name, _, body in parts}
    if "end" not in found:
        raise ProbeFailed(f"{node}: did not tell all of its K3s", reason="incomplete")
    return found


def state(node: Node, port: int) -> Kube:
    """Ask the server for all; raises ProbeFailed when its API does not answer, and what Node.run raises."""
    text = node.run(["sh", "-c", STATE.format(binary=k3s.BINARY, port=port)], sudo=True, deadline=ASK_S).text
    said = sections(text, node.name)
    return Kube(
        now=k3s.instant(said["now"].strip()[:26] + "Z"),
        checks=k3s.readyz(said["readyz"].strip()),
        version=k3s.version(said["version"]),
        nodes=k3s.nodes(said["nodes"]),
        leases=k3s.leases(said["leases"]),
        pods=k3s.pods(said["pods"]),
        deployments=k3s.deployments(said["deployments"]),
    )


def kube(place: Place) -> Kube | Absent | ClusterError:
    """What the server says of the whole, or why it says nothing; a server that cannot be reached raises."""
    plan = place.inventory.k3s
    if plan is None:
        return Absent("the inventory has no K3s")
    server = place.fleet[plan.server]
    try:
        return absent(place.inventory, server) or state(server, plan.port)
    except (ProbeFailed, CommandFailed, CommandTimeout) as error:
        return error


def canary(place: Place) -> Canary | Absent | ClusterError:
    """Put a canary on every node, have every node ask it, and remove it; a server that cannot be reached raises."""
    if place.inventory.k3s is None:
        return Absent("the inventory has no K3s")
    server = place.fleet[place.inventory.k3s.server]
    try:
        return absent(place.inventory, server) or sing(place, server)
    except (ProbeFailed, CommandFailed, CommandTimeout) as error:
        return error


def sing(place: Place, server: Node) -> Canary:
    """The canary, where there is a K3s; raises what kubectl does."""
    names = kubelets(place.inventory)
    with standing(server, len(names)) as space:
        with suppress(ClusterError):  # what is missing is told by the specs, each by its name
            until(lambda: len(serving(server, space)), lambda n: n == len(names), deadline=STANDS_S, every=0.3,
                  what="the canary")  # fmt: skip
        pods = pods_of(server, space)
        address = kubectl(server, "get", "service", "canary", "-n", space, "-o", "jsonpath={.spec.clusterIP}")
        points = k3s.endpoints(kubectl(server, "get", "endpoints", "-n", space, "-o", "json"))[0]
        asked = asked_by(place, names, pods, address.strip())
        resolved = None
        if material.at_hand(place.inventory).no_dns is None and pods:
            resolved = resolve(server, space, pods[0].name)
    return Canary(len(names), pods, points, asked, resolved)


def asked_by(
    place: Place, names: list[str], pods: tuple[k3s.Pod, ...], service: str
) -> dict[str, Asked | ClusterError]:
    """Have each node ask the service, and the pod on the next of them."""
    there = {pod.node: pod.address for pod in pods if pod.node and pod.address}

    def ask(node: Node) -> Asked:
        other = names[(names.index(node.name) + 1) % len(names)]
        words = ["sh", "-c", ASK, "ask", service, there.get(other, "0.0.0.0"), str(2 * len(names))]
        said = sections(node.run(words, sudo=True, deadline=ASK_S + 5 * len(names)).text, node.name)
        lines = {name: tuple(body.split("\n")[:-1]) for name, body in said.items()}
        shown = "".join(lines["shown"])
        if not shown.isdigit():
            raise ProbeFailed(f"{node.name}: has no settings of K3s: {shown}", reason="absent")
        return Asked(other, lines["service"], " ".join(lines["pod"]), lines["modes"], int(shown))

    return place.fleet.each(ask, names, limit=16)


def resolve(server: Node, space: str, pod: str) -> str:
    """What a pod is told when it asks for the canary's name."""
    words = [k3s.BINARY, "kubectl", "exec", "-n", space, pod, "--", "nslookup", f"canary.{space}.svc.cluster.local"]
    done = server.run(words, sudo=True, deadline=ASK_S)
    return (done.text + done.err.decode("utf-8", "replace")).strip()
