"""The way in: `run` makes a fresh machine ready, or says in one line why it cannot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
SCRIPTS = list(tasks.scripts())


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A checkout with nothing but `run`, its lists and a lock that locks nothing; anybody may write to it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "clone"
        for name in ("run", "lab/packages.txt", "tests/packages.txt"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        (root / "requirements.txt").write_text("# nothing\n")
        for path in (Path(folder), root):
            path.chmod(0o777)
        yield root


def without(*tools: str, into: Path) -> str:
    """A PATH with all of this machine's programs but these."""
    into.mkdir(mode=0o755)
    for folder in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for program in Path(folder).iterdir():
            if program.name not in tools and not (into / program.name).exists():
                (into / program.name).symlink_to(program)
    return str(into)


def run(root: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """`./run` as an ordinary user, whoever runs this test."""
    drop = os.geteuid() == 0
    return subprocess.run(
        ["./run", *arguments], cwd=root, env={"PATH": path or os.environ["PATH"], "HOME": str(root)},
        user=NOBODY if drop else None, group=NOBODY if drop else None, extra_groups=[] if drop else None,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_scripts_are_shellcheck_clean_and_strict(script: Path) -> None:
    subprocess.run(["shellcheck", script], cwd=ROOT, check=True, timeout=60)
    text = (ROOT / script).read_text()
    first = text.splitlines()[0]
    if first.startswith("#!"):
        shell = "bash" if "bash" in first else "sh"
        subprocess.run([shell, "-n", script], cwd=ROOT, check=True, timeout=10)
        strict = r"^set -\w*u|^\. .*/lib\.sh\"$"  # a provisioning step is made strict by the library it starts with
        assert re.search(strict, text, re.MULTILINE), f"{script} takes an unset variable for an empty one"


def test_the_scripts_are_found() -> None:
    assert {"run", ".ci/run", "lab/boot.sh", "tests/fresh/fresh.sh"} <= {str(script) for script in SCRIPTS}


def test_without_sudo_the_user_is_told_what_root_must_install(checkout: Path) -> None:
    (checkout / "lab/packages.txt").write_text("no-such-package-here # really\nbash\n")
    done = run(checkout, "specs", path=without("sudo", into=checkout.parent / "bin"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "run: there is no sudo here and packages are missing; let root do: apt-get install no-such-package-here"
    ]
    assert not (checkout / ".venv").exists()


def test_without_dpkg_the_user_is_told(checkout: Path) -> None:
    done = run(checkout, "-l", path=without("dpkg-query", into=checkout.parent / "bin"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["run: this machine has no dpkg: only Debian and its kin can be set up"]


def test_a_checkout_of_somebody_else_is_told(checkout: Path) -> None:
    checkout.chmod(0o555)
    if os.geteuid() != 0:
        pytest.skip("needs root, to have a checkout of another user")
    done = run(checkout, "-l")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"run: cannot write to {checkout}: clone the repository as the user who runs it"
    ]


def test_the_venv_is_made_once_and_again_when_it_was_cut_short_or_the_lock_changed(checkout: Path) -> None:
    stamp, stray = checkout / ".venv/made-from", checkout / ".venv/stray"
    run(checkout, "-l")
    made = stamp.read_text()
    assert (checkout / ".venv/bin/python").exists()

    stray.touch()
    run(checkout, "-l")
    assert stray.exists(), "a .venv that is current was made again"

    stamp.unlink()  # as if the run that made it had been killed
    run(checkout, "-l")
    assert not stray.exists() and stamp.read_text() == made

    stray.touch()
    (checkout / "requirements.txt").write_text("# nothing more\n")
    run(checkout, "-l")
    assert not stray.exists() and stamp.read_text() != made


def test_a_failing_install_shows_why_and_is_tried_again(checkout: Path) -> None:
    (checkout / "requirements.txt").write_text("./nowhere.whl --hash=sha256:" + 64 * "0" + "\n")
    done = run(checkout, "-l")
    assert done.returncode == 1
    assert "nowhere.whl" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("run: installing requirements.txt failed (exit 1); all of its output is in ")
    Path(last.split()[-1]).unlink()
    assert not (checkout / ".venv/made-from").exists()


def test_a_warm_run_adds_little() -> None:
    """At most 0.3 s before the task starts, in the quickest of five."""
    if not (ROOT / ".venv/made-from").exists():
        pytest.skip("this .venv was not made by ./run")

    def seconds(*argv: str) -> float:
        began = time.monotonic()
        subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, timeout=60)
        return time.monotonic() - began

    added = min(seconds("./run", "--list") for _ in range(5)) - min(seconds(".venv/bin/inv", "-l") for _ in range(5))
    assert added < 0.3


def locked() -> dict[str, str]:
    """Name -> the whole entry, of every requirement of the lock."""
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.txt").read_text())
    return {entry.split("==")[0]: entry for entry in entries if not entry.startswith("#")}


def test_every_requirement_is_pinned_and_hashed_and_names_no_address() -> None:
    for name, entry in locked().items():
        assert re.match(r"[a-z0-9-]+==[\w.+!]+( ; [^\\]+)? \\\n", entry), name
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)) == entry.count("--hash"), name
        assert entry.count("--hash") > 0, name
    text = (ROOT / "requirements.txt").read_text()
    assert not re.search(r"://|@ |--(index|extra-index|find-links|trusted)", text)


def test_the_lock_has_everything_that_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=~! \[]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names - set(locked()) == set()
