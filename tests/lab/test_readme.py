"""Every command that the documentation shows is run, on the lab, as it stands there; and every option of a help text.

A command is run once, in the order of the pages; those marked `no-run` say why not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import MODULES, PAGES, ROOT, Command, commands, options, parser

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

#: What no page shows but a help text offers.
MORE = (
    "python -m lab status --json",
    "python -m lab --inventory inventory.yaml status",
    "python -m lab shell alpha",
    "python -m provision --inventory inventory.yaml beta --check",
    "python -m chaos --inventory inventory.yaml status --json",
    "python -m reports build",
    "python -m reports build all",
)
LONG = ("python -m chaos prove",)
"""Commands that take minutes, every experiment that the inventory has a claim about: run with --long."""

#: Options that another test tries: (module, option) -> the file that does.
ELSEWHERE: dict[tuple[str, str], str] = {
    ("lab", "--vanilla"): "tests/lab/test_virtual_lab.py",
    ("reports", "--port"): "tests/unit/test_render.py",
    **dict.fromkeys(
        (("reports", f"--{name}") for name in ("exit", "log", "at", "keep", "cluster")), "tests/unit/test_nights.py"
    ),
    ("chaos", "--force"): "tests/lab/test_chaos.py",
    ("chaos", "--profile"): "tests/unit/test_chaos_parts.py",
    ("provision", "--profile"): "tests/lab/conftest.py",
    ("provision", "--rolling"): "tests/unit/test_maintenance.py",
    ("provision", "--unguarded"): "tests/unit/test_maintenance.py",
}


def shown() -> list[Command]:
    """Each command once, in the order of the pages, then those of MORE."""
    here = Path(__file__)
    found = [command for page in PAGES for command in commands(page) if command.no_run is None]
    found += [Command(here, 0, text, None) for text in MORE]
    return list({command.text: command for command in found}.values())


@pytest.mark.parametrize(
    "command",
    [pytest.param(one, id=one.text, marks=[pytest.mark.long] if one.text in LONG else []) for one in shown()],
)
def test_a_command_that_is_shown_works(command: Command) -> None:
    # As after `. .venv/bin/activate`.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command.text, shell=True, cwd=ROOT, env=environment, input="exit\n",
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("module", MODULES)
def test_every_option_of_a_help_text_is_tried(module: str) -> None:
    used = {word.split("=")[0] for command in shown() if f"-m {module} " in command.text for word in command.words}
    untried = {option for _, option in options(parser(module))} - used
    for option in sorted(untried):
        place = ELSEWHERE.get((module, option))
        assert place, f"python -m {module} {option}: no page shows it and no test is known to try it"
        assert re.search(rf"[\"' ]{option}[\"' =]", (ROOT / place).read_text(encoding="utf-8")), f"{place}: {option}"
