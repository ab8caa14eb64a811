"""The rules of a spec run, tried by running pytest over small specs of an inventory whose nodes are not there.

The nodes have loopback addresses where nothing listens, so they are down; specs over a node that is up are tried
with a real sshd in a network namespace of its own, which needs root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as some

import specs.session  # noqa: F401 (kept loaded between the runs below)
from cluster import here, record
from specs.recording import Result, junit
from tests.unit.sshd import PRIVSEP, SSHD, Sshd

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]


def somebody_listens() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.9.10.6", 22)) == 0


down = pytest.mark.skipif(somebody_listens(), reason="an sshd of this machine answers on all of 127.0.0.0/8")


class Bench:
    """A folder with an inventory, the plugin, and the specs under test."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.folder = folder = pytester.path
        text = (ROOT / "inventory.yaml").read_text(encoding="utf-8")
        text = text.replace("192.168.10.", "127.9.10.").replace("driver: lab.power", "driver: nopower")
        (folder / "inventory.yaml").write_text(text, encoding="utf-8")
        (folder / "nopower.py").write_text('"""A power driver for nodes that are not there."""\n')
        (folder / "conftest.py").write_text('pytest_plugins = ["specs.plugin"]\n')
        (folder / "pytest.ini").write_text(
            f"[pytest]\npythonpath = {ROOT} .\ntestpaths = specs\n"
            "addopts = --import-mode=importlib --strict-markers -ra -p no:pytest11.testinfra -p no:cacheprovider\n"
        )
        secrets = folder / ".state" / "secrets"
        secrets.mkdir(parents=True)
        Sshd.keygen(secrets / "ssh_key")

    def spec(self, source: str, name: str = "specs/test_it.py") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """pytest in this process: what it imports is already there, which saves most of a second each time."""
        done = self.pytester.runpytest_inprocess(*self._arguments(args))
        return subprocess.CompletedProcess(args, done.ret, done.stdout.str(), done.stderr.str().removesuffix("\n"))

    def run_apart(self, before: tuple[str, ...], *args: str) -> subprocess.CompletedProcess[str]:
        """pytest as a program of its own, started through `before`."""
        return subprocess.run(
            [*before, sys.executable, "-m", "pytest", *self._arguments(args)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def _arguments(self, args: tuple[str, ...]) -> list[str]:
        named = any(argument.startswith("--inventory") for argument in args)
        return [*(args or ("specs",)), *(() if named else ("--inventory", "inventory.yaml"))]

    @property
    def runs(self) -> list[Path]:
        return sorted((self.folder / "reports" / "runs").glob("*"))

    @property
    def events(self) -> list[dict[str, Any]]:
        (run,) = self.runs
        return [event for event in record.events(run) if event["kind"] == "spec"]


@pytest.fixture
def bench(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("COLUMNS", "200")
    return Bench(pytester)


NODES = """
    import pytest
    pytestmark = pytest.mark.group("lanservices")
    def test_one(node): pass
    def test_two(node): pass
    @pytest.mark.parametrize("port", [22, 53])
    def test_three(node, port): pass
    def test_no_node(inventory): assert inventory.nodes
"""


@down
def test_a_node_that_is_down_costs_one_failure_and_the_rest_is_skipped_with_the_reason(bench: Bench) -> None:
    bench.spec(NODES)
    done = bench.run()
    assert done.returncode == 1
    assert "2 failed, 1 passed, 6 skipped" in done.stdout
    assert "SKIPPED [3]" in done.stdout
    assert re.search(r"FAILED .*test_one\[alpha\] - .*alpha is unreachable: .*refused", done.stdout)
    assert "Traceback" not in done.stdout and "ERROR" not in done.stdout
    outcomes = [(e["test"], e["node"], e["group"], e["outcome"]) for e in bench.events]
    assert outcomes[:3] == [
        ("test_no_node", None, None, "passed"),
        ("test_one[alpha]", "alpha", "lanservices", "failed"),
        ("test_two[alpha]", "alpha", "lanservices", "skipped"),
    ]
    assert all("is unreachable" in e["message"] for e in bench.events if e["node"])


@down
def test_a_node_reached_through_the_fleet_is_the_same_one_failure(bench: Bench) -> None:
    bench.spec("""
        def test_one(fleet): fleet["alpha"].run(["true"])
        def test_two(fleet): fleet["alpha"].run(["true"])
        def test_three(fleet): fleet["omega"].run(["true"])
    """)
    done = bench.run()
    assert "2 failed, 1 skipped" in done.stdout
    assert "test_three - omega is unreachable" in done.stdout


def test_a_node_lost_in_the_middle_counts_as_down_from_there_on(bench: Bench) -> None:
    """No node is cut off here: the specs raise what a lost connection raises."""
    bench.spec("""
        import pytest
        from cluster.errors import CommandTimeout, Unreachable
        def test_one(): raise Unreachable("alpha", "connection lost")
        @pytest.fixture
        def lost(): raise Unreachable("alpha", "connection lost again")
        def test_two(lost): pass
        def test_slow(): raise CommandTimeout("alpha", "too slow")
        def test_too(): raise CommandTimeout("alpha", "too slow")
        @pytest.mark.disruptive
        def test_cut(): raise Unreachable("alpha", "as it should be")
    """)
    done = bench.run("specs", "--disruptive")
    assert "4 failed, 1 skipped" in done.stdout
    assert "alpha is unreachable: connection lost\n" in done.stdout
    assert [e["outcome"] for e in bench.events] == ["failed", "skipped", "failed", "failed", "failed"]


def test_specs_run_for_each_node_of_their_groups_in_the_inventorys_order(bench: Bench) -> None:
    bench.spec("""
        import pytest
        pytestmark = pytest.mark.group("deployer", "lanservices")
        def test_a(node): pass
        @pytest.mark.group("openwrt")
        def test_b(node): pass
        @pytest.mark.parametrize("n", [1, 2])
        def test_c(node, n): pass
        @pytest.mark.each("port", lambda inventory, node: inventory.groups[node.group].ssh_ports)
        def test_d(node, port): pass
        @pytest.mark.each("claim", lambda inventory: inventory.claims[:2])
        def test_e(claim): pass
    """)
    done = bench.run("specs", "--collect-only", "-q")
    assert done.returncode == 0
    names = [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]
    assert names == [
        "test_e[losing-alpha-vip]",
        "test_e[losing-alpha-tcp]",
        "test_b[omega]",
        *[f"test_{t}]" for t in ("a[psi", "c[psi-1", "c[psi-2", "d[psi-22", "d[psi-2222")],
        *[f"test_{t}]" for t in ("a[alpha", "c[alpha-1", "c[alpha-2", "d[alpha-22", "d[alpha-2220")],
        *[f"test_{t}]" for t in ("a[beta", "c[beta-1", "c[beta-2", "d[beta-22", "d[beta-2220")],
    ]
    assert bench.runs == []


def test_without_a_group_a_spec_is_about_every_node_that_base_configures(bench: Bench) -> None:
    bench.spec("import pytest\ndef test_a(node): pass\n@pytest.mark.group('*')\ndef test_b(node): pass")
    listed = bench.run("specs", "--collect-only", "-q").stdout
    assert "15 tests collected" in listed and "test_b[omega]" in listed and "test_a[omega]" not in listed


def test_an_unknown_group_is_told_with_the_known_ones(bench: Bench) -> None:
    bench.spec("import pytest\n@pytest.mark.group('lan')\ndef test_a(node): pass")
    done = bench.run()
    assert done.returncode == 2
    assert "no group 'lan'; there are: openwrt, deployer, lanservices, compute" in done.stdout
    assert [e["outcome"] for e in bench.events] == ["error"]


def test_an_unknown_line_of_semantics_is_told_with_the_remedy(bench: Bench) -> None:
    bench.spec("import pytest\n@pytest.mark.semantics('http-user', 'http-usher')\ndef test_a(): pass")
    done = bench.run()
    assert done.returncode == 2
    assert "test_a: no line 'http-usher' in specs/semantics.py: add it there, or take one of: http-chr" in done.stdout


DISRUPTIVE = """
    import pytest
    @pytest.mark.disruptive
    def test_kill(): pass
    def test_look(): pass
"""


def test_disruptive_specs_are_left_out_and_counted(bench: Bench) -> None:
    bench.spec(DISRUPTIVE)
    done = bench.run()
    assert done.returncode == 0
    assert "1 disruptive spec left out (--disruptive runs them)" in done.stdout
    assert "1 passed, 1 deselected" in done.stdout
    assert record.about(bench.runs[0])["left_out"] == {"disruptive": 1}


def test_slow_specs_are_left_out_and_counted_apart(bench: Bench) -> None:
    bench.spec(DISRUPTIVE + "    @pytest.mark.slow\n    def test_scan(): pass\n")
    done = bench.run()
    assert "1 slow spec left out (--slow runs them)" in done.stdout and "1 disruptive spec left out" in done.stdout
    assert record.about(bench.runs[0])["left_out"] == {"slow": 1, "disruptive": 1}


def test_slow_specs_run_before_disruptive_ones(bench: Bench) -> None:
    bench.spec(DISRUPTIVE + "    @pytest.mark.slow\n    def test_scan(): pass\n")
    assert bench.run("specs", "--slow", "--disruptive").returncode == 0
    assert [e["test"] for e in bench.events] == ["test_look", "test_scan", "test_kill"]


def test_disruptive_specs_run_last_when_asked_for(bench: Bench) -> None:
    bench.spec(DISRUPTIVE, "specs/test_a.py")
    bench.spec("def test_late(): pass", "specs/test_b.py")
    assert bench.run("specs", "--disruptive").returncode == 0
    assert [e["test"] for e in bench.events] == ["test_look", "test_late", "test_kill"]


@pytest.mark.parametrize("source", ["", "import pytest\n@pytest.mark.disruptive\ndef test_kill(): pass"])
def test_a_run_that_collected_nothing_is_a_failed_run(bench: Bench, source: str) -> None:
    bench.spec(source)
    assert bench.run().returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert record.about(bench.runs[0])["status"] == "nothing collected"


def test_a_mistake_in_the_inventory_ends_the_run_with_its_lines_alone(bench: Bench) -> None:
    bench.spec("def test_a(): pass")
    path = bench.folder / "inventory.yaml"
    path.write_text(path.read_text().replace("cidr:", "cdir:").replace("mclt: 30m", "mclt: 30"))
    done = bench.run_apart(())
    assert done.returncode == 2
    assert done.stdout == ""
    assert all(line.startswith("inventory.yaml:") for line in done.stderr.splitlines())
    assert len(done.stderr.splitlines()) >= 2
    assert bench.runs == []


def test_a_missing_inventory_is_one_line(bench: Bench) -> None:
    bench.spec("def test_a(): pass")
    done = bench.run_apart((), "specs", "--inventory=nowhere.yaml")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_nothing_is_verified_while_a_fault_is_not_undone(bench: Bench) -> None:
    bench.spec("def test_a(): pass")
    journal = bench.folder / ".state" / "journal"
    journal.mkdir()
    entry = {"id": "1", "fault": {"fault": "kill"}, "nodes": ["alpha"], "undo": "power alpha on", "run": None}
    owner = {"pid": 1, "started": 0, "boot": "", "command": "python -m chaos kill alpha"}
    (journal / "1.json").write_text(json.dumps(entry | {"owner": owner, "written": 0.0}))
    done = bench.run()
    assert done.returncode == 3
    assert done.stdout == ""
    assert "kill alpha" in done.stderr and "python -m chaos heal" in done.stderr
    assert bench.runs == []


def test_a_run_without_specs_reads_no_inventory(bench: Bench) -> None:
    bench.spec("def test_a(): pass", "tests/test_a.py")
    (bench.folder / "inventory.yaml").unlink()
    assert bench.run("tests").returncode == 0
    assert bench.run("--help").returncode == 0
    assert bench.runs == []


def test_before_the_first_provisioning_the_run_ends_with_the_remedy(bench: Bench) -> None:
    bench.spec(NODES)
    (bench.folder / ".state" / "secrets" / "ssh_key").unlink()
    done = bench.run()
    assert done.returncode == 2
    assert "python -m provision" in done.stdout + done.stderr


def test_the_record_can_be_switched_off(bench: Bench) -> None:
    bench.spec("def test_a(): pass")
    assert bench.run("specs", "--no-report").returncode == 0
    assert bench.runs == []


def test_a_run_is_recorded_whole(bench: Bench) -> None:
    bench.spec("""
        import pytest
        def test_passes(record_property): record_property("left", 3)
        def test_fails(): assert 1 == 2, "numbers differ"
        def test_skips(): pytest.skip("no raw sockets")
        @pytest.fixture
        def broken(): raise RuntimeError("bad fixture")
        def test_error(broken): pass
        @pytest.fixture
        def leaky():
            yield
            raise RuntimeError("bad end")
        def test_tears(leaky): pass
        @pytest.fixture
        def judges(): pytest.fail("the cluster is wrong")
        def test_judged(judges): pass
    """)
    done = bench.run("specs", "--junitxml=mine.xml")
    assert done.returncode == 1
    found = {e["test"]: (e["outcome"], e["message"]) for e in bench.events}
    assert found["test_passes"] == ("passed", None)
    assert {e["test"]: e["measured"] for e in bench.events if e["measured"]} == {"test_passes": {"left": "3"}}
    assert found["test_fails"] == ("failed", "AssertionError: numbers differ\nassert 1 == 2")
    assert found["test_skips"] == ("skipped", "no raw sockets")
    assert found["test_error"] == ("error", "RuntimeError: bad fixture")
    assert found["test_tears"] == ("error", "RuntimeError: bad end")
    assert found["test_judged"] == ("failed", "the cluster is wrong")
    about = record.about(bench.runs[0])
    assert about["kind"] == "specs" and about["exit"] == 1 and about["status"] == "failed"
    assert about["command"].startswith("pytest specs")
    assert {"name": "alpha", "group": "lanservices", "address": "127.9.10.6"} in about["nodes"]
    assert (bench.folder / "mine.xml").is_file()
    suite = ElementTree.parse(bench.runs[0] / "junit.xml").getroot()[0]
    assert [(p.get("name"), p.get("value")) for p in suite.iter("property")] == [("left", "3")]
    counts = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["6", "2", "2", "1"]


def test_the_report_hook_is_told_the_folder_and_its_answer_is_printed(bench: Bench) -> None:
    bench.spec("def test_a(): pass")
    with (bench.folder / "conftest.py").open("a") as file:
        file.write("def pytest_specs_report(folder): return folder / 'page.html'\n")
    done = bench.run()
    assert f"report: reports/runs/{bench.runs[0].name}/page.html" in done.stdout


needs_namespace = pytest.mark.skipif(
    os.geteuid() != 0 or SSHD is None or shutil.which("unshare") is None,
    reason="needs root, sshd and unshare: an sshd on port 22 in a network namespace of its own",
)


@needs_namespace
def test_a_node_that_is_up_is_given_to_its_specs_over_one_connection(bench: Bench, tmp_path_factory: Any) -> None:
    bench.spec("""
        import pytest
        pytestmark = pytest.mark.group("lanservices")
        def test_node(node): assert node.run(["echo", node.name], check=True).text == node.name + "\\n"
        def test_host(host, node):
            assert host.file("/etc/passwd").exists
            assert node.connected
    """)
    inventory = bench.folder / "inventory.yaml"
    inventory.write_text(inventory.read_text().replace("login: pi", "login: root"))
    sshd = Sshd(tmp_path_factory.mktemp("sshd"), ("127.9.10.6",))
    config = sshd.folder / "config"
    config.write_text(config.read_text().replace(f":{sshd.port}", ":22"))
    key = bench.folder / ".state" / "secrets" / "ssh_key"
    shutil.copy(key.with_suffix(".pub"), sshd.folder / "authorized")
    made = not PRIVSEP.exists()
    PRIVSEP.mkdir(mode=0o755, exist_ok=True)
    script = f'ip link set lo up && {SSHD} -f {config} -E {sshd.log} && exec "$@"'
    try:
        done = bench.run_apart(("unshare", "--net", "sh", "-c", script, "sh"))
    finally:
        os.kill(int((sshd.folder / "pid").read_text()), signal.SIGTERM)
        if made:
            PRIVSEP.rmdir()
    assert "1 failed, 2 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert {e["test"]: e["outcome"] for e in bench.events}["test_host[alpha]"] == "passed"
    assert sshd.log.read_text().count("Accepted publickey") <= 1


@given(some.lists(some.builds(Result, some.text(), some.text(), message=some.text(), outcome=some.just("failed"))))
def test_junit_xml_can_be_read_whatever_was_recorded(results: list[Result]) -> None:
    suite = ElementTree.fromstring(junit(results).encode())[0]
    assert len(suite) == len(results)


def test_what_cannot_be_seen_from_a_node_is_skipped_there_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On psi, which this machine is taken for by its network card."""
    card = bench.folder / "net" / "eth0"
    card.mkdir(parents=True)
    (card / "address").write_text("b8:27:eb:00:00:05\n")
    bench.spec(
        """
        import pytest

        @pytest.mark.outside("it is deaf")
        def test_far(): pass

        @pytest.mark.each("other", lambda inventory: ["x"])
        def test_near(other): pass
        """
    )
    assert "2 passed" in bench.run("specs/", "-v").stdout
    monkeypatch.setattr(here, "INTERFACES", bench.folder / "net")
    there = bench.run("specs/", "-v")
    assert "1 passed, 1 skipped" in there.stdout and "cannot be seen from psi: it is deaf" in there.stdout


@pytest.mark.parametrize("name", ["alpha", "nobody"])
def test_specs_are_only_run_from_where_the_harness_is(bench: Bench, name: str) -> None:
    bench.spec("def test_it(): pass")
    done = bench.run_apart((), "specs/", "--from", name)
    assert done.returncode == 2
    assert done.stderr.strip() == f"--from {name}: the harness is only on psi; name that one"
