"""pytest over a cluster: its options, how a run starts, and what a spec can ask for.

- `inventory`: the model of the file given with --inventory.
- `fleet`: every node by name, each one SSH connection that is already open or opening.
- `node`: one node; the spec then runs once for each node, with ids like `[alpha]`.
  `pytestmark = pytest.mark.group("lanservices")`, on the module or on one spec, names the groups it is about;
  without it, all that base configures; with "*", routers as well.  The nodes come from the inventory, so a new node
  is checked with no edit.
- `host`: testinfra's host of that same node, over that same connection.
- `@pytest.mark.parametrize("port", [22, 53])` multiplies as usual: `[alpha-22]`, `[alpha-53]`, `[beta-22]`...
- `@pytest.mark.each("port", lambda inventory, node: inventory.groups[node.group].ssh_ports)`: values that
  depend on the node, as the inventory says; also `[alpha-22]`.  A spec that asks for no `node` gives a
  function of the inventory alone: `@pytest.mark.each("claim", lambda inventory: inventory.claims)`.
  Ids are the value's `name` if it has one, else str(value).
- `@pytest.mark.slow`: takes its time, but no service away; runs only with --slow.
- `@pytest.mark.disruptive`: takes a service away; runs last, and only with --disruptive.
- `@pytest.mark.outside("why")`: it can be seen only from a machine that is no node of the cluster; on one of them
  (`--from psi`) it is skipped with that reason.  With `own=True`, only where it is about that node itself.
- `@pytest.mark.semantics("dns-serials")`: the spec stands for these lines of specs/semantics.py.

`node` and `host` are of module scope: a module's fixture may read a node once and serve all of the module's
specs about that node.

A run that names nothing under `specs/` is left alone: no inventory is read, no node is contacted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from testinfra.host import Host

    from cluster.inventory import Inventory
    from cluster.node import Fleet, Node
    from specs.session import SpecRun

SPECS = "specs"
TELLS_ONLY = ("help", "version", "markers", "showfixtures", "show_fixtures_per_test", "cacheshow")
"""Options with which pytest only tells something about itself: no inventory is needed."""


class Hooks:
    """What a conftest.py may add to a spec run."""

    @pytest.hookspec(firstresult=True)
    def pytest_specs_report(self, folder: Path) -> Path | None:
        """Make the report of the run recorded in `folder` and return where it is."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cluster", "specs of a cluster")
    group.addoption("--inventory", metavar="FILE", help="the cluster to verify (default: inventory.yaml at the root)")
    group.addoption("--profile", metavar="NAME", help="whose timers the nodes have (default: production)")
    group.addoption("--disruptive", action="store_true", help="also run the specs that take services away for a while")
    group.addoption("--slow", action="store_true", help="also run the specs that take long: a scan of all ports")
    group.addoption("--from", dest="from_node", metavar="NODE", help="run them on the deployer, and fetch their record")
    group.addoption("--no-report", action="store_true", help="record nothing under reports/runs")


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "group(*names): the spec is about the nodes of these groups of the inventory; '*' is every node",
        "each(argument, values): one spec for each of values(inventory[, node])",
        "slow: takes its time, a second or more for each node; needs --slow",
        "disruptive: takes a service away for a while; needs --disruptive",
        "outside(why, own=False): cannot be seen from a node of the cluster; with own, from the node it is about",
        "semantics(*keys): the spec stands for these lines of specs/semantics.py",
    ):
        config.addinivalue_line("markers", line)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Before anything else: the inventory, a fault not undone, the LAN; a mistake ends the run here."""
    if not _names_specs(config) or any(config.getoption(name, None) for name in TELLS_ONLY):
        return None
    try:
        from cluster import inventory

        model = inventory.load(config.getoption("inventory"), config.getoption("profile") or inventory.PRODUCTION)
        if not config.getoption("collectonly"):
            _refuse_while_faulty(model)
            _join_lan(config, model)
            if place := config.getoption("from_node"):
                from specs import away

                given = config.invocation_params
                there = away.words([str(word) for word in given.args], given.dir, config.rootpath)
                return away.run(model, place, there, config.rootpath / "reports" / "runs")
    except ClusterError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    from specs.session import SpecRun

    if _names_only_specs(config) and config.pluginmanager.has_plugin("hypothesispytest"):
        # It would import all of Hypothesis at the end, half a second, to say that nothing used it.
        config.pluginmanager.unregister(name="hypothesispytest")
    config.pluginmanager.register(SpecRun(config, model), SpecRun.NAME)
    return None


def _names_specs(config: pytest.Config) -> bool:
    """Whether the run's arguments name something under specs/, or a folder that contains it."""
    specs = config.rootpath / SPECS
    return any(path == specs or path in specs.parents or specs in path.parents for path in _paths(config))


def _names_only_specs(config: pytest.Config) -> bool:
    specs = config.rootpath / SPECS
    return all(path == specs or specs in path.parents for path in _paths(config))


def _paths(config: pytest.Config) -> list[Path]:
    return [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]


def _refuse_while_faulty(inventory: Inventory) -> None:
    from cluster import journal

    journal.check(inventory.state)


def _join_lan(config: pytest.Config, inventory: Inventory) -> None:
    """Become a host on the LAN; may start this program anew, so pytest's capture lets go of stdin first."""
    from cluster import power

    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    power.enter(inventory)


def _run(config: pytest.Config) -> SpecRun:
    run: SpecRun | None = config.pluginmanager.getplugin("spec-run")
    if run is None:
        raise pytest.UsageError(f"the nodes of a cluster are there for what is under {SPECS}/ only")
    return run


@pytest.fixture(scope="session")
def inventory(pytestconfig: pytest.Config) -> Inventory:
    """The inventory of this run."""
    return _run(pytestconfig).inventory


@pytest.fixture(scope="session")
def fleet(pytestconfig: pytest.Config) -> Fleet:
    """Every node of the inventory by name."""
    return _run(pytestconfig).gate.fleet


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest, fleet: Fleet) -> Node:
    """The node this spec is about."""
    return fleet[request.param]


@pytest.fixture(scope="module")
def host(node: Node) -> Host:
    """testinfra's view of the node, over the node's own connection."""
    from cluster.testinfra_backend import host_for

    return host_for(node)
