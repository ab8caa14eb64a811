"""What is looked at once for all specs about K3s: what its server says, and what nodes hear from a canary."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
DISABLED = r"s/^disable: *\[\(.*\)\].*/\1/p"
"""What sed finds of what K3s leaves out in its settings, which hold the token, too."""

# What kubectl says when it fails stands under `failed`, and ends it: a list that it then prints is empty, and is none.
# The time is that of the leases.
STATE = r"""
section() {{ printf '\036%s\n' "$1"; }}
ask() {{
  section "$1"
  shift
  {{ why=$(timeout 20 {binary} kubectl "$@" 2>&1 >&3); }} 3>&1 && return
  code=$?
  section failed
  printf '%s\n' "$*" "$code" "$why"
  section end
  exit
}}
tls=/var/lib/rancher/k3s/server/tls
section disabled; sed -n '{disabled}' {config}
section readyz; curl -sS -k -m 10 --cert $tls/client-admin.crt --key $tls/client-admin.key \
  'https://127.0.0.1:{port}/readyz?verbose' 2>&1
ask version version -o json
ask nodes get nodes -o json
ask leases get leases -n kube-node-lease -o json
section now; date -u +%FT%T.%NZ
ask pods get pods -A -o json
ask deployments get deployments -n kube-system -o json
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
    disabled: tuple[str, ...] = ()
    """What of its own it is told to leave out."""


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
    """The canary: its pods, where its service leads to, what nodes heard, and what its name resolved to.

    `no_dns` says why there is nobody to resolve it, where there need not be.
    """

    wanted: int
    pods: tuple[k3s.Pod, ...]
    endpoints: k3s.Endpoints
    asked: Mapping[str, Asked | ClusterError]
    resolved: str | None
    no_dns: str | None = None


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
    script = STATE.format(binary=k3s.BINARY, config=k3s.CONFIG, disabled=DISABLED, port=port)
    said = sections(node.run(["sh", "-c", script], sudo=True, deadline=ASK_S).text, node.name)
    checks = k3s.readyz(said["readyz"].strip())
    try:
        if "failed" in said:
            raise kubectl_failed(node.name, said["failed"])
        return Kube(
            now=k3s.instant(said["now"].strip()[:26] + "Z"),
            checks=checks,
            version=k3s.version(said["version"]),
            nodes=k3s.nodes(said["nodes"]),
            leases=k3s.leases(said["leases"]),
            pods=k3s.pods(said["pods"]),
            deployments=k3s.deployments(said["deployments"]),
            disabled=k3s.disabled(said["disabled"]),
        )
    except ProbeFailed as error:
        wrong = [check.name for check in checks if not check.ok]
        if not wrong:
            raise
        raise ProbeFailed(f"K3s's API is not ready: {', '.join(wrong)}; {error}", reason=error.reason) from error


def kubectl_failed(node: str, text: str) -> ProbeFailed:
    """What is told of a kubectl that failed: its words, exit code and last lines, without what K3s logs by the way."""
    words, code, *lines = text.rstrip("\n").split("\n")
    why = " | ".join([line for line in lines if line and not line.startswith('time="')][-2:]) or "it said nothing"
    return ProbeFailed(f"{node}: `kubectl {words}` ended with exit code {code}: {why}", reason="failed")


def without_dns(inventory: Inventory, disabled: Collection[str]) -> str | None:
    """Why K3s may run no CoreDNS, or None where it must: its server is set to run it, or its image is at hand here."""
    why = material.at_hand(inventory).no_dns
    return f"the server leaves CoreDNS out; {why}" if material.DNS in disabled and why is not None else None


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
    settings = server.run(["sed", "-n", DISABLED, k3s.CONFIG], sudo=True, deadline=ASK_S, check=True).text
    no_dns = without_dns(place.inventory, k3s.disabled(settings))
    with standing(server, len(names)) as space:
        with suppress(ClusterError):  # what is missing is told by the specs, each by its name
            until(lambda: len(serving(server, space)), lambda n: n == len(names), deadline=STANDS_S, every=0.3,
                  what="the canary")  # fmt: skip
        pods = pods_of(server, space)
        address = kubectl(server, "get", "service", "canary", "-n", space, "-o", "jsonpath={.spec.clusterIP}")
        points = k3s.endpoints(kubectl(server, "get", "endpoints", "-n", space, "-o", "json"))[0]
        asked = asked_by(place, names, pods, address.strip())
        resolved = resolve(server, space, pods[0].name) if no_dns is None and pods else None
    return Canary(len(names), pods, points, asked, resolved, no_dns)


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
