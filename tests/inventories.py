"""Inventories with fewer nodes or more than the shipped one, made of its text."""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import IPv4Address

NODE = re.compile(r"(?m)^  (?P<name>\w+): +{group: compute, +address: (?P<address>[\d.]+), +mac: (?P<mac>[\w:]+)}\n")


def without(text: str, names: Collection[str]) -> str:
    """An inventory without these nodes, and without what names them: claims, witnesses of time, K3s's server."""
    if not names:
        return text
    gone = "|".join(names)
    # One witness of time alone is refused, so a list that names one of these nodes goes as a whole; so do claims.
    listed = rf"\s*({gone}):|\s*witnesses: \[.*\b({gone})\b|\s*- {{losing: ({gone}),"
    text = "".join(line for line in text.splitlines(keepends=True) if not re.match(listed, line))
    if re.search(rf"(?m)^  server: ({gone})$", text):  # no K3s without its server
        text = re.sub(r"(?ms)^k3s:.*?(?=^\S)", "", text)
        text = re.sub(r"(?m)^  - {losing: .*\bk3s\b.*\n", "", text)
    return text


def with_compute(text: str, count: int) -> str:
    """An inventory with `count` compute nodes: the last ones are left out, or more follow, each one more line."""
    found = list(NODE.finditer(text))
    text = without(text, [match["name"] for match in found[count:]])
    last = found[-1]
    more = [
        f"  node{n:02}: {{group: compute, address: {IPv4Address(last['address']) + n - len(found)}, "
        f"mac: b8:27:eb:00:01:{n:02x}}}\n"
        for n in range(len(found) + 1, count + 1)
    ]
    return text.replace(last[0], last[0] + "".join(more))
