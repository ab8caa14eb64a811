"""What nodes are sent: properties of the rendered bundles, for every node of the shipped inventory."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from ipaddress import IPv4Address
from pathlib import Path

import jinja2
import pytest

from cluster import inventory as inventories
from cluster import secrets
from cluster.errors import InputError, Unreachable
from cluster.inventory import Inventory, Record
from provision import order, render, runner, show

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = inventories.load(ROOT / "inventory.yaml")
NODES = sorted(SHIPPED.nodes)


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """The shipped inventory, with secrets of its own."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "inventory.yaml", folder)
    return inventories.load(folder / "inventory.yaml")


@pytest.fixture(scope="module")
def bundles(inventory: Inventory) -> dict[str, dict[str, bytes]]:
    made = secrets.ensure(inventory)
    return {name: render.bundle(inventory, inventory.node(name), made) for name in inventory.nodes}


def changed(inventory: Inventory, tmp_path: Path, old: str, new: str) -> Inventory:
    """The inventory with one piece of its text replaced, and the same secrets."""
    shutil.copytree(inventory.state, tmp_path / ".state")
    text = inventory.path.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "inventory.yaml").write_text(text.replace(old, new), encoding="utf-8")
    return inventories.load(tmp_path / "inventory.yaml")


def test_a_boot_file_that_is_not_there_is_refused(inventory: Inventory, tmp_path: Path) -> None:
    render.check(inventory)
    (served := tmp_path / "lanservices/tftp").mkdir(parents=True)
    (served / "other.txt.j2").touch()
    with pytest.raises(InputError, match=r"yaml: tftp\.boot_file: .* no pxelinux/boot\.txt; put it .* other\.txt$"):
        render.check(inventory, tmp_path)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("name", [name for name in NODES if SHIPPED.nodes[name].group != "openwrt"])  # it gets none
