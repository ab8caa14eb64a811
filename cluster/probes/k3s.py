"""K3s: what the server says of the cluster, read with kubectl, and what the canary's pods answer.

Commands are apart from the parsers, which are pure; docs.k3s.io and the reference of Kubernetes' API v1.21.  Two
things to know: with the API down `kubectl get -o json` prints an empty list (and fails), so a list of nothing is not
taken for an answer; and pods on a node that is dead go on saying `Running`, so readiness is what counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from cluster.errors import ProbeFailed

T = TypeVar("T")

BINARY = "/usr/local/bin/k3s"
CONFIG = "/etc/rancher/k3s/config.yaml"
READY = "/opt/cluster/compute/k3s-ready"
"""On every node of K3s: ends well when its K3s works (provision/compute)."""
KUBELET_PORT = 10250
"""Where every node's kubelet is asked, over TCP."""
VXLAN_PORT = 8472
"""Where pods' packets to pods of other nodes arrive, over UDP: Flannel's own, as Linux has it."""
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
PRESSURES = ("NetworkUnavailable", "MemoryPressure", "DiskPressure", "PIDPressure")
"""Conditions of a node that are bad news when they are true (Kubernetes: Node status); others' may be good news."""
LEASE_S = 40
"""How long a lease lasts that does not say so: the kubelet's nodeLeaseDurationSeconds."""
_NEVER = {"status": "Unknown", "message": "its kubelet has never posted a status"}
_SECONDS = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")


@dataclass(frozen=True)
class Check:
    """One check of /readyz."""

    name: str
    ok: bool


@dataclass(frozen=True)
class Taint:
    """What keeps pods away from a node."""

    key: str
    effect: str


@dataclass(frozen=True)
class KubeNode:
    """A node as the API has it: `ready` is `True`, `False` or `Unknown`; `pressures` are what it is short of.

    What its kubelet has never told is empty, and so is `proxy` in releases that tell it no more.
    """

    name: str
    ready: str
    why: str
    cordoned: bool
    taints: tuple[Taint, ...]
    pressures: tuple[str, ...]
    address: str
    kubelet: str
    proxy: str
    runtime: str


@dataclass(frozen=True)
class Lease:
    """The sign of life of a node: renewed every quarter of `seconds`, which is what the API may take it to be alive."""

    name: str
    renewed: datetime
    seconds: int

    def age(self, now: datetime) -> float:
        """How long ago it was renewed, s."""
        return (now - self.renewed).total_seconds()


@dataclass(frozen=True)
class Pod:
    """A pod: `ready` is what its readiness says, `phase` may be out of date; `tolerates` in s, by the taint's key.

    `why` is what keeps it from serving, as far as the API tells.
    """

    namespace: str
    name: str
    node: str | None
    phase: str
    ready: bool
    deleting: bool
    address: str | None
    restarts: int
    why: str
    owner: str
    labels: Mapping[str, str]
    tolerates: Mapping[str, float | None]

    def __hash__(self) -> int:
        return hash((self.namespace, self.name))


@dataclass(frozen=True)
class Deployment:
    """A deployment: how many pods it wants and how many of them serve."""

    namespace: str
    name: str
    wanted: int
    available: int
    current: bool
    """Whether what is seen is about its last change."""


@dataclass(frozen=True)
class Endpoints:
    """Behind a service: the addresses that it leads to, with their nodes, and those that it leaves out for now."""

    namespace: str
    name: str
    ready: Mapping[str, str | None]
    not_ready: Mapping[str, str | None]

    def __hash__(self) -> int:
        return hash((self.namespace, self.name))


@dataclass(frozen=True)
class Timing:
    """Of the controller that watches nodes, s: how long one may be silent, and how often it looks."""

    grace: float
    period: float


def readyz(text: str) -> tuple[Check, ...]:
    """The checks of `/readyz?verbose`; raises ProbeFailed (`malformed`) for what is no such answer."""
    checks = []
    for line in text.splitlines():
        if line.startswith(("[+]", "[-]")):
            checks.append(Check(line[3:].split(" ")[0], line.startswith("[+]")))
    if not checks or text.splitlines()[-1] not in ("readyz check passed", "readyz check failed"):
        raise ProbeFailed(f"what /readyz said is cut short or something else: {text[:80]!r}", reason="malformed")
    return tuple(checks)


