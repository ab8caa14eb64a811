"""TFTP, as a client sees it: every file from each server and from the floating address, and nothing else.

RFC 1350, 2347, 2348, 2349; tftpd(8).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes import tftp
from specs.lanservices.booting import FROM_ANOTHER_PORT, Serving, addresses_of
from specs.lanservices.looks import must

Files = dict[tuple[str, str], tftp.File | ClusterError]
Servings = dict[str, Serving | ClusterError]
NOT_THERE = "no-such-file"
WELCOME = "welcome.txt"


class Door(NamedTuple):
    """Where clients ask."""

    name: str
    address: str


class Asked(NamedTuple):
    """A path asked for at a door; `name` is the test's id."""

    door: Door
    path: str

    @property
    def name(self) -> str:
        return f"{self.door.name}-{self.path}"


def doors(inventory: Inventory) -> list[Door]:
    """Each server, and the floating address."""
    return [Door(*pair) for pair in addresses_of(inventory).items()]


def at_each_door(*paths: str) -> Callable[[Inventory], list[Asked]]:
    """Each of the paths at each door."""
    return lambda inventory: [Asked(d, path.format(inventory)) for d in doors(inventory) for path in paths]


pytestmark = pytest.mark.outside(FROM_ANOTHER_PORT)
at_each_address = pytest.mark.each("door", doors)


def refusal(door: Door, path: str) -> tftp.Refused | None:
    """Why the server does not give us a file, None where it does; silence is an error."""
    try:
        tftp.read(door.address, path)
    except tftp.Refused as refused:
        return refused
    return None


# ---------------------------------------------------------------- files


@pytest.mark.each("asked", at_each_door(WELCOME, "{0.tftp.boot_file}"))
def test_a_file_that_must_be_there_can_be_read(asked: Asked) -> None:
    got = tftp.read(asked.door.address, asked.path)
    assert got.content, f"{asked.path} from {asked.door.name} is empty"


@pytest.mark.semantics("tftp-files")
@at_each_address
def test_every_file_comes_as_it_lies_on_the_nodes(door: Door, tftp_files: Files, tftp_servings: Servings) -> None:
    wrong = []
    for name, serving in tftp_servings.items():
        if door.name not in (name, "floating"):
            continue
        for path, entry in must(serving).tree.items():
            got = tftp_files.get((door.name, path)) if entry.sha256 else None
            if isinstance(got, tftp.File) and hashlib.sha256(got.content).hexdigest() != entry.sha256:
                wrong.append(f"{path} is not the one on {name}")
            elif isinstance(got, ClusterError):
                wrong.append(str(got))
    asked = [path for name, path in tftp_files if name == door.name]
    assert asked and not wrong, f"{door.name} ({door.address}): {'; '.join(wrong) or 'there is no file'}"


@pytest.mark.semantics("tftp-files")
@at_each_address
def test_it_answers_from_the_address_that_was_asked(door: Door, tftp_files: Files) -> None:
    """A client of RFC 1350 drops what comes from elsewhere; a daemon that is not careful answers from its own."""
    sources = {got.source for (name, _), got in tftp_files.items() if name == door.name and isinstance(got, tftp.File)}
    assert sources == {door.address}, f"{door.name} ({door.address}) answered from {sources or 'nowhere'}"


@pytest.mark.semantics("tftp-same-trees")
def test_both_servers_have_the_same_tree(tftp_servings: Servings) -> None:
    trees = {name: must(serving).tree for name, serving in tftp_servings.items()}
    for name, mine in trees.items():
        for other, theirs in trees.items():
            differ = sorted(path for path in {*mine, *theirs} if mine.get(path) != theirs.get(path))
            assert not differ, f"{name} and {other} differ in {', '.join(differ)}"


