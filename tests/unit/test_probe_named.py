"""What BIND's tools print, as 9.18 does; and incremental transfers, from made-up answers and from a real server."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import dns, ixfr, named
from cluster.probes.dns import Record
from cluster.probes.wire import Malformed
from cluster.wait import until
from tests.netns import Lan, daemon, needs, needs_root

# ---- tools and logs

SECONDARY = """\
name: clust0r
type: secondary
files: /etc/bind/zones/secondary/db.clust0r
serial: 1795412583
nodes: 20
last loaded: Mon, 23 Nov 2026 05:52:20 GMT
next refresh: Mon, 23 Nov 2026 05:52:30 GMT
expires: Mon, 23 Nov 2026 05:52:50 GMT
secure: no
dynamic: no
"""
LOG = """\
2026-11-23T05:43:07.609 notify: info: client @0x7f202419ac98 192.168.10.8#13351/key rpicluster-xfer: \
received notify for zone '10.168.192.in-addr.arpa': TSIG 'rpicluster-xfer'
2026-11-23T05:52:20.089 notify: info: zone clust0r/IN: sending notifies (serial 1795412583)
2026-11-23T05:52:20.089 xfer-out: info: client @0x7f2025cbb498 192.168.10.8#30181/key rpicluster-xfer (clust0r): \
transfer of 'clust0r/IN': IXFR started: TSIG rpicluster-xfer (serial 1795412582 -> 1795412583)
2026-11-23T05:52:20.089 xfer-out: info: client @0x7f2025cbb498 192.168.10.8#30181/key rpicluster-xfer (clust0r): \
transfer of 'clust0r/IN': IXFR ended: 1 messages, 5 records, 328 bytes, 0.001 secs (328000 b/s) (serial 1795412583)
2026-11-23T05:53:01.000 xfer-out: info: client @0x7f2025cbb498 192.168.10.8#30181/key rpicluster-xfer (clust0r): \
transfer of 'clust0r/IN': AXFR-style IXFR started: TSIG rpicluster-xfer (serial 1795412584)
2026-11-23T05:53:01.000 xfer-out: info: client 192.168.10.250#47074 (clust0r): \
transfer of 'clust0r/IN': AXFR started (serial 1795412584)
"""
DUG = """\
;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: REFUSED, id: 40955
;; flags: qr rd; QUERY: 1, ANSWER: 0, AUTHORITY: 0, ADDITIONAL: 1
;; WARNING: recursion requested but not available

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
"""


def test_the_status_of_a_zone() -> None:
    found = named.zone_status(SECONDARY)
    assert (found.serial, found.expires, found.refresh) == (1795412583, 1795413170.0, 1795413150.0)
    primary = named.zone_status("name: clust0r\ntype: primary\nserial: 7\n")
    assert (primary.serial, primary.expires, primary.refresh) == (7, None, None)
    assert named.zone_status("name: clust0r\ntype: secondary\n").serial is None, "expired: it has none any more"
    with pytest.raises(Malformed, match="no matching zone"):
        named.zone_status("rndc: 'zonestatus' failed: no matching zone 'clust0r' in any view")


def test_what_dig_printed() -> None:
    assert named.dug(DUG) == ("REFUSED", frozenset({"qr", "rd"}))
    with pytest.raises(Malformed, match="timed out"):
        named.dug(";; communications error to 192.168.10.6#53: timed out\n")


def test_the_first_setting_counts() -> None:
    text = "options {\n\tnotify explicit;\n\tnotify-delay 2;\n};\n\n/* builtin */\n\tnotify-delay 5;\n"
    assert named.setting(text, "notify-delay") == 2
    assert named.setting(text, "notify") is None and named.setting(text, "delay") is None


def test_transfers_and_notifications_of_a_log() -> None:
    assert named.given(LOG) == (
        named.Transferred("192.168.10.8", "clust0r.", "IXFR", 1795412582, 1795412583),
        named.Transferred("192.168.10.8", "clust0r.", "AXFR-style IXFR", None, 1795412584),
        named.Transferred("192.168.10.250", "clust0r.", "AXFR", None, 1795412584),
    )
    assert named.notified(LOG) == (("192.168.10.8", "10.168.192.in-addr.arpa."),)


def test_the_serial_of_a_zone_file() -> None:
    assert named.zone_file_serial("$TTL 9\n@ IN SOA a. b. ( 42 300 60 9 9 )\n") == 42
    assert named.zone_file_serial("@ IN NS a.\n") is None


# ---- incremental transfers


def soa(serial: int) -> Record:
    return ("example.", "SOA", 60, f"a.example. b.example. {serial} 1 2 3 4")


def txt(text: str) -> Record:
    return ("x.example.", "TXT", 60, f'"{text}"')


A, B, C = txt("a"), txt("b"), txt("c")


@pytest.mark.parametrize(
    ("records", "kind", "removed", "added"),
    [
        ([soa(7)], "none", [], []),
        ([soa(6)], "none", [], []),  # the server is behind
        ([soa(8), soa(7), A, soa(8), B, soa(8)], "incremental", [A], [B]),
        ([soa(8), soa(7), soa(8), B, soa(8)], "incremental", [], [B]),
        ([soa(8), soa(7), A, soa(8), soa(8)], "incremental", [A], []),
        ([soa(9), soa(7), A, soa(8), B, soa(8), B, soa(9), C, soa(9)], "incremental", [A, B], [C]),
        ([soa(9), soa(7), soa(8), B, soa(8), B, soa(9), B, soa(9)], "incremental", [], [B]),
        ([soa(8), A, B, soa(8)], "whole", [], [A, B]),
    ],
)
def test_an_answer_to_ixfr(
    records: Sequence[Record], kind: str, removed: Sequence[Record], added: Sequence[Record]
) -> None:
    """RFC 1995 section 4; a part of an answer is none."""
    found = ixfr.changes(records, 7)
    assert found == ixfr.Changes(kind, max(s for s in (6, 7, 8, 9) if records[0] == soa(s)),  # type: ignore[arg-type]
                                 frozenset(removed), frozenset(added))  # fmt: skip
    if kind != "none":
        assert [ixfr.changes(records[:n], 7) for n in range(len(records))] == [None] * len(records)


@pytest.mark.parametrize(
    "records", [[A, soa(8)], [soa(8), soa(6), soa(8), B, soa(8)], [soa(8), soa(7), soa(8), soa(8), A]]
)
def test_an_answer_that_is_none(records: Sequence[Record]) -> None:
    with pytest.raises(Malformed):
        ixfr.changes(records, 7)


@given(st.lists(st.sampled_from([soa(6), soa(7), soa(8), soa(9), A, B, C]), max_size=12))
def test_any_order_is_read_or_malformed(records: list[Record]) -> None:
    try:
        found = ixfr.changes(records, 7)
    except Malformed:
        return
    assert found is None or not found.removed & found.added


KEY = dns.Tsig("test-xfer", base64.b64encode(b"k" * 32).decode())
ZONE = "$TTL 60\n@ IN SOA a b {serial} 3600 600 86400 300\n@ IN NS a\na IN A 10.9.8.1\n{many}{more}"
MANY = "".join(f"n{n} IN A 10.9.8.1\n" for n in range(20))  # differences larger than the zone are not given
CONF = """
key "test-xfer" {{ algorithm hmac-sha256; secret "{secret}"; }};
options {{ directory "{home}"; listen-on port 53 {{ any; }}; listen-on-v6 {{ none; }}; recursion no; notify no;
  allow-transfer {{ key "test-xfer"; }}; pid-file "{home}/pid"; session-keyfile "{home}/session.key";
  dnssec-validation no; managed-keys-directory "{home}"; }};
