"""The shell that runs on nodes: shellcheck, and lib.sh in a folder of its own with a systemctl that remembers.

The daemons and their real checkers are tried in tests/lab/test_provision.py.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROVISION = ROOT / "provision"
SCRIPTS = sorted(PROVISION.rglob("*.sh"))
STEPS = [path for path in SCRIPTS if path.parent != PROVISION and path.name[0].isdigit()]
ME = f"{pwd.getpwuid(os.getuid()).pw_name}:{grp.getgrgid(os.getgid()).gr_name}"

# A systemctl that keeps a unit's state in files and notes what it was asked to do.
SYSTEMCTL = """#!/bin/bash
cd "$UNITS" || exit
case $1 in --quiet) shift ;; esac
case $1 in
  is-enabled) cat enabled 2>/dev/null || exit 1 ;;
  is-active) cat active 2>/dev/null || { echo inactive; exit 3; } ;;
  cat) [ -e installed ] ;;
  daemon-reload | reset-failed) ;;
  enable) echo enabled >enabled ;;
  disable) rm -f enabled ;;
  stop) echo "stop $2" >>asked; rm -f active ;;
  start | restart | reload)
    echo "$1 $2" >>asked
    if [ -e broken ] && grep -qx "$(cat broken)" "$DAEMON_CONF"; then rm -f active; exit 1; fi
    echo active >active ;;
  *) echo "unexpected: systemctl $*" >&2; exit 99 ;;
