"""The record of one pytest run over the specs: a `spec` event for each test, and JUnit XML made from them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest

from cluster.record import Recorder

JUNIT_FILE = "junit.xml"
STATUS = {
    pytest.ExitCode.OK: "passed",
    pytest.ExitCode.TESTS_FAILED: "failed",
    pytest.ExitCode.INTERRUPTED: "interrupted",
    pytest.ExitCode.NO_TESTS_COLLECTED: "nothing collected",
}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Result:
    """What became of one spec; `outcome` is passed, failed, skipped or error, `seconds` all its phases.

    `measured` is what the spec said with pytest's `record_property`: worth knowing, whatever the outcome.
    """

    test: str
    file: str
    node: str | None = None
    group: str | None = None
    outcome: str = "passed"
    seconds: float = 0.0
    message: str | None = None
    measured: dict[str, str] = field(default_factory=dict)

    def add(self, report: pytest.TestReport) -> None:
        """Take in the report of one phase (set-up, call, tear-down); the worst one stays."""
        self.seconds += report.duration
        self.measured |= {name: str(value) for name, value in report.user_properties}
        if report.failed:
            self.outcome = "failed" if report.when == "call" else "error"
            self.message = message(report)
        elif report.skipped and self.outcome == "passed":
            self.outcome = "skipped"
            self.message = message(report)


def message(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a report is not green, as text: the reason of a skip, or the error without its traceback."""
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):
        return longrepr[2].removeprefix("Skipped: ")
    crash = getattr(longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(longrepr or "")
    return text.removeprefix("Failed: ").strip()


class Record:
    """Writes what happens to the specs of one run into its folder, as it happens."""

    def __init__(self, runs: Path, groups: Mapping[str, str], about: Mapping[str, Any]) -> None:
        """`groups` maps node names to their groups; `about` joins the run's description."""
        versions = {
            "python": ".".join(map(str, sys.version_info[:3])),
            "pytest": pytest.__version__,
            "kernel": os.uname().release,
        }
        self._recorder = Recorder.start(runs, "specs", {"status": "running", "versions": versions, **about})
        self._groups = groups
        self._open: dict[str, Result] = {}
        self._done: list[Result] = []

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._recorder.folder

    def phase(self, report: pytest.TestReport) -> None:
        """Take in the report of one phase of a spec."""
        result = self._open.get(report.nodeid)
        if result is None:
            node = self._node(report.nodeid)
            group = self._groups.get(node) if node else None
            file, _, test = report.nodeid.partition("::")
            result = self._open[report.nodeid] = Result(test, file, node, group)
        result.add(report)

    def _node(self, nodeid: str) -> str | None:
        """The node a test id is about: its bracket starts with it, `[alpha]` or `[alpha-22]`."""
        name = nodeid.partition("[")[2].partition("-")[0].removesuffix("]")
        return name if name in self._groups else None

    def ended(self, nodeid: str) -> None:
        """Write the event of a spec whose phases are over."""
        result = self._open.pop(nodeid, None)
        if result is not None:
            self._write(result)

    def not_collected(self, report: pytest.CollectReport) -> None:
        """Write a file that could not even be collected as one error."""
        self._write(Result("(collection)", report.nodeid, outcome="error", message=message(report)))

    def _write(self, result: Result) -> None:
        self._recorder.event("spec", **vars(result))
        self._done.append(result)

    def finish(self, exit_code: int, left_out: Mapping[str, int]) -> None:
        """Close the run: its status, pytest's exit code, and how many specs of which kind were left out."""
        for nodeid in list(self._open):
            self.ended(nodeid)
        status = STATUS.get(pytest.ExitCode(exit_code), "failed") if 0 <= exit_code <= 5 else "failed"
        (self.folder / JUNIT_FILE).write_text(junit(self._done), encoding="utf-8")
        self._recorder.finish(status=status, exit=exit_code, left_out=dict(left_out))


def junit(results: Iterable[Result]) -> str:
    """JUnit XML of specs; test names are pytest's own, so they carry the node."""
    results = list(results)
    count = {o: sum(r.outcome == o for r in results) for o in ("failed", "error", "skipped")}
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<testsuites><testsuite name="specs" tests="{len(results)}" failures="{count["failed"]}"'
        f' errors="{count["error"]}" skipped="{count["skipped"]}"'
        f' time="{sum(r.seconds for r in results):.3f}">',
    ]
    for result in results:
        classname = result.file.removesuffix(".py").replace("/", ".")
        head = f"<testcase classname={_attribute(classname)} name={_attribute(result.test)}"
        head += f' time="{result.seconds:.3f}"'
        told = "".join(f"<property name={_attribute(n)} value={_attribute(v)}/>" for n, v in result.measured.items())
        told = f"<properties>{told}</properties>" if told else ""
        if result.outcome == "passed":
            lines.append(f"{head}>{told}</testcase>" if told else f"{head}/>")
            continue
        tag = {"failed": "failure", "error": "error", "skipped": "skipped"}[result.outcome]
        text = result.message or ""
        first = text.splitlines()[0] if text else ""
        lines.append(f"{head}>{told}<{tag} message={_attribute(first)}>{_text(text)}</{tag}></testcase>")
    return "\n".join([*lines, "</testsuite></testsuites>", ""])


def _text(value: str) -> str:
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value))


def _attribute(value: str) -> str:
    return quoteattr(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value))
