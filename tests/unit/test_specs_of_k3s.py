"""Specs about K3s judge right, with no K3s at hand: what a real one said goes in, complaints come out.

Where the artifacts are at hand, tests/red/k3s.py breaks a real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import artifacts
from cluster import k3s as material
from cluster.errors import ClusterError, ProbeFailed
from cluster.inventory import Inventory, load
from cluster.model import K3s, Node
from cluster.node import Result
from cluster.probes import k3s
from specs.compute import kube
from specs.compute import test_k3s as specs
from specs.compute import test_losing_k3s as losing
from specs.compute.kube import Absent, Asked, Canary, Kube

CASES = Path(__file__).resolve().parents[1] / "cases" / "k3s"
SHIPPED = load()
NODES = {
    name: Node.model_validate({"name": name, "group": "compute", "address": address, "mac": f"b8:27:eb:00:01:{n:02x}"})
    for n, (name, address) in enumerate({"n1": "10.98.0.11", "n2": "10.98.0.12"}.items())
}
PLAN = K3s.model_validate({"server": "n1", "agents": ["n2"], "port": 6443, "binary": "k3s"})
INVENTORY: Inventory = SHIPPED.model_copy(update={"nodes": NODES, "k3s": PLAN})
N1: Any = SimpleNamespace(name="n1", address="10.98.0.11")
N2: Any = SimpleNamespace(name="n2", address="10.98.0.12")
Spec = Callable[..., None]


def red(spec: Spec, *arguments: Any) -> str:
    """The first line of what a spec complains of."""
    with pytest.raises((AssertionError, ClusterError, pytest.fail.Exception)) as caught:
        spec(*arguments)
    return str(caught.value).splitlines()[0]


def tell(name: str, value: object) -> None:
    """What specs measured is of no matter here."""


def said(state: str, after_s: float = 5.0) -> Kube:
    """What the server said in a recorded state, so long after the last sign of life of n1."""

    def text(kind: str) -> str:
        return (CASES / f"{state}-{kind}").read_text(encoding="utf-8")

    leases = k3s.leases(text("leases.json"))
    return Kube(
        now=leases["n1"].renewed + timedelta(seconds=after_s),
        checks=k3s.readyz(text("readyz.txt")),
        version=k3s.version((CASES / "version.json").read_text(encoding="utf-8")),
        nodes=k3s.nodes(text("nodes.json")),
        leases=leases,
        pods=k3s.pods(text("pods.json")),
        deployments=(),
    )


HEALTHY, DOWN = said("healthy"), said("down-NotReady")


def canary_of(state: str) -> Canary:
    """The recorded deployment `web`, as a canary."""
    pods = tuple(p for p in k3s.pods((CASES / f"{state}-pods.json").read_text(encoding="utf-8")) if p.name[:3] == "web")
    points = k3s.endpoints((CASES / f"{state}-endpoints.json").read_text(encoding="utf-8"))
    heard = tuple(f"{pod.node} {pod.name}" for pod in pods)
    asked = Asked("n2", heard, heard[-1], ("600 root /etc/rancher/k3s/config.yaml",), 0)
    return Canary(2, pods, next(one for one in points if one.name == "web"), {"n1": asked}, None)


def heard_by(bird: Canary) -> Asked:
    """What n1 heard."""
    asked = bird.asked["n1"]
    assert isinstance(asked, Asked)
    return asked


def test_a_healthy_cluster_is_green() -> None:
    bird = canary_of("healthy")
    asked = heard_by(bird)
    specs.test_the_api_is_ready(HEALTHY)
    specs.test_nobody_else_has_joined(HEALTHY, INVENTORY)
    specs.test_the_servers_version_is_the_inventorys(HEALTHY, INVENTORY)
    specs.test_no_pod_is_in_trouble(HEALTHY)
    specs.test_the_service_leads_to_every_canary(bird)
    specs.test_nobody_else_reads_its_token(N1, asked)
    specs.test_the_service_answers_it_every_time(N1, asked, bird)
    specs.test_it_reaches_the_canary_of_the_next(N1, asked)
    for node in (N1, N2):
        mine = HEALTHY.nodes[node.name]
        specs.test_the_node_is_ready(node, mine)
        specs.test_it_takes_pods(node, mine)
        specs.test_its_address_is_the_inventorys(node, mine)
        specs.test_its_sign_of_life_is_fresh(node, mine, HEALTHY)
        specs.test_its_version_is_the_inventorys(node, mine, INVENTORY)
        specs.test_its_container_runtime_is_that_of_the_others(node, mine, HEALTHY)
        specs.test_a_canary_sits_on_every_node(node, bird, mine)


def test_an_api_that_is_not_ready() -> None:
    bad = replace(HEALTHY, checks=(*HEALTHY.checks, k3s.Check("etcd", False)))
    assert red(specs.test_the_api_is_ready, bad) == "K3s's API is not ready: etcd"


def test_an_api_that_does_not_answer_is_one_failure() -> None:
    silent = ProbeFailed("what /readyz said is cut short or something else: 'curl: (7)'", reason="malformed")
    assert "what /readyz said" in red(specs.test_the_api_is_ready, silent)
    with pytest.raises(pytest.skip.Exception, match="test_the_api_is_ready has failed: what /readyz"):
        specs.there(silent, "test_the_api_is_ready")
    with pytest.raises(pytest.skip.Exception, match="not verified: artifact missing"):
        specs.there(Absent("not verified: artifact missing: put it there"), "test_the_api_is_ready")
    assert "not found" in red(specs.test_the_service_leads_to_every_canary, ProbeFailed("not found"))


def test_somebody_who_joined_unasked() -> None:
    alone = INVENTORY.model_copy(update={"k3s": PLAN.model_copy(update={"agents": ()})})
    complaint = red(specs.test_nobody_else_has_joined, HEALTHY, alone)
    assert "are not of the inventory: n2" in complaint and "on n1: k3s kubectl delete node n2" in complaint


def test_somebody_of_whom_nothing_but_a_name_is_known() -> None:
    bare = k3s.nodes((CASES / "stranger-nodes.json").read_text(encoding="utf-8"))
    seen = replace(HEALTHY, nodes={**HEALTHY.nodes, **bare})
    assert "are not of the inventory: stranger" in red(specs.test_nobody_else_has_joined, seen, INVENTORY)
    for node in (N1, N2):
        specs.test_its_container_runtime_is_that_of_the_others(node, HEALTHY.nodes[node.name], seen)
    stranger: Any = SimpleNamespace(name="stranger", address="10.98.0.13")
    mine = bare["stranger"]
    assert "stranger is not ready (Unknown): its kubelet has never" in red(specs.test_the_node_is_ready, stranger, mine)
    assert "at no address" in red(specs.test_its_address_is_the_inventorys, stranger, mine)
    assert "runs kubelet of no version" in red(specs.test_its_version_is_the_inventorys, stranger, mine, INVENTORY)
    runtime = specs.test_its_container_runtime_is_that_of_the_others
    assert "stranger tells of no container runtime" in red(runtime, stranger, mine, seen)


@pytest.mark.parametrize("state", ["down-NotReady", "down-quick-evicted", "down-web-evicted"])
def test_a_node_that_is_down(state: str) -> None:
    mine = said(state).nodes["n2"]
    assert "n2 is not ready (Unknown): NodeStatusUnknown" in red(specs.test_the_node_is_ready, N2, mine)
    assert "n2 takes no pods: taint node.kubernetes.io/unreachable" in red(specs.test_it_takes_pods, N2, mine)
    specs.test_the_node_is_ready(N1, said(state).nodes["n1"])


def test_a_node_that_is_down_for_20_s_still_reads_ready_and_is_silent() -> None:
    seen = said("down20s-still-Ready")
    specs.test_the_node_is_ready(N2, seen.nodes["n2"])
    complaint = red(specs.test_its_sign_of_life_is_fresh, N2, seen.nodes["n2"], seen)
    assert complaint.startswith("n2 gave its last sign of life 18.4 s ago, 15 s at most")


def test_a_node_that_never_gave_a_sign() -> None:
    silent = replace(HEALTHY, leases={})
    assert "has never given a sign" in red(specs.test_its_sign_of_life_is_fresh, N2, HEALTHY.nodes["n2"], silent)


def test_a_node_that_is_cordoned_or_short_of_something() -> None:
    mine = replace(HEALTHY.nodes["n2"], cordoned=True, pressures=("DiskPressure",))
    assert red(specs.test_it_takes_pods, N2, mine) == "n2 takes no pods: it is cordoned, DiskPressure"


def test_a_node_at_another_address() -> None:
    mine = replace(HEALTHY.nodes["n2"], address="10.0.0.1")
    assert "K3s has n2 at 10.0.0.1, not " in red(specs.test_its_address_is_the_inventorys, N2, mine)


def test_other_versions() -> None:
    mine = replace(HEALTHY.nodes["n2"], kubelet="v1.20.0+k3s1", runtime="containerd://1.4.3-k3s1")
    assert "n2 runs kubelet v1.20.0+k3s1 and" in red(specs.test_its_version_is_the_inventorys, N2, mine, INVENTORY)
    third = replace(HEALTHY, nodes={**HEALTHY.nodes, "n2": mine, "n3": HEALTHY.nodes["n1"]})
    complaint = red(specs.test_its_container_runtime_is_that_of_the_others, N2, mine, third)
    assert complaint.startswith("n2 has containerd://1.4.3-k3s1, others have containerd://1.4.4-k3s2")
    old = replace(HEALTHY, version="v1.20.0+k3s1")
    assert "API is of v1.20.0+k3s1" in red(specs.test_the_servers_version_is_the_inventorys, old, INVENTORY)


def test_a_proxy_that_newer_releases_do_not_tell_of() -> None:
    mine = replace(HEALTHY.nodes["n2"], proxy="")
    specs.test_its_version_is_the_inventorys(N2, mine, INVENTORY)
    old = replace(mine, proxy="v1.20.0+k3s1")
    complaint = red(specs.test_its_version_is_the_inventorys, N2, old, INVENTORY)
    assert "n2 runs kubelet v1.21.2+k3s1 and proxy v1.20.0+k3s1, the inventory says v1.21.2+k3s1" in complaint


def images(monkeypatch: pytest.MonkeyPatch, no_dns: str | None) -> None:
    """Whether CoreDNS' image is at hand where the specs run."""
    monkeypatch.setattr(material, "at_hand", lambda inventory: material.Material(None, (), None, no_dns))


