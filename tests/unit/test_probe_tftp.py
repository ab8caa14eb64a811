"""The TFTP codec by its cases, the transfer step by step, and both against tftpd-hpa in a namespace."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import tftp, wire
from cluster.wait import until
from tests.netns import INTERFACE, Lan, needs, needs_root
from tests.probing import cases, packet, plain, udp_server

# ---------------------------------------------------------------- the codec


@pytest.mark.parametrize(("path", "expected"), cases("tftp", ".hex"))
def test_a_packet_is_read(path: Path, expected: dict[str, Any]) -> None:
    if "error" in expected:
        with pytest.raises(wire.Malformed, match=expected["error"]):
            tftp.parse(packet(path))
    else:
        got = tftp.parse(packet(path))
        assert {"type": type(got).__name__, **plain(got)} == expected


@given(st.binary(max_size=600))
def test_any_bytes_are_a_packet_or_malformed(data: bytes) -> None:
    with suppress(wire.Malformed):
        tftp.parse(data)


def test_requests_are_as_the_rfcs_write_them() -> None:
    assert tftp.request(tftp.RRQ, "a/b") == b"\0\x01a/b\0octet\0"
    assert tftp.request(tftp.WRQ, "x", mode="netascii") == b"\0\x02x\0netascii\0"
    with_options = tftp.Reading("f", blksize=1428, tsize=True).request
    assert with_options == b"\0\x01f\0octet\0blksize\x001428\0tsize\x000\0"
    with pytest.raises(ValueError, match="NUL"):
        tftp.request(tftp.RRQ, "a\0b")


# ---------------------------------------------------------------- a transfer, step by step


def data(block: int, content: bytes) -> bytes:
    return tftp.DATA.to_bytes(2) + (block & 0xFFFF).to_bytes(2) + content


def oack(**options: str) -> bytes:
    return tftp.OACK.to_bytes(2) + b"".join(f"{k}\0{v}\0".encode() for k, v in options.items())


def test_a_file_ends_with_a_short_block() -> None:
    reading = tftp.Reading("f")
    assert reading.receive(data(1, b"x" * 512)) == tftp.ack(1) and not reading.done
    assert reading.receive(data(2, b"yz")) == tftp.ack(2) and reading.done
    assert reading.content == b"x" * 512 + b"yz" and reading.blocks == 2


def test_a_file_that_fills_its_blocks_ends_with_an_empty_one() -> None:
    reading = tftp.Reading("f")
    reading.receive(data(1, b"x" * 512))
    assert not reading.done
    reading.receive(data(2, b""))
    assert reading.done and reading.content == b"x" * 512


def test_a_repeated_block_is_acknowledged_again_and_taken_once() -> None:
    reading = tftp.Reading("f")
    reading.receive(data(1, b"x" * 512))
    assert reading.receive(data(1, b"x" * 512)) == tftp.ack(1)
    reading.receive(data(2, b"y" * 512))
    assert reading.receive(data(1, b"x" * 512)) is None, "an old one is passed over"
    assert reading.content == b"x" * 512 + b"y" * 512


def test_block_numbers_begin_again_after_65535() -> None:
    reading = tftp.Reading("f", blksize=8)
    reading.receive(oack(blksize="8"))
    for block in range(1, 65538):
        assert reading.receive(data(block, b"01234567")) == tftp.ack(block)
    reading.receive(data(65538, b""))
    assert reading.done and len(reading.content) == 8 * 65537


def test_agreed_options_are_acknowledged_and_used() -> None:
    reading = tftp.Reading("f", blksize=1428, tsize=True)
    assert reading.receive(oack(blksize="1024", tsize="1030")) == tftp.ack(0)
    assert reading.receive(oack(blksize="1024", tsize="1030")) == tftp.ack(0), "our answer was lost"
    reading.receive(data(1, b"x" * 1024))
    reading.receive(data(2, b"x" * 6))
    assert reading.done and reading.options == {"blksize": "1024", "tsize": "1030"}


def test_a_server_without_options_just_sends_the_file() -> None:
    reading = tftp.Reading("f", blksize=1428)
    reading.receive(data(1, b"x" * 512))
    assert not reading.done and reading.options == {}


@pytest.mark.parametrize(
    ("packets", "words"),
    [
        ([oack(blksize="4096")], "blksize 4096, asked for 1428"),
        ([oack(blksize="7")], "blksize 7"),
        ([oack(blksize="many")], "not a number"),
        ([oack(windowsize="4")], "nobody asked for: windowsize"),
        ([tftp.ack(0)], "acknowledgement"),
        ([data(1, b"x" * 513)], "513 bytes"),
        ([oack(blksize="8"), data(1, b"x" * 9)], "9 bytes"),
    ],
)
def test_what_breaks_the_protocol_is_malformed(packets: Sequence[bytes], words: str) -> None:
    reading = tftp.Reading("f", blksize=1428)
    with pytest.raises(wire.Malformed, match=words):
        for each in packets:
            reading.receive(each)


def test_an_error_packet_is_a_refusal() -> None:
    with pytest.raises(tftp.Refused, match="error 2: no") as caught:
        tftp.Reading("f").receive(tftp.error(tftp.ACCESS, "no"))
    assert caught.value.code == tftp.ACCESS and caught.value.reason == "refused-by-server"


@given(st.binary(max_size=5000), st.integers(8, 600))
def test_whatever_is_sent_arrives(content: bytes, size: int) -> None:
    reading = tftp.Reading("f", blksize=size)
    reading.receive(oack(blksize=str(size)))
    for n in range(len(content) // size + 1):
        reading.receive(data(n + 1, content[n * size : (n + 1) * size]))
    assert reading.done and reading.content == content


# ---------------------------------------------------------------- servers on loopback


def test_silence_is_a_timeout_in_time() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(ProbeFailed) as caught:
            tftp.read("127.0.0.1", "f", port=mute.getsockname()[1], deadline=0.2)
        assert caught.value.reason == "timeout" and time.monotonic() - began < 0.5


def lossy(losses: int, answer: Callable[[bytes], Sequence[bytes]]) -> Callable[[bytes], Sequence[bytes]]:
    left = losses

    def serve(request: bytes) -> Sequence[bytes]:
        nonlocal left
        left -= 1
        return () if left >= 0 else answer(request)

    return serve


def test_a_lost_request_is_sent_again() -> None:
    with udp_server(lossy(1, lambda _: [data(1, b"hello")])) as port:
        got = tftp.read("127.0.0.1", "f", port=port, deadline=3.0)
    assert got.content == b"hello" and got.seconds >= tftp.RETRANSMIT_S


def test_nonsense_is_malformed_and_names_the_file() -> None:
    with udp_server(lambda _: [b"\0\x09\0\0"]) as port, pytest.raises(wire.Malformed, match=r"tftp 127\.0\.0\.1: f: "):
        tftp.read("127.0.0.1", "f", port=port)


@pytest.mark.parametrize(
    ("answer", "refused"), [(tftp.error(tftp.ACCESS, "no"), tftp.Error(tftp.ACCESS, "no")), (tftp.ack(0), None)]
)
def test_a_write_request_is_refused_or_not(answer: bytes, refused: tftp.Error | None) -> None:
    with udp_server(lambda request: [answer] if request.startswith(b"\0\x02") else []) as port:
        assert tftp.write_request("127.0.0.1", "f", port=port) == refused


# ---------------------------------------------------------------- tftpd-hpa

FLOATING = "10.9.8.111"
FILES = {"a.txt": b"hello\n", "deep/empty": b"", "deep/exact": b"x" * 1024, "big": bytes(range(256)) * 300}


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    """A client and a server with a second address, as the holder of a floating one has."""
    folder = tmp_path_factory.mktemp("tftp")
    root = folder / "root"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    for path in (root, *root.rglob("*")):  # the daemon's user is to read it; the folders above, root passes
        path.chmod(0o755 if path.is_dir() else 0o644)
    with Lan("client", "server") as lan:
        lan.ip("server", f"address add {FLOATING}/32 dev {INTERFACE}")
        argv = [
            "in.tftpd",
            "--foreground",
            "--ipv4",
            "--user",
            "tftp",
            "--address",
            "0.0.0.0:69",
            "--secure",
            str(root),
        ]
        lan.start("server", argv, folder / "log")
        until(lambda: ":69 " in lan.run("server", "ss", "-Hlun"), deadline=5, what="in.tftpd")
        yield lan


@pytest.fixture
def client(lan: Lan) -> Iterator[Lan]:
    with lan.inside("client"):
        yield lan


@needs_root
@needs("in.tftpd")
@pytest.mark.parametrize("address", ["10.9.8.2", FLOATING])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [None, 8, 512, 1428])
def test_files_of_a_real_server(client: Lan, address: str, name: str, size: int | None) -> None:
    got = tftp.read(address, name, blksize=size, tsize=True, deadline=10.0)
    assert got.content == FILES[name] and got.source == address
    assert got.options["tsize"] == str(len(FILES[name])) and got.options.get("blksize") == (str(size) if size else None)
    assert got.blocks == len(FILES[name]) // (size or tftp.BLOCK) + 1


@needs_root
@needs("in.tftpd")
@pytest.mark.parametrize("name", ["none", "../../etc/passwd", "/etc/passwd"])
def test_a_real_server_refuses(client: Lan, name: str) -> None:
    with pytest.raises(tftp.Refused) as caught:
        tftp.read(FLOATING, name)
    assert caught.value.code == tftp.NOT_FOUND
    assert tftp.write_request(FLOATING, name) is not None


@needs_root
@needs("in.tftpd")
def test_a_real_server_is_held(client: Lan) -> None:
    with tftp.held(FLOATING, "a.txt") as source:
        assert source == FLOATING
        assert "tftp" in client.run("server", "ps", "-C", "in.tftpd", "-o", "user=")
