"""The lab's pure parts: what the host's apt says, cache names, pins, and whose files are whose."""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import InputError
from cluster.inventory import default_path, parse
from lab.__main__ import act, parser
from lab.image import Source, package_lists, parse_targets
from lab.lab import Lab, NodeStatus, as_json, forget_pin
from lab.privilege import give_back
from lab.site import Site, digest, prune

TARGETS = """\
mirror://a/debian|bookworm|main|Debian|/usr/share/keyrings/a.gpg
mirror://a/debian|bookworm-updates|main|Debian|$(SIGNED_BY)
mirror://a/debian|bookworm|main|Debian|/usr/share/keyrings/a.gpg
mirror://b/tools|bookworm|main|Somebody Else|$(SIGNED_BY)
mirror://c/other|nodistro|main|Other|$(SIGNED_BY)
mirror://a/debian|trixie|main|Debian|$(SIGNED_BY)
"""


def test_only_the_distributions_own_repositories_make_the_image() -> None:
    assert parse_targets(TARGETS, "bookworm") == [
        Source("mirror://a/debian", "bookworm", "main", "/usr/share/keyrings/a.gpg"),
        Source("mirror://a/debian", "bookworm-updates", "main", "$(SIGNED_BY)"),
    ]


def test_a_key_file_is_named_in_the_source_line() -> None:
    first, second = parse_targets(TARGETS, "bookworm")
    assert first.line == "deb [signed-by=/usr/share/keyrings/a.gpg] mirror://a/debian bookworm main"
    assert second.line == "deb mirror://a/debian bookworm-updates main"


def test_package_lists_leave_comments_out(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/packages.txt").write_text("# all nodes\ncurl   # fetches\n\nlsof\n")
    assert package_lists(tmp_path) == {"base": ["curl", "lsof"]}
    (tmp_path / "base/packages-more.txt").write_text("ipset # sets\n")
    assert sorted(package_lists(tmp_path)["base"]) == ["curl", "ipset", "lsof"]


def test_digest_changes_with_any_file_and_any_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    one = digest([tmp_path])
    (tmp_path / "a").rename(tmp_path / "b")
    two = digest([tmp_path])
    (tmp_path / "b").write_text("y")
    assert len({one, two, digest([tmp_path])}) == 3


def test_digest_tells_parts_apart() -> None:
    assert digest(["ab", "c"]) != digest(["a", "bc"])


def test_prune_keeps_the_newest_and_what_a_lab_stands_on(tmp_path: Path) -> None:
    cache, labs = tmp_path / "cache", tmp_path / "labs"
    for age, name in enumerate(["newest", "second", "third", "used"]):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (1000 - age, 1000 - age))
    node = labs / "rpi0/nodes/alpha"
    node.mkdir(parents=True)
    (node / "layers").write_text(f"{cache}/used/alpha:{cache}/x/root")
    prune(cache, 2, labs)
    assert sorted(path.name for path in cache.iterdir()) == ["newest", "second", "used"]


def test_two_labs_prune_the_same_cache_at_once(tmp_path: Path) -> None:
    cache, labs = tmp_path / "cache", tmp_path / "labs"
    for n in range(60):
        (cache / str(n) / "a/b/c").mkdir(parents=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: prune(cache, 1, labs), range(4)))
    assert len([path for path in cache.iterdir() if not path.name.startswith(".")]) == 1
    prune(cache, 1, labs)
    assert len(list(cache.iterdir())) == 1, "what one of them could not finish, the next one does"


def test_two_checkouts_have_two_tags(tmp_path: Path) -> None:
    assert Site.of(tmp_path / "a").tag != Site.of(tmp_path / "b").tag


def test_only_the_reflashed_nodes_pin_is_forgotten(tmp_path: Path) -> None:
    pins = tmp_path / "known_hosts"
    pins.write_text("192.168.10.6 ssh-ed25519 A\n192.168.10.66 ssh-ed25519 B\nalpha,192.168.10.6 ssh-ed25519 C\n")
    forget_pin(pins, "192.168.10.6")
    assert pins.read_text() == "192.168.10.66 ssh-ed25519 B\n"


def test_status_as_json_has_the_four_fields() -> None:
    text = as_json([NodeStatus("alpha", "lanservices", "up", "192.168.10.6")])
    assert '"name": "alpha"' in text and '"state": "up"' in text and '"address"' in text and '"group"' in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_roots_are_given_back_but_for_git_and_the_venv(tmp_path: Path) -> None:
    for name in ("a/b", ".git/c", ".venv/d"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    give_back(tmp_path, 1234, 1234)
    assert [(tmp_path / name).stat().st_uid for name in ("a", "a/b", ".git/c", ".venv/d")] == [1234, 1234, 0, 0]


def test_scripts_are_shellcheck_clean() -> None:
    folder = Path(__file__).parents[2] / "lab"
    subprocess.run(["shellcheck", *map(str, sorted(folder.glob("*.sh")))], check=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a-name-of-16-abc", "has 16 letters, an interface's name at most 15"),
        ("switch", "is the name of a part of the switch"),
        ("br0", "is the name of a part of the switch"),
        ("lo", "is the name of a part of the switch"),
    ],
)
def test_a_name_that_cannot_be_a_port_of_the_switch_is_told_before_anything_is_done(
    tmp_path: Path, name: str, said: str
) -> None:
    text = default_path().read_text()
    for old in ("psi", "admin"):  # a node, and the operator's place
        inventory = parse(re.sub(rf"\b{old}\b", name, text), tmp_path / "inventory.yaml")
        with pytest.raises(InputError) as caught:
            Lab(inventory)
        assert f"inventory.yaml: {name}: {said}; " in str(caught.value) and "\n" not in str(caught.value)
    Lab(parse(re.sub(r"\bpsi\b", "a-name-of-15-ab", text), tmp_path / "inventory.yaml"))


@pytest.mark.parametrize("words", [["exec", "alpha", "--", "ls"], ["shell", "alpha"], ["logs", "alpha"]])
def test_a_lab_that_is_down_says_so_and_not_that_its_node_is_off(tmp_path: Path, words: list[str]) -> None:
    lab = Lab(parse(default_path().read_text(), tmp_path / "inventory.yaml"))
    with pytest.raises(InputError, match="lab: it is down; `python -m lab up` brings it up"):
        act(lab, parser().parse_args(words))


def test_a_home_that_is_no_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with (
            pytest.raises(InputError, match=r"lab: .*file.*: .*; set RPICLUSTER_HOME to a folder") as caught,
            Site(tmp_path, home).locked("up"),
        ):
            pass
        assert "\n" not in str(caught.value)


def test_a_pin_is_forgotten_where_other_lines_are_no_text(tmp_path: Path) -> None:
    pins = tmp_path / "known_hosts"
    pins.write_bytes(b"192.168.10.6 ssh-ed25519 A\n\xff\xfe junk\n")
    forget_pin(pins, "192.168.10.6")
    assert pins.read_bytes() == b"\xff\xfe junk\n"


def test_exec_takes_the_command_after_two_dashes() -> None:
    options = parser().parse_args(["exec", "alpha", "--", "ls", "-l"])
    assert (options.node, options.command) == ("alpha", ["ls", "-l"])