def items(text: str, kind: str) -> list[dict[str, Any]]:
    """The things in a list that kubectl printed; raises ProbeFailed (`malformed`)."""
    try:
        data = json.loads(text)
        found = data["items"]
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise TypeError("its items are no objects")
    except (ValueError, KeyError, TypeError) as error:
        raise ProbeFailed(f"kubectl's list of {kind} cannot be read: {error!r}", reason="malformed") from error
    wrong = {str(one.get("kind")) for one in found} - {kind}
    if wrong:
        raise ProbeFailed(f"kubectl's list of {kind} has {', '.join(sorted(wrong))} in it", reason="malformed")
    return found


def nodes(text: str) -> dict[str, KubeNode]:
    """Nodes by name; raises ProbeFailed (`malformed`, `empty`)."""
    return {one.name: one for one in _some(_each(text, "Node", _node), "nodes")}


def leases(text: str) -> dict[str, Lease]:
    """Leases of nodes by name, of those that gave a sign of life; raises ProbeFailed (`malformed`, `empty`)."""
    return {one.name: one for one in _some(_each(text, "Lease", _lease), "leases") if one is not None}


def pods(text: str) -> tuple[Pod, ...]:
    """Pods, of which there may be none; raises ProbeFailed (`malformed`)."""
    return tuple(_each(text, "Pod", _pod))


def deployments(text: str) -> tuple[Deployment, ...]:
    """Deployments, of which there may be none; raises ProbeFailed (`malformed`)."""
    return tuple(_each(text, "Deployment", _deployment))


def endpoints(text: str) -> tuple[Endpoints, ...]:
    """Endpoints of services; raises ProbeFailed (`malformed`, `empty`)."""
    return tuple(_some(_each(text, "Endpoints", _endpoints), "endpoints"))


def version(text: str) -> str:
    """The version that the API server says it is; raises ProbeFailed (`malformed`)."""
    try:
        return str(json.loads(text)["serverVersion"]["gitVersion"])
    except (ValueError, KeyError, TypeError) as error:
        raise ProbeFailed(f"kubectl's version cannot be read: {error!r}", reason="malformed") from error


def disabled(text: str) -> tuple[str, ...]:
    """What K3s is told to leave out, from what its settings list under `disable`."""
    return tuple(re.findall(r"[\w-]+", text))


