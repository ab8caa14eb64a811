"""What omshell says, as values: recorded from dhcpd 4.4, and spoiled."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import omapi
from tests.probing import CASES, cases, plain

PRIMARY = (CASES / "omapi" / "primary.omshell").read_text(encoding="utf-8")


@pytest.mark.parametrize(("path", "expected"), cases("omapi", ".omshell"))
def test_cases(path: Path, expected: Any) -> None:
    text = path.read_text(encoding="utf-8")
    if "error" in expected:
        with pytest.raises(ProbeFailed) as caught:
            omapi.parse(text)
        assert {"error": str(caught.value), "reason": caught.value.reason} == expected
    else:
        assert json.loads(json.dumps(plain(omapi.parse(text)))) == expected


def test_an_order_as_it_was_typed_is_not_an_answer() -> None:
    text = (CASES / "omapi" / "ordered.omshell").read_text(encoding="utf-8")
    assert "local-state = 4\n" in text
    assert omapi.parse(text).mine == "communications-interrupted"


def test_every_bucket_is_served_by_one_peer() -> None:
    primary = omapi.parse(PRIMARY)
    secondary = omapi.parse((CASES / "omapi" / "secondary.omshell").read_text(encoding="utf-8"))
    assert [primary.serves(n) for n in range(256)] == [n < 128 for n in range(256)]
    assert all(primary.serves(n) != secondary.serves(n) for n in range(256))
    alone = omapi.parse((CASES / "omapi" / "secondary-alone.omshell").read_text(encoding="utf-8"))
    assert alone.buckets is None and not any(alone.serves(n) for n in range(256)), "its partner tells it, once met"


@given(st.integers(0, len(PRIMARY)), st.characters())
def test_spoiled_answers_are_read_or_refused(at: int, character: str) -> None:
    for text in (PRIMARY[:at], PRIMARY[:at] + character + PRIMARY[at + 1 :]):
        with contextlib.suppress(ProbeFailed):
            omapi.parse(text)


def test_the_key_is_told_to_omshell_and_to_nobody_else() -> None:
    said = omapi.dialogue("pair", "c2VjcmV0", 7911, "update")
    assert said.splitlines() == [
        "key-algorithm HMAC-SHA256", "key omapi c2VjcmV0", "port 7911", "connect",
        "new failover-state", 'set name = "pair"', "open", "update",
    ]  # fmt: skip


LEASES = "> > > obj: <null>\n" + "".join(
    f"> obj: lease\n> obj: lease\nip-address = {address}\n"
    f"> {found}obj: lease\nip-address = {address}\n{more}> obj: <null>\n"
    for address, found, more in [
        ("c0:a8:0a:c7", "can't open object: not found\n", ""),
        ("c0:a8:0a:c8", "", "state = 00:00:00:07\nsubnet = 00:00:00:04\nends = 6b:03:d3:db\n"),
    ]
)


def test_leases_that_can_be_opened_are_the_pool() -> None:
    assert omapi.parse_leases(LEASES, 2) == {"192.168.10.200"}
    with pytest.raises(ProbeFailed, match="2 answers to 3 questions"):
        omapi.parse_leases(LEASES, 3)
    with pytest.raises(ProbeFailed, match="OMAPI: not connected"):
        omapi.parse_leases("> no open object.\n> not connected.\n> dhcpctl_connect: no more\n", 1)
    with pytest.raises(ProbeFailed, match="no answer about a lease"):
        omapi.parse_leases(LEASES.replace("not found", "timed out"), 2)
