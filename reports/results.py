"""What became of the specs of a run, and the matrix of files and nodes that shows it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reports.run import Run, nodes_of, number

WORST_FIRST = ("failed", "error", "skipped", "passed")


@dataclass(frozen=True)
class Spec:
    """A spec's result as it was recorded."""

    test: str
    file: str
    node: str | None
    group: str | None
    outcome: str
    seconds: float
    message: str
    measured: Mapping[str, str] = field(default_factory=dict)

    @property
    def function(self) -> str:
        """The test without its parameters."""
        return self.test.partition("[")[0]


def specs_of(run: Run) -> list[Spec]:
    """Every spec's result, in the order they ran."""
    return [
        Spec(
            str(event.get("test", "?")),
            str(event.get("file", "?")),
            None if event.get("node") is None else str(event["node"]),
            None if event.get("group") is None else str(event["group"]),
            str(event.get("outcome", "?")),
            number(event.get("seconds")) or 0.0,
            str(event.get("message") or ""),
            {str(name): str(value) for name, value in dict(event.get("measured") or {}).items()},
        )
        for event in run.of("spec")
    ]


@dataclass(frozen=True)
class Cell:
    """How the specs of one row went on one node."""

    counts: Counter[str]

    @property
    def worst(self) -> str:
        """The outcome that decides the cell's look; empty when there was no spec."""
        return next((o for o in WORST_FIRST if self.counts[o]), "")

    @property
    def single(self) -> bool:
        """Whether it stands for one spec, which needs no number."""
        return self.counts.total() == 1


@dataclass(frozen=True)
class Row:
    """One file or one spec function, with a cell for each column of the matrix."""

    name: str
    cells: Sequence[Cell]
    total: Cell
    rows: Sequence[Row] = ()

    @property
    def used(self) -> list[int]:
        """The columns that have something in them."""
        return [n for n, cell in enumerate(self.cells) if cell.worst]


@dataclass(frozen=True)
class Matrix:
    """Spec results by file and node: `groups` are column headings over `nodes`; '' is the cluster as a whole."""

    groups: Sequence[tuple[str, int]]
    nodes: Sequence[str]
    rows: Sequence[Row]


def matrix(run: Run, specs: Sequence[Spec]) -> Matrix:
    """Specs by file, and within it by function, against nodes in the inventory's order."""
    known = [str(n.get("name")) for n in nodes_of(run)]
    group = {str(n.get("name")): str(n.get("group")) for n in nodes_of(run)}
    used = {spec.node for spec in specs}
    strangers = sorted({n for n in used if n is not None} - set(known))
    columns = [n for n in known if n in used] + strangers + ([""] if None in used else [])
    groups: list[tuple[str, int]] = []
    for node in columns:
        name = group.get(node, "") if node else ""
        if groups and groups[-1][0] == name:
            groups[-1] = (name, groups[-1][1] + 1)
        else:
            groups.append((name, 1))
    files: dict[str, list[Spec]] = defaultdict(list)
    for spec in specs:
        files[spec.file].append(spec)
    rows = []
    for file, inside in sorted(files.items()):
        functions: dict[str, list[Spec]] = defaultdict(list)
        for spec in inside:
            functions[spec.function].append(spec)
        below = [_row(name, found, columns) for name, found in functions.items()]
        rows.append(_row(file, inside, columns, below))
    return Matrix(groups, columns, rows)


def _row(name: str, specs: Sequence[Spec], columns: Sequence[str], rows: Sequence[Row] = ()) -> Row:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for spec in specs:
        counts[spec.node or ""][spec.outcome] += 1
    total = Counter(spec.outcome for spec in specs)
    return Row(name, [Cell(counts[column]) for column in columns], Cell(total), rows)


def measured(specs: Iterable[Spec]) -> list[tuple[str, str, str]]:
    """What specs found worth telling, whatever their outcome: of what, the name, the value."""
    return [(spec.node or "cluster", name, value) for spec in specs for name, value in spec.measured.items()]


def skips(specs: Iterable[Spec]) -> list[tuple[str, int, str]]:
    """The reasons of skipped specs, most frequent first: reason, how many, on which nodes."""
    found: dict[str, list[Spec]] = defaultdict(list)
    for spec in specs:
        if spec.outcome == "skipped":
            found[spec.message or "no reason given"].append(spec)
    by_count = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        (reason, len(some), ", ".join(dict.fromkeys(s.node for s in some if s.node is not None)))
        for reason, some in by_count
    ]
