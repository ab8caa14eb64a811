"""The canary: work that K3s is given to see whether it does it, a pod a node and a service that leads to them.

Made for one look, in a namespace of its own, and removed after it: so scheduler, images, network and service are
tried, not only remembered.  Each pod answers with its node and its name.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from cluster import k3s as material
from cluster.errors import NodeError, ProbeFailed
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes import k3s
from cluster.wait import Deadline

LABEL = "rpicluster/canary"
ASK_S = 40.0  # 1.5 s in the lab; kubectl takes a second or two for each question on a Pi
STANDS_S = 90.0  # for all of its pods to serve: 5 s in the lab
START_S = 30.0  # from an order to a pod that serves: 3 s in the lab; a Pi takes its time to make a network
OLD_S = 900.0  # a canary that nobody removed for so long is of a run that was killed
PORT = 8080
TOLERATED_S = 5  # how long the canary's pods stay on a node that is lost

# What the controller manager goes by: since v1.22 it tells only who shows a certificate, before that on another port.
CONTROLLERS = """
tls=/var/lib/rancher/k3s/server/tls
curl -sS -f -k -m 10 --cert $tls/client-admin.crt --key $tls/client-admin.key https://127.0.0.1:10257/configz ||
  curl -sS -f -m 10 http://127.0.0.1:10252/configz
"""


def why_absent(inventory: Inventory, server: Node) -> str | None:
    """Why there is no K3s, or None where there is; raises ProbeFailed (`absent`) where there should be one."""
    if inventory.k3s is None:
        return "the inventory has no K3s"
    if server.run(["test", "-x", k3s.READY], sudo=True, deadline=ASK_S).code == 0:
        return None
    missing = material.at_hand(inventory).missing
    if missing is not None:
        return f"not verified: {missing}"
    raise ProbeFailed(f"{server.name} has no K3s, although its binary is at hand; run: python -m provision compute",
                      reason="absent")  # fmt: skip


def kubectl(server: Node, *words: str, input: bytes = b"", deadline: float | Deadline = ASK_S) -> str:
    """What kubectl prints on the server; raises CommandFailed, and what Node.run raises."""
    return server.run([k3s.BINARY, "kubectl", *words], sudo=True, input=input, deadline=deadline, check=True).text


@contextmanager
def standing(server: Node, replicas: int) -> Iterator[str]:
    """A canary while this lasts, in a namespace of its own, whose name is told; others' that were left are removed."""
    space = f"canary-{secrets.token_hex(4)}"
    found = json.loads(kubectl(server, "get", "namespaces", "-l", LABEL, "-o", "json"))["items"]
    now = k3s.instant(server.run(["date", "-u", "+%FT%TZ"], deadline=ASK_S, check=True).text.strip())
    for old in found:
        if (now - k3s.instant(old["metadata"]["creationTimestamp"])).total_seconds() > OLD_S:
            kubectl(server, "delete", "namespace", old["metadata"]["name"], "--wait=false")
    try:
        kubectl(server, "apply", "-f", "-", input=json.dumps(manifest(space, replicas)).encode())
        yield space
    finally:
        with suppress(NodeError):  # a server that is gone removes it later, as what is left of a run
            kubectl(server, "delete", "namespace", space, "--wait=false", "--ignore-not-found")


def pods_of(server: Node, space: str) -> tuple[k3s.Pod, ...]:
    """The canary's pods."""
    return k3s.pods(kubectl(server, "get", "pods", "-n", space, "-o", "json"))


def serving(server: Node, space: str) -> tuple[k3s.Pod, ...]:
    """Those of them that serve: ready, and not on their way out."""
    return tuple(pod for pod in pods_of(server, space) if pod.ready and not pod.deleting)


def ready_nodes(server: Node) -> set[str]:
    """The nodes that are ready, by the server's word."""
    found = k3s.nodes(kubectl(server, "get", "nodes", "-o", "json"))
    return {one.name for one in found.values() if one.ready == "True"}


def settings(server: Node) -> k3s.Timing:
    """When the cluster counts a node as lost, by its own word; raises ProbeFailed, and what Node.run raises."""
    done = server.run(["sh", "-c", CONTROLLERS], sudo=True, deadline=ASK_S, check=True)
    return k3s.timing(done.text)


def now_of(server: Node) -> datetime:
    """The time by the server's clock."""
    seconds = float(server.run(["date", "+%s.%N"], deadline=ASK_S, check=True).text)
    return datetime.fromtimestamp(seconds, UTC)


def manifest(space: str, replicas: int) -> dict[str, Any]:
    """The canary as the API takes it: as many pods as there are nodes, apart from each other where that can be."""
    labels = {"app": "canary"}
    tolerations = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_S}
        for key in (k3s.NOT_READY, k3s.UNREACHABLE)
    ]
    serve = f'mkdir -p /tmp/www; echo "$NODE $POD" >/tmp/www/index.html; exec httpd -f -p {PORT} -h /tmp/www'
    container = {
        "name": "canary",
        "image": material.IMAGE,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", serve],
        "env": [
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}},
        "securityContext": {
            "runAsUser": 65534,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "tolerations": tolerations,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels},
            }
        ],
        "containers": [container],
    }
    things = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space, "labels": {LABEL: ""}}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "canary", "namespace": space},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "canary", "namespace": space},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": PORT}]},
        },
    ]
    return {"apiVersion": "v1", "kind": "List", "items": things}
