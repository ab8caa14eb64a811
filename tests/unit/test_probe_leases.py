"""The reader of dhcpd's lease file: recorded files, broken files, and any text at all."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.probes import dhcp
from cluster.probes.dhcp import FailoverState, LeaseFileError, failover_state, leases
from tests.probing import cases, plain

RECORDED = Path(__file__).parent.parent / "cases" / "leases"
NORMAL = (RECORDED / "normal-alpha.leases").read_text()


@pytest.mark.parametrize(("path", "expected"), cases("leases", ".leases"))
def test_cases(path: Path, expected: Any) -> None:
    text = path.read_text(encoding="utf-8")
    if "error" in expected:
        with pytest.raises(LeaseFileError) as caught:
            leases(text)
        assert str(caught.value) == f"dhcpd.leases, {expected['error']}"
        assert caught.value.reason == "lease-file"
    else:
        assert json.loads(json.dumps(plain(leases(text)))) == expected


def test_the_last_entry_counts() -> None:
    found = leases(NORMAL)
    assert found.failover["pair"].normal
    assert NORMAL.count("my state recover ") > 1
    assert found.leases["10.9.8.119"].state == "active"


def test_the_only_peer_need_not_be_named() -> None:
    assert failover_state(NORMAL) == failover_state(NORMAL, "pair")
    with pytest.raises(LeaseFileError, match="no failover peer 'other' is recorded; there are: pair"):
        failover_state(NORMAL, "other")
    with pytest.raises(LeaseFileError, match="there are: none"):
        failover_state("")
    two = NORMAL + 'failover peer "b" state { my state normal; partner state normal; }'
    with pytest.raises(LeaseFileError, match="there are: pair, b"):
        failover_state(two)
    assert failover_state(two, "b") == FailoverState("normal", "normal")


@given(st.integers(0, len(NORMAL)))
def test_a_file_cut_anywhere_is_read_or_refused_by_line(size: int) -> None:
    try:
        leases(NORMAL[:size])
    except LeaseFileError as error:
        assert 1 <= error.line <= NORMAL.count("\n", 0, size) + 1


@given(st.integers(0, len(NORMAL)))
def test_of_a_growing_file_whole_entries_count(size: int) -> None:
    """What a running server has written so far: never an error, and never less than at an earlier moment."""
    seen = leases(NORMAL[:size], growing=True)
    assert set(seen.leases) <= set(leases(NORMAL).leases)
    whole = NORMAL.rfind("\n}", 0, size) + 2
    if whole > 2:
        assert seen == leases(NORMAL[:whole])


def test_a_growing_file_can_still_be_wrong() -> None:
    for text in ('uid "abc\nlease 10.0.0.1 { binding state free; }', "}", "lease x { binding state free; } lease"):
        with pytest.raises(LeaseFileError):
            leases(text, growing=True)
    assert failover_state(NORMAL + "lease 10.9.8.100 {\n  bind", growing=True).normal


@given(st.integers(0, len(NORMAL) - 1), st.characters())
def test_one_changed_character_is_read_or_refused(at: int, character: str) -> None:
    with contextlib.suppress(LeaseFileError):
        leases(NORMAL[:at] + character + NORMAL[at + 1 :])


WORDS = st.sampled_from(
    ["lease", "10.0.0.1", "{", "}", ";", "failover", "peer", "state", "my", "partner", "normal", '"', '"a"', "\\",
     "starts", "never", "epoch", "1", "binding", "next", "uid", "hardware", "#", "\n", " ", "abandoned", "at"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        leases(text)
    except LeaseFileError as error:
        assert 1 <= error.line <= text.count("\n") + 1


def test_deep_nesting_is_refused_not_fatal() -> None:
    with pytest.raises(LeaseFileError, match="too many blocks"):
        leases("a {" * 10_000)


@given(st.binary(min_size=1, max_size=20))
def test_client_identifiers_come_back_as_dhcpd_escapes_them(uid: bytes) -> None:
    """As common/print.c writes them: printable bytes as they are, quote and backslash escaped, others octal."""
    written = "".join(
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in uid
    )
    found = leases(f'lease 10.0.0.1 {{ binding state free; uid "{written}"; }}')
    assert found.leases["10.0.0.1"].uid == uid


def test_synthetic_clients_are_a_fixed_set_of_local_addresses() -> None:
    macs = {dhcp.synthetic_mac(n) for n in range(256)}
    assert len(macs) == 256
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs), "locally administered, unicast"
    with pytest.raises(ValueError, match="0 to 255"):
        dhcp.synthetic_mac(256)
