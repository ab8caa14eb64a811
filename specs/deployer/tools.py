"""What is looked at once for all specs about the deployer's tools (see specs/looks.py)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.errors import ClusterError, ProbeFailed
from specs.deployer.looks import GROUP

if TYPE_CHECKING:
    from cluster.node import Node
    from specs.looks import Place

LOOK_S, PLAY_S, SERVERSPEC_S = 20.0, 120.0, 240.0
SETTINGS = ("bind", "maxclients", "protected-mode")
# As the login user, who has the store and the keys.  What is secret leaves the node as a hash only.
LOOK = f"""
echo @redis; for key in {" ".join(SETTINGS)}; do redis-cli --raw config get $key | paste -sd' '; done
echo @ara; curl -sS --max-time 10 -o /dev/null -w '%{{http_code}}\\n' https://localhost:$1/ 2>&1
echo @pass; cd ~/.password-store && find * -name '*.gpg' | sed 's/.gpg$//' | while read -r entry; do
  pass show "$entry" </dev/null | sha256sum | sed "s|-|$entry|"; done
echo @end
"""
PLAY = """
/opt/cluster/bin/rpi-ansible 2>&1
echo; echo @facts; for name in $(redis-cli --scan --pattern 'ansible_facts:*'); do
  printf '%s %s ' "${name#*:}" "$(redis-cli ttl $name)"
  redis-cli --raw get $name | python3 -c 'import json, sys; print(json.load(sys.stdin).get("ansible_hostname"))'; done
echo @ara; curl -sS --max-time 10 "https://localhost:$1/api/v1/playbooks?limit=1&order=-started"
echo; echo @vault; echo probe | ansible-vault encrypt 2>/dev/null | ansible-vault decrypt 2>/dev/null
echo; echo @page; curl -sS --max-time 10 "https://localhost:$1/" | grep -c '/etc/ansible/nodes.yaml'
echo @end
"""


@dataclass(frozen=True)
class Tools:
    """What the tools say of themselves; `store`: of each entry of the password store, its hash."""

    redis: Mapping[str, str]
    ara: str
    store: Mapping[str, str]


@dataclass(frozen=True)
class Play:
    """What came of one play over all nodes: by node, where it is kept, and who recorded it."""

    stats: Mapping[str, Mapping[str, int]]
    facts: Mapping[str, tuple[int, str]]
    """By node: for how many seconds more they are kept, and the name it gave itself."""
    record: Mapping[str, Any]
    shown: bool
    """Whether ARA's page shows it."""
    vault: str
    """What is left of the word `probe` when it has been through Ansible's vault."""


def parts(text: str, *names: str) -> dict[str, list[str]]:
    """The lines of each part of an output, by the name that begins it; raises ProbeFailed when one is missing."""
    found: dict[str, list[str]] = {"": []}
    here = found[""]
    for line in text.splitlines():
        if line.startswith("@"):
            here = found.setdefault(line[1:], [])
        else:
            here.append(line)
    if missing := [name for name in (*names, "end") if name not in found]:
        raise ProbeFailed(f"the tools' answer is incomplete: no {', '.join(missing)}", reason="incomplete")
    return found


def recap(lines: Iterable[str]) -> dict[str, dict[str, int]]:
    """What Ansible says at the end of a play, by node: how many tasks were `ok`, `failed`, `unreachable`..."""
    found = (re.match(r"(\S+) +: (ok=\d.*)", line) for line in lines)
    return {one[1]: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", one[2])} for one in found if one}


def hashed(text: bytes) -> str:
    """What stands for a secret where it may be seen."""
    return hashlib.sha256(text).hexdigest()


def all_tools(place: Place) -> dict[str, Tools | ClusterError]:
    """What each deployer's tools say of themselves."""

    def ask(node: Node) -> Tools:
        words = ["bash", "-c", LOOK, "look", str(place.inventory.tools.ara_port)]
        found = parts(node.run(words, deadline=LOOK_S).text, "redis", "ara", "pass")
        settings = {key: value for key, _, value in (line.partition(" ") for line in found["redis"])}
        store = {entry: value for value, _, entry in (line.partition("  ") for line in found["pass"])}
        return Tools(settings, " ".join(found["ara"]), store)

    return place.fleet.each(ask, [node.name for node in place.inventory.group(GROUP)])


def ansible_play(place: Place) -> dict[str, Play | ClusterError]:
    """What came of one play over all nodes, from each deployer."""

    def ask(node: Node) -> Play:
        words = ["bash", "-c", PLAY, "play", str(place.inventory.tools.ara_port)]
        found = parts(node.run(words, deadline=PLAY_S).text, "facts", "ara", "vault", "page")
        stats = recap(found[""])
        try:
            records = json.loads("\n".join(found["ara"]))["results"]
        except (ValueError, KeyError) as error:
            said = " ".join("".join(found["ara"]).split())[-200:]
            raise ProbeFailed(f"{node.name}: ARA said what is no JSON: {said}", reason="malformed") from error
        facts = {name: (int(ttl), said) for name, ttl, said in (line.split() for line in found["facts"])}
        return Play(
            stats, facts, records[0] if records else {}, found["page"][:1] != ["0"], " ".join(found["vault"]).strip()
        )

    return place.fleet.each(ask, [node.name for node in place.inventory.group(GROUP)])


def serverspecs(place: Place) -> dict[str, dict[str, dict[str, Any]] | ClusterError]:
    """What Serverspec's suite says of every node, from each deployer: its summary and what failed, by node."""

    def ask(node: Node) -> dict[str, dict[str, Any]]:
        node.run(["/opt/cluster/bin/rpi-serverspec"], deadline=SERVERSPEC_S)
        found: dict[str, dict[str, Any]] = {}
        for name in place.inventory.nodes:
            found[name] = json.loads(node.get(f"/opt/cluster/serverspec/reports/{name}.json"))
        return found

    return place.fleet.each(ask, [node.name for node in place.inventory.group(GROUP)])
