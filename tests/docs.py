"""The commands that the documentation shows, and the real command lines they must be accepted by."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
#: `python -m` of each, with arguments that its parser accepts.
MODULES = {"lab": ["down"], "provision": ["all"], "chaos": ["list"], "reports": ["build"]}
_FENCE = re.compile(r"^```(\S*)[ ]*(.*)$")


@dataclass(frozen=True)
class Command:
    """One command line of a page; `no_run` is the reason why no test runs it, if there is one."""

    page: Path
    line: int
    text: str
    no_run: str | None

    @property
    def words(self) -> list[str]:
        """The words as a shell would read them."""
        return shlex.split(self.text, comments=True)

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}:{self.text}"


def blocks(page: Path) -> Iterator[tuple[int, str, str, list[str]]]:
    """Every fenced block of a page: line, language, what stands behind the language, and its lines."""
    start, language, about, inside = 0, "", "", False
    held: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and not inside:
            start, language, about, inside, held = number, fence[1], fence[2], True, []
        elif fence:
            inside = False
            yield start, language, about, held
        elif inside:
            held.append(line)


def commands(page: Path) -> list[Command]:
    """The commands of a page's `sh` blocks, and those shown with a `$` in its `console` blocks."""
    found = []
    for start, language, about, lines in blocks(page):
        no_run = about.removeprefix("no-run:").strip() if about.startswith("no-run:") else None
        for offset, line in enumerate(lines, 1):
            if language == "sh" and line.strip():
                found.append(Command(page, start + offset, line.strip(), no_run))
            elif language == "console" and line.startswith("$ "):
                found.append(Command(page, start + offset, line[2:].strip(), "its output is shown"))
    return found


class Parsed(Exception):
    """A command line was accepted: by this parser, as these values."""

    def __init__(self, parser: argparse.ArgumentParser, values: argparse.Namespace) -> None:
        super().__init__(parser.prog)
        self.parser, self.values = parser, values


class Rejected(Exception):
    """A command line was not accepted; the parser's own words."""


def parse(module: str, arguments: list[str]) -> Parsed:
    """What `python -m module` makes of these arguments, with its real parser and nothing done; raises Rejected."""
    accept, intermixed = argparse.ArgumentParser.parse_args, argparse.ArgumentParser.parse_intermixed_args

    def stop(self: argparse.ArgumentParser, args: list[str] | None = None, namespace: None = None) -> None:
        raise Parsed(self, accept(self, args, namespace))

    def stop_intermixed(self: argparse.ArgumentParser, args: list[str] | None = None, namespace: None = None) -> None:
        raise Parsed(self, intermixed(self, args, namespace))

    def reject(self: argparse.ArgumentParser, message: str) -> None:
        raise Rejected(f"python -m {module} {shlex.join(arguments)}: {message}")

    main = importlib.import_module(f"{module}.__main__").main
    with (
        patch.object(argparse.ArgumentParser, "parse_args", stop),
        patch.object(argparse.ArgumentParser, "parse_intermixed_args", stop_intermixed),
        patch.object(argparse.ArgumentParser, "error", reject),
    ):
        try:
            main(arguments)
        except Parsed as parsed:
            return parsed
    raise Rejected(f"python -m {module} did not look at its arguments")


def parser(module: str) -> argparse.ArgumentParser:
    """The real parser of `python -m module`."""
    try:
        return parse(module, MODULES[module]).parser
    except Rejected as error:
        raise AssertionError(str(error)) from error


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Every option of a parser and of its verbs, as (verb, option): ("up", "--vanilla"); without --help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, inner in action.choices.items():
                yield from ((verb, option) for _, option in options(inner))
        else:
            yield from (("", option) for option in action.option_strings if option not in ("-h", "--help"))


def verbs(parser: argparse.ArgumentParser) -> list[str]:
    """The verbs of a parser, none if it has none."""
    return [
        verb for action in parser._actions if isinstance(action, argparse._SubParsersAction) for verb in action.choices
    ]