def test_what_runs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    images(monkeypatch, None)
    dns = k3s.Deployment("kube-system", "coredns", 1, 1, True)
    spec = specs.test_of_its_own_runs_what_is_declared
    spec(replace(HEALTHY, deployments=(dns,)), INVENTORY)
    assert "run no deployments, not ['coredns']" in red(spec, HEALTHY, INVENTORY)
    more = replace(dns, name="traefik")
    assert "run ['coredns', 'traefik'], not ['coredns']" in red(
        spec, replace(HEALTHY, deployments=(dns, more)), INVENTORY
    )
    short = replace(HEALTHY, deployments=(replace(dns, available=0),))
    assert "do not serve: coredns (0 of 1)" in red(spec, short, INVENTORY)


def test_whether_it_runs_dns_is_the_clusters_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The specs run on machines, too, that nothing was installed from."""
    images(monkeypatch, "artifact missing: put k3s-images there")
    spec, dns = specs.test_of_its_own_runs_what_is_declared, k3s.Deployment("kube-system", "coredns", 1, 1, True)
    spec(replace(HEALTHY, deployments=(dns,)), INVENTORY)
    assert "run no deployments, not ['coredns']" in red(spec, HEALTHY, INVENTORY)
    without = replace(HEALTHY, disabled=(*material.LEFT_OUT, material.DNS))
    spec(without, INVENTORY)
    assert "run ['coredns'], not none" in red(spec, replace(without, deployments=(dns,)), INVENTORY)
    images(monkeypatch, None)  # it could run, and is kept from it
    assert "run no deployments, not ['coredns']" in red(spec, without, INVENTORY)


def test_pods_in_trouble() -> None:
    complaint = red(specs.test_no_pod_is_in_trouble, DOWN)
    assert "web-6986bf5fb9-82x8x on n2: Running" in complaint and "on n1" not in complaint


def test_a_token_that_others_read() -> None:
    asked = replace(heard_by(canary_of("healthy")), modes=("644 root /etc/rancher/k3s/config.yaml",))
    assert "n1: others read 644 root" in red(specs.test_nobody_else_reads_its_token, N1, asked)
    shown = replace(heard_by(canary_of("healthy")), shown=1)
    assert "in its list of processes" in red(specs.test_nobody_else_reads_its_token, N1, shown)


def test_a_canary_that_is_not_spread() -> None:
    bird = canary_of("down-web-evicted")
    assert "n1 has 2 of 2 canaries" in red(specs.test_a_canary_sits_on_every_node, N1, bird, HEALTHY.nodes["n1"])
    dead = canary_of("down-NotReady")
    assert "its canary does not serve" in red(specs.test_a_canary_sits_on_every_node, N2, dead, HEALTHY.nodes["n2"])
    none = replace(bird, pods=())
    assert "n2 has 0 of 2" in red(specs.test_a_canary_sits_on_every_node, N2, none, HEALTHY.nodes["n2"])


def test_a_service_that_leads_elsewhere() -> None:
    bird = canary_of("down-NotReady")
    assert "leads to ['10.42.0.28'], not to 2 pods" in red(specs.test_the_service_leads_to_every_canary, bird)
    asked = replace(heard_by(bird), service=("no answer from 10.43.0.1",), pod="no answer from 10.42.1.28:8080")
    assert "heard ['no answer from" in red(specs.test_the_service_answers_it_every_time, N1, asked, bird)
    assert "the canary on n2 and heard 'no answer" in red(specs.test_it_reaches_the_canary_of_the_next, N1, asked)
    mute = replace(asked, service=())
    assert "asked 0 times and heard nothing" in red(specs.test_the_service_answers_it_every_time, N1, mute, bird)


def test_a_name_that_is_not_resolved() -> None:
    bird = replace(canary_of("healthy"), resolved="nslookup: can't resolve 'canary.a.svc.cluster.local'")
    assert "heard: nslookup: can't resolve" in red(specs.test_the_canarys_name_is_resolved, bird)
    good = "Server: 10.43.0.10\n\nName:\tcanary.a.svc.cluster.local\nAddress: 10.43.17.1"
    specs.test_the_canarys_name_is_resolved(replace(bird, resolved=good))
    with pytest.raises(pytest.skip.Exception, match="not verified: the server leaves CoreDNS out; artifact missing"):
        specs.test_the_canarys_name_is_resolved(replace(bird, no_dns="the server leaves CoreDNS out; artifact missing"))


# --- with a node lost


PODS = k3s.pods((CASES / "down-web-evicted-pods.json").read_text(encoding="utf-8"))
STANDING = tuple(f"{pod.node} {pod.name}" for pod in PODS if pod.ready and not pod.deleting)
LOST = losing.Lost(
    victim="n2",
    timing=k3s.timing((CASES / "configz.json").read_text(encoding="utf-8")),
    tolerated_s=5.0,
    silent_s=44.0,
    not_ready_s=44.6,
    replaced_s=55.4,
    left=PODS,
    ready={"10.42.0.28": "n1", "10.42.0.31": "n1"},
    heard={"n1": list(STANDING)},
)


def test_a_loss_that_is_noticed_in_time_is_green() -> None:
    losing.test_it_is_not_ready_once_its_grace_is_over(LOST, tell)
    losing.test_its_pods_are_replaced_once_they_are_tolerated_no_more(LOST, tell)
    losing.test_nobody_is_led_to_it(LOST)
    losing.test_those_that_are_left_hear_an_answer_every_time(LOST)


def test_a_loss_that_is_noticed_too_late_too_soon_or_never() -> None:
    spec = losing.test_it_is_not_ready_once_its_grace_is_over
    assert "60.0 s after its last sign of life, not 40 to 53 s" in red(spec, replace(LOST, silent_s=60.0), tell)
    assert "12.0 s after its last sign of life" in red(spec, replace(LOST, silent_s=12.0), tell)
    assert "K3s takes it to be ready" in red(spec, replace(LOST, silent_s=None), tell)


def test_pods_that_are_replaced_too_late_too_soon_or_never() -> None:
    spec = losing.test_its_pods_are_replaced_once_they_are_tolerated_no_more
    assert "replaced 306.3 s after" in red(spec, replace(LOST, replaced_s=350.9), tell)
    assert "replaced 0.4 s after" in red(spec, replace(LOST, replaced_s=45.0), tell)
    assert "what ran on n2 was not replaced" in red(spec, replace(LOST, replaced_s=None), tell)


def test_a_service_that_leads_to_who_is_lost() -> None:
    assert "still leads to n2" in red(losing.test_nobody_is_led_to_it, replace(LOST, ready={"10.42.1.28": "n2"}))
    assert "leads to nobody" in red(losing.test_nobody_is_led_to_it, replace(LOST, ready={}))
    spec = losing.test_those_that_are_left_hear_an_answer_every_time
    assert "curl: (28)" in red(spec, replace(LOST, heard={"n1": [*STANDING, "curl: (28) timed out"]}))
    assert "['n1']" in red(spec, replace(LOST, heard={"n1": []}))


def test_a_node_that_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losing, "BACK_S", 0.1)
    monkeypatch.setattr(losing, "ready_nodes", lambda server: {"n1"})
    assert "n2 is back, and not ready" in red(losing.test_it_is_ready_again_when_it_is_back, LOST, N1, tell)


def test_pods_that_fall_silent_without_the_server() -> None:
    good = losing.Alone(12, (), ())
    losing.test_without_the_server_pods_go_on_answering(good, tell)
    losing.test_no_pod_was_started_anew_for_it(good)
    silent = replace(good, wrong=("n2 heard 'curl: (7)'",))
    assert "n2 heard 'curl: (7)'" in red(losing.test_without_the_server_pods_go_on_answering, silent, tell)
    assert "without K3s's server" in red(
        losing.test_without_the_server_pods_go_on_answering, replace(good, asked=0), tell
    )
    assert "started anew" in red(losing.test_no_pod_was_started_anew_for_it, replace(good, restarted=("web",)))


# --- how the server is asked


KUBECTL = """#!/bin/sh
# Says what is recorded; what `broken` names fails as it does with the API down, and what `slow` names takes its time.
echo 'time="2026-11-23T20:39:24Z" level=info msg="Preparing data dir"' >&2
[ "$2" != "$(cat "$RECORDED/slow" 2>/dev/null)" ] || sleep 1.5
case "$2 $3" in
  "version "*) file=version.json ;;
  *) file=$3.json ;;
