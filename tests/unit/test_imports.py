"""The import law of the house: who may use whom, read from the source of every room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Room: the modules of this project that it may import, besides its own.
LAW = {
    "cluster": set[str](),
    "lab": {"cluster"},
    "provision": {"cluster"},
    "chaos": {"cluster"},
    "specs": {"cluster", "chaos"},
    "reports": {"cluster.record"},
}
WIRING = ("conftest", "__main__")  # these may import every room, and nobody imports them


def imports(source: str, package: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a source imports; `package` is where it lives."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *(node.module or "").split("."))).strip(".")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    yield node.lineno, name.value


def breaches(source: str, path: Path) -> list[str]:
    """What a file of this project may not import, one line each."""
    room = path.parts[0]
    wires = path.stem in WIRING and len(path.parts) <= 2
    allowed = set(LAW) if wires else LAW[room] | {room}
    found = []
    for line, name in imports(source, path.parent.parts):
        parts = name.split(".")
        if parts[-1] in WIRING or parts[0] in WIRING or (parts[0] in LAW and set(parts) & set(WIRING)):
            found.append(f"{path}:{line}: imports {name}, which only wires")
        elif parts[0] in LAW and not any(name == a or name.startswith(a + ".") for a in allowed):
            found.append(f"{path}:{line}: {room} imports {name}")
        elif parts[0] == "tests":
            found.append(f"{path}:{line}: imports {name}, which is only the tests'")
    return found


def sources() -> list[Path]:
    """Every Python file of every room, relative to the root."""
    rooms = [p for room in LAW for p in sorted((ROOT / room).rglob("*.py")) if "runs" not in p.parts]
    return [p.relative_to(ROOT) for p in rooms if "__pycache__" not in p.parts]


@pytest.mark.parametrize("path", sources(), ids=str)
def test_each_file_imports_only_what_its_room_may(path: Path) -> None:
    assert breaches((ROOT / path).read_text(encoding="utf-8"), path) == []


def test_only_disruptive_specs_import_chaos() -> None:
    for path in sources():
        source = (ROOT / path).read_text(encoding="utf-8")
        if path.parts[0] == "specs" and any(name.split(".")[0] == "chaos" for _, name in imports(source)):
            assert "disruptive" in source, f"{path} imports chaos, but is not marked disruptive"


@pytest.mark.parametrize("name", ["dhcp_machine", "dhcp_packet"])
def test_the_dhcp_client_on_the_wire_knows_no_daemon(name: str) -> None:
    """What one daemon writes and tells of itself is read elsewhere, so that another can take its place."""
    source = (ROOT / "cluster" / "probes" / f"{name}.py").read_text(encoding="utf-8")
    used = {part for _, imported in imports(source) for part in imported.split(".") if imported.startswith("cluster.")}
    assert used & {"leases", "omapi"} == set() and "wire" in used


def test_every_room_is_under_the_law() -> None:
    rooms = {p.parent.name for p in ROOT.glob("*/*.py")} - {"tests", "docs"}
    assert {room for room in rooms if not room.startswith(".")} <= set(LAW)


@pytest.mark.parametrize(
    ("path", "source", "caught"),
    [
        ("cluster/wait.py", "from cluster.errors import ClusterError", False),
        ("cluster/wait.py", "import lab.power", True),
        ("cluster/wait.py", "from lab import power", True),
        ("cluster/wait.py", "def f():\n    import chaos", True),
        ("cluster/power/__init__.py", "from ...lab import power", True),
        ("cluster/power/__init__.py", "import importlib\nimportlib.import_module('lab.power')", True),
        ("cluster/probes/dns.py", "from ..errors import ProbeFailed", False),
        ("cluster/probes/dns.py", "import dns.query, labels, chaos_monkey", False),
        ("lab/net.py", "from cluster import inventory", False),
        ("lab/net.py", "from provision import render", True),
        ("provision/render.py", "from lab.image import Image", True),
        ("chaos/kill.py", "from lab.power import off", True),
        ("specs/base/test_ssh.py", "from cluster.probes import tcp", False),
        ("specs/base/test_ssh.py", "from conftest import node", True),
        ("specs/base/test_ssh.py", "from tests.unit import x", True),
        ("reports/render.py", "from cluster.record import events", False),
        ("reports/render.py", "from cluster import record", False),
        ("reports/render.py", "from cluster import inventory", True),
        ("reports/render.py", "import cluster.node", True),
        ("chaos/kill.py", "from chaos.__main__ import main", True),
        ("chaos/kill.py", "from chaos import __main__", True),
        ("chaos/__main__.py", "from reports import render\nfrom lab import node", False),
    ],
)
def test_the_law_is_seen_broken(path: str, source: str, caught: bool) -> None:
    assert bool(breaches(source, Path(path))) is caught
