"""Power drivers against what they speak with: an SNMP agent, plugs' web servers, programs, an sshd."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from chaos.faults import Means, PowerOff, Reset
from cluster import power, secrets
from cluster.errors import AuthenticationFailed, ClusterError, InputError, Refused
from cluster.inventory import Inventory, load
from cluster.node import Fleet, Node
from cluster.power import poe_snmp, shelly, ssh, switching, tasmota, uhubctl
from cluster.power.switching import PowerError
from cluster.wait import until
from tests.unit.snmp_agent import Agent
from tests.unit.sshd import Sshd

ROOT = Path(__file__).resolve().parents[2]
SECRET = "s3cret-word"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here needs seconds to answer."""
    monkeypatch.setattr(switching, "CHANGE_S", 0.3)
    for module in (poe_snmp, switching):
        monkeypatch.setattr(module, "ASK_S", 0.4)


Write = Callable[..., Inventory]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """The shipped inventory with another power driver; a secret lies beside it."""

    def write(driver: str, options: dict[str, Any], password: str = SECRET, **node: Any) -> Inventory:
        text = (ROOT / "inventory.yaml").read_text(encoding="utf-8").replace("192.168.10.", "127.99.10.")
        data = yaml.safe_load(text)
        data["power"] = {"driver": f"cluster.power.{driver}", "options": options}
        data["nodes"]["alpha"]["power"] = node
        data["profiles"] = {}
        (tmp_path / "inventory.yaml").write_text(yaml.safe_dump(data))
        folder = tmp_path / ".state/secrets"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "switch").write_text(f"{password}\n")
        (folder / "switch").chmod(0o600)
        (folder / "privacy").write_text("private-words\n")
        (folder / "privacy").chmod(0o600)
        return load(tmp_path / "inventory.yaml")

    return write


def cycle(driver: power.PowerDriver, name: str = "alpha") -> None:
    """Off and on, each seen; both harmless the second time."""
    assert driver.is_on(name)
    for _ in range(2):
        driver.off(name)
        assert not driver.is_on(name)
    for _ in range(2):
        driver.on(name)
        assert driver.is_on(name)


# ---------------------------------------------------------------- SNMP


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with Agent() as serving:
        yield serving


def port(agent: Agent, **more: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "udp": agent.port, "secret": "switch", **more}


def test_a_poe_port_by_a_community(agent: Agent, written: Write) -> None:
    driver = power.driver(written("poe_snmp", port(agent), "community", port=2))
    cycle(driver)
    driver.off("alpha")
    assert agent.ports.states == {1: 1, 2: 2}, "the other port is left alone"
    driver.on("alpha")


def test_a_poe_port_by_a_user_of_version_3(agent: Agent, written: Write) -> None:
    options = port(agent, user="operator", privacy="privacy")
    cycle(power.driver(written("poe_snmp", options, "authentic-words", port=1)))


@pytest.mark.parametrize(
    ("secret", "more", "words"),
    [
        ("wrong", {}, "no answer from 127.0.0.1: it is unreachable, or it does not accept the community"),
        ("community", {"udp": 9}, "no answer from 127.0.0.1"),
        ("community", {"host": "no.such.host.invalid"}, "cannot be asked"),
        ("community", {"port": 7}, "port 7 of 127.0.0.1 is no PoE port"),
        ("wrong-passphrase", {"user": "operator", "privacy": "privacy"}, "does not let us in"),
        ("authentic-words", {"user": "nobody", "privacy": "privacy"}, "does not let us in"),
    ],
)
def test_a_switch_that_says_no_is_told(
    agent: Agent, written: Write, secret: str, more: dict[str, Any], words: str
) -> None:
    driver = power.driver(written("poe_snmp", port(agent) | {"port": 1} | more, secret))
    for verb in (driver.off, driver.on, driver.is_on):
        with pytest.raises(PowerError, match=re.escape(words)):
            verb("alpha")
    assert agent.ports.states == {1: 1, 2: 1}


