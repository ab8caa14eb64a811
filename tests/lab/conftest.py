"""Wires tests to a running lab: brought up and provisioned once, its LAN entered, specs run and their outcomes told.

`inventory` and `fleet` are those of the checkout, or of its twin (tests/places.py);
`specs("specs/lanservices/test_dns.py")` runs pytest as a user would.  Tests that ask for none of these are left
alone.  Without root and without sudo, all are skipped.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import power, tree
from cluster.health import Health
from cluster.inventory import PRODUCTION, Inventory, load
from cluster.node import Fleet
from lab.privilege import elevate
from tests.outcomes import Result, read
from tests.places import TWIN, place

ROOT = Path(__file__).resolve().parents[2]
TELLS_ONLY = ("help", "version", "markers", "showfixtures", "collectonly")
"""Options with which pytest only tells something about itself."""
CLONE_NEWNET = 0x40000000


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Be root before anything is collected, where sudo lets us; pytest's capture lets go of stdin for it."""
    if any(config.getoption(name, None) for name in TELLS_ONLY) or _why_no_root():
        return
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None and os.geteuid() != 0:
        capture.suspend_global_capture(in_=True)
    elevate(ROOT, "to test with the lab")


def _why_no_root() -> str | None:
    """Why root cannot be had, or None."""
    if os.geteuid() == 0:
        return None
    if shutil.which("sudo") is None:
        return "the lab needs root, and there is no sudo"
    if sys.stdin is not None and sys.stdin.isatty():
        return None
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, timeout=10, check=False)
    return "the lab needs root, and sudo asks for a password here" if asked.returncode else None


@pytest.fixture(scope="module")
def inventory(request: pytest.FixtureRequest, twin: Callable[[], Inventory]) -> Inventory:
    """The checkout's inventory, or its twin's; the lab is up and provisioned as it says."""
    if why := _why_no_root():
        pytest.skip(why)
    return twin() if place(request.path) == TWIN else _ready(load())


@pytest.fixture(scope="session")
def twin() -> Iterator[Callable[[], Inventory]]:
    """The same cluster with the same secrets once more: a lab of its own that starts from the same snapshot."""
    made: list[Inventory] = []

    def once() -> Inventory:
        if not made:
            original = load()
            _ready(original)
            shutil.rmtree(folder := original.state / "twin", ignore_errors=True)
            (folder / ".state").mkdir(parents=True, mode=0o700)
            shutil.copy(original.path, folder)
            shutil.copytree(original.state / "secrets", folder / ".state" / "secrets")
            made.append(load(folder / original.path.name))
            _must("lab", "--inventory", made[0].path, "down")  # of a run that was killed
            _ready(made[0])
        return made[0]

    yield once
    for model in made:
        _must("lab", "--inventory", model.path, "down")
        shutil.rmtree(model.root)


def _ready(model: Inventory) -> Inventory:
    """Bring an inventory's lab up, provisioned; one process at a time, since a lab is changed by one command alone."""
    model.state.mkdir(mode=0o700, exist_ok=True)
    with (model.state / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _must("lab", "--inventory", model.path, "up")
        with _on_lan(model), Fleet(model, first_contact=True) as nodes:
            fit = all(check.ok for check in Health(model, nodes).look(model.nodes)) and _same_harness(model, nodes)
        if not fit:
            _must("provision", "--inventory", model.path, "all")
    return model


def _same_harness(model: Inventory, nodes: Fleet) -> bool:
    """Whether the deployer was given the project as it is now: a snapshot can be older than what was edited since."""
    wanted = tree.manifest(tree.files(ROOT, model.path))
    found = nodes.each(
        lambda node: node.get(f"{tree.HOME}/{tree.MANIFEST}").decode(), [node.name for node in model.group("deployer")]
    )
    return all(text == wanted for text in found.values())


@pytest.fixture(scope="module")
def profile(inventory: Inventory) -> Iterator[Callable[[str], None]]:
    """Give the nodes a profile's timers, `profile("short")`; at the module's end they have the usual ones again."""
    given = [PRODUCTION]

    def under(name: str) -> None:
        if given[-1] != name:
            given.append(name)
            _must("provision", "all", "--inventory", inventory.path, f"--profile={name}")

    yield under
    under(PRODUCTION)


def _must(*words: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}{done.stdout}"


@pytest.fixture(scope="module")
def fleet(inventory: Inventory) -> Iterator[Fleet]:
    """Every node by name; while a module has it, this process is on the cluster's LAN."""
    with _on_lan(inventory), Fleet(inventory) as nodes:
        yield nodes


@contextmanager
def _on_lan(inventory: Inventory) -> Iterator[None]:
    """Enter the LAN and come back: other tests look at the host's own network (setns(2))."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        power.enter(inventory)
        yield
    finally:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(home, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns back to the host's network")
        os.close(home)


@pytest.fixture(scope="module")
def specs(inventory: Inventory) -> Callable[..., Result]:
    """Run specs as a user does: `specs("specs/base", k="ssh")`; nothing is recorded under reports/runs.

    Returns every outcome by test id.  A run that collected nothing fails the test that asked for it.
    """

    def run(
        *paths: str,
        k: str | None = None,
        disruptive: bool = False,
        slow: bool = False,
        timeout: float = 180,
        inventory: Path = inventory.path,
        profile: str = PRODUCTION,
    ) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            junit = Path(folder, "junit.xml")
            words = ["-q", "--no-report", "-p", "no:cacheprovider", f"--inventory={inventory}", f"--profile={profile}"]
            words += [f"--junitxml={junit}", *(["-k", k] if k else []), *(["--disruptive"] if disruptive else [])]
            words += ["--slow"] if slow else []
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *words, *paths],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
            assert junit.exists(), f"pytest {' '.join(paths)} ended with {done.returncode}: {done.stdout}{done.stderr}"
            result = Result(done.returncode, done.stdout + done.stderr, read(junit.read_text(encoding="utf-8")))
        assert result.outcomes, f"nothing was collected: {result.text}"
        return result

    return run
