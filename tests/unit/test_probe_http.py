"""The HTTP codec by its cases, and the client against a real server and a few bad ones on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import http, wire
from tests.probing import cases, tcp_server


@pytest.mark.parametrize(("path", "expected"), cases("http", ".http"))
def test_a_response_is_read(path: Path, expected: dict[str, Any]) -> None:
    data = path.read_bytes()
    if "error" in expected:
        with pytest.raises(wire.Malformed, match=expected["error"]):
            http.parse(data)
        return
    got = http.parse(data)
    told = {
        "status": got.status,
        "reason": got.reason,
        "body": got.text,
        "content-type": got.headers.get("content-type"),
    }
    assert told == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_a_response_or_malformed(data: bytes) -> None:
    for each in (data, b"HTTP/1.1 200 OK\r\n" + data, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data):
        http.complete(each)
        with suppress(wire.Malformed):
            http.parse(each)


def test_a_response_is_complete_when_all_it_told_has_come() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    assert [http.complete(whole[:n]) for n in (0, 20, len(whole) - 1, len(whole))] == [False, False, False, True]
    assert not http.complete(b"HTTP/1.1 200 OK\r\n\r\nhello"), "its end is that of the connection"


def test_a_path_goes_out_as_it_is() -> None:
    assert http.request("h", "/a/../%2e%2e/b").startswith(b"GET /a/../%2e%2e/b HTTP/1.1\r\nHost: h\r\n")
    for path in ("a", "", "/a b", "/a\r\nX: y"):
        with pytest.raises(ValueError, match="not a path"):
            http.request("h", path)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test looks at answers."""


@contextmanager
def server(folder: Path) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield serving.server_address[1]
        finally:
            serving.shutdown()
            thread.join()


def test_a_real_server_is_read(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("R-Pi\n")
    (tmp_path / "big").write_bytes(bytes(range(256)) * 4000)
    with server(tmp_path) as port:
        assert http.get("127.0.0.1", "/", port).response.text == "R-Pi\n"
        assert http.get("127.0.0.1", "/big", port).response.body == bytes(range(256)) * 4000
        assert http.get("127.0.0.1", "/none", port).response.status == 404
        assert http.get("127.0.0.1", "/../../../../etc/passwd", port).response.status == 404


def test_nobody_there_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(ProbeFailed) as caught:
        http.get("127.0.0.1", "/", port)
    assert caught.value.reason == "refused"


def test_silence_is_a_timeout_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        with pytest.raises(ProbeFailed) as caught:
            http.get("127.0.0.1", "/", mute.getsockname()[1], deadline=0.2)
        assert caught.value.reason == "timeout" and time.monotonic() - began < 2


def test_an_answer_cut_short_is_malformed_and_names_the_page() -> None:
    def half(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")

    with tcp_server(half) as port, pytest.raises(wire.Malformed, match=r"http 127\.0\.0\.1:\d+/x: .*9 were told"):
        http.get("127.0.0.1", "/x", port)
