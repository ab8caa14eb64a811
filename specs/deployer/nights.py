"""What is looked at once for all specs about the harness on the deployer, its nights, its lights (specs/looks.py)."""

from __future__ import annotations

import base64
import gzip
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cluster import tree
from cluster.errors import ClusterError, ProbeFailed
from specs.deployer.looks import GROUP
from specs.deployer.tools import parts
from specs.lanservices.webs import pages_of

if TYPE_CHECKING:
    from cluster.node import Node
    from cluster.probes.http import Page
    from specs.looks import Place

LOOK_S, SPECS_S = 30.0, 120.0
INDEX, NOW = "/reports/index.html", "/cgi-bin/nights"
LOOK = f"""
cd {tree.HOME} || exit
echo @manifest; cat .manifest
echo @changed; sha256sum --quiet --check .manifest 2>/dev/null
echo @wheels; sha256sum <.venv/made-from
echo @tasks; .venv/bin/inv --list --list-format=json
echo @timer; systemctl show -P ActiveState -P UnitFileState rpi-nightly.timer
systemctl show -P TimersCalendar rpi-nightly.timer
echo @times; date +%s; date -d "$(systemctl show -P ActiveEnterTimestamp rpi-nightly.timer)" +%s
echo @running; systemctl show -P ActiveState rpi-nightly.service
echo @nights; .venv/bin/python -c 'import glob, json
print(json.dumps([json.load(open(one)) for one in sorted(glob.glob("reports/nights/records/*.json"))]))'
echo @index; sha256sum <reports/nights/site/index.html; cat reports/nights/site/due
buffer=$(.venv/bin/python -c 'from cluster import sensehat; print(sensehat.buffer() or "")')
echo @buffer; echo "$buffer"
for _ in $(seq 100); do [ -n "$buffer" ] && [ ! -s "$buffer" ] || break; sleep 0.1; done    # it is lit at boot
echo @lights; [ -z "$buffer" ] || base64 -w0 "$buffer"; echo
echo @end
"""
EVENTS = f"""cd {tree.HOME}/reports/runs/$1 && grep -F '"kind":"spec"' events.jsonl | gzip -c | base64 -w0"""
A_FEW = ("specs/base/test_names.py", "-q", "--no-report", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Harness:
    """The harness on a deployer, and its nights."""

    manifest: str
    changed: Sequence[str]
    """The files that are not what the manifest says."""
    wheels: str
    tasks: Sequence[str]
    timer: Sequence[str]
    now: float
    counting_since: float
    """When the timer was started."""
    running: bool
    nights: Sequence[Mapping[str, Any]]
    index: str
    due: Mapping[str, float]
    lights: bytes | None
    """What the Sense HAT holds; None where there is none."""
    events: Sequence[Mapping[str, Any]]
    """The specs of the last night that came to its end."""

    @property
    def last(self) -> Mapping[str, Any] | None:
        """The last night that is over: not the one that goes on now."""
        over = [night for night in self.nights if night["ended"] or not (self.running and night is self.nights[-1])]
        return over[-1] if over else None

    @property
    def told(self) -> Mapping[str, Any] | None:
        """The last night that came to its end."""
        return next((night for night in reversed(self.nights) if night["ended"]), None)


def harnesses(place: Place) -> dict[str, Harness | ClusterError]:
    """What each deployer says of its harness and of its nights."""

    def ask(node: Node) -> Harness:
        said = node.run(["bash", "-c", LOOK], deadline=LOOK_S)
        found = parts(said.text, "manifest", "tasks", "timer", "nights", "index", "lights")
        try:
            return _read(node, found)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            words = said.err.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise ProbeFailed(
                f"{node.name}: no harness that works: {error!r} {' '.join(words)}", reason="malformed"
            ) from error

    return place.fleet.each(ask, [node.name for node in place.inventory.group(GROUP)])


def _read(node: Node, found: Mapping[str, Sequence[str]]) -> Harness:
    nights = json.loads("".join(found["nights"]))
    now, since = map(float, found["times"])
    lights = base64.b64decode(found["lights"][0]) if found["buffer"][0] else None
    harness = Harness(
        manifest="".join(f"{line}\n" for line in found["manifest"]),
        changed=[line.rpartition(": ")[0] for line in found["changed"]],
        wheels=found["wheels"][0].split()[0],
        tasks=[task["name"] for task in json.loads("".join(found["tasks"]))["tasks"]],
        timer=found["timer"],
        now=now,
        counting_since=since,
        running=found["running"] == ["activating"],
        nights=nights,
        index=found["index"][0].split()[0],
        due={word: float(number) for word, number in (line.split() for line in found["index"][1:])},
        lights=lights,
        events=[],
    )
    told = harness.told
    if lights is None or told is None or not told["run"]:
        return harness
    packed = node.run(f"set -- {shlex.quote(told['run'])}; {EVENTS}", deadline=LOOK_S, check=True).text
    lines = gzip.decompress(base64.b64decode(packed)).decode().splitlines()
    return replace(harness, events=[json.loads(line) for line in lines])


def night_pages(place: Place) -> dict[tuple[str, str], Page | ClusterError]:
    """The index of the nights, and what is said of the next one, from every address."""
    return pages_of(place, INDEX, NOW)


def a_few_there(place: Place) -> dict[str, tuple[int, str] | ClusterError]:
    """The exit code of a few specs run on each deployer, and what they said."""

    def ask(node: Node) -> tuple[int, str]:
        done = node.run(["/opt/cluster/bin/rpi-specs", *A_FEW], deadline=SPECS_S)
        return done.code, done.text + done.err.decode("utf-8", "replace")

    return place.fleet.each(ask, [node.name for node in place.inventory.group(GROUP)])