def timing(text: str) -> Timing:
    """When the controller manager counts a node as lost, from its `/configz`; raises ProbeFailed (`malformed`)."""
    try:
        plan = json.loads(text)["kubecontrollermanager.config.k8s.io"]
        return Timing(
            grace=seconds(plan["NodeLifecycleController"]["NodeMonitorGracePeriod"]),
            period=seconds(plan["KubeCloudShared"]["NodeMonitorPeriod"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ProbeFailed(f"the controller manager's settings cannot be read: {error!r}", reason="malformed") from error


def seconds(text: str) -> float:
    """A duration as Go writes it, `1m30s`, in s; raises ValueError."""
    match = _SECONDS.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{text!r} is no duration")
    hours, minutes, whole, thousandths = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + whole + thousandths / 1000


def instant(text: str) -> datetime:
    """A point in time as the API writes it (RFC 3339, UTC); raises ValueError."""
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if found.tzinfo is None:
        raise ValueError(f"{text!r} is of no time zone")
    return found.astimezone(UTC)


def _each(text: str, kind: str, read: Callable[[Mapping[str, Any], Mapping[str, Any]], T]) -> list[T]:
    found = []
    for one in items(text, kind):
        try:
            found.append(read(one["metadata"], one))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProbeFailed(f"kubectl's {kind} {_name(one)} cannot be read: {error!r}", reason="malformed") from error
    return found


def _name(one: Mapping[str, Any]) -> str:
    meta = one.get("metadata")
    return str(meta.get("name", "without a name")) if isinstance(meta, dict) else "without a name"


def _some(found: list[T], what: str) -> list[T]:
    """What every cluster has at least one of, and kubectl has none of when it could not ask."""
    if not found:
        raise ProbeFailed(f"kubectl tells of no {what} at all", reason="empty")
    return found


def _node(meta: Mapping[str, Any], one: Mapping[str, Any]) -> KubeNode:
    spec, status = one.get("spec") or {}, one.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    info = status.get("nodeInfo") or {}
    ready = conditions.get("Ready") or _NEVER
    return KubeNode(
        name=meta["name"],
        ready=ready["status"],
        why=f"{ready.get('reason', '')}: {ready.get('message', '')}".strip(": "),
        cordoned=spec.get("unschedulable", False) is True,
        taints=tuple(Taint(t["key"], t["effect"]) for t in spec.get("taints") or ()),
        pressures=tuple(name for name in PRESSURES if name in conditions and conditions[name]["status"] == "True"),
        address=next((a["address"] for a in status.get("addresses") or () if a["type"] == "InternalIP"), ""),
        kubelet=info.get("kubeletVersion") or "",
        proxy=info.get("kubeProxyVersion") or "",
        runtime=info.get("containerRuntimeVersion") or "",
    )


def _lease(meta: Mapping[str, Any], one: Mapping[str, Any]) -> Lease | None:
    spec = one.get("spec") or {}
    if spec.get("renewTime") is None:
        return None
    return Lease(meta["name"], instant(spec["renewTime"]), int(spec.get("leaseDurationSeconds") or LEASE_S))


def _pod(meta: Mapping[str, Any], one: Mapping[str, Any]) -> Pod:
    spec, status = one["spec"], one["status"]
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    return Pod(
        namespace=meta["namespace"],
        name=meta["name"],
        node=spec.get("nodeName"),
        phase=status["phase"],
        ready=conditions.get("Ready", {}).get("status") == "True",
        deleting="deletionTimestamp" in meta,
        address=status.get("podIP"),
        restarts=sum(int(c["restartCount"]) for c in status.get("containerStatuses") or ()),
        why=_why(conditions, status),
        owner=next((str(o["name"]) for o in meta.get("ownerReferences") or ()), ""),
        labels=dict(meta.get("labels") or {}),
        tolerates={
            str(t.get("key", "")): t.get("tolerationSeconds")
            for t in spec.get("tolerations") or ()
            if t.get("effect") == "NoExecute"
        },
    )  # fmt: skip


def _why(conditions: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    placed = conditions.get("PodScheduled") or {}
    if placed.get("status") == "False":
        return f"{placed.get('reason', '')}: {placed.get('message', '')}".strip(": ")
    first = [f"init container {c['name']}: {w}" for c in status.get("initContainerStatuses") or () if (w := _stuck(c))]
    found = first or [w for c in status.get("containerStatuses") or () if (w := _stuck(c))]
    return "; ".join(found) or str(status.get("reason", ""))


def _stuck(container: Mapping[str, Any]) -> str:
    """What a container waits for or ended with, and what it ended with before; nothing of one that is as it should."""
    state, last = container.get("state") or {}, (container.get("lastState") or {}).get("terminated") or {}
    before = str(last.get("reason", ""))
    if waiting := state.get("waiting"):
        return str(waiting.get("reason", "")) + (f" after {before}" if before else "")
    if ended := state.get("terminated"):
        reason = str(ended.get("reason", ""))
        return reason if reason != "Completed" else ""
    return f"{before} before" if before and not container.get("ready") else ""


def _deployment(meta: Mapping[str, Any], one: Mapping[str, Any]) -> Deployment:
    status = one["status"]
    return Deployment(
        namespace=meta["namespace"],
        name=meta["name"],
        wanted=int(one["spec"]["replicas"]),
        available=int(status.get("availableReplicas") or 0),
        current=status.get("observedGeneration") == meta.get("generation"),
    )


def _endpoints(meta: Mapping[str, Any], one: Mapping[str, Any]) -> Endpoints:
    def there(key: str) -> dict[str, str | None]:
        return {a["ip"]: a.get("nodeName") for subset in one.get("subsets") or () for a in subset.get(key) or ()}

    return Endpoints(meta["namespace"], meta["name"], there("addresses"), there("notReadyAddresses"))
