"""A real K3s, where its binary is at hand: its specs are green, its claims hold, and a node flashed anew joins again.

How its specs are seen red is a round of test_red.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cluster import k3s, power
from cluster.canary import kubectl
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.wait import until
from tests.outcomes import Result

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.long


def command(*words: str | Path) -> str:
    """What a command of the project prints, which must go well."""
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def agent(inventory: Inventory) -> str:
    """The last agent of a real K3s."""
    if (why := k3s.at_hand(inventory).missing) is not None:
        pytest.skip(f"not verified: {why}")
    return inventory.k3s_nodes[-1].name


def test_its_specs_are_green(specs: Callable[..., Result], agent: str) -> None:
    done = specs("specs/compute/test_k3s.py")
    assert done.green, done.text
    why = {said.message for said in done.outcomes.values() if said.outcome == "skipped"}
    assert all("k3s-images" in one for one in why), f"nothing but the images may be missing: {why}"
    assert f"specs/compute/test_k3s.py::test_the_service_answers_it_every_time[{agent}]" in done.of("passed")


def test_a_node_of_it_that_is_lost_is_missed_as_it_must_be(specs: Callable[..., Result], agent: str) -> None:
    done = specs("specs/compute/test_losing_k3s.py", disruptive=True, timeout=400)
    assert done.green and not done.of("skipped"), done.text


def test_what_is_claimed_about_it_holds(inventory: Inventory, agent: str) -> None:
    names = [claim.name for claim in inventory.claims if claim.about_k3s]
    told = json.loads(command("chaos", "prove", *names, "--json"))
    assert {claim["claim"]: claim["verdict"] for claim in told["claims"]} == dict.fromkeys(names, "held")


def test_pods_that_do_not_answer_and_find_no_other_place_break_its_claims(
    inventory: Inventory, fleet: Fleet, agent: str
) -> None:
    """While the agent is lost, no other node takes pods, and those on one of them are silent for a moment."""
    assert inventory.k3s is not None
    server, others = fleet[inventory.k3s.server], [n.name for n in inventory.k3s_nodes if n.name != agent]
    silence = "-p tcp --dport 8080 -j REJECT"
    shut = f"iptables -I FORWARD {silence}; sleep 2; iptables -D FORWARD {silence}"
    names = [f"losing-{agent}-k3s", f"losing-{agent}-k3s-replaced"]
    words = [sys.executable, "-m", "chaos", "prove", *names, "--json"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: not power.driver(inventory).is_on(agent), deadline=120, what="the fault")
        kubectl(server, "cordon", *others)
        fleet[others[-1]].run(["sh", "-c", shut], sudo=True, deadline=20, check=True)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
        until(lambda: kubectl(server, "uncordon", *others), deadline=60, what="uncordon")
    told = json.loads(out)
    assert (process.returncode, told["healed"]) == (1, True), err
    assert {claim["claim"]: claim["verdict"] for claim in told["claims"]} == dict.fromkeys(names, "broken")


def test_an_agent_that_was_flashed_anew_joins_again(inventory: Inventory, agent: str) -> None:
    """The server knows it by a password that went with its disk, and refuses it until that is forgotten."""
    assert inventory.k3s is not None

    def machine() -> str:
        words = ["k3s", "kubectl", "get", "node", agent, "-o", "jsonpath={.status.nodeInfo.machineID}"]
        return command("lab", "exec", inventory.k3s.server if inventory.k3s else "", "--", *words)

    before = machine()
    command("lab", "reflash", agent)
    command("provision", agent)
    assert machine() != before, f"K3s still has the {agent} of before"
    said = command("lab", "exec", agent, "--", "journalctl", "-u", "k3s", "--no-pager", "-o", "cat")
    assert "password rejected" not in said.lower(), f"{agent} was refused"
    done = json.loads(command("provision", agent, "--json"))
    assert done["changed"] == 0, "the second run changes nothing"


def test_what_it_was_refused_for_is_told(inventory: Inventory, fleet: Fleet, agent: str) -> None:
    """Without its own password it is refused: this is what provisioning saves a node from."""
    node = fleet[agent]
    lost = "mv /etc/rancher/node/password /run/password; systemctl restart --no-block k3s"
    refused = "journalctl -u k3s -n 40 -o cat --no-pager | grep 'Node password rejected'"
    said = ""
    try:
        node.run(["sh", "-c", lost], sudo=True, deadline=60, check=True)
        with suppress(ClusterError):
            said = until(
                lambda: node.run(["sh", "-c", refused], sudo=True, deadline=10).text, deadline=40, what="refusal"
            )
    finally:
        back = "mv /run/password /etc/rancher/node/password; systemctl restart k3s"
        node.run(["sh", "-c", back], sudo=True, deadline=60, check=True)
    assert said, f"{agent} was not refused"
