"""NTP: packets against ntplib, answers that are none, chronyc's tables, and a real chronyd."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ntplib  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import clock, wire
from cluster.wait import until
from tests.netns import Lan, daemon, needs, needs_root
from tests.probing import cases, plain, udp_server

NONCE = b"12345678"


def answer(
    request: bytes, *, ahead: float = 0.0, stratum: int = 2, leap: int = 0, mode: int = 4, ref: bytes = b"\x0a\0\0\1"
) -> bytes:
    """A server's answer to a request, by ntplib: an independent codec."""
    packet = ntplib.NTPPacket(version=4, mode=mode)
    packet.leap, packet.stratum, packet.ref_id = leap, stratum, int.from_bytes(ref)
    packet.root_delay, packet.root_dispersion = 0.25, 0.5
    now = ntplib.system_to_ntp_time(time.time() + ahead)
    packet.recv_timestamp = packet.tx_timestamp = now
    raw = bytearray(packet.to_data())
    raw[24:32] = request[40:48]
    return bytes(raw)


def test_the_request_as_ntplib_reads_it() -> None:
    packet = ntplib.NTPPacket()
    packet.from_data(clock.build(NONCE))
    assert (packet.version, packet.mode, packet.leap, packet.stratum) == (4, 3, 0, 0)
    assert clock.build(NONCE)[40:] == NONCE and len(clock.build()) == 48
    assert clock.build()[40:] != clock.build()[40:]


def test_an_answer_as_ntplib_writes_it() -> None:
    packet = clock.parse(answer(clock.build(NONCE), ahead=5))
    assert (packet.leap, packet.version, packet.mode, packet.stratum) == (0, 4, 4, 2)
    assert (packet.root_delay, packet.root_dispersion, packet.refid) == (0.25, 0.5, "10.0.0.1")
    assert packet.origin == NONCE and packet.kiss is None


@pytest.mark.parametrize("ahead", [0.0, 0.125, -3.5, 86400.0])
def test_offset_and_delay(ahead: float) -> None:
    """The server is `ahead` s ahead, each way takes 10 ms, and it thinks for 5 ms (RFC 5905 section 8)."""
    sent = 1_700_000_000.25
    receive, transmit = clock.timestamp(sent + 0.010 + ahead), clock.timestamp(sent + 0.015 + ahead)
    raw = bytearray(answer(clock.build(NONCE)))
    raw[32:40], raw[40:48] = receive.to_bytes(8), transmit.to_bytes(8)
    reply = clock.reply(clock.parse(bytes(raw)), sent=sent, seconds=0.025)
    assert reply.offset == pytest.approx(ahead, abs=1e-6)
    assert reply.delay == pytest.approx(0.020, abs=1e-6)
    assert reply.root_distance == pytest.approx(0.625)


def test_the_year_2036_is_no_special_year() -> None:
    """Era 0 ends on 7 February 2036 (RFC 5905 figure 4): the server is already beyond, we are not."""
    sent = 2**32 - 2_208_988_800 - 0.5
    raw = bytearray(answer(clock.build(NONCE)))
    raw[32:40] = raw[40:48] = (clock.timestamp(sent + 1) & 2**64 - 1).to_bytes(8)
    assert clock.reply(clock.parse(bytes(raw)), sent=sent, seconds=0.0).offset == pytest.approx(1.0)


def test_a_kiss_of_death_is_no_answer() -> None:
    packet = clock.parse(answer(clock.build(NONCE), stratum=0, ref=b"RATE"))
    assert packet.kiss == "RATE"
    with pytest.raises(ProbeFailed, match="RATE") as caught:
        clock.reply(packet, sent=0, seconds=0)
    assert caught.value.reason == "kiss-RATE"


def test_a_server_without_a_clock_is_a_value_to_be_judged() -> None:
    packet = clock.parse(answer(clock.build(NONCE), stratum=0, leap=3, ref=bytes(4)))
    reply = clock.reply(packet, sent=0, seconds=0)
    assert (reply.leap, reply.stratum) == (clock.ALARM, clock.MAX_STRATUM)


def test_a_reference_clock_is_named_in_letters() -> None:
    assert clock.parse(answer(clock.build(NONCE), stratum=1, ref=b"GPS\0")).refid == "GPS"


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    try:
        packet = clock.parse(data)
    except wire.Malformed:
        return
    assert len(data) >= 48
    try:
        clock.reply(packet, sent=1.7e9, seconds=0.1)
    except ProbeFailed as error:
        assert error.reason.startswith("kiss-")


@given(st.floats(0, 2**32 - 2_208_988_801))
def test_time_stamps_are_those_of_ntplib(wall: float) -> None:
    assert clock.timestamp(wall) / 2**32 == pytest.approx(ntplib.system_to_ntp_time(wall), abs=1e-5)