def test_who_may_only_read_switches_nothing(agent: Agent, written: Write) -> None:
    driver = power.driver(written("poe_snmp", port(agent), "reader", port=1))
    assert driver.is_on("alpha")
    with pytest.raises(PowerError, match=r"port 1 of 127\.0\.0\.1: the switch refuses: no"):
        driver.off("alpha")


def test_a_port_that_does_not_change_is_no_success(agent: Agent, written: Write) -> None:
    driver = power.driver(written("poe_snmp", port(agent), "community", port=1))
    agent.ports.stuck = True
    try:
        with pytest.raises(PowerError, match=r"port 1 of .* was told to switch off and is still on after 0\.3 s"):
            driver.off("alpha")
    finally:
        agent.ports.stuck = False


def test_a_port_that_delivers_nothing_has_no_power(agent: Agent, written: Write) -> None:
    """Enabled is what was asked for; what became of it counts."""
    driver = power.driver(written("poe_snmp", port(agent), "community", port=1))
    agent.ports.empty = {1}
    try:
        assert agent.ports.states[1] == 1 and not driver.is_on("alpha")
        with pytest.raises(PowerError, match=r"port 1 of .* was told to switch on and is still off"):
            driver.on("alpha")
    finally:
        agent.ports.empty = set()
    assert driver.is_on("alpha")


def test_a_secret_that_is_not_there_is_a_mistake_of_the_inventory(agent: Agent, written: Write) -> None:
    driver = power.driver(written("poe_snmp", port(agent) | {"secret": "none"}, port=1))
    with pytest.raises(InputError, match="write the switch's secret there"):
        driver.is_on("alpha")


# ---------------------------------------------------------------- plugs


