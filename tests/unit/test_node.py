"""The SSH transport against a real sshd: what comes back, what an error says, and what is left running."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster.errors import (
    AuthenticationFailed,
    ClusterError,
    CommandFailed,
    CommandTimeout,
    HostKeyChanged,
    InputError,
    Unreachable,
)
from cluster.inventory import Inventory
from cluster.node import CUT_S, SESSIONS, Fleet, Node
from cluster.ssh import Login, load_key
from cluster.testinfra_backend import host_for
from cluster.wait import Deadline, until
from tests.unit.sshd import SSHD, Sshd

pytestmark = pytest.mark.skipif(SSHD is None, reason="no sshd: apt-get install openssh-server")

SUDO = shutil.which("sudo") is not None and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0
needs_sudo = pytest.mark.skipif(not SUDO, reason="needs sudo without a password")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    daemon = Sshd(tmp_path_factory.mktemp("sshd"), ("127.0.0.1", "127.0.0.2"))
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def node(sshd: Sshd) -> Iterator[Node]:
    one = sshd.node()
    yield one
    one.close()


def processes(text: str) -> list[int]:
    """The processes that have `text` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


# What comes back


def test_words_reach_the_command_as_they_are(node: Node) -> None:
    words = ["", "a b", "'", '"', "$HOME", "*", "-n", "\\", "new\nline", "ünï", ";", "#"]
    done = node.run(["printf", r"%s\0", *words])
    assert done.text.split("\0")[:-1] == words
    assert done.argv == ("printf", r"%s\0", *words)
    assert (done.code, done.err, done.node) == (0, b"", "alpha")
    assert 0 < done.seconds < 5


def test_a_line_is_for_the_shell(node: Node) -> None:
    done = node.run("for i in 1 2; do echo $i; done; echo oops >&2; exit 7")
    assert (done.out, done.err, done.code) == (b"1\n2\n", b"oops\n", 7)


def test_an_exit_code_is_a_result_unless_it_is_to_be_checked(node: Node) -> None:
    done = node.run("echo one >&2; echo two >&2; exit 3")
    assert done.check(0, 3) is done
    with pytest.raises(CommandFailed) as failed:
        done.check()
    message = str(failed.value)
    assert message.startswith("alpha: ") and "\n" not in message
    assert "exit code 3" in message and "one | two" in message
    with pytest.raises(CommandFailed):
        node.run(["false"], check=True)


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "USR1"])
def test_a_command_ended_by_a_signal_has_the_shells_exit_code(node: Node, name: str) -> None:
    number = signal.Signals[f"SIG{name}"].value
    assert node.run(["sh", "-c", f"kill -{name} $$"]).code == 128 + number


def test_every_byte_survives_both_ways(node: Node) -> None:
    data = bytes(range(256)) * 64
    assert node.run(["cat"], input=data).out == data
    assert node.run("cat >&2", input=data).err == data
    text = node.run(["printf", r"\377ok"]).text
    assert text.encode("utf-8", "surrogateescape") == b"\xffok"


def test_no_input_is_an_empty_input(node: Node) -> None:
    assert node.run(["wc", "-c"], deadline=5).text.strip() == "0"


def test_output_of_any_size_on_both_streams_does_not_block(node: Node) -> None:
    size = 30_000_000  # far more than any window or pipe in between
    done = node.run(f"head -c {size} /dev/zero >&2; head -c {size} /dev/zero; head -c 9 /dev/zero >&2", deadline=60)
    assert (len(done.out), len(done.err), done.code) == (size, size + 9, 0)


def test_input_and_output_of_any_size_at_once(node: Node) -> None:
    data = os.urandom(1_000_000) * 10
    assert node.run(["cat"], input=data, deadline=60).out == data


def test_a_command_that_ignores_its_input_just_ends(node: Node) -> None:
    assert node.run(["true"], input=bytes(5_000_000)).code == 0


def test_commands_run_at_the_same_time(node: Node, tmp_path: Path) -> None:
    meet = f'touch $1/$2; until [ "$(ls $1 | wc -l)" -ge {SESSIONS} ]; do sleep 0.02; done'
    with ThreadPoolExecutor(SESSIONS) as pool:
        met = pool.map(lambda n: node.run(["sh", "-c", meet, "meet", str(tmp_path), str(n)]).code, range(SESSIONS))
        assert list(met) == [0] * SESSIONS


