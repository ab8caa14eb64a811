"""Frames, checksums, kernel filters and time stamps that the packet probes stand on."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import wire
from cluster.wait import Deadline
from tests.netns import Lan, needs_root
from tests.probing import Unpaired, cases

A, B = "02:00:00:00:00:01", "02:00:00:00:00:02"


@given(st.binary(max_size=200))
def test_checksum_of_data_that_carries_its_checksum_is_zero(data: bytes) -> None:
    data += b"\0" * (len(data) % 2)
    assert wire.checksum(data + wire.checksum(data).to_bytes(2)) == 0


def test_packets_are_what_scapy_reads() -> None:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    frame = wire.build_ethernet(B, A, wire.ETH_IP, wire.build_udp("10.0.0.1", 68, "10.0.0.2", 67, b"abc"))
    seen = Ether(frame)
    assert (seen.src, seen.dst, seen[IP].src, seen[IP].dst, seen[UDP].sport) == (A, B, "10.0.0.1", "10.0.0.2", 68)
    given_ip, given_udp = seen[IP].chksum, seen[UDP].chksum
    del seen[IP].chksum, seen[UDP].chksum
    again = Ether(bytes(seen))
    assert (again[IP].chksum, again[UDP].chksum) == (given_ip, given_udp)


@given(st.binary(max_size=100), st.integers(0, 65535))
def test_what_is_built_is_read_again(payload: bytes, port: int) -> None:
    frame = wire.build_ethernet(B, A, wire.ETH_IP, wire.build_udp("10.0.0.1", port, "10.0.0.2", 9, payload))
    eth = wire.ethernet(frame)
    assert (eth.dst, eth.src) == (B, A)
    assert wire.udp(wire.ipv4(eth.payload)) == (port, 9, payload)


@given(st.binary(max_size=100), st.data())
def test_one_flipped_bit_or_a_missing_tail_is_noticed(payload: bytes, data: st.DataObject) -> None:
    packet = wire.build_udp("10.0.0.1", 68, "10.0.0.2", 67, payload)
    cut = data.draw(st.integers(0, len(packet) - 1))
    with pytest.raises(wire.Malformed):
        wire.udp(wire.ipv4(packet[:cut]))
    bit = data.draw(st.integers(0, len(packet) * 8 - 1))
    flipped = bytearray(packet)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(wire.Malformed):
        wire.udp(wire.ipv4(bytes(flipped)))


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    for read in (wire.ethernet, wire.ipv4):
        try:
            read(data)
        except wire.Malformed as error:
            assert error.reason == "malformed"


def test_a_checksum_left_to_the_hardware_is_not_held_against_the_packet() -> None:
    packet = bytearray(wire.build_udp("10.0.0.1", 68, "10.0.0.2", 67, b"abc"))
    packet[26] ^= 0xFF
    with pytest.raises(wire.Malformed, match="UDP checksum"):
        wire.udp(wire.ipv4(bytes(packet)))
    assert wire.udp(wire.ipv4(bytes(packet)), verify=False).payload == b"abc"


def test_a_vlan_tag_is_skipped() -> None:
    frame = wire.build_ethernet(B, A, 0x8100, b"\x00\x07\x08\x06payload")
    assert wire.ethernet(frame).kind == wire.ETH_ARP
    assert wire.ethernet(frame).payload.startswith(b"payload")


@pytest.mark.parametrize("text", ["", "02:00", "02:00:00:00:00:0g", "02:00:00:00:00:00:00", "1ff:0:0:0:0:0"])
def test_no_hardware_address(text: str) -> None:
    with pytest.raises(ValueError):
        wire.mac_bytes(text)


def test_errors_of_sockets_have_short_reasons() -> None:
    assert wire.failed(ConnectionRefusedError(111, "Connection refused"), "x").reason == "refused"
    assert wire.failed(TimeoutError("timed out"), "x").reason == "timeout"
    assert wire.failed(OSError(1, "Operation not permitted"), "x").reason == "permission"
    assert "CAP_NET_RAW" in str(wire.failed(OSError(1, "Operation not permitted"), "x"))
    assert wire.failed(OSError(5, "Input/output error"), "x").reason == "socket"


@needs_root
def test_no_such_interface() -> None:
    with pytest.raises(ProbeFailed, match="nope0") as caught:
        wire.packet_socket("nope0", wire.ETH_IP)
    assert caught.value.reason == "interface"
    with pytest.raises(ProbeFailed) as caught:
        wire.own_mac("nope0")
    assert caught.value.reason == "interface"


@needs_root
def test_kernel_filters_keep_what_they_promise() -> None:
    def udp_to(port: int, *, protocol: int = wire.UDP) -> bytes:
        raw = wire.build_udp("10.0.0.1", 1, "10.0.0.2", port, b"")[20:]
        return wire.build_ethernet(B, A, wire.ETH_IP, wire.build_ipv4("10.0.0.1", "10.0.0.2", protocol, raw))

    with_options = bytearray(wire.build_udp("10.0.0.1", 1, "10.0.0.2", 68, b""))
    with_options[0], with_options[3], with_options[10:12] = 0x46, 32, bytes(2)
    with_options[20:20] = b"\1\1\1\0"  # no operation, end of options
    with_options[10:12] = wire.checksum(bytes(with_options[:24])).to_bytes(2)
    frames = {
        "68": udp_to(68), "67": udp_to(67), "69": udp_to(69), "tcp": udp_to(68, protocol=wire.TCP),
        "vrrp": udp_to(0, protocol=wire.VRRP),
        "options": wire.build_ethernet(B, A, wire.ETH_IP, bytes(with_options)),
    }  # fmt: skip
    wanted = {
        wire.only_udp_to(68): {"68", "options"},
        wire.only_udp_to(67, 68): {"67", "68", "options"},
        wire.only_ip(wire.VRRP): {"vrrp"},
        (): set(frames),
    }
    with Lan("left", "right") as lan:
        for program, kept in wanted.items():
            with lan.inside("right"):
                ear = wire.packet_socket("eth0", wire.ETH_IP, program, accept=["02:00:00:00:00:77"])
            with lan.inside("left"):
                mouth = wire.packet_socket("eth0", wire.ETH_IP, wire.only_ip(255))
            with ear, mouth:
                for frame in frames.values():
                    mouth.send(frame)
                seen = set[str]()
                while wire.wait(ear, Deadline.after(0.05)):
                    got = wire.receive(ear)
                    assert got is not None
                    # The kernel may have cut the padding off already.
                    seen |= {name for name, frame in frames.items() if frame.startswith(got.data)}
                assert seen == kept


@needs_root
def test_time_stamps_are_the_kernels_and_monotonic() -> None:
    with Lan("left", "right") as lan:
        with lan.inside("right"):
            ear = wire.packet_socket("eth0", wire.ETH_IP, wire.only_udp_to(9))
        with lan.inside("left"):
            mouth = wire.packet_socket("eth0", wire.ETH_IP)
        with ear, mouth:
            before = time.monotonic()
            mouth.send(wire.build_ethernet(B, A, wire.ETH_IP, wire.build_udp("10.0.0.1", 1, "10.0.0.2", 9, b"")))
            after = time.monotonic()
            time.sleep(0.1)  # the reader is late on purpose: the stamp must not be
            got = wire.receive(ear)
            assert got is not None
            assert before - 0.002 <= got.t <= after + 0.02
            assert wire.receive(ear) is None


def test_arrivals_end_with_the_deadline_under_a_flood_and_count_what_came_in_time() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ear,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        ear.bind(("127.0.0.1", 0))
        wire.stamp(ear)
        end = Deadline.after(0.1)
        mouth.sendto(b"in time", ear.getsockname())
        time.sleep(0.2)
        mouth.sendto(b"too late", ear.getsockname())
        assert [got.data for got in wire.arrivals(ear, end)] == [b"in time"]
        assert [got.data for got in wire.arrivals(ear, end)] == []
        began = time.monotonic()
        for _ in wire.arrivals(ear, Deadline.after(0.2)):
            for _ in range(20):
                mouth.sendto(b"flood", ear.getsockname())
        mouth.sendto(b"flood", ear.getsockname())
        for _ in wire.arrivals(ear, Deadline.after(0.2)):
            for _ in range(20):
                mouth.sendto(b"flood", ear.getsockname())
        assert time.monotonic() - began < 1.0


@needs_root
def test_the_address_of_an_interface() -> None:
    with Lan("left") as lan, lan.inside("left"):
        assert wire.own_address("eth0") == "10.9.8.1"
        assert wire.own_mac("eth0") == lan.mac("left")
        lan.ip("left", "address flush dev eth0")
        assert wire.own_address("eth0") is None


@needs_root
def test_the_interface_towards_an_address_is_on_its_own_lan() -> None:
    with Lan("left") as lan, lan.inside("left"):
        lan.ip("left", "link add other type bridge", "address add 10.0.0.1/8 dev other", "link set other up")
        lan.ip("left", "route add default via 10.9.8.77")
        assert wire.interface_towards("10.9.8.2") == "eth0", "the longest prefix counts"
        assert wire.interface_towards("10.1.2.3") == "other"
        with pytest.raises(ProbeFailed, match=r"192\.0\.2\.1") as caught:
            wire.interface_towards("192.0.2.1")
        assert caught.value.reason == "interface", "a gateway does not count"


def test_without_the_capability_the_reason_is_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(ProbeFailed, match="CAP_NET_RAW") as caught:
        wire.packet_socket("eth0", wire.ETH_IP)
    assert caught.value.reason == "permission"


def test_a_case_without_its_expectation_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(Unpaired, match="no case"):
        cases("x", ".txt", tmp_path)
    (tmp_path / "x" / "one.txt").touch()
    with pytest.raises(Unpaired, match=r"one\.txt has no expectation one\.json"):
        cases("x", ".txt", tmp_path)
    (tmp_path / "x" / "one.json").write_text(json.dumps([1]))
    assert len(cases("x", ".txt", tmp_path)) == 1
    (tmp_path / "x" / "two.json").write_text("{}")
    with pytest.raises(Unpaired, match=r"expectations of nothing.*two"):
        cases("x", ".txt", tmp_path)
