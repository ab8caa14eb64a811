"""What the probes' tests share: cases from files, and a server on loopback that answers as told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

CASES = Path(__file__).parent / "cases"


class Unpaired(Exception):
    """An input without its expectation, or the other way round."""


def cases(probe: str, suffix: str, folder: Path = CASES) -> list[ParameterSet]:
    """Every NAME.suffix under tests/cases/<probe>/ with what NAME.json expects; unpaired files are an error."""
    inputs = {path.name.removesuffix(suffix): path for path in (folder / probe).glob(f"*{suffix}")}
    found = []
    if not inputs:
        raise Unpaired(f"no case {folder / probe}/*{suffix}")
    for name, path in sorted(inputs.items()):
        expectation = path.with_name(f"{name}.json")
        if not expectation.exists():
            raise Unpaired(f"{path} has no expectation {expectation.name}")
        found.append(pytest.param(path, json.loads(expectation.read_text(encoding="utf-8")), id=name))
    stems = {path.name.split(".", 1)[0] for path in (folder / probe).iterdir() if path.suffix != ".json"}
    if orphans := {path.stem for path in (folder / probe).glob("*.json")} - stems:
        raise Unpaired(f"expectations of nothing under {folder / probe}: {', '.join(sorted(orphans))}")
    return found


def packet(path: Path) -> bytes:
    """The bytes of a packet written as hexadecimal; everything after a # in a line is a comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return bytes.fromhex("".join(line.split("#", 1)[0] for line in lines))


def plain(value: Any) -> Any:
    """A value as JSON has it: tuples are lists, bytes are hexadecimal, dataclasses are objects."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


@contextmanager
def _served(once: Callable[[], None]) -> Iterator[None]:
    """`once`, which may time out, again and again in a thread of its own."""
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            with suppress(TimeoutError):
                once()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def udp_server(answer: Callable[[bytes], Sequence[bytes]], *, elsewhere: bool = False) -> Iterator[int]:
    """A UDP server on 127.0.0.1 that sends each of the packets `answer` makes; yields its port.

    `elsewhere`: it sends them from another port than the one that was asked.
    """
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth,
    ):
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(0.05)
        mouth.bind(("127.0.0.1", 0))

        def once() -> None:
            request, client = ear.recvfrom(65535)
            for data in answer(request):
                (mouth if elsewhere else ear).sendto(data, client)

        with _served(once):
            yield int(ear.getsockname()[1])


@contextmanager
def tcp_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server on 127.0.0.1 that hands each connection to `answer`, then closes it; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as ear:
        ear.settimeout(0.05)

        def once() -> None:
            connection, _ = ear.accept()
            with connection, suppress(ConnectionError):  # a client may have had enough
                answer(connection)

        with _served(once):
            yield int(ear.getsockname()[1])
