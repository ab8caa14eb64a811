"""The reader of dhcpd's lease file: recorded files, broken files, and any text at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.probes import dhcp
from cluster.probes.dhcp import FailoverState, LeaseFileError, failover_history, failover_state, leases
from tests.lease_files import FILES, Piece, quoted
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


def said(pieces: Sequence[Piece]) -> dict[str, Any]:
    """What a file of these pieces says: the last word on each address and each peer."""
    return {
        "leases": {piece.lease.address: piece.lease for piece in pieces if piece.lease},
        "failover": dict(piece.peer for piece in pieces if piece.peer),
    }


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@given(FILES)
def test_whatever_dhcpd_writes_is_read(pieces: list[Piece]) -> None:
    assert vars(leases(text_of(pieces))) == said(pieces)


@given(FILES, st.data())
def test_whatever_dhcpd_writes_cut_anywhere_is_read_or_refused_by_line(
    pieces: list[Piece], data: st.DataObject
) -> None:
    text = text_of(pieces)
    size = data.draw(st.integers(0, len(text)), label="cut at")
    whole = [piece for n, piece in enumerate(pieces) if len(text_of(pieces[: n + 1]).rstrip("\n")) <= size]
    assert vars(leases(text[:size], growing=True)) == said(whole), "a running server's file: whole entries count"
    try:
        found = leases(text[:size])
    except LeaseFileError as error:
        assert 1 <= error.line <= text.count("\n", 0, size) + 1
        assert str(error).startswith(f"dhcpd.leases, line {error.line}: ")
    else:
        assert vars(found) == said(whole), "what is accepted is whole"


@given(FILES)
def test_the_history_of_a_peer_is_every_change_in_order(pieces: list[Piece]) -> None:
    told = [state for piece in pieces if piece.peer for name, state in [piece.peer] if name == "pair"]
    found = failover_history(text_of(pieces), "pair")
    pairs = [(state.mine, state.partner) for state in told]
    assert [(s.mine, s.partner) for s in found] == [pair for n, pair in enumerate(pairs) if pairs[n - 1 : n] != [pair]]
    assert set(found) <= set(told)


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
    found = leases(f'lease 10.0.0.1 {{ binding state free; uid "{quoted(uid)}"; }}')
    assert found.leases["10.0.0.1"].uid == uid


def test_synthetic_clients_are_a_fixed_set_of_local_addresses() -> None:
    macs = {dhcp.synthetic_mac(n) for n in range(256)}
    assert len(macs) == 256
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs), "locally administered, unicast"
    with pytest.raises(ValueError, match="0 to 255"):
        dhcp.synthetic_mac(256)


def test_the_history_of_a_peer_that_had_lost_its_file() -> None:
    """Recorded in the lab, MCLT 10 s."""
    history = failover_history((RECORDED / "lab-recovered-beta.leases").read_text(), "rpiclust-failover")
    mine = [state.mine for state in history]
    steps = [state for n, state in enumerate(mine) if mine[n - 1 : n] != [state]]
    assert steps[:4] == ["recover", "recover-wait", "recover-done", "normal"]
    began, done = (next(s.mine_since for s in history if s.mine == name) for name in ("recover", "recover-done"))
    assert began is not None and done is not None and 10 <= done - began <= 11
