"""Which ports are open on the wire: nmap's command line, and a pure parser of what it writes as XML; nmap(1)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree

from cluster.errors import ProbeFailed

RATE = 6000  # packets/s at least: 65,535 ports in 11 s; a Pi B+ takes about 20,000 a second
Ports = Mapping[tuple[str, int], str]


def command(address: str, udp: Iterable[int], *, seconds: int) -> list[str]:
    """Scan all 65,535 TCP ports of a node, and some of UDP, as root and within `seconds`.

    Two tries a port: a scan that loses packets must not take an open port for a closed one.
    """
    asked = ",".join(["T:1-65535", *(f"U:{port}" for port in sorted(set(udp)))])
    return [
        "nmap", "-n", "-Pn", "-sS", "-sU", "-p", asked, "-T4", "--min-rate", str(RATE), "--max-retries", "2",
        "--host-timeout", f"{seconds}s", "-oX", "-", address,
    ]  # fmt: skip


def scan(address: str, udp: Iterable[int], *, seconds: int) -> Ports:
    """Scan from here; raises ProbeFailed: `missing` (no nmap here), `permission`, `timeout`, and as `parse`."""
    try:
        done = subprocess.run(
            command(address, udp, seconds=seconds), capture_output=True, timeout=seconds + 5, check=False
        )
    except FileNotFoundError as error:
        raise ProbeFailed("nmap is not installed here; apt-get install nmap", reason="missing") from error
    except subprocess.TimeoutExpired as error:
        raise ProbeFailed(f"{address}: nmap did not end within {seconds} s", reason="timeout") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        denied = any("requires root" in line or "not permitted" in line for line in said)
        raise ProbeFailed(f"{address}: nmap: {' | '.join(said[-2:])}", reason="permission" if denied else "error")
    return parse(done.stdout, address)


def parse(xml: bytes, address: str) -> Ports:
    """Every port whose state is worth telling, `("tcp", 22): "open"`; the many that are alike nmap leaves out.

    Raises ProbeFailed: `incomplete` when nmap was cut off, `unreachable`, `timeout`.
    """
    try:
        top = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ProbeFailed(f"{address}: nmap's output was cut off: {error}", reason="incomplete") from error
    found = [host for host in top.iter("host") if _addresses(host) & {address}]
    if not found:
        raise ProbeFailed(f"{address}: nmap finds nobody there", reason="unreachable")
    host = found[0]
    if host.get("timedout") == "true":
        raise ProbeFailed(f"{address}: nmap did not finish in the time it was given", reason="timeout")
    return {(port.get("protocol", ""), int(port.get("portid", "0"))): _state(port) for port in host.iter("port")}


def _addresses(host: ElementTree.Element) -> set[str]:
    return {entry.get("addr", "") for entry in host.iter("address")}


def _state(port: ElementTree.Element) -> str:
    state = port.find("state")
    return "" if state is None else state.get("state", "")


def opened(ports: Ports, protocol: str, states: Sequence[str] = ("open",)) -> list[int]:
    """The ports of a protocol that are in one of these states."""
    return sorted(port for (name, port), state in ports.items() if name == protocol and state in states)
