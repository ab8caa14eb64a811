"""What kubectl printed about a real K3s, healthy and broken, is read as it was; what is cut or empty is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import k3s

CASES = Path(__file__).resolve().parents[1] / "cases" / "k3s"
EXPECTED: dict[str, Any] = json.loads((CASES / "expected.json").read_text(encoding="utf-8"))


def pod(one: k3s.Pod) -> str:
    """A pod in short; its name without what is made up at random."""
    state = ("ready" if one.ready else "not ready") + (", leaving" if one.deleting else "")
    return f"{one.name.split('-')[0]} on {one.node}: {one.phase}, {state}, {one.tolerates[k3s.UNREACHABLE]} s"


SHORT: dict[str, Callable[[str], Any]] = {
    "nodes": lambda text: {
        one.name: [one.ready, one.cordoned, [f"{t.key}:{t.effect}" for t in one.taints], list(one.pressures),
                   one.address, one.kubelet, one.proxy, one.runtime]
        for one in k3s.nodes(text).values()
    },
    "pods": lambda text: sorted(map(pod, k3s.pods(text))),
    "leases": lambda text: {n: [one.renewed.isoformat(), one.seconds] for n, one in k3s.leases(text).items()},
    "deployments": lambda text: {one.name: [one.wanted, one.available] for one in k3s.deployments(text)},
    "endpoints": lambda text: {one.name: [dict(one.ready), dict(one.not_ready)] for one in k3s.endpoints(text)},
    "readyz": lambda text: [len(k3s.readyz(text)), [one.name for one in k3s.readyz(text) if not one.ok]],
    "version": k3s.version,
    "configz": lambda text: [k3s.timing(text).grace, k3s.timing(text).period],
}  # fmt: skip


def kind(path: Path) -> str:
    return path.stem.rpartition("-")[2]


RECORDED = [path for path in sorted(CASES.iterdir()) if kind(path) in SHORT]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded(path: Path) -> None:
    assert SHORT[kind(path)](path.read_text(encoding="utf-8")) == EXPECTED[path.stem]


def test_every_recording_has_its_expectation() -> None:
    assert {path.stem for path in RECORDED} == set(EXPECTED)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_is_cut_short_is_refused(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for part in (1, len(text) // 2, len(text.rstrip()) - 1):
        with pytest.raises(ProbeFailed) as caught:
            SHORT[kind(path)](text[:part])
        assert caught.value.reason == "malformed"


EMPTY = '{"apiVersion": "v1", "items": [], "kind": "List", "metadata": {}}'


@pytest.mark.parametrize("read", [k3s.nodes, k3s.leases, k3s.endpoints])
def test_an_empty_list_is_no_answer(read: Callable[[str], Any]) -> None:
    """It is what kubectl prints when it cannot ask."""
    with pytest.raises(ProbeFailed) as caught:
        read(EMPTY)
    assert caught.value.reason == "empty"


def test_there_may_be_no_pods_and_no_deployments() -> None:
    assert k3s.pods(EMPTY) == () and k3s.deployments(EMPTY) == ()


def test_a_list_of_something_else_is_refused() -> None:
    with pytest.raises(ProbeFailed, match="has Node in it"):
        k3s.pods((CASES / "healthy-nodes.json").read_text(encoding="utf-8"))


def test_a_pod_on_a_dead_node_runs_and_is_not_ready() -> None:
    found = k3s.pods((CASES / "down-NotReady-pods.json").read_text(encoding="utf-8"))
    assert {(one.phase, one.ready) for one in found if one.node == "n2"} == {("Running", False)}


def test_a_pod_that_waits_says_why() -> None:
    data = json.loads((CASES / "healthy-pods.json").read_text(encoding="utf-8"))
    status = data["items"][0]["status"]
    status["containerStatuses"][0]["state"] = {"waiting": {"reason": "ErrImageNeverPull"}}
    assert k3s.pods(json.dumps(data))[0].why == "ErrImageNeverPull"


def patched(status: dict[str, Any]) -> k3s.Pod:
    """A recorded pod that serves, with another status."""
    data = json.loads((CASES / "healthy-pods.json").read_text(encoding="utf-8"))
    one = data["items"][0]
    unready = [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]
    one["status"] = {**one["status"], "conditions": unready, **status}
    return k3s.pods(json.dumps({**data, "items": [one]}))[0]


def container(name: str, state: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "ready": False, "restartCount": 3, "state": state, "lastState": last or {}}


KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
FAILED = {"terminated": {"reason": "Error", "exitCode": 1}}
DONE = {"terminated": {"reason": "Completed", "exitCode": 0}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}
INITIALIZING = {"waiting": {"reason": "PodInitializing"}}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"containerStatuses": [container("web", {"running": {}}, KILLED)]}, "OOMKilled before"),
        ({"containerStatuses": [container("web", KILLED)]}, "OOMKilled"),
        ({"containerStatuses": [container("web", BACK_OFF, FAILED)]}, "CrashLoopBackOff after Error"),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [container("first", DONE), container("second", BACK_OFF, FAILED)],
                "containerStatuses": [container("web", INITIALIZING)],
            },
            "init container second: CrashLoopBackOff after Error",
        ),
        (
            {"initContainerStatuses": [container("first", {"running": {}})],
             "containerStatuses": [container("web", INITIALIZING)]},
            "PodInitializing",
        ),
        ({"reason": "Evicted", "containerStatuses": []}, "Evicted"),
        ({"containerStatuses": [container("web", {"running": {}})]}, ""),
    ],
)  # fmt: skip
def test_what_keeps_a_pod_from_serving(status: dict[str, Any], why: str) -> None:
    assert patched(status).why == why


def test_a_pod_that_finds_no_node_says_why() -> None:
    found = k3s.pods((CASES / "unschedulable-pods.json").read_text(encoding="utf-8"))
    assert found[0].why == "Unschedulable: 0/1 nodes are available: 1 Too many pods."


def test_a_pod_that_serves_is_in_no_trouble() -> None:
    data = json.loads((CASES / "healthy-pods.json").read_text(encoding="utf-8"))
    data["items"][0]["status"]["containerStatuses"][0]["lastState"] = KILLED
    assert k3s.pods(json.dumps(data))[0].why == ""


def test_a_node_of_which_nothing_but_its_name_is_known() -> None:
    bare = k3s.nodes((CASES / "stranger-nodes.json").read_text(encoding="utf-8"))["stranger"]
    assert (bare.ready, bare.why) == ("Unknown", "its kubelet has never posted a status")
    data = json.loads((CASES / "stranger-nodes.json").read_text(encoding="utf-8"))
    del data["items"][0]["spec"], data["items"][0]["status"]
    assert k3s.nodes(json.dumps(data))["stranger"] == bare
    later = k3s.nodes((CASES / "stranger-later-nodes.json").read_text(encoding="utf-8"))["stranger"]
    assert later.why == "NodeStatusNeverUpdated: Kubelet never posted node status."


def test_conditions_that_are_no_shortage() -> None:
    """Others may put conditions of their own on a node, which are good news when they are true."""
    data = json.loads((CASES / "healthy-nodes.json").read_text(encoding="utf-8"))
    conditions = data["items"][0]["status"]["conditions"]
    conditions.append({"type": "ClockSynchronized", "status": "True"})
    found = k3s.nodes(json.dumps(data))
    assert {one.pressures for one in found.values()} == {()}
    for one in conditions:
        one["status"] = "True"
    short = k3s.nodes(json.dumps(data))[data["items"][0]["metadata"]["name"]].pressures
    assert short == ("NetworkUnavailable", "MemoryPressure", "DiskPressure", "PIDPressure")


def test_leases_without_a_sign_of_life_are_left_out() -> None:
    data = json.loads((CASES / "healthy-leases.json").read_text(encoding="utf-8"))
    data["items"][0]["spec"]["renewTime"] = None
    silent, other = (one["metadata"]["name"] for one in data["items"])
    assert set(k3s.leases(json.dumps(data))) == {other} != {silent}
    del data["items"][1]["spec"]
    assert k3s.leases(json.dumps(data)) == {}


def test_what_cannot_be_read_is_named() -> None:
    data = json.loads((CASES / "healthy-pods.json").read_text(encoding="utf-8"))
    name = data["items"][1]["metadata"]["name"]
    data["items"][1]["status"] = "Running"
    with pytest.raises(ProbeFailed, match=f"kubectl's Pod {name} cannot be read"):
        k3s.pods(json.dumps(data))


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("traefik, servicelb, coredns", ("traefik", "servicelb", "coredns")),
        ("", ()),
        ('"traefik","local-storage"\n', ("traefik", "local-storage")),
    ],
)
def test_what_the_server_leaves_out(line: str, wanted: tuple[str, ...]) -> None:
    assert k3s.disabled(line) == wanted


def test_a_failed_check_is_seen() -> None:
    text = (CASES / "healthy-readyz.txt").read_text(encoding="utf-8")
    bad = text.replace("[+]etcd ok", "[-]etcd failed: reason withheld").replace("check passed", "check failed")
    assert [one.name for one in k3s.readyz(bad) if not one.ok] == ["etcd"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("40s", 40), ("5m0s", 300), ("1h2m3s", 3723), ("500ms", 0.5), ("1.5s", 1.5), ("1m30s", 90), ("2h", 7200)],
)
def test_durations(text: str, wanted: float) -> None:
    assert k3s.seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "40", "s", "1d", "-1s", "1s1h", " 1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        k3s.seconds(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_durations_as_go_writes_them(hours: int, minutes: int, seconds: int) -> None:
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds}s"
    assert k3s.seconds(text) == hours * 3600 + minutes * 60 + seconds


def test_instants() -> None:
    assert k3s.instant("2026-11-23T01:10:43.321464Z") == datetime(2026, 11, 23, 1, 10, 43, 321464, UTC)
    assert k3s.instant("2026-11-23T02:10:43+01:00") == datetime(2026, 11, 23, 1, 10, 43, 0, UTC)
    with pytest.raises(ValueError):
        k3s.instant("2026-11-23T01:10:43")


WORDS = ["items", "kind", "metadata", "spec", "status", "conditions", "name", "namespace"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=12,
)


@given(st.sampled_from(sorted(SHORT)), ANYTHING)
def test_nothing_that_is_said_breaks_the_readers(what: str, data: Any) -> None:
    try:
        SHORT[what](json.dumps({"kind": "List", "items": data} if isinstance(data, list) else data))
    except ProbeFailed:
        return