def test_one_connection_serves_more_commands_than_it_has_sessions(node: Node) -> None:
    with ThreadPoolExecutor(24) as pool:  # OpenSSH's MaxSessions is 10
        said = list(pool.map(lambda n: node.run(f"sleep 0.1; echo {n} $PPID").text.split(), range(24)))
    assert [n for n, _ in said] == [str(n) for n in range(24)]
    assert len({session for _, session in said}) == 1


def test_threads_that_start_together_share_one_connection(node: Node) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: node.run("echo $PPID").text, range(8)))) == 1


def test_a_command_costs_milliseconds(node: Node) -> None:
    node.run(["true"])
    assert min(node.run(["true"]).seconds for _ in range(20)) < 0.02  # 0.05 is what Nagle's algorithm costs


def test_the_first_command_does_not_wait_for_a_late_acknowledgement(sshd: Sshd) -> None:
    seconds = []
    for _ in range(5):
        node = sshd.node()
        node.connect()
        seconds.append(node.run(["true"]).seconds)
        node.close()
    assert min(seconds) < 0.03


# Deadlines


@pytest.mark.parametrize(
    "command",
    [
        ["sleep", "{mark}"],
        "sleep {mark}",
        "sleep {mark} & sleep {mark}",
        "(trap '' TERM; sleep {mark}); sleep {mark}",
        "nohup sleep {mark} & wait",
        "setsid sleep {mark} & wait",
        "while :; do :; done; echo {mark}",
    ],
    ids=str,
)
def test_after_its_deadline_nothing_of_a_command_is_left(node: Node, command: str | list[str]) -> None:
    mark = f"47{time.monotonic_ns() % 10**9}"
    filled = command.format(mark=mark) if isinstance(command, str) else [w.format(mark=mark) for w in command]
    began = time.monotonic()
    with pytest.raises(CommandTimeout) as late:
        node.run(filled, deadline=0.3)
    assert 0.3 <= time.monotonic() - began < 2.5
    assert str(late.value).startswith("alpha: `") and "it was killed" in str(late.value)
    until(lambda: not processes(mark), deadline=1, what="the end of every process of the command")
    assert node.connected and node.run(["echo", "next"]).text == "next\n"


@needs_sudo
def test_after_its_deadline_nothing_that_sudo_started_is_left(node: Node) -> None:
    mark = f"48{time.monotonic_ns() % 10**9}"
    with pytest.raises(CommandTimeout):
        node.run(f"sleep {mark} & sleep {mark}", sudo=True, deadline=0.3)
    until(lambda: not processes(mark), deadline=1, what="the end of every process of the command")


def test_only_the_command_that_is_late_is_killed(node: Node) -> None:
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(node.run, "sleep 1; echo alive")
        with pytest.raises(CommandTimeout):
            node.run(["sleep", "60"], deadline=0.2)
        assert other.result().text == "alive\n"


def test_a_crowd_of_commands_some_of_them_late(node: Node) -> None:
    """More threads than sessions: what is late is killed, and no other command notices."""
    mark = f"46{time.monotonic_ns() % 10**9}"

    def one(n: int) -> None:
        if n % 20 == 0:
            with pytest.raises(CommandTimeout):
                node.run(["sleep", mark], deadline=0.3)
        elif n % 3 == 0:
            data = os.urandom(n * 1000)
            assert node.run(["cat"], input=data, deadline=60).out == data
        else:
            done = node.run(f"echo out; echo err >&2; exit {n}", deadline=60)
            assert (done.out, done.err, done.code) == (b"out\n", b"err\n", n)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(200)))
    assert not processes(mark)


def test_a_child_that_keeps_the_output_open_is_named_as_the_reason(node: Node) -> None:
    with pytest.raises(CommandTimeout, match="something it started keeps its output open"):
        node.run("sleep 60 & exit 0", deadline=0.3)


def test_a_deadline_can_be_shared(node: Node) -> None:
    node.connect()
    end = Deadline.after(0.3)
    assert node.run(["true"], deadline=end).code == 0
    with pytest.raises(CommandTimeout):
        node.run(["sleep", "60"], deadline=end)
    with pytest.raises(ClusterError):
        node.run(["true"], deadline=end)