esac
if [ "$3" = "$(cat "$RECORDED/broken" 2>/dev/null)" ]; then
  echo '{"apiVersion": "v1", "items": [], "kind": "List"}'
  echo "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?" >&2
  exit 1
fi
cat "$RECORDED/$file"
"""


class Local:
    """A node that is this machine, with a kubectl and a curl that say what was recorded."""

    name = "n1"

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recorded = folder
        for kind in ("nodes", "leases", "pods", "deployments"):
            shutil.copy(CASES / f"healthy-{kind}.json", folder / f"{kind}.json")
        shutil.copy(CASES / "version.json", folder)
        shutil.copy(CASES / "healthy-readyz.txt", folder / "readyz")
        for name, text in {"k3s": KUBECTL, "curl": '#!/bin/sh\ncat "$RECORDED/readyz"\n'}.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        (folder / "config.yaml").write_text("token: abc\ndisable: [traefik, servicelb, coredns]\n")
        monkeypatch.setattr(k3s, "BINARY", str(folder / "k3s"))
        monkeypatch.setattr(k3s, "CONFIG", str(folder / "config.yaml"))

    def run(self, argv: list[str], **_: object) -> Result:
        env = {"PATH": f"{self.recorded}:{os.environ['PATH']}", "RECORDED": str(self.recorded)}
        done = subprocess.run(argv, capture_output=True, timeout=30, env=env, check=False)
        return Result(tuple(argv), done.returncode, done.stdout, done.stderr, 0.0, "n1")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return Local(tmp_path, monkeypatch)


def test_all_that_the_server_says_is_read(server: Any) -> None:
    seen = kube.state(server, 6443)
    assert (seen.nodes, seen.leases, seen.pods) == (HEALTHY.nodes, HEALTHY.leases, HEALTHY.pods)
    assert seen.disabled == ("traefik", "servicelb", "coredns")


def test_a_failing_check_is_named_although_nothing_else_can_be_read(server: Any) -> None:
    bad = (server.recorded / "readyz").read_text().replace("[+]etcd ok", "[-]etcd failed: reason withheld")
    (server.recorded / "readyz").write_text(bad.replace("check passed", "check failed"))
    assert [one.name for one in kube.state(server, 6443).checks if not one.ok] == ["etcd"]
    (server.recorded / "broken").write_text("nodes")
    with pytest.raises(ProbeFailed) as caught:
        kube.state(server, 6443)
    assert str(caught.value) == (
        "K3s's API is not ready: etcd; n1: `kubectl get nodes -o json` ended with exit code 1: "
        "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?"
    )


def test_a_kubectl_that_is_gone_is_told_in_its_shells_words(server: Any) -> None:
    (server.recorded / "k3s").unlink()
    with pytest.raises(ProbeFailed, match=r"n1: `kubectl version -o json` ended with exit code 127: .*No such file"):
        kube.state(server, 6443)


def test_a_slow_server_does_not_make_signs_of_life_come_from_the_future(server: Any) -> None:
    """What is asked before the leases takes its time, and they are renewed meanwhile."""
    (server.recorded / "slow").write_text("version")
    began = datetime.now(UTC)
    assert (kube.state(server, 6443).now - began).total_seconds() > 1.4


# --- without K3s


class Server:
    """A node on which there is no K3s."""

    name = "n1"

    def run(self, argv: list[str], **_: object) -> Result:
        return Result(tuple(argv), 1, b"", b"", 0.0, "n1")


def test_without_its_binary_nothing_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(artifacts.HOME_VARIABLE, str(tmp_path))
    why = kube.absent(SHIPPED, Server())  # type: ignore[arg-type]
    assert isinstance(why, Absent)
    assert why.reason.startswith("not verified: artifact missing: put k3s-v1.21.2 ")
    assert why.reason.endswith(f"into {tmp_path}/artifacts")


def test_a_binary_that_was_not_installed_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(artifacts.HOME_VARIABLE, str(tmp_path))
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / SHIPPED.artifacts["k3s"].file).write_bytes(b"k3s")
    with pytest.raises(ProbeFailed, match="run: python -m provision compute"):
        kube.absent(SHIPPED, Server())  # type: ignore[arg-type]


def test_the_time_that_is_recorded_is_of_a_zone() -> None:
    assert HEALTHY.now.tzinfo is UTC and HEALTHY.now > datetime(2026, 1, 1, tzinfo=UTC)
