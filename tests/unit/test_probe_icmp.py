"""ICMP echo: packets against scapy, and pings on a LAN of namespaces."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import icmp, wire
from tests.netns import Lan, needs_root


def test_a_request_is_what_scapy_reads() -> None:
    from scapy.layers.inet import ICMP

    seen = ICMP(icmp.build(0x1234, 7, b"abc"))
    assert (seen.type, seen.id, seen.seq, bytes(seen.payload)) == (8, 0x1234, 7, b"abc")
    told = seen.chksum
    del seen.chksum
    assert ICMP(bytes(seen)).chksum == told


def test_replies_and_complaints_of_scapy_are_read() -> None:
    from scapy.layers.inet import ICMP, IP

    reply = IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(type=0, id=5, seq=6) / b"abc"
    assert icmp.parse(bytes(reply)) == icmp.Echo("10.0.0.2", icmp.ECHO_REPLY, 5, 6, b"abc")
    ours = IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(type=8, id=5, seq=6) / b"abc"
    complaint = IP(src="10.0.0.9", dst="10.0.0.1") / ICMP(type=3, code=1) / bytes(ours)
    assert icmp.parse(bytes(complaint)) == icmp.Echo("10.0.0.9", icmp.UNREACHABLE, 5, 6, b"")


@given(st.binary(max_size=64), st.data())
def test_a_cut_or_changed_message_is_malformed(payload: bytes, data: st.DataObject) -> None:
    packet = wire.build_ipv4("10.0.0.1", "10.0.0.2", wire.ICMP, icmp.build(1, 2, payload))
    assert icmp.parse(packet).payload == payload
    with pytest.raises(wire.Malformed):
        icmp.parse(packet[: data.draw(st.integers(0, len(packet) - 1))])
    changed = bytearray(packet)
    bit = data.draw(st.integers(0, len(packet) * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(wire.Malformed):
        icmp.parse(bytes(changed))


@given(st.sampled_from([0, 3, 8, 11, 200]), st.binary(max_size=60))
def test_any_message_is_read_or_malformed(kind: int, rest: bytes) -> None:
    head = bytes((kind, 0, 0, 0)) + rest
    told = wire.checksum(head)
    packet = wire.build_ipv4("10.0.0.1", "10.0.0.2", wire.ICMP, head[:2] + told.to_bytes(2) + head[4:])
    with contextlib.suppress(wire.Malformed):
        assert icmp.parse(packet).kind in (0, 3, 8)


@needs_root
def test_pings_on_a_lan() -> None:
    with Lan("one", "two") as lan, lan.inside("one"):
        assert 0 < icmp.ping("10.9.8.2") < 0.5
        assert icmp.ping("127.0.0.1") < 0.5
        lan.unplug("two")
        began = time.monotonic()
        with pytest.raises(ProbeFailed, match=r"10\.9\.8\.2") as caught:
            icmp.ping("10.9.8.2", 0.2)
        assert caught.value.reason == "timeout"
        assert 0.2 <= time.monotonic() - began < 0.4
        with pytest.raises(ProbeFailed) as caught:
            icmp.ping("192.0.2.1", 0.2)
        assert caught.value.reason == "unreachable"


@needs_root
def test_a_host_that_is_nowhere_is_unreachable_as_soon_as_the_kernel_knows() -> None:
    with Lan("one") as lan, lan.inside("one"):
        lan.ip("one", "ntable change name arp_cache dev eth0 retrans 50")
        with pytest.raises(ProbeFailed, match=r"10\.9\.8\.1 says unreachable") as caught:
            icmp.ping("10.9.8.99", 3.0)
        assert caught.value.reason == "unreachable"