@pytest.mark.parametrize("size", [0, 20_000_000])
def test_a_frozen_sshd_cannot_hold_a_command_beyond_its_deadline(sshd: Sshd, size: int) -> None:
    node = sshd.node()
    mark = f"45{time.monotonic_ns() % 10**9}"
    session = int(node.run("echo $PPID").text)
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        running = pool.submit(node.run, ["sleep", mark], input=bytes(size), deadline=0.5)
        time.sleep(0.2)
        os.kill(session, signal.SIGSTOP)
        try:
            with pytest.raises(CommandTimeout, match="may still be running"):
                running.result(timeout=10)
            assert time.monotonic() - began < 0.5 + CUT_S + 1.5
        finally:
            os.kill(session, signal.SIGKILL)
            for left in processes(mark):
                with suppress(ProcessLookupError):  # it may end with its session
                    os.kill(left, signal.SIGKILL)


def test_a_frozen_sshd_cannot_hold_a_command_that_was_not_started(node: Node) -> None:
    session = int(node.run("echo $PPID").text)
    os.kill(session, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(CommandTimeout, match="was not started"):
            node.run(["true"], deadline=0.3)
        assert time.monotonic() - began < 0.6
    finally:
        os.kill(session, signal.SIGCONT)
    assert node.run(["true"]).code == 0  # slow is not dead: the same connection goes on


# Connections that cannot be made, and such as die


def test_refused(sshd: Sshd) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening
        node = sshd.node(port=unused.getsockname()[1])
        with pytest.raises(Unreachable, match=r"^alpha: 127\.0\.0\.1 port \d+: connection refused"):
            node.connect()
    assert not node.connected


def test_nobody_answers(sshd: Sshd) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]  # fill the queue, so that the kernel drops the next SYN
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        with pytest.raises(Unreachable, match="timed out"):
            sshd.node(port=port).connect(0.3)
        assert time.monotonic() - began < 0.6
        for filler in fillers:
            filler.close()


def test_something_that_does_not_speak_ssh(sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"SSH"):
            sshd.node(port=mute.getsockname()[1]).connect(0.5)
        assert time.monotonic() - began < 1
        with mute.accept()[0] as peer:  # paramiko's thread has ended: the connection is closed
            while peer.recv(1024):
                pass


def test_a_connection_lost_during_a_command_is_an_error_and_the_next_use_reconnects(node: Node) -> None:
    counted = "echo x >> $HOME/count; kill -9 $PPID; sleep 5"
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"connection lost .* may or may not have run"):
        node.run(counted, deadline=10)
    assert time.monotonic() - began < 2
    assert not node.connected
    assert node.run(["echo", "again"]).text == "again\n"
    assert node.run("wc -l < $HOME/count; rm $HOME/count").text.strip() == "1"  # sent once, never again


def test_a_connection_lost_while_idle_is_opened_anew(node: Node) -> None:
    os.kill(int(node.run("echo $PPID").text), signal.SIGKILL)
    assert node.run(["echo", "again"]).text == "again\n"


def test_close_ends_what_is_under_way_and_the_next_use_reconnects(node: Node) -> None:
    node.connect()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(node.run, ["sleep", "5"])
        time.sleep(0.2)
        began = time.monotonic()
        node.close()
        with pytest.raises(Unreachable):
            running.result(timeout=3)
        assert time.monotonic() - began < 1
    assert node.run(["true"]).code == 0


def test_closing_leaves_no_thread(sshd: Sshd) -> None:
    before = threading.active_count()
    for _ in range(5):
        with_one = sshd.node()
        with_one.run(["true"])
        with_one.close()
    until(lambda: threading.active_count() <= before, deadline=2, what="the end of the connections' threads")


# Who logs in


def test_a_key_the_node_does_not_know_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    sshd.keygen(tmp_path / "stranger")
    node = sshd.node(login=Login(sshd.user, load_key(str(tmp_path / "stranger")), None))
    with pytest.raises(AuthenticationFailed, match=rf"^alpha: {sshd.user}@.* refused our key$"):
        node.run(["true"])


def test_the_first_password_is_tried_after_the_key(sshd: Sshd, tmp_path: Path) -> None:
    sshd.keygen(tmp_path / "stranger")
    key = load_key(str(tmp_path / "stranger"))
    with pytest.raises(AuthenticationFailed, match="refused our key and our first password"):
        sshd.node(login=Login(sshd.user, key, "not the password")).connect()
    with pytest.raises(AuthenticationFailed, match="refused our first password"):
        sshd.node(login=Login(sshd.user, None, "not the password")).connect()


