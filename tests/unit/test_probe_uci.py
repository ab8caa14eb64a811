"""The reader of UCI and of dnsmasq's leases: recorded files, broken files, and the stand-in's own uci against it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import uci
from tests.probing import cases, plain

TOOL = Path(__file__).resolve().parents[2] / "lab/router/sbin/uci"


@pytest.mark.parametrize(("path", "expected"), cases("uci", ".uci"))
def test_cases(path: Path, expected: Any) -> None:
    text = path.read_text(encoding="utf-8")
    if "error" in expected:
        with pytest.raises(ProbeFailed) as caught:
            uci.parse(text)
        assert str(caught.value) == expected["error"] and caught.value.reason == "malformed"
    else:
        assert json.loads(json.dumps(plain(uci.parse(text)))) == expected


def test_what_is_not_there_is_empty() -> None:
    package = uci.Package("dhcp", (uci.Section("host", "psi", {"mac": "x"}),))
    assert package.section("host", "psi").options == {"mac": "x"} == package.section("host").options
    assert package.section("host", "alpha") == uci.Section("host", "alpha")
    assert package.of("dhcp") == ()


def test_leases() -> None:
    text = "1795428711 B8:27:EB:00:00:05 192.168.10.5 psi 01:b8:27:eb:00:00:05\n0 b8:27:eb:00:00:06 192.168.10.6 * *\n"
    assert uci.leases(text) == {"b8:27:eb:00:00:05": "192.168.10.5", "b8:27:eb:00:00:06": "192.168.10.6"}
    assert uci.leases("") == {}
    for bad in ("duid 00:01", "now b8:27:eb:00:00:05 192.168.10.5 psi *"):
        with pytest.raises(ProbeFailed, match="line 1"):
            uci.leases(bad)


values = st.text(st.characters(codec="ascii", exclude_characters="\n\r\0", exclude_categories=["Cc"]), max_size=20)
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(names, values, min_size=1, max_size=3), st.lists(values, max_size=3), names)
def test_the_stand_ins_uci_keeps_every_value(
    tmp_path_factory: pytest.TempPathFactory, options: dict[str, str], listed: list[str], name: str
) -> None:
    """What is imported, and what is set, is exported as it was."""
    folder = tmp_path_factory.mktemp("uci")

    def tool(*words: str, text: str = "") -> str:
        argv = ["sh", str(TOOL), "-c", str(folder), *words]
        return subprocess.run(argv, input=text, capture_output=True, text=True, check=True, timeout=10).stdout

    def quoted(value: str) -> str:
        return "'" + value.replace("'", "'\\''") + "'"

    lines = [f"config one '{name}'"]
    lines += [f"\toption o{key} {quoted(value)}" for key, value in options.items()]
    lines += [f"\tlist many {quoted(value)}" for value in listed]
    tool("import", "pack", text="\n".join(lines) + "\n")
    for key, value in options.items():
        tool("set", f"pack.{name}.s{key}={value}")
    tool("commit", "pack")
    found = uci.parse(tool("export", "pack"))["pack"].section("one", name)
    both = {f"o{key}": value for key, value in options.items()} | {f"s{key}": value for key, value in options.items()}
    assert (dict(found.options), found.lists.get("many", ())) == (both, tuple(listed))