@pytest.mark.group("lanservices")
@pytest.mark.parametrize("folder", ["pxelinux", "dl"])
def test_a_folder_is_there(node: Node, folder: str, tftp_servings: Servings) -> None:
    entry = must(tftp_servings[node.name]).tree.get(folder)
    assert entry is not None and entry.mode == "0755", f"{node.name}: {folder} is {entry or 'missing'}, not mode 0755"


@pytest.mark.group("lanservices")
def test_nobody_but_root_can_change_what_is_served(node: Node, tftp_servings: Servings) -> None:
    tree = must(tftp_servings[node.name]).tree
    loose = [path for path, e in tree.items() if e.owner != "root:root" or int(e.mode, 8) & 0o022]
    assert not loose, f"{node.name}: can be written by others: {', '.join(loose)}"


# ---------------------------------------------------------------- options


@pytest.mark.semantics("tftp-options")
@at_each_address
@pytest.mark.parametrize("size", [8, 1428, 65464])
def test_the_block_size_can_be_chosen(door: Door, size: int) -> None:
    """RFC 2348: 8 to 65464; 1428 is what fits into an Ethernet frame."""
    plain, got = tftp.read(door.address, WELCOME), tftp.read(door.address, WELCOME, blksize=size)
    agreed = int(got.options.get("blksize", tftp.BLOCK))
    assert "blksize" in got.options, f"{door.name} does not take the option blksize"
    assert got.content == plain.content, f"{door.name}: {WELCOME} is another with blocks of {agreed} bytes"
    assert got.blocks == len(plain.content) // agreed + 1, f"{door.name}: {got.blocks} blocks of {agreed} bytes"


@pytest.mark.semantics("tftp-options")
@at_each_address
def test_the_size_is_told(door: Door) -> None:
    got = tftp.read(door.address, WELCOME, tsize=True)
    told = got.options.get("tsize")
    assert told == str(len(got.content)), f"{door.name} tells {told} bytes of {WELCOME}, it has {len(got.content)}"


# ---------------------------------------------------------------- refusals


@pytest.mark.semantics("tftp-unknown")
@at_each_address
def test_an_unknown_file_is_error_1(door: Door) -> None:
    refused = refusal(door, NOT_THERE)
    assert refused is not None and refused.code == tftp.NOT_FOUND, f"{door.name}: {NOT_THERE}: {refused or 'is served'}"


@pytest.mark.semantics("tftp-no-writing")
@pytest.mark.parametrize("path", [WELCOME, NOT_THERE, f"dl/{NOT_THERE}"])
@at_each_address
def test_writing_is_refused(door: Door, path: str) -> None:
    refused = tftp.write_request(door.address, path)
    assert refused is not None, f"{door.name} ({door.address}) would let anybody write {path}"


OUTSIDE = (
    "/etc/passwd",
    "../../etc/passwd",
    "pxelinux/../../../etc/passwd",
    "{0.tftp.root}/../../etc/passwd",
    f"{{0.tftp.root}}/{WELCOME}",  # the folder is the server's root: by its own name it is not there
)


@pytest.mark.semantics("tftp-no-climbing")
@pytest.mark.each("asked", at_each_door(*OUTSIDE))
def test_a_path_cannot_climb_out(asked: Asked) -> None:
    refused = refusal(asked.door, asked.path)
    assert refused is not None, f"{asked.door.name} ({asked.door.address}) serves {asked.path}"


@pytest.mark.semantics("tftp-no-climbing")
@pytest.mark.group("lanservices")
def test_who_serves_a_client_has_no_rights(node: Node, tftp_servings: Servings, inventory: Inventory) -> None:
    """One process takes port 69; each client has another, which must not be root, and locked into the folder."""
    processes = must(tftp_servings[node.name]).processes
    serving = [(user, root) for user, root in processes if user != "root"]
    assert serving, f"{node.name}: a client is served by {processes or 'nobody'}, not by a user without rights"
    outside = [f"{user} in {root}" for user, root in serving if root != inventory.tftp.root]
    assert not outside, f"{node.name}: clients are served by {', '.join(outside)}, not in {inventory.tftp.root}"