class Plug:
    """A plug with a web server: one relay, which may be stuck; `password` as its kind asks for one."""

    def __init__(self, kind: str, password: str | None = None) -> None:
        self.kind, self.password, self.on, self.stuck = kind, password, True, False
        self.asked: list[str] = []
        self.later: str | None = None
        """After how many seconds it is on again by itself."""

    def answer(self, path: str, query: dict[str, str], authorization: str) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers."""
        return {"tasmota": self._tasmota, "gen1": self._gen1, "gen2": self._gen2}[self.kind](path, query, authorization)

    def _set(self, on: bool) -> None:
        if not self.stuck:
            self.on = on

    def _tasmota(self, path: str, query: dict[str, str], _: str) -> tuple[int, Any, dict[str, str]]:
        if self.password and query.get("password") != self.password:
            return 200, {"WARNING": "Need user=<username>&password=<password>"}, {}
        command, _, word = query.get("cmnd", "").partition(" ")
        if path == "/cm" and command == "Backlog":
            self.later = None
            if word:
                off, *waits, on = word.split(";")
                assert (off, on) == ("Power1 Off", "Power1 On")
                tenths = [int(wait.removeprefix("Delay ")) for wait in waits]
                assert max(tenths) <= 3600, "the firmware takes no more"
                self._set(False)
                self.later = f"{sum(tenths) / 10:g}"
            return 200, {"WARNING": "Enable weblog 2 if response expected"}, {}
        if path != "/cm" or command != "Power1":
            return 200, {"Command": "Unknown"}, {}
        if word:
            self._set(word == "On")
        return 200, {"POWER": "ON" if self.on else "OFF"}, {}

    def _gen1(self, path: str, query: dict[str, str], authorization: str) -> tuple[int, Any, dict[str, str]]:
        told = base64.b64encode(f"admin:{self.password}".encode()).decode()
        if self.password and authorization != f"Basic {told}":
            return 401, {}, {"WWW-Authenticate": 'Basic realm="shelly"'}
        if path != "/relay/0":
            return 404, {}, {}
        if "turn" in query:
            self._set(query["turn"] == "on")
            self.later = query.get("timer")
        return 200, {"ison": self.on, "has_timer": False}, {}

    def _gen2(self, path: str, query: dict[str, str], authorization: str) -> tuple[int, Any, dict[str, str]]:
        if self.password and not self._digest(authorization):
            ask = 'Digest qop="auth", realm="shellyplus1", nonce="60dc2c69", algorithm=SHA-256'
            return 401, {}, {"WWW-Authenticate": ask}
        if query.get("id") != "0":
            return 500, {"code": -105, "message": "Argument 'id', value 7 not found!"}, {}
        if path == "/rpc/Switch.Set":
            before = self.on
            self._set(query["on"] == "true")
            self.later = query.get("toggle_after")
            return 200, {"was_on": before}, {}
        return 200, {"id": 0, "output": self.on}, {}

    def _digest(self, authorization: str) -> bool:
        """RFC 7616 section 3.4.1."""
        said = dict(re.findall(r'(\w+)="?([^",]+)"?', authorization))
        if not said:
            return False

        def hashed(*parts: str) -> str:
            return hashlib.sha256(":".join(parts).encode()).hexdigest()

        one = hashed("admin", "shellyplus1", str(self.password))
        two = hashed("GET", said["uri"])
        return bool(said["response"] == hashed(one, said["nonce"], said["nc"], said["cnonce"], said["qop"], two))


@contextmanager
def serving(plug: Plug) -> Iterator[int]:
    """Its web server; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            plug.asked.append(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            status, told, headers = plug.answer(url.path, query, self.headers.get("Authorization", ""))
            body = json.dumps(told).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def plugged(written: Write, plug: Plug, number: int, **more: Any) -> power.PowerDriver:
    driver = "tasmota" if plug.kind == "tasmota" else "shelly"
    kind = {} if plug.kind == "tasmota" else {"generation": int(plug.kind[-1])}
    return power.driver(written(driver, kind, host="127.0.0.1", port=number, **more))


KINDS = ("tasmota", "gen1", "gen2")


@pytest.mark.parametrize("password", [None, SECRET])
@pytest.mark.parametrize("kind", KINDS)
def test_a_plug_is_switched_and_looked_at(written: Write, kind: str, password: str | None) -> None:
    plug = Plug(kind, password)
    with serving(plug) as number:
        cycle(plugged(written, plug, number, **({"secret": "switch"} if password else {})))


@pytest.mark.parametrize("kind", KINDS)
def test_a_plug_that_wants_another_password_is_told_without_it(written: Write, kind: str) -> None:
    plug = Plug(kind, "another")
    with serving(plug) as number:
        for more in ({"secret": "switch"}, {}):
            driver = plugged(written, plug, number, **more)
            with pytest.raises(PowerError, match="does not let us in") as refused:
                driver.off("alpha")
            assert SECRET not in str(refused.value)
    assert plug.on


@pytest.mark.parametrize("kind", KINDS)
def test_a_plug_is_told_at_once_when_to_be_on_again(written: Write, kind: str) -> None:
    """So that a node gets its power back whatever becomes of who took it; being switched on ends that."""
    plug = Plug(kind)
    with serving(plug) as number:
        driver = plugged(written, plug, number)
        for seconds, told in ((50.0, "50"), (1000.5, "1000.5" if kind == "tasmota" else "1001")):
            power.off(driver, "alpha", seconds)
            assert (plug.on, plug.later) == (False, told)
            driver.on("alpha")
            assert (plug.on, plug.later) == (True, None)


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_not_let_in_sets_no_timer(written: Write, kind: str) -> None:
    plug = Plug(kind, "another")
    with serving(plug) as number, pytest.raises(PowerError, match="does not let us in"):
        power.off(plugged(written, plug, number), "alpha", 50.0)
    assert (plug.on, plug.later) == (True, None)


def test_a_switch_without_a_timer_is_just_switched_off(agent: Agent, written: Write) -> None:
    driver = power.driver(written("poe_snmp", port(agent), "community", port=1))
    power.off(driver, "alpha", 50.0)
    assert not driver.is_on("alpha")
    driver.on("alpha")


@pytest.mark.parametrize("kind", KINDS)
def test_a_plug_that_sticks_is_told(written: Write, kind: str) -> None:
    plug = Plug(kind)
    plug.stuck = True
    with serving(plug) as number, pytest.raises(PowerError, match="was told to switch off and is still on"):
        plugged(written, plug, number).off("alpha")


@pytest.mark.parametrize("kind", KINDS)
def test_a_relay_that_is_not_there_is_told(written: Write, kind: str) -> None:
    plug = Plug(kind)
    with serving(plug) as number, pytest.raises(PowerError, match=r"is there such a relay|is this such a plug"):
        plugged(written, plug, number, relay=7).is_on("alpha")


@pytest.mark.parametrize("kind", KINDS)
def test_a_plug_that_is_not_there_is_told(written: Write, kind: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
        with pytest.raises(PowerError, match="not reachable; is the plug on the network"):
            plugged(written, Plug(kind), number).off("alpha")


# ---------------------------------------------------------------- programs

HUB = """#!{python}
import pathlib, sys
state = pathlib.Path("{state}")
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if words["--location"] != "1-1":
    sys.exit("No compatible devices detected at location " + words["--location"] + "!")
port = int(words["--ports"])
def show(what):
    print(what + " status for hub 1-1 [0424:9514 USB 2.00, 5 ports, ppps]")
    if port <= 4:
        print("  Port %d: %s" % (port, "0100 power" if state.read_text() == "on" else "0000 off"))
show("Current")
if "--action" in words:
    if port != 4:
        state.write_text(words["--action"])
    print("Sent power off request")
    show("New")
"""


def hub(tmp_path: Path) -> str:
    (tmp_path / "state").write_text("on")
    program = tmp_path / "uhubctl"
    program.write_text(HUB.format(python=sys.executable, state=tmp_path / "state"))
    program.chmod(0o755)
    return str(program)


def test_a_usb_port(tmp_path: Path, written: Write) -> None:
    cycle(power.driver(written("uhubctl", {"hub": "1-1", "program": hub(tmp_path)}, port=2)))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"hub": "1-2", "port": 2}, "No compatible devices detected at location 1-2"),
        ({"hub": "1-1", "port": 5}, "USB hub 1-1 has no port 5"),
        ({"hub": "1-1", "port": 4}, "port 4 of USB hub 1-1 was told to switch off and is still on"),
        ({"hub": "1-1", "port": 2, "program": "/nowhere/uhubctl"}, "apt-get install uhubctl"),
    ],
)
def test_a_hub_that_cannot_is_told(tmp_path: Path, written: Write, more: dict[str, Any], words: str) -> None:
    driver = power.driver(written("uhubctl", {"program": hub(tmp_path)} | more))
    with pytest.raises(PowerError, match=words):
        driver.off("alpha")