# ---- queries


def test_a_query_passes_over_what_is_not_its_answer() -> None:
    def strange(request: bytes) -> list[bytes]:
        true = answer(request, ahead=2)
        return [b"", true[:47], answer(NONCE * 6), answer(request, mode=3), answer(request, mode=5), true]

    with udp_server(strange) as port:
        reply = clock.query("127.0.0.1", 1.0, port=port)
    assert reply.mode == clock.SERVER
    assert reply.offset == pytest.approx(2, abs=0.5)
    assert 0 <= reply.seconds < 0.5


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        (lambda request: [], "no answer"),
        (lambda request: [answer(NONCE * 6)], "passed over: mode 4"),
        (lambda request: [b"short"], "passed over: NTP packet of 5 bytes"),
    ],
)
def test_no_answer_is_a_timeout_in_time(replies: Callable[[bytes], list[bytes]], told: str) -> None:
    with udp_server(replies) as port:
        began = time.monotonic()
        with pytest.raises(ProbeFailed, match=told) as caught:
            clock.query("127.0.0.1", 0.2, port=port)
        assert caught.value.reason == "timeout"
        assert 0.2 <= time.monotonic() - began < 0.4


def test_an_answer_from_elsewhere_is_none() -> None:
    with udp_server(lambda request: [answer(request)], elsewhere=True) as port, pytest.raises(ProbeFailed) as caught:
        clock.query("127.0.0.1", 0.2, port=port)
    assert caught.value.reason == "timeout"


def test_a_closed_port_refuses_at_once() -> None:
    with udp_server(lambda request: []) as port:
        pass
    with pytest.raises(ProbeFailed, match=r"ntp 127\.0\.0\.1: Connection refused") as caught:
        clock.query("127.0.0.1", 5.0, port=port)
    assert caught.value.reason == "refused"


# ---- chronyc


@pytest.mark.parametrize(("path", "expected"), cases("chrony", ".sources"))
def test_sources(path: Path, expected: Any) -> None:
    _compare(clock.sources, path, expected)


@pytest.mark.parametrize(("path", "expected"), cases("chrony", ".tracking"))
def test_tracking(path: Path, expected: Any) -> None:
    _compare(clock.tracking, path, expected)


def _compare(read: Callable[[str], Any], path: Path, expected: Any) -> None:
    text = path.read_text(encoding="utf-8")
    if isinstance(expected, dict) and "error" in expected:
        with pytest.raises(wire.Malformed, match=expected["error"]):
            read(text)
    else:
        assert json.loads(json.dumps(plain(read(text)))) == expected


@given(st.text())
def test_any_text_is_read_or_malformed(text: str) -> None:
    for read in (clock.sources, clock.tracking):
        with contextlib.suppress(wire.Malformed):
            read(text)


# ---- a real chronyd


@needs_root
@needs("chronyd", "chronyc")
def test_a_real_pair(tmp_path: Path) -> None:
    confs = {"alpha": "local stratum 10", "beta": "server 10.9.8.1 iburst\nserver 10.9.8.77 iburst"}
    with Lan("alpha", "beta", "client") as lan:
        for name, conf in confs.items():
            home = tmp_path / name
            home.mkdir(mode=0o700)
            text = f"{conf}\nallow 10.9.8.0/24\ncmdport 0\npidfile {home}/pid\nbindcmdaddress {home}/sock\n"
            (home / "conf").write_text(text)
            argv = [daemon("chronyd", home), "-d", "-x", "-u", "root", "-f", str(home / "conf")]
            lan.start(name, argv, home / "log")

        def chronyc(what: str) -> str:
            return lan.run("beta", "chronyc", "-h", f"{tmp_path}/beta/sock", "-n", "-c", what)

        with lan.inside("client"):
            first = until(lambda: clock.query("10.9.8.1"), lambda reply: reply.leap == 0, deadline=10, what="a clock")
            assert (first.mode, first.stratum, first.refid) == (clock.SERVER, 10, "127.127.1.1")
            assert abs(first.offset) < 0.01 and 0 <= first.delay < 0.05
            second = until(
                lambda: clock.query("10.9.8.2"), lambda reply: reply.stratum == 11, deadline=20, what="beta following"
            )
            assert second.refid == "10.9.8.1"
        states = {source.name: (source.state, source.reach > 0) for source in clock.sources(chronyc("sources"))}
        assert states == {"10.9.8.1": ("*", True), "10.9.8.77": ("?", False)}
        tracked = clock.tracking(chronyc("tracking"))
        assert (tracked.name, tracked.stratum, tracked.leap) == ("10.9.8.1", 11, "Normal")
