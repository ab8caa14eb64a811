"""Makes a run like the ones chaos records, event by event, from a seed: the same seed gives the same run.

For what a page does with many events, with an outage of a known length, or with one that a recorder never
finished.  `python tests/cases/runs/make.py FOLDER` writes one to look at.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NODES = {
    "omega": ("openwrt", 2),
    "psi": ("deployer", 5),
    "alpha": ("lanservices", 6),
    "beta": ("lanservices", 8),
    "gamma": ("compute", 21),
    "delta": ("compute", 22),
    "epsilon": ("compute", 23),
    "zeta": ("compute", 24),
}
WALL = 1_790_000_000.0
START, FAULT, OFF, ON, BACK, END = 5000.0, 5005.0, 5005.014, 5015.1, 5017.2, 5033.0
"""Seconds on the monotonic clock: first look, fault begun and done, power given again, answering again, end."""
TAKEN, HANDED = 5008.31, 5023.6
"""When the survivor took the address, and when the owner took it back."""


def chaos_run(*, seed: int = 1, every: float = 0.02) -> list[dict[str, Any]]:
    """The events of `chaos kill alpha --for 10s`, with a look at each service `every` seconds."""
    rng = random.Random(seed)
    events = [*_story(), *_frames(rng)]
    for service in ("vip", "tcp", "dns", "ntp", "node"):
        events += _looks(service, rng, every)
    events += _dhcp(rng)
    events.sort(key=lambda event: event["t"])
    return [{"t": round(e["t"], 6), "wall": round(WALL + e["t"] - START, 6), **_without_t(e)} for e in events]


def _without_t(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "t"}


def _story() -> Iterator[dict[str, Any]]:
    for t, name in ((START, "baseline"), (FAULT, "fault"), (ON, "recovery"), (HANDED + 3, "steady")):
        yield {"t": t, "kind": "phase", "name": name}
    fault = {"kind": "fault", "fault": "kill", "node": "alpha"}
    yield {"t": FAULT - 0.01, **fault, "state": "planned", "began": None, "ended": None}
    yield {"t": OFF, **fault, "state": "applied", "began": FAULT, "ended": OFF}
    yield {"t": ON + 0.4, **fault, "state": "undone", "began": ON, "ended": ON + 0.4}
    for kind, t, name, node in (
        ("guard", FAULT - 0.5, "services", "beta"),
        ("guard", FAULT - 0.4, "failover", None),
        ("proof", HANDED + 2, "services", "alpha"),
    ):
        yield {"t": t, "kind": kind, "when": "recovery", "name": name, "node": node, "ok": True, "detail": "all run"}
    yield {"t": 5011.062, "kind": "stall", "late_s": 0.062, "at": 5011.062}
    yield {
        "t": END,
        "kind": "window",
        "low_s": 2.648,
        "high_s": 3.648,
        "predicted_s": 3.648,
        "measured_s": 3.649,
        "source": "keepalived.conf",
    }
    yield {
        "t": END,
        "kind": "ownership",
        "gap_s": {"at_least": 3.216, "at_most": 3.416},
        "overlap_s": {"at_least": 0.0, "at_most": 0.2},
    }
    out = TAKEN - OFF
    for service, verdict, budget, least, most, reason in (
        ("vip", "held", 4.0, out - 0.02, out + 0.02, "out for at most 3.316 s"),
        ("tcp", "held", 4.0, out - 0.01, out + 0.03, "out for at most 3.326 s"),
        ("dns", "held", 0.0, 0.0, 0.0, "never out"),
        ("ntp", "inconclusive", 0.0, 0.0, 0.0, "nobody looked at ntp for 0.31 s"),
        ("dhcp", "broken", 0.0, 2.1, 7.9, "out for at least 2.100 s"),
    ):
        yield {
            "t": END + 0.01,
            "kind": "claim",
            "claim": f"losing-alpha-{service}",
            "losing": "alpha",
            "service": service,
            "verdict": verdict,
            "budget_s": budget,
            "outage_s": {"at_least": least, "at_most": most},
            "reason": reason,
        }


def _frames(rng: random.Random) -> Iterator[dict[str, Any]]:
    def advert(t: float, node: str, priority: int) -> dict[str, Any]:
        host = NODES[node][1]
        return {
            "t": t + rng.uniform(0, 0.002),
            "kind": "frame",
            "proto": "vrrp",
            "src": f"192.168.10.{host}",
            "mac": f"b8:27:eb:00:00:{host:02d}",
            "vrid": 51,
            "priority": priority,
            "addresses": ["192.168.10.111"],
        }

    def arp(t: float, host: int) -> dict[str, Any]:
        return {
            "t": t,
            "kind": "frame",
            "proto": "arp",
            "src": "192.168.10.111",
            "mac": f"b8:27:eb:00:00:{host:02d}",
        }

    for n in range(5):
        yield advert(START + 0.661 + n, "alpha", 100)
    for n in range(16):
        yield advert(TAKEN + n, "beta", 90)
    for n in range(5):
        yield arp(TAKEN + 0.001 + 0.0002 * n, 8)
        yield arp(HANDED + 0.001 + 0.0002 * n, 6)
    for t, hosts in ((START, [6]), (OFF, []), (TAKEN, [8]), (HANDED, [6, 8]), (HANDED + 0.1, [6])):
        macs = [f"b8:27:eb:00:00:{host:02d}" for host in hosts]
        yield {"t": t, "kind": "owners", "address": "192.168.10.111", "macs": macs}
    for n in range(int(END - HANDED)):
        yield advert(HANDED + n, "alpha", 100)


def _looks(service: str, rng: random.Random, every: float) -> Iterator[dict[str, Any]]:
    t = START + rng.uniform(0, every)
    while t < END:
        gone = {
            "vip": OFF < t < TAKEN,
            "tcp": OFF < t < TAKEN,
            "node": OFF < t < BACK,
        }.get(service, False)
        latency = rng.lognormvariate(-6.6, 0.4)
        if service == "dns" and OFF < t < BACK:
            latency += 1.0  # a resolver asks the dead server first
        late = 0.062 if 5011.0 < t < 5011.062 else 0.0
        yield {
            "t": t + (0.5 if gone else latency),
            "kind": "probe",
            "service": service,
            "sent": round(t, 6),
            "answered": None if gone else round(t + latency, 6),
            "ok": not gone,
            "server": None,
            "value": None,
            "error": "no answer" if gone else None,
        }
        t += every + late + rng.uniform(0, every / 20)


def _dhcp(rng: random.Random) -> Iterator[dict[str, Any]]:
    for client in ("02:00:00:00:00:01", "02:00:00:00:00:02"):
        t = START + rng.uniform(0, 1)
        while t < END:
            # The second client hashes to the dead primary: it is served once its `secs` reaches 4.
            slow = client.endswith("2") and OFF < t < BACK
            failed = slow and t < OFF + 4
            latency = 1.02 + (4.0 if slow else 0.0) + rng.uniform(0, 0.05)
            yield {
                "t": t + latency,
                "kind": "probe",
                "service": "dhcp",
                "client": client,
                "sent": round(t, 6),
                "last_try": round(t + (latency - 1.02), 6),
                "answered": None if failed else round(t + latency, 6),
                "ok": not failed,
                "server": None if failed else "192.168.10.8",
                "value": None if failed else "192.168.10.231",
                "error": "no offer" if failed else None,
            }
            t += latency + 0.2


FILES = {
    "specs/base/test_system.py": ("test_hostname", "test_time_zone", "test_hosts_file", "test_uptime"),
    "specs/base/test_ssh.py": ("test_port_open", "test_no_passwords", "test_no_root"),
    "specs/lanservices/test_dns.py": ("test_soa", "test_forward", "test_reverse", "test_axfr_refused"),
    "specs/lanservices/test_dhcp.py": ("test_pair_is_normal", "test_reservation", "test_dora"),
    "specs/lanservices/test_vip.py": ("test_one_advertiser", "test_one_mac"),
    "specs/lanservices/test_ntp.py": ("test_stratum", "test_offset"),
}


def spec_run() -> list[dict[str, Any]]:
    """The events of a spec run with a dead node, a real failure, an error and skips."""
    events: list[dict[str, Any]] = []
    dead = False
    t = START
    for file, functions in FILES.items():
        lan = "lanservices" in file
        for node, (group, _) in NODES.items():
            if lan and group != "lanservices":
                continue
            for function in functions:
                outcome, message = "passed", None
                if node == "zeta":
                    reason = "zeta is unreachable: 192.168.10.24 port 22: no route to host"
                    outcome, message = ("skipped", reason) if dead else ("failed", reason)
                    dead = True
                elif function == "test_axfr_refused" and node == "beta":
                    outcome = "failed"
                    message = (
                        "AssertionError: beta gave the zone clust0r to a stranger: <37 records>\n"
                        "assert 'NOERROR' == 'REFUSED'"
                    )
                elif function == "test_dora":
                    outcome, message = "skipped", "raw sockets need CAP_NET_RAW"
                elif function == "test_offset" and node == "alpha":
                    outcome, message = "error", "fixture 'clock' not found"
                t += 0.004
                events.append(
                    {
                        "t": round(t, 6),
                        "wall": round(WALL + t - START, 6),
                        "kind": "spec",
                        "test": f"{function}[{node}]",
                        "file": file,
                        "node": node,
                        "group": group,
                        "outcome": outcome,
                        "seconds": 0.004,
                        "message": message,
                    }
                )
    wire = {"kind": "spec", "test": "test_one_owner", "file": "specs/cluster/test_wire.py", "node": None, "group": None}
    events.append({"t": t, "wall": WALL, **wire, "outcome": "passed", "seconds": 1.2, "message": None})
    return events


def write(folder: Path, events: list[dict[str, Any]], *, kind: str = "chaos", ended: bool = True, **about: Any) -> Path:
    """Write a run's folder as the recorder does; without `ended` it looks like one that was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {
        "id": folder.name,
        "kind": kind,
        "started": "2026-09-21T14:13:15.000000+00:00",
        "command": "python -m chaos kill alpha --for 10s" if kind == "chaos" else "pytest specs/",
        "cluster": "rpicluster",
        "profile": "production",
        "versions": {"python": "3.11.2", "keepalived": "2.2.7"},
        "nodes": [
            {"name": name, "group": group, "address": f"192.168.10.{host}"} for name, (group, host) in NODES.items()
        ],
    }
    if ended:
        told |= {"ended": "2026-09-21T14:13:52.250000+00:00", "status": "failed", "exit": 1}
    told |= about
    (folder / "run.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    lines = [json.dumps(event, separators=(",", ":")) + "\n" for event in events]
    (folder / "events.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write(target / "20260921-141315-chaos", chaos_run())
    write(target / "20260921-150000-specs", spec_run(), kind="specs")
    write(target / "20260921-160000-chaos", chaos_run()[:900], ended=False)