controls {{ }};
zone "example" {{ type primary; file "zone"; journal "journal"; ixfr-from-differences yes; }};
"""


@needs_root
@needs("named")
def test_a_real_server_tells_what_changed(tmp_path: Path) -> None:
    def write(serial: int, more: str) -> None:
        (tmp_path / "zone").write_text(ZONE.format(serial=serial, many=MANY, more=more))

    (tmp_path / "conf").write_text(CONF.format(secret=KEY.secret, home=tmp_path))
    write(1, "old IN TXT old\n")
    with Lan("server", "client") as lan:
        argv = [daemon("named", tmp_path), "-g", "-4", "-n", "1", "-c", str(tmp_path / "conf")]
        process = lan.start("server", argv, tmp_path / "log")
        with lan.inside("client"):
            until(lambda: dns.serial("10.9.8.1", "example"), deadline=15, what="the zone")
            assert ixfr.ixfr("10.9.8.1", "example.", 1, key=KEY).kind == "none"
            write(2, "new IN TXT new\n")
            process.send_signal(1)
            until(lambda: dns.serial("10.9.8.1", "example"), lambda serial: serial == 2, deadline=15, what="serial 2")
            assert ixfr.ixfr("10.9.8.1", "example.", 1, key=KEY) == ixfr.Changes(
                "incremental",
                2,
                frozenset({("old.example.", "TXT", 60, '"old"')}),
                frozenset({("new.example.", "TXT", 60, '"new"')}),
            )
            assert ixfr.ixfr("10.9.8.1", "example.", 0, key=KEY).kind == "whole", "its journal begins later"
            with pytest.raises(ProbeFailed) as refused:
                ixfr.ixfr("10.9.8.1", "example.", 1)
            assert refused.value.reason == "REFUSED"
            wrong = dns.Tsig(KEY.name, base64.b64encode(b"w" * 32).decode())
            with pytest.raises(ProbeFailed) as refused:
                ixfr.ixfr("10.9.8.1", "example.", 1, key=wrong)
            assert refused.value.reason in ("NOTAUTH", "BADSIG")
            with pytest.raises(ProbeFailed) as silent:
                ixfr.ixfr("10.9.8.3", "example.", 1, key=KEY, deadline=0.3)
            assert silent.value.reason in ("timeout", "unreachable")