def test_the_last_word_of_uhubctl_counts() -> None:
    before = "Current status for hub 1-1 [0424:9514]\n  Port 2: 0503 power highspeed enable connect [1d6b:0002]\n"
    assert uhubctl.parse(before + "New status for hub 1-1 [0424:9514]\n  Port 2: 0000 off\n") == {2: False}


def test_a_socket_has_power_where_either_of_its_hubs_gives_it() -> None:
    """A hub of USB 3 is shown with its companion of USB 2: the same sockets."""
    old, new = "Current status for hub 1-1 [2109:2813]\n", "Current status for hub 2-1 [2109:0813]\n"
    powered, off = "  Port 2: 0100 power\n", "  Port 2: 0080 off\n"
    for first, second, found in ((powered, off, True), (off, powered, True), (off, off, False)):
        assert uhubctl.parse(old + first + new + second) == {2: found}


def test_commands_of_your_own(tmp_path: Path, written: Write) -> None:
    file = tmp_path / "{outlet}"
    options = {"off": f"touch {file}", "on": f"rm {file}", "is_on": f"test ! -e {file}"}
    cycle(power.driver(written("command", options, outlet="a7")))
    driver = power.driver(written("command", options | {"off": "ls /nowhere/{node}"}, outlet="a7"))
    with pytest.raises(PowerError, match=r"`ls` ended with exit code 2: .*/nowhere/alpha"):
        driver.off("alpha")
    driver = power.driver(written("command", options | {"off": "true"}, outlet="a7"))
    with pytest.raises(PowerError, match="outlet a7 was told to switch off and is still on"):
        driver.off("alpha")
    for wrong in ("{plug}", "{node.plug}", "{outlet[a]}", "{", "{0}"):
        with pytest.raises(InputError, match=r"cannot be filled in \(.*\); known are"):
            power.driver(written("command", options | {"is_on": f"test {wrong}"})).is_on("alpha")


