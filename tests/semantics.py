"""docs/semantics.md, made from the specs' own markers and from what makes each of them red.

`python -m tests.semantics` writes it; tests/unit/test_semantics.py holds it to the code.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from specs.semantics import LINES, SERVICES
from tests.lab.test_red import ELSEWHERE, ROUNDS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "semantics.md"
HEAD = """\
# What must hold, which spec says so, and what makes it red

Each line is what a correct check of a LAN service looks at; *ours* and *derived* mark what no standard says. Every
spec has been seen red: the last column tells how the test suite broke the cluster for it (`tests/red`), or which test
made it red by other means. This page is made from the specs and from those tables: `./run semantics`.
"""


#: What must hold of the checks themselves, and the test that says so.
OF_CHECKS = {
    "The DHCP client on the wire knows no daemon: ISC dhcpd is at its end, and another can take its place.":
        "test_imports.py: the dhcp client on the wire knows no daemon",
}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """A spec function, by its place below specs/; `keys` are the lines that it stands for."""

    path: str
    name: str
    keys: tuple[str, ...]
    disruptive: bool

    @property
    def id(self) -> str:
        """As tables of breaks write it: `lanservices/test_dns.py::test_both_servers_have_the_same_serial`."""
        return f"{self.path}::{self.name}"


@cache
def specs() -> tuple[Spec, ...]:
    """Every spec that stands for a line."""
    paths = sorted(path.relative_to(ROOT) for path in (ROOT / "specs").rglob("test_*.py"))
    return tuple(spec for path in paths for spec in _inside(path))


def _inside(path: Path) -> Iterator[Spec]:
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    for name, item in vars(module).items():
        holder = vars(item) if isinstance(item, type) and name.startswith("Test") else {}
        for inner, function in {name: item, **{f"{name}::{n}": one for n, one in holder.items()}}.items():
            if not inner.rpartition("::")[2].startswith("test_") or not callable(function):
                continue
            marks = [*_marks(module), *(_marks(item) if function is not item else ()), *_marks(function)]
            keys = [key for mark in marks if mark.name == "semantics" for key in mark.args]
            if keys:
                disruptive = any(mark.name == "disruptive" for mark in marks)
                yield Spec(path.relative_to("specs").as_posix(), inner, tuple(dict.fromkeys(keys)), disruptive)


def _marks(thing: object) -> list[Any]:
    """The marks of a module, class or function."""
    found = getattr(thing, "pytestmark", [])
    return found if isinstance(found, list) else [found]


def of(key: str) -> list[Spec]:
    """The specs that stand for a line."""
    return [spec for spec in specs() if key in spec.keys]


@cache
def tables() -> Mapping[str, tuple[str, ...]]:
    """How each pattern of the tables of breaks is made red: spec without brackets -> `round: what is broken`."""
    found: dict[str, dict[str, None]] = {}
    for chosen in ROUNDS:
        for one in chosen.breaks:
            for spec in one.red:
                found.setdefault(spec.partition("[")[0], {})[f"{chosen.name} ({one.what})"] = None
    return {spec: tuple(ways) for spec, ways in found.items()}


def red(spec: Spec) -> tuple[str, ...]:
    """How the test suite makes a spec red; empty for one that was never seen so."""
    ways: dict[str, None] = {}
    for pattern, found in tables().items():
        if re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), spec.id):
            ways |= dict.fromkeys(found)
    if not ways and spec.id in ELSEWHERE:
        ways[ELSEWHERE[spec.id]] = None
    return tuple(ways)


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for service, title in SERVICES.items():
        lines += [f"## {title}", "", "| What must hold | Spec | Seen red by |", "|---|---|---|"]
        for key in LINES:
            if key.partition("-")[0] == service:
                lines += _rows(key)
        lines.append("")
    lines += ["## The checks themselves", "", "| What must hold | Test |", "|---|---|"]
    lines += [f"| {says} | {test} |" for says, test in OF_CHECKS.items()]
    return "\n".join([*lines, ""])


def _rows(key: str) -> Iterator[str]:
    line = LINES[key]
    first = f"{_cell(line.says)} *{_cell(line.source)}* `{key}`"
    for spec in of(key):
        words = spec.name.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        name = f"[{Path(spec.path).stem.removeprefix('test_')}](../specs/{spec.path}): {words}"
        disruptive = " (disruptive)" if spec.disruptive else ""
        yield f"| {first} | {_cell(name)}{disruptive} | {_cell('; '.join(red(spec)))} |"
        first = ""
    if first:
        yield f"| {first} | none yet | |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