# Host keys


def test_first_contact_pins_in_a_file_that_ssh_can_use(sshd: Sshd, tmp_path: Path) -> None:
    pins = tmp_path / "state" / "known_hosts"
    sshd.node(pins=pins).connect()
    host, kind, key = pins.read_text().split()
    assert host == f"[127.0.0.1]:{sshd.port},alpha"
    assert [kind, key] == sshd.host_key.with_suffix(".pub").read_text().split()[:2]
    ssh = ["ssh", "-F/dev/null", f"-oUserKnownHostsFile={pins}", "-oStrictHostKeyChecking=yes", "-oBatchMode=yes"]
    done = subprocess.run([*ssh, f"-i{sshd.key}", f"-p{sshd.port}", "127.0.0.1", "echo", "hello"], capture_output=True)
    assert done.stdout == b"hello\n", done.stderr


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_changed_host_key_is_never_accepted(sshd: Sshd, tmp_path: Path, kind: str) -> None:
    sshd.keygen(tmp_path / "other", kind)
    other = (tmp_path / "other.pub").read_text().split()[:2]
    pins = tmp_path / "known_hosts"
    text = f"# kept\n[127.0.0.1]:{sshd.port},alpha {' '.join(other)}\n"
    pins.write_text(text)
    for _ in range(2):
        with pytest.raises(HostKeyChanged) as changed:
            sshd.node(pins=pins).run(["true"])
        message = str(changed.value)
        assert message.startswith("alpha: host key changed") and "\n" not in message
        assert f"{pins}:2" in message and f"sed -i 2d {pins}" in message
    assert pins.read_text() == text
    subprocess.run(message.rpartition(": ")[2], shell=True, check=True)  # the remedy it names
    assert sshd.node(pins=pins).run(["true"]).code == 0


def test_no_password_is_sent_to_a_node_whose_key_changed(sshd: Sshd, tmp_path: Path) -> None:
    sshd.keygen(tmp_path / "other")
    pins = tmp_path / "known_hosts"
    pins.write_text(f"alpha {(tmp_path / 'other.pub').read_text()}")
    login = Login(sshd.user, None, "secret")
    with pytest.raises(HostKeyChanged):
        sshd.node(pins=pins, login=login).connect()


# Files


