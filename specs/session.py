"""The rules of a run over the specs: which nodes, which order, what a dead node costs, what is recorded.

One object of this class is registered as a pytest plugin when a run names specs (see specs/plugin.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from cluster import here
from cluster.errors import InputError
from specs import semantics
from specs.gate import GONE, Gate
from specs.looks import patience
from specs.recording import Record

if TYPE_CHECKING:
    from cluster.inventory import Inventory

EVERY = "*"  # in place of groups: all nodes, whatever they run
OPTIONAL = ("slow", "disruptive")  # kinds of spec that run only when an option of that name asks for them


class SpecRun:
    """One run over the specs of one inventory."""

    NAME: ClassVar = "spec-run"

    def __init__(self, config: pytest.Config, inventory: Inventory) -> None:
        self.config = config
        self.inventory = inventory
        self._specs = config.rootpath / "specs"
        self.gate = Gate(inventory)
        self._place = here.node(inventory)
        self._record: Record | None = None
        self._report: Path | None = None
        self._left_out: dict[str, int] = {}

    @pytest.hookimpl
    def pytest_sessionstart(self) -> None:
        if self.config.getoption("collectonly"):
            return
        self.gate.connect()
        if not self.config.getoption("no_report"):
            nodes, place = self.inventory.nodes.values(), self._place
            self._record = Record(
                self.config.rootpath / "reports" / "runs",
                {node.name: node.group for node in nodes},
                {
                    "command": shlex.join(["pytest", *self.config.invocation_params.args]),
                    "cluster": self.inventory.cluster.name,
                    "place": place.name if place else self.inventory.network.operator.name,
                    "profile": self.inventory.profile,
                    "nodes": [{"name": n.name, "group": n.group, "address": str(n.address)} for n in nodes],
                },
            )

    # --- for which nodes, in which order

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        definition = metafunc.definition
        if not self._is_spec(definition):
            return
        for marker in definition.iter_markers("semantics"):
            for why in filter(None, map(semantics.unknown, marker.args)):
                raise pytest.Collector.CollectError(f"{definition.nodeid}: {why}")
        nodes = self._nodes(definition) if "node" in metafunc.fixturenames else None
        each = list(definition.iter_markers("each"))
        if len(each) > 1:
            raise pytest.Collector.CollectError(f"{definition.nodeid}: more than one `each` marker")
        if each:
            name, values = each[0].args
            self._parametrize_each(metafunc, name, values, nodes)
        elif nodes is not None:
            metafunc.parametrize("node", nodes, ids=nodes, indirect=True, scope="module")

    def _nodes(self, definition: pytest.Item) -> list[str]:
        marker = definition.get_closest_marker("group")
        if marker is None:
            return list(self.inventory.debian)
        if marker.args == (EVERY,):
            return list(self.inventory.nodes)
        for name in marker.args:
            if name not in self.inventory.groups:
                known = ", ".join(self.inventory.groups)
                raise pytest.Collector.CollectError(f"{definition.nodeid}: no group {name!r}; there are: {known}")
        return [node.name for node in self.inventory.nodes.values() if node.group in marker.args]

    def _parametrize_each(
        self, metafunc: pytest.Metafunc, name: str, values: Callable[..., Any], nodes: list[str] | None
    ) -> None:
        if nodes is None:
            found = list(values(self.inventory))
            metafunc.parametrize(name, found, ids=[_label(value) for value in found], scope="module")
            return
        pairs = [(node, v) for node in nodes for v in values(self.inventory, self.inventory.node(node))]
        ids = [f"{node}-{_label(value)}" for node, value in pairs]
        metafunc.parametrize(("node", name), pairs, ids=ids, indirect=["node"], scope="module")

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Gentle, then slow, then disruptive; then what waits for a slow look last; then by file, in a file by node.

        So values read once serve all, and slow looks are done when they are asked for.  pytest alone would group
        by every other parameter as well, and jump between nodes.
        """
        files = {item.path: n for n, item in reversed(list(enumerate(items)))}
        place = {item: n for n, item in enumerate(items)}
        nodes = {name: n for n, name in enumerate(self.inventory.nodes)}
        yield
        for kind in OPTIONAL:
            left = [] if config.getoption(kind) else [item for item in items if self._is(kind, item)]
            if left:
                self._left_out[kind] = len(left)
                items[:] = [item for item in items if not self._is(kind, item)]
                config.hook.pytest_deselected(items=left)
        items.sort(
            key=lambda item: (
                self._is("disruptive", item),
                self._is("slow", item),
                patience(getattr(item, "fixturenames", ())),
                files.get(item.path, 0),
                nodes.get(self._node_of(item) or "", -1),
                place.get(item, 0),
            )
        )

    def _is_spec(self, item: pytest.Item) -> bool:
        return self._specs in item.path.parents

    def _is(self, kind: str, item: pytest.Item) -> bool:
        return self._is_spec(item) and item.get_closest_marker(kind) is not None

    # --- a node that is down costs one failure, the other specs about it are skipped

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        name = self._node_of(item)
        try:
            reason = self.gate.why_not(name) if name is not None else None
        except InputError as error:
            pytest.exit(str(error), returncode=error.exit_code)
        if why := self._unseen(item, name):
            pytest.skip(why)
        if name is not None and reason is not None:
            if self.gate.first(name):
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)

    def _unseen(self, item: pytest.Item, name: str | None) -> str | None:
        """Why a spec cannot be judged from this machine, where that is a node of the cluster itself."""
        for marker in item.iter_markers("outside"):
            if self._place is not None and (name == self._place.name or not marker.kwargs.get("own", False)):
                return f"cannot be seen from {self._place.name}: {marker.args[0]}"
        return None

    def _node_of(self, item: pytest.Item) -> str | None:
        callspec = getattr(item, "callspec", None)
        name = callspec.params.get("node") if callspec is not None and self._is_spec(item) else None
        return name if isinstance(name, str) else None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.excinfo is None or not report.failed or not self._is_spec(item):
            return report
        error = call.excinfo.value
        finding = isinstance(error, pytest.fail.Exception)
        if isinstance(error, GONE) and not self._is("disruptive", item):
            finding = True
            reason = self.gate.lost(error.node, error)
            if self.gate.first(error.node):
                report.longrepr = reason
            else:
                report.outcome = "skipped"
                report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {reason}")
        if report.when == "setup" and report.failed and finding:
            report.when = "call"  # a finding about the cluster, so a failure; an error is for broken specs
        return report

    # --- the record

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if self._record is not None and report.failed:
            self._record.not_collected(report)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._record is not None:
            self._record.phase(report)

    @pytest.hookimpl
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if self._record is not None:
            self._record.ended(nodeid)

    @pytest.hookimpl
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.gate.close()
        if self._record is not None:
            self._record.finish(int(exitstatus), self._left_out)
            self._report = self.config.hook.pytest_specs_report(folder=self._record.folder)

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for kind, count in self._left_out.items():
            specs = "spec" if count == 1 else "specs"
            terminalreporter.write_line(f"{count} {kind} {specs} left out (--{kind} runs them)")
        if self._report is not None:
            terminalreporter.write_line(f"report: {self._shown(self._report)}")

    def _shown(self, path: Path) -> str:
        """A path as short as it can be typed where pytest was started."""
        here = self.config.invocation_params.dir
        return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _label(value: object) -> str:
    return str(getattr(value, "name", value))
