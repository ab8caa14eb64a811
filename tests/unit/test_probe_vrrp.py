"""VRRP: advertisements against scapy and recorded ones, the takeover arithmetic, the live configuration."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import vrrp, wire
from tests.netns import Lan, daemon, needs, needs_root
from tests.probing import cases, packet, plain

ADDRESSES = ("192.168.10.111", "192.168.10.112")


@pytest.mark.parametrize(("path", "expected"), cases("vrrp", ".hex"))
def test_recorded_advertisements(path: Path, expected: Any) -> None:
    if "error" in expected:
        with pytest.raises(wire.Malformed, match=expected["error"]):
            vrrp.parse(packet(path))
    else:
        assert plain(vrrp.parse(packet(path))) == expected


def test_a_returned_owner_waits_for_its_delay_and_for_a_dead_master() -> None:
    low, high = vrrp.preemption(1.0, 100, 5.0)
    assert (low, high) == pytest.approx((5 + 2 + 156 / 256, 5 + 3 + 156 / 256))


@pytest.mark.parametrize("password", [None, b"secret", b"12345678"])
def test_version_2_is_what_scapy_reads(password: bytes | None) -> None:
    from scapy.layers.inet import IP
    from scapy.layers.vrrp import VRRP

    raw = vrrp.build("10.0.0.1", 51, 90, 1, ADDRESSES, password=password)
    seen = IP(raw)[VRRP]
    assert (seen.version, seen.vrid, seen.priority, seen.adv, seen.addrlist) == (2, 51, 90, 1, list(ADDRESSES))
    assert (seen.auth1, seen.auth2) == ((0, 0) if password is None else tuple(_halves(password)))
    told = seen.chksum
    del seen.chksum
    assert VRRP(bytes(seen)).chksum == told


def _halves(password: bytes) -> list[int]:
    padded = password.ljust(8, b"\0")
    return [int.from_bytes(padded[:4]), int.from_bytes(padded[4:])]


def test_version_3_is_what_scapy_reads_and_the_other_way() -> None:
    from scapy.layers.inet import IP
    from scapy.layers.vrrp import VRRPv3

    raw = vrrp.build("10.0.0.1", 51, 90, 0.5, ADDRESSES, version=3)
    seen = IP(raw)[VRRPv3]
    assert (seen.version, seen.vrid, seen.priority, seen.adv, seen.addrlist) == (3, 51, 90, 50, list(ADDRESSES))
    made = IP(src="10.0.0.1", dst=vrrp.GROUP, ttl=255, proto=112)
    made /= VRRPv3(vrid=51, priority=90, adv=50, ipcount=2, addrlist=list(ADDRESSES))
    heard = vrrp.parse(bytes(made), 7.0)
    assert heard == vrrp.Advertisement(7.0, "10.0.0.1", 3, 51, 90, 0.5, ADDRESSES, "none")


def test_version_3_with_the_checksum_of_either_reading_of_the_rfc() -> None:
    raw = bytearray(vrrp.build("10.0.0.1", 51, 90, 1, ADDRESSES, version=3))
    raw[26:28] = bytes(2)
    raw[26:28] = wire.checksum(bytes(raw[20:])).to_bytes(2)
    assert vrrp.parse(bytes(raw)).priority == 90


@given(
    st.sampled_from([2, 3]),
    st.integers(1, 255),
    st.integers(0, 255),
    st.integers(1, 40),
    st.lists(st.ip_addresses(v=4).map(str), max_size=20).map(tuple),
)
def test_what_is_built_is_read_again(
    version: int, vrid: int, priority: int, interval: int, addresses: tuple[str, ...]
) -> None:
    raw = vrrp.build("10.0.0.1", vrid, priority, interval, addresses, version=version)
    heard = vrrp.parse(raw)
    assert (heard.version, heard.vrid, heard.priority) == (version, vrid, priority)
    assert (heard.interval_s, heard.addresses) == (interval, addresses)


@given(st.data(), st.sampled_from([2, 3]))
def test_a_cut_or_changed_advertisement_is_malformed(data: st.DataObject, version: int) -> None:
    raw = vrrp.build("10.0.0.1", 51, 90, 1, ADDRESSES, version=version)
    with pytest.raises(wire.Malformed):
        vrrp.parse(raw[: data.draw(st.integers(0, len(raw) - 1))])
    changed = bytearray(raw)
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(wire.Malformed):
        vrrp.parse(bytes(changed))


@given(st.binary(max_size=60))
def test_any_payload_is_read_or_malformed(data: bytes) -> None:
    with contextlib.suppress(wire.Malformed):
        vrrp.parse(wire.build_ipv4("10.0.0.1", vrrp.GROUP, wire.VRRP, data, ttl=255))


def test_a_packet_from_another_network_or_protocol() -> None:
    raw = vrrp.build("10.0.0.1", 51, 90, 1, ADDRESSES)
    with pytest.raises(wire.Malformed, match="TTL 254"):
        vrrp.parse(wire.build_ipv4("10.0.0.1", vrrp.GROUP, wire.VRRP, raw[20:], ttl=254))
    with pytest.raises(wire.Malformed, match="protocol 17"):
        vrrp.parse(wire.build_ipv4("10.0.0.1", vrrp.GROUP, wire.UDP, raw[20:], ttl=255))


def test_window_of_version_2() -> None:
    """RFC 3768 section 6.1 with the shipped configuration: 3 * 1 s + (256 - 90) / 256 s = 3.648 s."""
    window = vrrp.window(1.0, 90)
    assert window.skew == pytest.approx(0.648, abs=0.001)
    assert window.master_down == pytest.approx(3.648, abs=0.001)
    assert (window.client_low, window.client_high) == pytest.approx((2.648, 3.648), abs=0.001)
    assert vrrp.window(4.0, 90).skew == window.skew, "not scaled by the interval"


def test_window_of_version_3_is_scaled_by_the_interval() -> None:
    """RFC 9568 section 6.1, counted in centiseconds."""
    window = vrrp.window(0.5, 90, version=3)
    assert window.skew == pytest.approx(0.5 * 166 / 256)
    assert window.master_down == pytest.approx(1.5 + window.skew)


@pytest.mark.parametrize("arguments", [(1, 0), (1, 255), (0, 90), (1, 90, 4)])
def test_no_window(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="no standby"):
        vrrp.window(*arguments)


# ---- the live configuration


@pytest.mark.parametrize(("path", "expected"), cases("keepalived", ".conf"))
def test_configurations(path: Path, expected: Any) -> None:
    text = path.read_text(encoding="utf-8")
    if "error" in expected:
        with pytest.raises(vrrp.ConfigError) as caught:
            vrrp.keepalived_conf(text)
        assert str(caught.value).startswith(f"keepalived.conf, {expected['error']}")
        assert caught.value.reason == "config"
    else:
        assert json.loads(json.dumps(plain(vrrp.keepalived_conf(text)))) == expected


def test_the_password_is_nowhere_in_what_is_read() -> None:
    text = "vrrp_instance a {\n virtual_router_id 1\n authentication {\n auth_type PASS\n auth_pass Secret12\n }\n}"
    conf = vrrp.keepalived_conf(text)
    assert "Secret12" not in repr(conf)
    assert conf.instance().auth_sha256 == hashlib.sha256(b"Secret12").hexdigest()


def test_an_instance_is_found_by_name_or_by_being_the_only_one() -> None:
    conf = vrrp.keepalived_conf(
        "vrrp_instance a {\n virtual_router_id 1\n}\nvrrp_instance b {\n virtual_router_id 2\n}"
    )
    assert conf.instance("b").vrid == 2
    for name in (None, "c"):
        with pytest.raises(ProbeFailed, match="there are: a, b"):
            conf.instance(name)


FULL = (Path(__file__).parent.parent / "cases" / "keepalived" / "full.conf").read_text()


@given(st.one_of(st.text(), st.integers(0, len(FULL)).map(lambda n: FULL[:n])))
def test_any_text_is_read_or_refused_by_line(text: str) -> None:
    try:
        vrrp.keepalived_conf(text)
    except vrrp.ConfigError as error:
        assert 0 <= error.line <= len(text.splitlines())


# ---- on a wire, with the real daemon

CONF = """
vrrp_instance VI_1 {{
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority {priority}
  advert_int 1
  version {version}
  virtual_ipaddress {{
    10.9.8.111/24
  }}
}}
"""


def keepalived(lan: Lan, host: str, folder: Path, priority: int, version: int) -> Any:
    folder.mkdir()
    (folder / "conf").write_text(CONF.format(priority=priority, version=version))
    argv = [daemon("keepalived", folder), "--dont-fork", "--log-console", "-f", str(folder / "conf")]
    argv += ["-p", str(folder / "pid"), "-r", str(folder / "vrrp"), "-c", str(folder / "checkers")]
    return lan.start(host, argv, folder / "log")


@needs_root
@needs("keepalived")
@pytest.mark.parametrize(("version", "advert"), [(2, 1.0), (3, 1.0)])
def test_a_takeover_is_seen_when_the_rfc_says(tmp_path: Path, version: int, advert: float) -> None:
    """Kill the master of a real pair: the next advertisement comes master_down after the last (+ scheduling)."""
    with Lan("alpha", "beta", "watcher") as lan:
        keepalived(lan, "beta", tmp_path / "beta", 90, version)
        keepalived(lan, "alpha", tmp_path / "alpha", 100, version)
        with lan.inside("watcher"):
            ear = vrrp.Listener("eth0")
        with ear:
            heard: list[vrrp.Advertisement] = []
            deadline = time.monotonic() + 15
            while len([a for a in heard if a.src == "10.9.8.1"]) < 3:
                assert time.monotonic() < deadline, (tmp_path / "alpha" / "log").read_text()
                ear.wait(0.1)
                heard += ear.read()
            assert {(a.vrid, a.version, a.interval_s, a.addresses) for a in heard} == {
                (51, version, advert, ("10.9.8.111",))
            }
            assert heard[-1].mac == lan.mac("alpha")
            conf = vrrp.keepalived_conf((tmp_path / "beta" / "conf").read_text()).instance()
            window = vrrp.window(conf.advert_int, conf.priority, conf.version)
            lan.unplug("alpha")
            list(ear.read())
            last = heard[-1]
            while heard[-1].src != "10.9.8.2":
                assert time.monotonic() < deadline
                ear.wait(0.1)
                heard += ear.read()
            took = heard[-1].t - last.t if heard[-2] is last else heard[-1].t - heard[-2].t
            assert window.master_down - 0.01 <= took <= window.master_down + 0.25


@needs_root
def test_the_listener_hears_only_valid_advertisements() -> None:
    with Lan("sender", "watcher") as lan:
        with lan.inside("watcher"):
            ear = vrrp.Listener("eth0")
        with lan.inside("sender"):
            mouth = wire.packet_socket("eth0", wire.ETH_IP, wire.only_ip(255))
        with ear, mouth:

            def send(packet: bytes) -> None:
                mouth.send(wire.build_ethernet("01:00:5e:00:00:12", lan.mac("sender"), wire.ETH_IP, packet))

            before = time.monotonic()
            send(vrrp.build("10.9.8.1", 51, 100, 1, ADDRESSES))
            broken = bytearray(vrrp.build("10.9.8.1", 51, 101, 1, ADDRESSES))
            broken[-1] ^= 1
            send(bytes(broken))
            send(wire.build_udp("10.9.8.1", 1, "224.0.0.18", 2, b""))
            send(vrrp.build("10.9.8.1", 51, 0, 1, ADDRESSES, password=b"secret"))
            heard: list[vrrp.Advertisement] = []
            while ear.wait(0.2):
                heard += ear.read()
            assert [(a.priority, a.auth_type, a.mac) for a in heard] == [
                (100, "none", lan.mac("sender")),
                (0, "pass", lan.mac("sender")),
            ]
            assert before <= heard[0].t <= heard[1].t <= time.monotonic()
            assert "secret" not in repr(heard)


@needs_root
def test_capture_of_silence_is_empty_and_ends_in_time() -> None:
    with Lan("watcher") as lan, lan.inside("watcher"):
        began = time.monotonic()
        assert vrrp.capture("eth0", 0.2) == ()
        assert 0.2 <= time.monotonic() - began < 0.4
