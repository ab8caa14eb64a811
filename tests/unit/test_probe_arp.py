"""ARP: packets against scapy, and the question who has an address on a LAN of namespaces."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import arp, wire
from tests.netns import Lan, needs_root

A, B = "02:00:00:00:00:01", "02:00:00:00:00:02"


def test_a_request_is_what_scapy_reads() -> None:
    from scapy.layers.l2 import ARP, Ether

    seen = Ether(arp.request(A, "10.0.0.1", "10.0.0.2"))
    assert (seen.dst, seen.src) == (wire.BROADCAST, A)
    fields = (seen[ARP].op, seen[ARP].hwsrc, seen[ARP].psrc, seen[ARP].pdst)
    assert fields == (1, A, "10.0.0.1", "10.0.0.2")


def test_what_scapy_says_is_read() -> None:
    from scapy.layers.l2 import ARP, Ether

    frame = Ether(src=B, dst=A) / ARP(op=2, hwsrc=B, psrc="10.0.0.2", hwdst=A, pdst="10.0.0.1")
    assert arp.parse(bytes(frame), 7.0) == arp.Arp(7.0, B, arp.REPLY, B, "10.0.0.2", A, "10.0.0.1")


def test_announcements_are_told_from_questions() -> None:
    """A new owner announces itself by a request or a reply about itself (RFC 5227 section 3)."""
    for op in (arp.REQUEST, arp.REPLY):
        assert arp.parse(arp.build(op, A, "10.0.0.1", wire.BROADCAST, "10.0.0.1", to=wire.BROADCAST)).gratuitous
    assert not arp.parse(arp.request(A, "0.0.0.0", "10.0.0.1")).gratuitous
    assert not arp.parse(arp.request(A, "10.0.0.2", "10.0.0.1")).gratuitous


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    for frame in (data, wire.build_ethernet(A, B, wire.ETH_ARP, data)):
        try:
            arp.parse(frame)
        except wire.Malformed:
            continue
        assert len(data) >= 28


@given(st.integers(0, 41))
def test_a_cut_packet_is_malformed(size: int) -> None:
    with pytest.raises(wire.Malformed):
        arp.parse(arp.request(A, "10.0.0.1", "10.0.0.2")[:size])


@needs_root
def test_one_owner_none_and_two() -> None:
    with Lan("me", "one", "two") as lan, lan.inside("me"):
        assert arp.who_has("eth0", "10.9.8.2", deadline=0.3) == {lan.mac("one")}
        assert arp.who_has("eth0", "10.9.8.99", deadline=0.1) == frozenset()
        assert arp.who_has("eth0", "10.9.8.1", deadline=0.1) == frozenset(), "our own address is not answered"
        lan.ip("two", "address add 10.9.8.2/24 dev eth0")
        assert arp.who_has("eth0", "10.9.8.2", deadline=0.3) == {lan.mac("one"), lan.mac("two")}
        assert arp.owner("eth0", "10.9.8.3") == lan.mac("two")
        with pytest.raises(ProbeFailed, match=r"nobody answers ARP for 10\.9\.8\.99") as caught:
            arp.owner("eth0", "10.9.8.99", deadline=0.1)
        assert caught.value.reason == "timeout"


@needs_root
def test_the_first_owner_is_enough() -> None:
    with Lan("me", "one") as lan, lan.inside("me"):
        began = time.monotonic()
        assert arp.owner("eth0", "10.9.8.2", deadline=5.0) == lan.mac("one")
        assert time.monotonic() - began < 1.0


@needs_root
def test_asking_without_an_address_of_our_own() -> None:
    with Lan("me", "one") as lan, lan.inside("me"):
        lan.ip("me", "address flush dev eth0")
        assert arp.who_has("eth0", "10.9.8.2", deadline=0.3) == {lan.mac("one")}


@needs_root
def test_many_addresses_are_asked_at_once() -> None:
    with Lan("me", "one", "two") as lan, lan.inside("me"):
        began = time.monotonic()
        owners = arp.who_have("eth0", ["10.9.8.2", "10.9.8.3", "10.9.8.99"], deadline=0.3)
        assert time.monotonic() - began < 0.6
        assert owners == {
            "10.9.8.2": {lan.mac("one")},
            "10.9.8.3": {lan.mac("two")},
            "10.9.8.99": frozenset(),
        }


@needs_root
def test_a_listener_hears_the_new_owner_announce_itself() -> None:
    with Lan("me", "one") as lan:
        with lan.inside("me"):
            ear = arp.Listener("eth0")
        with lan.inside("one"):
            mouth = arp.Listener("eth0")
        with ear, mouth:
            before = time.monotonic()
            mouth.send(b"\0" * 10 + b"too short for ARP")
            mouth.send(arp.build(arp.REPLY, B, "10.9.8.77", wire.BROADCAST, "10.9.8.77", to=wire.BROADCAST))
            heard: list[arp.Arp] = []
            while ear.wait(0.2):
                heard += ear.read()
            mine = [packet for packet in heard if packet.sender == "10.9.8.77"]
            assert [(packet.gratuitous, packet.sender_mac) for packet in mine] == [(True, B)]
            assert before <= mine[0].t <= time.monotonic()


@needs_root
def test_no_such_interface() -> None:
    with pytest.raises(ProbeFailed, match="nope0") as caught:
        arp.who_has("nope0", "10.0.0.1")
    assert caught.value.reason == "interface"
