"""What the documentation says is so: its commands exist, its tables are whole, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.collection import Collection
from pydantic import BaseModel

import tasks
from cluster.inventory import NAMED, SECTIONS, ClaimLine, InventoryError, load, parse
from tests.docs import MODULES, PAGES, ROOT, Command, Parsed, Rejected, blocks, commands, options, parser, verbs
from tests.docs import parse as parse_call

README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
TASKS = set(Collection.from_module(tasks).task_names)


@pytest.fixture(scope="module")
def pytest_help() -> str:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    ).stdout


@pytest.mark.parametrize("command", [c for page in PAGES for c in commands(page)], ids=str)
def test_a_command_that_is_shown_exists(command: Command, pytest_help: str) -> None:
    match command.words:
        case ["./run", task, *rest]:
            assert not rest and (task in TASKS or task == "-l")
        case ["python", "-m", module, *arguments] | [".venv/bin/python", "-m", module, *arguments]:
            assert module in MODULES
            parse_call(module, arguments)
        case ["pytest", *arguments] | ["sudo", ".venv/bin/pytest", *arguments] | [".venv/bin/pytest", *arguments]:
            for argument in arguments:
                if argument.startswith("-"):
                    assert re.search(rf"^\s+(-\w, )?{re.escape(argument.split('=')[0])}\b", pytest_help, re.MULTILINE)
                else:
                    assert (ROOT / argument.partition("::")[0]).exists()
        case (
            ["git", "clone", *_]
            | ["cd", _]
            | ["rm", "-r", "/tmp/alpha-bundle"]
            | ["sudo", "rm", "-rf", "/var/lib/rpicluster"]
        ):
            pass
        case _:
            pytest.fail(f"no test knows how to check this command: {command}")


@pytest.mark.parametrize("module", MODULES)
def test_every_verb_and_option_is_documented(module: str) -> None:
    real = parser(module)
    for verb in verbs(real):
        assert re.search(rf"[`|\s\\]{verb}[`|\s\\]", ALL), f"python -m {module} {verb} is nowhere explained"
    for verb, option in options(real):
        assert option in ALL, f"python -m {module} {verb} {option} is nowhere explained"


def test_every_option_of_the_specs_is_documented(pytest_help: str) -> None:
    ours = pytest_help.split("specs of a cluster:")[1].split("\n\n")[0]
    found = re.findall(r"^\s+(--[\w-]+)", ours, re.MULTILINE)
    assert found and all(option in README for option in found)


def test_every_task_is_in_the_readme() -> None:
    assert {task for task in TASKS if f"`{task}`" not in README and f"./run {task}" not in README} == set()


def test_the_table_of_commands_is_accepted_by_the_real_parsers() -> None:
    rows = [row for row in README.splitlines() if row.startswith("| `")]
    shown = " ".join(row.split(" | ")[0] for row in rows)
    for module in MODULES:
        row = next(row for row in rows if f"python -m {module}" in row).replace("\\|", " ")
        missing = [verb for verb in verbs(parser(module)) if not re.search(rf"\b{verb}\b", row)]
        assert not missing, f"the README's row of python -m {module} lacks {missing}"
    for task in ("specs", "tests"):
        assert f"./run {task}" in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            there = page.parent / path if path else page
            assert there.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in _anchors(there), f"{page.name}: {target}"


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, bool]]:
    """Every key of a model, as docs/inventory.md writes it, and whether it must be there."""
    for name, field in model.model_fields.items():
        inner = [m for m in _inside(field.annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
        if not inner:
            yield f"{prefix}.{name}", field.is_required()
        many = "[]" if inner and field.annotation is not inner[0] else ""
        for each in inner:
            yield from _keys(each, f"{prefix}.{name}{many}")


def _inside(annotation: object) -> Iterator[object]:
    yield annotation
    for each in getattr(annotation, "__args__", ()):
        yield from _inside(each)


def model_keys() -> dict[str, bool]:
    """Every key that an inventory can have: name -> whether it must be there."""
    keys = dict(pair for section, model in SECTIONS.items() for pair in _keys(model, section))
    for section, model in NAMED.items():
        # The name is the key itself, not written inside.
        keys |= {key: must for key, must in _keys(model, f"{section}.NAME") if key != f"{section}.NAME.name"}
    return keys | dict(_keys(ClaimLine, "claims[]"))


def test_the_page_about_the_inventory_lists_exactly_the_keys_of_the_model() -> None:
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in (ROOT / "docs/inventory.md").read_text(encoding="utf-8").splitlines()
        if row.startswith("| `")
    ]
    shown = {row[0].strip("`"): "optional" not in row[1] for row in rows}
    assert shown == model_keys()


def test_the_inventory_mistake_that_is_shown_is_real() -> None:
    page = (ROOT / "docs/inventory.md").read_text(encoding="utf-8")
    shown = next(line for line in page.splitlines() if line.startswith("inventory.yaml:"))
    name, wrong = re.findall(r"nodes\.(\w+)\.address: (\S+)", shown)[0]
    text = (ROOT / "inventory.yaml").read_text(encoding="utf-8").replace(f"{load().nodes[name].address},", f"{wrong},")
    with pytest.raises(InventoryError) as caught:
        parse(text, ROOT / "inventory.yaml", shown="inventory.yaml")
    # Not the line number: it moves whenever the file is edited.
    assert re.sub(r":\d+:", "::", shown) in re.sub(r":\d+:", "::", str(caught.value))


def test_yaml_that_is_shown_is_part_of_the_inventory() -> None:
    text = re.sub(r"\s+", "", (ROOT / "inventory.yaml").read_text(encoding="utf-8"))
    for page in PAGES:
        for _, language, _, lines in blocks(page):
            for line in lines if language == "yaml" else []:
                assert re.sub(r"\s+", "", line) in text, f"{page.name}: {line}"


def test_a_made_up_command_would_be_noticed() -> None:
    with pytest.raises(Rejected):
        parse_call("lab", ["upp"])
    with pytest.raises(Rejected):
        parse_call("reports", ["build", "--no-such-option"])
    assert isinstance(parse_call("lab", ["up", "--vanilla"]), Parsed)