# ---------------------------------------------------------------- SSH


def test_by_ssh_a_node_is_reset_and_never_switched_on(tmp_path: Path, written: Write) -> None:
    """The trigger is a file here: this sshd runs on the machine of the tests."""
    trigger = tmp_path / "trigger"
    trigger.write_text("")
    inventory = written("ssh", {"trigger": str(trigger)})
    secrets.ensure(inventory)
    driver = power.driver(inventory)
    means = Means(inventory, Fleet(inventory), driver)
    with pytest.raises(Refused, match=r"by SSH nothing can switch it on again; use `chaos reset`"):
        power.demand_on(driver, "alpha")
    with pytest.raises(Refused, match="alpha cannot be switched on"):
        driver.on("alpha")  # nobody answers there: for this driver it is off
    Reset("alpha").check(means)
    with pytest.raises(ClusterError, match="alpha has no power already"):
        PowerOff("alpha").check(means)
    assert trigger.read_text() == ""


def test_a_node_that_lets_nobody_in_is_not_off(tmp_path: Path, written: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = power.driver(written("ssh", {}))

    def refuse(*_: object, **__: object) -> None:
        raise AuthenticationFailed("alpha", "refused our certificate and our key")

    monkeypatch.setattr(Node, "run", refuse)
    with pytest.raises(PowerError, match="whether alpha has power cannot be told: alpha: refused"):
        driver.off("alpha")


def test_what_is_pressed_by_ssh(tmp_path: Path) -> None:
    """The script itself, run by a shell: the word reaches the trigger, and a container's kernel is spared."""
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = Sshd(folder)
    server.start()
    try:
        trigger = tmp_path / "trigger"
        trigger.write_text("")
        node = server.node()
        assert node.run(["sh", "-c", ssh.SCRIPT, "sysrq", "b", str(trigger)], deadline=5.0).code == 0
        until(lambda: trigger.read_text() == "b\n", deadline=5, what="the word")
        refused = node.run(["sh", "-c", ssh.SCRIPT, "sysrq", "b", str(tmp_path / "no/trigger")], deadline=5.0)
        assert refused.code == 1 and "cannot be written" in refused.err.decode()
        node.close()
    finally:
        server.stop()


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        ("tasmota", {}, "nodes.alpha.power.host: missing; tasmota knows: host, relay"),
        ("tasmota", {"host": "h", "rely": 1}, "nodes.alpha.power.rely: unknown key"),
        ("poe_snmp", {"host": "h", "port": 0, "secret": "switch"}, "nodes.alpha.power.port: input should be greater"),
        ("uhubctl", {"hub": "; rm", "port": 1}, "nodes.alpha.power.hub"),
        ("shelly", {"host": "h", "secret": "../x"}, "is not the name of a file"),
        ("shelly", {"host": "h", "secret": "none"}, "write the switch's secret there, mode 600"),
    ],
)
def test_options_that_cannot_be_are_told_with_their_place(
    written: Write, driver: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        power.driver(written(driver, options)).is_on("alpha")


def test_a_secret_that_others_can_read_is_not_used(written: Write) -> None:
    inventory = written("tasmota", {}, host="127.0.0.1", secret="switch")
    (inventory.state / "secrets/switch").chmod(0o644)
    with pytest.raises(InputError, match="others can read it; chmod 600 it"):
        tasmota.Driver(inventory).is_on("alpha")
    assert shelly.Driver(inventory).name == "shelly"
