"""UCI, OpenWrt's configuration: a pure reader of what `uci export` prints, and of dnsmasq's lease file.

https://openwrt.org/docs/guide-user/base-system/uci; dnsmasq(8), --dhcp-leasefile.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.errors import ProbeFailed


@dataclass(frozen=True)
class Section:
    """A section: its type, its name (empty for an anonymous one), its options and lists by key."""

    type: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Package:
    """One file of /etc/config."""

    name: str
    sections: tuple[Section, ...]

    def of(self, kind: str) -> tuple[Section, ...]:
        """Its sections of a type, in order."""
        return tuple(section for section in self.sections if section.type == kind)

    def section(self, kind: str, name: str = "") -> Section:
        """The section of that type and name, or the first of that type; an empty one where there is none."""
        found = (section for section in self.of(kind) if name in ("", section.name))
        return next(found, Section(kind, name))


def parse(text: str) -> dict[str, Package]:
    """The packages of an export, by name; raises ProbeFailed (`malformed`) naming the line."""
    packages: dict[str, list[Section]] = {}
    here: list[Section] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ProbeFailed(f"uci, line {number}: {error}", reason="malformed") from None
        match words:
            case []:
                continue
            case ["package", name]:
                here = packages.setdefault(name, [])
            case ["config", kind, *name] if here is not None and len(name) < 2:
                here.append(Section(kind, "".join(name)))
            case ["option", key, value] if here:
                here[-1] = Section(here[-1].type, here[-1].name, {**here[-1].options, key: value}, here[-1].lists)
            case ["list", key, value] if here:
                more = {**here[-1].lists, key: (*here[-1].lists.get(key, ()), value)}
                here[-1] = Section(here[-1].type, here[-1].name, here[-1].options, more)
            case _:
                raise ProbeFailed(f"uci, line {number}: not understood: {line.strip()[:80]}", reason="malformed")
    return {name: Package(name, tuple(sections)) for name, sections in packages.items()}


def leases(text: str) -> dict[str, str]:
    """MAC to address of every lease that dnsmasq has written down; raises ProbeFailed (`malformed`)."""
    found = {}
    for number, line in enumerate(filter(None, text.split("\n")), 1):
        match line.split():
            case [expires, mac, address, _, _] if expires.isdigit():
                found[mac.lower()] = address
            case _:
                raise ProbeFailed(f"dnsmasq's leases, line {number}: not understood: {line[:80]}", reason="malformed")
    return found
