"""nmap: recorded output read, broken output refused; the real scanner is used by specs/cluster/test_ports.py."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from cluster.errors import ProbeFailed
from cluster.probes import nmap
from tests.probing import cases


@pytest.mark.parametrize(("path", "expected"), cases("nmap", ".xml"))
def test_recorded_scans(path: Path, expected: dict[str, Any]) -> None:
    address = "192.168.10.99" if "down" in path.name else "192.168.10.6"
    if "error" in expected:
        with pytest.raises(ProbeFailed) as caught:
            nmap.parse(path.read_bytes(), address)
        assert caught.value.reason == expected["error"]
        return
    found = nmap.parse(path.read_bytes(), address)
    for name, ports in expected.items():
        protocol, state = name.split()
        assert nmap.opened(found, protocol, (state,)) == ports


def test_a_scan_of_another_host_is_not_taken_for_this_one() -> None:
    path = Path(__file__).parents[1] / "cases/nmap/alpha.xml"
    with pytest.raises(ProbeFailed, match="nobody there"):
        nmap.parse(path.read_bytes(), "192.168.10.60")


def test_without_nmap_it_says_what_is_missing() -> None:
    with patch.dict("os.environ", {"PATH": "/nonexistent"}), pytest.raises(ProbeFailed) as caught:
        nmap.scan("127.0.0.1", [], seconds=1)
    assert caught.value.reason == "missing" and "apt-get install nmap" in str(caught.value)


@pytest.mark.skipif(shutil.which("nmap") is None, reason="nmap is not installed")
def test_what_nmap_itself_refuses_is_quoted() -> None:
    with pytest.raises(ProbeFailed, match=r"nmap: .*unrecognized option") as caught:
        nmap.scan("--no-such-option", [53], seconds=5)
    assert caught.value.reason in ("error", "permission")
