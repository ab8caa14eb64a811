"""The tasks of `./run` (Invoke): each shows what it calls, so that it can be done by hand as well."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

ROOT = Path(__file__).parent
RUNS = ROOT / "reports" / "runs"
#: The interpreter that `run` made, as everybody can type it from the root.
PYTHON = (".venv/bin/python", "-m")
#: Provisioning has put the project here: nothing is installed, and there is no lab to bring up.
ON_THE_DEPLOYER = (ROOT / ".manifest").exists()
#: Folders that hold nothing we wrote.
FOREIGN = {".git", ".venv", ".state", "runs", "__pycache__"}


def call(*argv: str | Path) -> int:
    """Run one command from the root, shown first; returns its exit code.

    Ctrl-C is the command's affair (chaos heals before it ends), so this process only waits for it; SIGTERM is
    handed on.
    """
    words = [str(word) for word in argv]
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"{bold}$ {shlex.join(words)}{plain}", flush=True)
    with subprocess.Popen(words, cwd=ROOT) as process:
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number)),
        }
        try:
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return 128 - code if code < 0 else code  # as a shell says it: 128 + the signal


def must(*argv: str | Path) -> None:
    """Run one command; the task ends with its exit code if that is not 0."""
    if code := call(*argv):
        raise Exit(code=code)


def ready() -> None:
    """The lab is up and provisioned."""
    must(*PYTHON, "lab", "up")
    must(*PYTHON, "provision", "all")


def scripts() -> Iterator[Path]:
    """Every shell script of the project, by its first line or its name; templates of some are checked rendered."""
    for path in sorted(ROOT.rglob("*")):
        if FOREIGN.isdisjoint(path.relative_to(ROOT).parts) and path.is_file() and path.suffix != ".j2":
            with path.open("rb") as file:
                first = file.readline(64)
            if path.suffix == ".sh" or first.startswith((b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash")):
                yield path.relative_to(ROOT)


@task(help={"from": "run them on this node, the deployer, and bring the report back; nothing is killed"})
def specs(_: Context, from_: str = "") -> None:
    """Lab up, provisioned, verified; then alpha is killed for 10 s and every claim about it judged."""
    began = time.time()
    if ON_THE_DEPLOYER:
        must(".venv/bin/pytest", "specs/")
        return
    ready()
    if from_:
        must(".venv/bin/pytest", "specs/", "--from", from_)
        return
    code = call(".venv/bin/pytest", "specs/")
    if code:
        print("The cluster is not green, so nothing is killed.")
    else:
        code = call(*PYTHON, "chaos", "kill", "alpha", "--for", "10s")
    reports = [page for page in sorted(RUNS.glob("*/report.html")) if page.stat().st_mtime >= began]
    print()
    for page in reports:
        print(f"report: {page.relative_to(ROOT)}")
    print("The lab stays up; `./run lab-down` takes it down.")
    if code:
        raise Exit(code=code)


@task(help={"long": "also those that wait for minutes"})
def tests(_: Context, long: bool = False) -> None:
    """The project's own tests: those that use the lab, one after the other, and the unit tests beside them."""
    ready()
    # Most tests wait for a daemon or a deadline, so one process more than there are processors still helps.
    must(".venv/bin/pytest", "-n", "3", *(["--long"] if long else []), "tests/unit", "tests/lab")


@task
def bench(_: Context) -> None:
    """The benchmarks."""
    ready()
    must(".venv/bin/pytest", "tests/bench")


@task
def lint(_: Context) -> None:
    """ruff, mypy --strict, shellcheck; all of them, whatever the first one says."""
    codes = [
        call(*PYTHON, "ruff", "check", "."),
        call(*PYTHON, "ruff", "format", "--check", "."),
        call(*PYTHON, "mypy"),
        call("shellcheck", *scripts()),
    ]
    if any(codes):
        raise Exit(code=1)


@task
def lock(_: Context) -> None:
    """Make requirements.txt and the deployer's wheels*.txt anew: the newest releases allowed, each with its hashes."""
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        must(f"{scratch}/bin/pip", "install", "--quiet", "uv")
        # No index in the files: each machine has its own.
        wheels = "provision/deployer/wheels"
        for source, locked, options in (
            ("pyproject.toml", "requirements.txt", ["--extra", "dev"]),
            (f"{wheels}.in", f"{wheels}.txt", []),
            (f"{wheels}-harness.in", f"{wheels}-harness.txt", ["--constraint", "requirements.txt"]),
        ):
            must(
                f"{scratch}/bin/uv", "pip", "compile", "--quiet", "--upgrade", "--universal",
                "--python-version", "3.11", *options,
                "--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate",
                source, "--output-file", locked,
            )  # fmt: skip


@task
def semantics(_: Context) -> None:
    """Make docs/semantics.md anew: what must hold, which spec says so, what has made it red."""
    must(*PYTHON, "tests.semantics")


@task
def lab_up(_: Context) -> None:
    """Bring the lab up and provision it."""
    ready()


@task
def lab_down(_: Context) -> None:
    """Take the lab down; nothing of it is left."""
    must(*PYTHON, "lab", "down")


@task
def report(_: Context) -> None:
    """Make the pages of all recorded runs anew, and the index of them."""
    must(*PYTHON, "reports", "build", "all")
