"""The harness on the deployer: the one that is here, whole, with what it needs, and it runs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from cluster import tree
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Node
from specs.deployer.nights import Harness
from specs.lanservices.looks import must

pytestmark = pytest.mark.group("deployer")

ROOT = Path(tree.__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def harness(node: Node, harnesses: dict[str, Harness | ClusterError]) -> Harness:
    """What the deployer says of it."""
    return must(harnesses[node.name])


def test_it_is_the_one_that_is_here(node: Node, harness: Harness, inventory: Inventory) -> None:
    ours = set(tree.manifest(tree.files(ROOT, inventory.path)).splitlines())
    theirs = set(harness.manifest.splitlines())
    differ = sorted({line[66:] for line in ours ^ theirs})
    assert not differ, (
        f"{node.name}: the harness there is another: {len(differ)} files differ, such as {differ[0]}; "
        f"`python -m provision {node.name}` brings this one"
    )


def test_it_is_as_it_was_put_there(node: Node, harness: Harness) -> None:
    assert not harness.changed, f"{node.name}: changed since it was put there: {', '.join(harness.changed)}"


def test_its_python_packages_are_those_of_the_lock(node: Node, harness: Harness) -> None:
    wanted = hashlib.sha256((ROOT / "provision/deployer/wheels-harness.txt").read_bytes()).hexdigest()
    assert harness.wheels == wanted, f"{node.name}: the harness was given the Python packages of another lock"


def test_invoke_lists_the_tasks_of_run(node: Node, harness: Harness) -> None:
    text = (ROOT / "tasks.py").read_text(encoding="utf-8")
    wanted = {name.replace("_", "-") for name in re.findall(r"^@task\b.*\ndef (\w+)", text, re.MULTILINE)}
    assert wanted and set(harness.tasks) == wanted, f"{node.name}: invoke lists {', '.join(harness.tasks) or 'no task'}"


@pytest.mark.slow
def test_specs_run_there(node: Node, a_few_there: dict[str, tuple[int, str] | ClusterError]) -> None:
    code, said = must(a_few_there[node.name])
    lines = said.strip().splitlines() or ["nothing"]
    assert code == 0 and " passed" in lines[-1], f"{node.name}: specs run there end with {code}: {lines[-1]}"