@pytest.mark.parametrize("name", ["plain", "with space", "it's", '"q"', "$x", "-n", "ünï", "a;b", "new\nline", "*"])
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_put_and_get(node: Node, tmp_path: Path, name: str, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / name
    path.write_bytes(b"before")
    node.put(data, str(path), mode=0o640)
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert node.get(str(path)) == data
    assert os.listdir(tmp_path) == [name]


def test_a_path_may_be_relative_and_begin_with_a_dash(node: Node) -> None:
    name = f"-rf.{os.getpid()}"  # in the home of whoever runs this
    node.put(b"x", name)
    try:
        assert node.get(name) == b"x"
    finally:
        assert node.run(["rm", "--", name]).code == 0


def test_put_never_shows_half_a_file(node: Node, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    half = bytes(200_000_000)  # a second, or more
    with pytest.raises((CommandTimeout, Unreachable)):
        node.put(half, str(path), deadline=0.2)
    until(lambda: os.listdir(tmp_path) == ["file"], deadline=2, what="the temporary file is gone")
    assert path.read_bytes() == b"old"


def test_put_and_get_say_why_they_failed(node: Node, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(CommandFailed, match=r"^alpha: `put .*/no/where` .*: .*no/.*(nonexistent|[Nn]o such)"):
        node.put(b"x", str(tmp_path / "no" / "where"))
    with pytest.raises(CommandFailed, match="is a directory"):
        node.put(b"x", str(tmp_path / "folder"))
    with pytest.raises(CommandFailed, match="No such file"):
        node.get(str(tmp_path / "nothing"))
    assert os.listdir(tmp_path / "folder") == []


@needs_sudo
def test_sudo(node: Node, tmp_path: Path) -> None:
    assert node.run(["id", "-u"], sudo=True).text == "0\n"
    assert node.run("id -u; echo $((1+1))", sudo=True).text == "0\n2\n"
    assert node.run(["cat"], sudo=True, input=b"in").out == b"in"
    node.put(b"secret", str(tmp_path / "f"), mode=0o600, sudo=True)
    assert (tmp_path / "f").stat().st_uid == 0
    assert node.get(str(tmp_path / "f"), sudo=True) == b"secret"


# Fleet


@pytest.fixture
def fleet(sshd: Sshd, tmp_path: Path) -> Iterator[Fleet]:
    (tmp_path / "secrets").mkdir()
    shutil.copy(sshd.key, tmp_path / "secrets" / "ssh_key")
    with Fleet(inventory(sshd, tmp_path), port=sshd.port) as whole:
        yield whole


def inventory(sshd: Sshd, state: Path) -> Inventory:
    """As much of an inventory as a Fleet reads: two nodes that answer and one that does not."""
    addresses = {"alpha": "127.0.0.1", "beta": "127.0.0.2", "gamma": "127.0.0.3"}
    nodes = {name: SimpleNamespace(name=name, address=address, mac="", group="") for name, address in addresses.items()}
    users = SimpleNamespace(login=sshd.user, first_password="raspberry")
    systems = {"system": lambda name: "debian"}
    return cast(Inventory, SimpleNamespace(state=state, users=users, nodes=nodes, **systems))


def test_a_fleet_is_its_nodes(fleet: Fleet) -> None:
    assert list(fleet) == ["alpha", "beta", "gamma"] and len(fleet) == 3
    assert fleet["beta"].address == "127.0.0.2" and not fleet["beta"].connected


def test_each_gives_a_value_or_an_error_for_every_node(fleet: Fleet) -> None:
    got: dict[str, Any] = fleet.each(lambda node: node.run(["echo", node.name]).text)
    assert got["alpha"] == "alpha\n" and got["beta"] == "beta\n"
    assert isinstance(got["gamma"], Unreachable) and "refused" in str(got["gamma"])
    assert fleet.each(lambda node: 1, ["beta"]) == {"beta": 1}
    assert fleet.each(lambda node: 1, []) == {}


def test_each_does_not_hide_a_mistake_of_ours(fleet: Fleet) -> None:
    with pytest.raises(ZeroDivisionError):
        fleet.each(lambda node: 1 // 0)


def test_each_works_in_parallel(fleet: Fleet) -> None:
    meeting = threading.Barrier(3)
    assert set(fleet.each(lambda node: meeting.wait(5)).values()) == {0, 1, 2}


def test_forget_drops_one_pin_only(fleet: Fleet, tmp_path: Path) -> None:
    fleet.each(lambda node: node.connect(), ["alpha", "beta"])
    fleet.forget("alpha")
    assert not fleet["alpha"].connected
    assert [line.split()[0].split(",")[1] for line in (tmp_path / "known_hosts").read_text().splitlines()] == ["beta"]


def test_without_a_key_the_remedy_is_named(sshd: Sshd, tmp_path: Path) -> None:
    with (
        Fleet(inventory(sshd, tmp_path), port=sshd.port) as whole,
        pytest.raises(InputError, match="python -m provision"),
    ):
        whole["alpha"].run(["true"])
    with (
        Fleet(inventory(sshd, tmp_path), port=sshd.port, first_contact=True) as whole,
        pytest.raises(AuthenticationFailed, match="refused our first password"),
    ):
        whole["alpha"].run(["true"])


# testinfra on the same connection


def test_testinfra_asks_over_the_nodes_own_connection(node: Node) -> None:
    host: Any = host_for(node)  # its modules come by __getattr__
    assert host.check_output("echo $PPID") == node.run("echo $PPID").text.strip()
    assert host.file("/etc/passwd").is_file and host.file("/etc/passwd").mode == 0o644
    assert host.user("root").uid == 0
    assert host.run("printf '\\377'").stdout_bytes == b"\xff"
    assert host.check_output("echo %s", "a b") == "a b"
    assert host.run("exit 3").rc == 3


def test_a_testinfra_host_cannot_hang(node: Node) -> None:
    node.connect()  # whose time is not the command's
    with pytest.raises(CommandTimeout):
        host_for(node, deadline=0.3).run("sleep 60")


@needs_sudo
def test_testinfra_with_sudo(node: Node) -> None:
    assert host_for(node, sudo=True).check_output("id -u") == "0"
    host: Any = host_for(node)
    with host.sudo():
        assert host.check_output("id -u") == "0"
    with host.sudo("daemon"):
        assert host.check_output("id -un") == "daemon"
