"""What a pytest run said of each test, read from its JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass

KINDS = {"failure": "failed", "error": "error", "skipped": "skipped"}


@dataclass(frozen=True)
class Said:
    """One test: passed, failed, skipped or error, and its message."""

    outcome: str
    message: str = ""


@dataclass(frozen=True)
class Result:
    """A whole run: exit code, what it printed, and each test by id (`specs/base/test_ssh.py::test_x[alpha]`)."""

    code: int
    text: str
    outcomes: Mapping[str, Said]

    def of(self, outcome: str) -> dict[str, str]:
        """The tests with that outcome, each with its message."""
        return {name: said.message for name, said in self.outcomes.items() if said.outcome == outcome}

    @property
    def red(self) -> dict[str, str]:
        """The tests that failed or could not be run, each with its message."""
        return self.of("failed") | self.of("error")

    @property
    def green(self) -> bool:
        """Whether nothing is red, and something passed."""
        return self.code == 0 and not self.red and bool(self.of("passed"))


def read(text: str) -> dict[str, Said]:
    """Every test of a JUnit file, in the order of the run; one that failed twice (its teardown too) is red once."""
    found: dict[str, Said] = {}
    for case in ElementTree.fromstring(text).iter("testcase"):
        *path, last = (case.get("classname") or "").split(".")
        inside = [last] if last[:1].isupper() else []  # a class of tests
        file = "/".join(path if inside else [*path, last])
        name = "::".join([f"{file}.py", *inside, case.get("name") or ""])
        said = Said("passed")
        for child in case:
            if child.tag in KINDS:
                said = Said(KINDS[child.tag], f"{child.get('message') or ''}\n{child.text or ''}".strip())
        if name not in found or said.outcome in ("failed", "error"):
            found[name] = said
    return found