def test_rendered_scripts_are_shellcheck_clean_and_strict(
    bundles: dict[str, dict[str, bytes]], name: str, tmp_path: Path
) -> None:
    made = {path: content for path, content in bundles[name].items() if re.match(rb"#!/bin/(ba)?sh\n", content)}
    scripts = {path: content.decode() for path, content in made.items() if not path.endswith(".sh")}
    for path, text in scripts.items():
        (tmp_path / Path(path).name).write_text(text, encoding="utf-8")
        assert re.search(r"^set -\w*u", text, re.MULTILINE), path
    names = sorted(Path(path).name for path in scripts)
    assert len(names) == len(scripts)
    done = subprocess.run(
        ["shellcheck", "--exclude=SC2317", *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert scripts and done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", NODES)
def test_every_rendered_file_says_that_it_is_managed_and_from_where(
    bundles: dict[str, dict[str, bytes]], name: str
) -> None:
    for path, content in bundles[name].items():
        if (path.endswith(".sh") or "/packages" in path or "/wheels" in path) and path != "params.sh":
            continue
        first, *more = content.decode().splitlines()
        if first.startswith("#!"):
            first = more[0]
        source = "render.py" if "/" not in path else f"{path}.j2"
        assert re.match(rf"^(#|//|;|<!--) Managed by rpicluster from provision/{re.escape(source)}\b", first), path


@pytest.mark.parametrize("name", NODES)
def test_nothing_is_left_unrendered(bundles: dict[str, dict[str, bytes]], name: str) -> None:
    for path, content in bundles[name].items():
        text = content.decode()
        assert content.endswith(b"\n"), path
        if not path.endswith(".sh") and "/wheels" not in path:  # locks go as they are
            markup = path.endswith((".html", ".svg", ".c")) or text.startswith("#!")  # a script has redirections
            text = re.sub(r"{{ (\.NodeConfig\.\S+|said\.stdout \| trim) }}", "", text)  # for K3s and Ansible to fill in
            assert not re.search(r"{{|{%|None|IPv4Address" + ("" if markup else "|<"), text), path


@pytest.mark.parametrize("name", NODES)
def test_every_template_of_a_room_is_installed_by_a_script_of_it(
    bundles: dict[str, dict[str, bytes]], name: str
) -> None:
    scripts = "".join(text.decode() for path, text in bundles[name].items() if path.endswith(".sh"))
    for path in bundles[name]:
        if "/" in path and not path.endswith(".sh"):
            _, *parents, last = path.split("/")
            stem = (*parents, last)[0]  # a folder is installed as a whole
            assert f"/{stem}" in scripts or stem in scripts, path


def test_rendering_is_pure(inventory: Inventory, bundles: dict[str, dict[str, bytes]]) -> None:
    made = secrets.ensure(inventory)
    for name in inventory.nodes:
        assert render.bundle(inventory, inventory.node(name), made) == bundles[name]


def test_a_template_that_names_nothing_is_a_bug(inventory: Inventory, tmp_path: Path) -> None:
    here = tmp_path / "provision"
    shutil.copytree(render.HERE, here)
    (here / "base" / "hosts.j2").write_text("# {{ managed }}\n{{ inventory.nothing_of_that_name }}\n")
    with pytest.raises(jinja2.UndefinedError):
        render.bundle(inventory, inventory.node("psi"), secrets.ensure(inventory), here)


def test_rooms_and_their_order(inventory: Inventory, bundles: dict[str, dict[str, bytes]]) -> None:
    assert render.rooms(inventory.node("alpha")) == ("base", "lanservices")
    assert render.rooms(inventory.node("gamma")) == ("base", "compute")
    assert "steps" not in bundles["omega"] and "openwrt/dhcp" in bundles["omega"], "nothing of base is for a router"
    steps = [line for line in bundles["alpha"]["steps"].decode().splitlines() if not line.startswith("#")]
    assert steps == list(render.steps(inventory.node("alpha")))
    rooms = [step.split("/")[0] for step in steps]
    assert rooms.index("lanservices") > rooms.index("base")
    assert steps[-1] == "base/90-info.sh"
    assert steps.index("base/50-users.sh") < steps.index("base/60-ssh.sh"), "the key comes before the door closes"
    for step in steps:
        assert step in bundles["alpha"]["base/info_roles.txt"].decode().splitlines()


def test_secrets_go_only_where_they_are_used(inventory: Inventory, bundles: dict[str, dict[str, bytes]]) -> None:
    made = secrets.ensure(inventory)
    wanted = {
        made.vrrp_password().encode(): {"lanservices/keepalived.conf"},
        made.tsig_key().encode(): {"lanservices/transfer.key"},
        made.omapi_key().encode(): {"lanservices/dhcpd.conf"},
    }
    for name, files in bundles.items():
        for secret, paths in wanted.items():
            found = {path for path, content in files.items() if secret in content}
            assert found == (paths if name in ("alpha", "beta") else set())
        keys = {path for path, content in files.items() if b"PRIVATE KEY" in content}
        tokens = {path for path, content in files.items() if made.k3s_token().encode() in content}
        assert tokens == ({"compute/k3s-config.yaml"} if inventory.node(name) in inventory.k3s_nodes else set())
        assert keys == ({"compute/mpi-key"} if inventory.node(name).group == "compute" else set())
        assert not any(made.ssh_key.read_bytes() in content for content in files.values()), "the operator's own"


def test_both_dhcp_peers_agree_on_all_but_their_own_ends(bundles: dict[str, dict[str, bytes]]) -> None:
    texts = {name: bundles[name]["lanservices/dhcpd.conf"].decode() for name in ("alpha", "beta")}
    shared = {name: text[text.index("\nsubnet") :] for name, text in texts.items()}
    assert shared["alpha"] == shared["beta"]
    assert "  primary;" in texts["alpha"] and "  secondary;" in texts["beta"]
    assert "split 128;" in texts["alpha"] and "split" not in texts["beta"]
    assert "mclt 1800;" in texts["alpha"] and "mclt" not in texts["beta"]
    ends = {
        name: dict(re.findall(r"^  ((?:peer )?(?:address|port)) (\S+);", text, re.M)) for name, text in texts.items()
    }
    for key, other in (("address", "peer address"), ("port", "peer port")):
        assert ends["alpha"][key] == ends["beta"][other]
        assert ends["beta"][key] == ends["alpha"][other]


def test_reservations_are_those_of_the_inventory(inventory: Inventory, bundles: dict[str, dict[str, bytes]]) -> None:
    text = bundles["beta"]["lanservices/dhcpd.conf"].decode()
    found = {
        name: (mac, IPv4Address(address))
        for name, mac, address in re.findall(
            r"^host (\S+) { hardware ethernet (\S+); fixed-address (\S+); }", text, re.M
        )
    }
    assert found == dict(inventory.dhcp.reservations)
    assert {"gamma", "alpha", "psi"} <= set(found) and "omega" not in found


def test_vrrp_as_in_the_inventory(inventory: Inventory, bundles: dict[str, dict[str, bytes]]) -> None:
    for name, priority in inventory.vrrp.priorities.items():
        text = bundles[name]["lanservices/keepalived.conf"].decode()
        assert f"priority {priority}\n" in text
        assert "state BACKUP\n" in text and "preempt_delay 5\n" in text and "advert_int 1\n" in text
        assert f"{inventory.network.floating}/32 dev eth0" in text


def test_who_asks_whom(bundles: dict[str, dict[str, bytes]]) -> None:
    def lines(name: str, file: str, word: str) -> list[str]:
        return [line.split()[1] for line in bundles[name][file].decode().splitlines() if line.startswith(f"{word} ")]

    assert lines("alpha", "base/resolv.conf", "nameserver") == ["127.0.0.1", "192.168.10.8"]
    assert lines("beta", "base/resolv.conf", "nameserver") == ["127.0.0.1", "192.168.10.6"]
    assert lines("zeta", "base/resolv.conf", "nameserver") == ["192.168.10.6", "192.168.10.8"]
    pair, gamma, delta = ["192.168.10.6", "192.168.10.8"], "192.168.10.21", "192.168.10.22"
    assert lines("zeta", "base/chrony.conf", "server") == [*pair, gamma, delta]
    assert lines("gamma", "base/chrony.conf", "server") == [*pair, delta]
    assert lines("alpha", "base/chrony.conf", "server") == ["192.168.10.8"]
    assert lines("gamma", "base/chrony.conf", "allow") and not lines("zeta", "base/chrony.conf", "allow")
    assert lines("alpha", "base/chrony.conf", "maxchange") == ["0.1"]
    assert lines("alpha", "base/chrony.conf", "pool") and not lines("zeta", "base/chrony.conf", "pool")


@pytest.mark.parametrize("name", [name for name in NODES if name in SHIPPED.debian])
def test_ssh_takes_keys_only_on_the_groups_ports(
    inventory: Inventory, bundles: dict[str, dict[str, bytes]], name: str
) -> None:
    text = bundles[name]["base/sshd.conf"].decode()
    ports = tuple(map(int, re.findall(r"^Port (\d+)$", text, re.M)))
    assert ports == inventory.groups[inventory.nodes[name].group].ssh_ports
    for line in ("PermitRootLogin no", "PasswordAuthentication no", "KbdInteractiveAuthentication no"):
        assert f"\n{line}\n" in text


@pytest.mark.parametrize(
    ("record", "data"),
    [
        (Record.model_construct(name="a", type="A", value="192.168.10.1", priority=None), "192.168.10.1"),
        (Record.model_construct(name="a", type="CNAME", value="b.c", priority=None), "b.c."),
        (Record.model_construct(name="a", type="MX", value="b.c", priority=10), "10 b.c."),
        (Record.model_construct(name="a", type="TXT", value='say "hi" \\ ;', priority=None), r'"say \"hi\" \\ ;"'),
        (Record.model_construct(name="a", type="TXT", value="ü\n", priority=None), r'"\195\188\010"'),
        (Record.model_construct(name="a", type="TXT", value="x" * 300, priority=None), f'"{"x" * 255}" "{"x" * 45}"'),
    ],
    ids=lambda value: value.type if isinstance(value, Record) else "",
)
def test_record_data(record: Record, data: str) -> None:
    assert render.rdata(record) == data


def test_a_new_compute_node_is_known_everywhere(inventory: Inventory, tmp_path: Path) -> None:
    old = "  zeta:    {group: compute,     address: 192.168.10.24, mac: b8:27:eb:00:00:24}\n"
    more = changed(
        inventory, tmp_path, old, old + "  eta: {group: compute, address: 192.168.10.25, mac: b8:27:eb:00:00:25}\n"
    )
    files = render.bundle(more, more.node("alpha"), secrets.ensure(more))
    for path in ("base/hosts", "lanservices/dhcpd.conf", "lanservices/zone.forward", "lanservices/zone.reverse"):
        assert "eta" in files[path].decode().replace("beta", "").replace("zeta", ""), path
    assert render.bundle(more, more.node("eta"), secrets.ensure(more))["base/hostname"].endswith(b"\neta\n")


def test_parameters_survive_the_shell(inventory: Inventory, tmp_path: Path) -> None:
    odd = changed(inventory, tmp_path, "timezone: UTC", "timezone: Europe/Berlin")
    params = render.bundle(odd, odd.node("alpha"), secrets.ensure(odd))["params.sh"]
    told = subprocess.run(
        ["bash", "-euc", f'{params.decode()}\necho "$TIMEZONE|${{ROOMS[*]}}|${{PARTNERS[*]}}|$DNS_ROLE"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout == "Europe/Berlin|base lanservices|192.168.10.8|primary\n"


def test_the_tar_is_for_roots_eyes_only() -> None:
    packed = runner.pack({"run.sh": b"#!/bin/bash\n", "base/10-x.sh": b"x", "base/secret": b"y"})
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
    assert {name: entry.mode for name, entry in entries.items()} == {
        "base": 0o700, "run.sh": 0o700, "base/10-x.sh": 0o700, "base/secret": 0o600,
    }  # fmt: skip


PROGRESS = """step base/10-a.sh
change: /etc/hosts
step base/20-b.sh
reached: dhcp
failed: alpha: base/20-b.sh line 7: `false` ended with exit code 1
output: first words
output: last words
end 1
"""


def test_progress_becomes_an_outcome() -> None:
    outcome = runner.outcome("alpha", "lanservices", list(runner.parse(PROGRESS)), 1.5)
    assert not outcome.ok
    assert outcome.changes == ("base/10-a.sh: /etc/hosts",)
    assert outcome.error == "alpha: base/20-b.sh line 7: `false` ended with exit code 1"
    assert outcome.output == ("first words", "last words")
    assert show.report(outcome).splitlines() == [outcome.error, "    first words", "    last words"]
    good = runner.outcome("alpha", "lanservices", list(runner.parse("step base/10-a.sh\nend 0\n")), 1.5)
    assert good.ok and good.changes == () and good.error is None


def test_an_end_with_a_code_but_no_words_is_a_failure_too() -> None:
    outcome = runner.outcome("alpha", "lanservices", list(runner.parse("step base/10-a.sh\nend 3\n")), 1.5)
    assert not outcome.ok and outcome.error is not None and "3" in outcome.error


def test_targets(inventory: Inventory) -> None:
    assert order.targets(inventory, []) == order.targets(inventory, ["all"]) == tuple(inventory.nodes)
    assert order.targets(inventory, ["compute", "psi", "gamma"]) == ("psi", "gamma", "delta", "epsilon", "zeta")
    with pytest.raises(InputError, match=r"no node or group named nobody; known: all, .*lanservices.*alpha"):
        order.targets(inventory, ["nobody"])


def test_gate_opens_with_the_first_server_and_is_lost_with_the_last() -> None:
    gate = order.Gate(["alpha", "beta"])
    gate.report("alpha", serves=False)
    gate.report("beta", serves=True)
    gate.wait("gamma")
    gate.report("beta", serves=False)  # a later step failed; DHCP is served all the same
    gate.wait("gamma")
    lost = order.Gate(["alpha", "beta"])
    lost.report("alpha", serves=False)
    lost.report("beta", serves=False)
    with pytest.raises(Unreachable, match="gamma: has no address"):
        lost.wait("gamma")
    order.Gate([]).wait("gamma")


def test_bundle_option_writes_what_one_node_is_sent(inventory: Inventory, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "provision", "--inventory", str(inventory.path)]
    done = subprocess.run(
        [*words, "beta", "--bundle", str(tmp_path / "b")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    written = {str(path.relative_to(tmp_path / "b")) for path in (tmp_path / "b").rglob("*") if path.is_file()}
    assert written == set(render.bundle(inventory, inventory.node("beta"), secrets.ensure(inventory)))
    assert not any(path.stat().st_mode & 0o077 for path in (tmp_path / "b").rglob("*"))
    for targets, message in ((["beta"], "is not empty"), (["lanservices"], "name one node, not 2")):
        again = subprocess.run(
            [*words, *targets, "--bundle", str(tmp_path / "b")], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert again.returncode == 2 and message in again.stderr and len(again.stderr.splitlines()) == 1