esac
"""


class Bench:
    """A bundle with lib.sh and one step, run by this user on files below a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle, self.units, self.etc = folder / "bundle", folder / "units", folder / "etc"
        for path in (self.bundle / "base", self.units, self.etc, folder / "bin"):
            path.mkdir(parents=True)
        shutil.copy(PROVISION / "lib.sh", self.bundle)
        shutil.copy(PROVISION / "run.sh", self.bundle)
        (self.bundle / "params.sh").write_text("NODE=alpha\nCLUSTER=rpicluster\n")
        for name, text in {"systemctl": SYSTEMCTL, "journalctl": "#!/bin/sh\necho journal of the daemon\n"}.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        (self.units / "installed").touch()

    def step(self, text: str, *, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run `text` as the step base/10-try.sh."""
        path = self.bundle / "base" / "10-try.sh"
        path.write_text(
            f'#!/bin/bash\n. "${{BASH_SOURCE[0]%/*}}/../lib.sh"\nSTATE={self.folder}/state\nVERIFY_S=1\n{text}'
        )
        return subprocess.run(
            ["bash", str(path)], capture_output=True, text=True, timeout=30, env=self.environment(check=check)
        )

    def environment(self, *, check: bool = False) -> Mapping[str, str]:
        return {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "UNITS": str(self.units), "CHECK": "1" if check else "",
            "DAEMON_CONF": str(self.etc / "daemon.conf"), "ETC": str(self.etc), "ME": ME,
        }  # fmt: skip

    def asked(self) -> list[str]:
        """What systemctl was asked to do since the last look."""
        path = self.units / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a step that went well reported."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


# --- as text


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck() -> None:
    done = subprocess.run(["shellcheck", *map(str, SCRIPTS)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", STEPS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_step_says_what_it_is_and_how_to_run_it_by_hand(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert lines[1].startswith("# ") and "see lib.sh for how to run it by hand" in "\n".join(lines[:6])
    assert os.access(path, os.X_OK)
    assert '. "${BASH_SOURCE[0]%/*}/../lib.sh"' in lines


def test_package_lists_are_one_name_a_line() -> None:
    for path in PROVISION.glob("*/packages*.txt"):
        names = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
        names = [name for name in names if name]
        assert names == sorted(set(names)), path
        assert all(name.replace("-", "").replace(".", "").replace("+", "").isalnum() for name in names), path


# --- files


FILE = 'install_file "$BUNDLE/src" "$ETC/sub/dst" 0640 "$ME"\n'


def test_install_file_once(bench: Bench) -> None:
    (bench.bundle / "src").write_text("new\n")
    dst = bench.etc / "sub/dst"
    assert said(bench.step(FILE, check=True)) == [f"would change: {dst}"]
    assert not dst.parent.exists()
    assert said(bench.step(FILE)) == [f"change: {dst}"]
    assert dst.read_text() == "new\n" and dst.stat().st_mode & 0o7777 == 0o640
    assert list(dst.parent.iterdir()) == [dst]
    assert said(bench.step(FILE)) == []
    assert said(bench.step(FILE, check=True)) == []


@pytest.mark.parametrize("spoil", ["content", "mode", "link", "missing"])
def test_install_file_mends(bench: Bench, spoil: str) -> None:
    (bench.bundle / "src").write_text("new\n")
    dst = bench.etc / "sub/dst"
    bench.step(FILE)
    if spoil == "content":
        dst.write_text("other\n")
    elif spoil == "mode":
        dst.chmod(0o644)
    else:
        dst.unlink()
        if spoil == "link":  # as resolv.conf often is
            (bench.etc / "elsewhere").write_text("new\n")
            dst.symlink_to(bench.etc / "elsewhere")
    assert said(bench.step(FILE)) == [f"change: {dst}"]
    assert dst.read_text() == "new\n" and not dst.is_symlink() and dst.stat().st_mode & 0o7777 == 0o640
    if spoil == "link":
        assert (bench.etc / "elsewhere").read_text() == "new\n"


def test_ensure_lines_keeps_what_others_wrote(bench: Bench) -> None:
    keys = bench.etc / "keys"
    keys.write_text("ssh-ed25519 AAAA somebody else")  # without a line end
    (bench.bundle / "src").write_text("# ours\nssh-ed25519 BBBB us\n")
    text = 'ensure_lines "$BUNDLE/src" "$ETC/keys" 0600 "$ME"\n'
    assert said(bench.step(text)) == [f"change: {keys}"]
    assert keys.read_text() == "ssh-ed25519 AAAA somebody else\n# ours\nssh-ed25519 BBBB us\n"
    assert said(bench.step(text)) == []
    keys.unlink()
    assert said(bench.step(text)) == [f"change: {keys}"]
    assert keys.read_text() == "# ours\nssh-ed25519 BBBB us\n"


def test_ensure_words_adds_to_the_one_line_what_it_lacks(bench: Bench) -> None:
    line = bench.etc / "cmdline.txt"
    line.write_text("console=tty1 cgroup_memory=1 quiet")  # without a line end, as Pis have it
    text = 'ensure_words "$ETC/cmdline.txt" cgroup_memory=1 cgroup_enable=memory\n'
    assert said(bench.step(text, check=True)) == [f"would change: {line}"]
    assert line.read_text() == "console=tty1 cgroup_memory=1 quiet"
    assert said(bench.step(text)) == [f"change: {line}"]
    assert line.read_text() == "console=tty1 cgroup_memory=1 quiet cgroup_enable=memory\n"
    assert said(bench.step(text)) == []
    assert [path.name for path in bench.etc.iterdir()] == ["cmdline.txt"]


@pytest.mark.parametrize(
    ("entry", "does"),
    [
        ("", ["user u", "useradd --system --home-dir /srv/u --shell /bin/sh u"]),
        ("u:x:9:9::/srv/u:/bin/sh", []),
        ("u:x:9:9::/srv/u:/usr/sbin/nologin", ["user u: shell /bin/sh, not /usr/sbin/nologin", "usermod -s /bin/sh u"]),
        ("u:x:9:9::/gone:/bin/sh", ["user u: home /srv/u, not /gone", "usermod -d /srv/u u"]),
        ("u:x:9:9:::", ["user u: home /srv/u, not none", "user u: shell /bin/sh, not none",
                        "usermod -d /srv/u u", "usermod -s /bin/sh u"]),
    ],
)  # fmt: skip
def test_ensure_user_makes_and_mends(bench: Bench, entry: str, does: list[str]) -> None:
    (bench.folder / "bin" / "getent").write_text(f"#!/bin/sh\n[ -n '{entry}' ] && echo '{entry}' || exit 2\n")
    for name in ("useradd", "usermod"):
        (bench.folder / "bin" / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"$ETC/done"\n')
    for name in ("getent", "useradd", "usermod"):
        (bench.folder / "bin" / name).chmod(0o755)
    text = "ensure_user u --system --home-dir /srv/u --shell /bin/sh\n"
    wanted = [one for one in does if one.startswith("user ")]
    assert said(bench.step(text, check=True)) == [f"would change: {one}" for one in wanted]
    assert not (bench.etc / "done").exists()
    assert said(bench.step(text)) == [f"change: {one}" for one in wanted]
    did = (bench.etc / "done").read_text().splitlines() if does else []
    assert did == does[len(wanted) :]


def test_ensure_dir_and_link(bench: Bench) -> None:
    text = 'ensure_dir "$ETC/d" 0750 "$ME"\nensure_link there "$ETC/l"\n'
    assert said(bench.step(text, check=True)) == [
        f"would change: {bench.etc}/d/",
        f"would change: {bench.etc}/l -> there",
    ]
    assert list(bench.etc.iterdir()) == []
    bench.etc.chmod(0o2755)  # a set-group-id bit that new folders inherit must not look like a change for ever
    assert len(said(bench.step(text))) == 2
    assert (bench.etc / "d").stat().st_mode & 0o7777 == 0o750
    assert os.readlink(bench.etc / "l") == "there"
    assert said(bench.step(text)) == []


# --- failing


def test_a_failing_command_names_node_step_line_and_command(bench: Bench) -> None:
    done = bench.step("true\nput_nothing() { cat /nonexistent; }\nput_nothing\necho not reached\n")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "failed: alpha: base/10-try.sh line 6: `cat /nonexistent` ended with exit code 1"
    ]
    assert "No such file" in done.stderr


def test_a_failing_library_function_names_the_line_of_the_step(bench: Bench) -> None:
    done = bench.step('\ninstall_file "$BUNDLE/none" "$ETC/x" 0644 "$ME"\n')
    assert "failed: alpha: base/10-try.sh line 6: " in done.stdout
    assert not (bench.etc / "x").exists()


def test_a_failing_substitution_is_told_once(bench: Bench) -> None:
    done = bench.step("x=$(cat /nonexistent)\necho not reached $x\n")
    assert done.stdout.splitlines() == [
        "failed: alpha: base/10-try.sh line 5: `x=$(cat /nonexistent)` ended with exit code 1"
    ]


def test_an_unset_parameter_is_a_failure(bench: Bench) -> None:
    done = bench.step('echo "$NO_SUCH_PARAMETER"\necho not reached\n')
    assert done.returncode != 0 and "NO_SUCH_PARAMETER" in done.stderr and "not reached" not in done.stdout


def run(bench: Bench, *options: str) -> tuple[int, list[str]]:
    """run.sh with these options; its exit code and report.  Its lock needs root."""
    done = subprocess.run(
        ["bash", str(bench.bundle / "run.sh"), *options],
        capture_output=True, text=True, timeout=30, env=bench.environment(),
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines()


run_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="run.sh keeps its lock where only root can write")


@run_as_root
def test_run_stops_at_the_first_failure_with_its_output_and_removes_itself(bench: Bench) -> None:
    head = '. "${BASH_SOURCE[0]%/*}/../lib.sh"\n'
    for name, text in {
        "10-a.sh": "changed one\n",
        "20-b.sh": "echo words; false\n",
        "30-c.sh": "changed two\n",
    }.items():
        (bench.bundle / "base" / name).write_text(head + text)
    (bench.bundle / "steps").write_text("# header\nbase/10-a.sh\nbase/20-b.sh\nbase/30-c.sh\n")
    assert run(bench) == (1, [
        "step base/10-a.sh", "change: one", "step base/20-b.sh",
        "failed: alpha: base/20-b.sh line 2: `false` ended with exit code 1", "output: words", "end 1",
    ])  # fmt: skip
    assert bench.bundle.exists()
    (bench.bundle / "base" / "20-b.sh").write_text("if then\n")  # not even bash can say where
    code, lines = run(bench, "--remove")
    assert code == 2 and lines[3].endswith("base/20-b.sh ended with exit code 2") and "syntax error" in lines[4]
    assert not bench.bundle.exists()


@run_as_root
def test_run_goes_on_where_a_step_has_given_up(bench: Bench) -> None:
    head = '. "${BASH_SOURCE[0]%/*}/../lib.sh"\n'
    for name, text in {"10-a.sh": 'give_up "no such file"\n', "20-b.sh": "changed two\n"}.items():
        (bench.bundle / "base" / name).write_text(head + text)
    (bench.bundle / "steps").write_text("base/10-a.sh\nbase/20-b.sh\n")
    assert run(bench) == (75, [
        "step base/10-a.sh", "failed: alpha: base/10-a.sh line 2: no such file", "step base/20-b.sh", "change: two",
        "end 75",
    ])  # fmt: skip


# --- daemons

DAEMON = """
check_it() { grep -q '^good' "$1$ETC/daemon.conf" || { echo "daemon: I do not like this"; return 1; }; }
serves() { [ -e "$UNITS/active" ]; }
undo() { echo undone >>"$UNITS/asked"; }
stage "$BUNDLE/conf" "$ETC/daemon.conf" 0644 "$ME"
stage "$BUNDLE/more" "$ETC/more.conf" 0600 "$ME"
checked_install daemon check_it serves reload undo
"""


@pytest.fixture
def running(bench: Bench) -> Bench:
    """A daemon that runs with a configuration that was provisioned before."""
    (bench.bundle / "conf").write_text("good old\n")
    (bench.bundle / "more").write_text("more\n")
    assert said(bench.step(DAEMON)) == [f"change: daemon: {bench.etc}/daemon.conf {bench.etc}/more.conf"]
    assert bench.asked() == ["restart daemon"]
    return bench


def test_a_configuration_in_use_is_left_alone(running: Bench) -> None:
    assert said(running.step(DAEMON)) == []
    assert said(running.step(DAEMON, check=True)) == []
    assert running.asked() == []


def test_a_new_configuration_is_checked_and_taken_up(running: Bench) -> None:
    (running.bundle / "conf").write_text("good new\n")
    assert said(running.step(DAEMON, check=True)) == [f"would change: daemon: {running.etc}/daemon.conf"]
    assert (running.etc / "daemon.conf").read_text() == "good old\n" and running.asked() == []
    assert said(running.step(DAEMON)) == [f"change: daemon: {running.etc}/daemon.conf"]
    assert (running.etc / "daemon.conf").read_text() == "good new\n" and running.asked() == ["reload daemon"]


@pytest.mark.parametrize("check", [True, False])
def test_what_the_checker_refuses_never_arrives(running: Bench, check: bool) -> None:
    (running.bundle / "conf").write_text("bad\n")
    done = running.step(DAEMON, check=check)
    assert done.returncode == 1
    assert "daemon: I do not like this" in done.stdout
    assert "failed: alpha: base/10-try.sh line 11: daemon: its own checker refuses" in done.stdout
    assert (running.etc / "daemon.conf").read_text() == "good old\n" and running.asked() == []
    assert (running.units / "active").exists()


def test_what_does_not_come_up_is_rolled_back(running: Bench) -> None:
    (running.bundle / "conf").write_text("good but broken\n")
    (running.bundle / "more").write_text("more of it\n")
    (running.units / "broken").write_text("good but broken\n")
    done = running.step(DAEMON)
    assert done.returncode == 1
    assert "it runs again with the old one" in done.stdout and "journal of the daemon" in done.stdout
    assert running.asked() == ["reload daemon", "stop daemon", "undone", "start daemon"]
    assert (running.etc / "daemon.conf").read_text() == "good old\n"
    assert (running.etc / "more.conf").read_text() == "more\n"
    assert (running.etc / "more.conf").stat().st_mode & 0o7777 == 0o600
    assert (running.units / "active").exists()
    (running.bundle / "conf").write_text("good old\n")
    (running.bundle / "more").write_text("more\n")
    assert said(running.step(DAEMON)) == []


def test_a_first_configuration_that_does_not_come_up_leaves_nothing(bench: Bench) -> None:
    (bench.bundle / "conf").write_text("good but broken\n")
    (bench.bundle / "more").write_text("more\n")
    (bench.units / "broken").write_text("good but broken\n")
    done = bench.step(DAEMON)
    assert done.returncode == 1 and "it is stopped as before" in done.stdout
    assert list(bench.etc.iterdir()) == []
    assert not (bench.units / "active").exists() and not (bench.units / "enabled").exists()


def test_a_stopped_daemon_is_started_and_one_that_missed_its_files_reloaded(running: Bench) -> None:
    (running.units / "active").unlink()
    assert said(running.step(DAEMON)) == ["change: daemon: start"]
    assert running.asked() == ["restart daemon"]
    shutil.rmtree(running.folder / "state")  # as after a power cut between the files and the restart
    assert said(running.step(DAEMON)) == ["change: daemon: take up its configuration"]
    assert running.asked() == ["reload daemon"]


def test_a_package_that_is_not_there_yet_would_change(bench: Bench) -> None:
    (bench.bundle / "conf").write_text("bad, if there were a checker\n")
    (bench.bundle / "more").write_text("more\n")
    (bench.units / "installed").unlink()
    lines = said(bench.step(DAEMON, check=True))
    assert lines == [f"would change: daemon: {bench.etc}/daemon.conf {bench.etc}/more.conf"]


# --- serials


@pytest.mark.parametrize(
    ("now", "known", "serial"),
    [
        (1_800_000_000, [], 1_800_000_000),
        (1_800_000_000, [1_799_999_999], 1_800_000_000),
        (1_800_000_000, [1_800_000_000], 1_800_000_001),
        (1_800_000_000, [2_026_112_300], 2_026_112_301),  # somebody wrote a date by hand
        (1_800_000_000, [5, 1_900_000_000], 1_900_000_001),  # the other server remembers more
        (4_294_967_295, [4_294_967_295], 1),  # round the circle, without 0
        (5, [4_294_967_290], 5),  # RFC 1982: 5 comes after 4294967290
        (10, [2_147_483_658], 2_147_483_659),  # half the circle away: not newer
    ],
)
def test_next_serial(bench: Bench, now: int, known: list[int], serial: int) -> None:
    done = bench.step(f"next_serial {now} {' '.join(map(str, known))}\n")
    assert said(done) == [str(serial)]


def test_zone_serial(bench: Bench) -> None:
    (bench.etc / "zone").write_text("; header\n@ IN SOA a. b. ( 1800000000 300 60 9 9 )\n@ IN NS a.\n")
    assert said(bench.step('zone_serial "$ETC/zone"\nzone_serial "$ETC/none"\n')) == ["1800000000"]


def test_a_zone_that_only_has_another_serial_is_the_same_set(bench: Bench) -> None:
    zone = "; header\n@ IN SOA a. b. ( {} 300 60 9 9 )\n@ IN NS {}.\n"
    for name, serial, server in (("a", 7, "a"), ("b", 8, "a"), ("c", 7, "c")):
        (bench.etc / name).write_text(zone.format(serial, server))
    one, two, other = said(bench.step('for one in a b c; do set_digest "$ETC/$one" /zone 0644 root:bind; done\n'))
    assert one == two != other
