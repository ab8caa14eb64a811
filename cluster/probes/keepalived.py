"""Reads keepalived.conf(5) as far as specs and chaos need it: global_defs and the VRRP instances."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cluster.errors import ProbeFailed


class ConfigError(ProbeFailed):
    """A keepalived.conf that cannot be read; the message names the line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"keepalived.conf, line {line}: {message}", reason="config")
        self.line = line


@dataclass(frozen=True)
class Track:
    """What an instance stands on (`vrrp_script`); `weight` is added to its priority while that fails, times in s."""

    name: str
    weight: int
    interval: float
    timeout: float
    fall: int
    rise: int

    @property
    def noticed(self) -> tuple[float, float]:
        """How soon the end of what it checks changes the priority: it fails `fall` times, at once or in its time."""
        return (self.fall - 1) * self.interval, self.fall * max(self.interval, self.timeout) + self.timeout


@dataclass(frozen=True)
class Instance:
    """One `vrrp_instance`; advert_int and preempt_delay in s; addresses without prefix length.

    `auth_sha256` is the digest of the password, which itself is never kept.
    """

    name: str
    state: str
    interface: str | None
    vrid: int
    priority: int
    advert_int: float
    addresses: tuple[str, ...]
    auth_type: str
    auth_sha256: str | None = field(repr=False)  # eight letters can be found from their digest: never shown
    nopreempt: bool
    preempt_delay: float
    version: int
    unicast_peers: tuple[str, ...]
    tracks: tuple[Track, ...] = ()


@dataclass(frozen=True)
class KeepalivedConf:
    """The live configuration: the router id and every VRRP instance by name."""

    router_id: str | None
    version: int
    instances: dict[str, Instance]

    def instance(self, name: str | None = None) -> Instance:
        """The instance of that name, or the only one; raises ProbeFailed (`config`)."""
        if name is None and len(self.instances) == 1:
            return next(iter(self.instances.values()))
        if name is None or name not in self.instances:
            known = ", ".join(self.instances) or "none"
            raise ProbeFailed(f"keepalived.conf: no instance {name!r}; there are: {known}", reason="config")
        return self.instances[name]


@dataclass
class _Line:
    """One statement: its words, and the block that follows it."""

    number: int
    words: list[str]
    block: list[_Line] | None = field(default=None)


_INCLUDE = re.compile(r"include[a-z]?")  # include, includer, includem, ...
_WORD = re.compile(r'"([^"]*)"|\'([^\']*)\'|[{}]|[^\s{}"\']+')


def _words(line: str, number: int) -> Iterator[tuple[str, bool]]:
    """The words of one line and whether each was quoted; comments begin with # or ! (keepalived.conf(5))."""
    at = 0
    while at < len(line):
        if line[at].isspace():
            at += 1
            continue
        if line[at] in "#!":
            return
        found = _WORD.match(line, at)
        if found is None:
            raise ConfigError(number, "a quote is not closed")
        quoted = found.group(1) if found.group(1) is not None else found.group(2)
        word = found.group(0)
        if quoted is None:
            for mark in "#!":
                word = word.split(mark, 1)[0]
            if word != found.group(0):
                yield word, False
                return
        yield (word, False) if quoted is None else (quoted, True)
        at = found.end()


def _tree(text: str) -> list[_Line]:
    """The statements of a file: one a line, a block belongs to the statement before it."""
    stack: list[list[_Line]] = [[]]
    opened: list[int] = []
    number = 0
    for number, line in enumerate(text.splitlines(), 1):
        statement: _Line | None = None
        for word, quoted in _words(line, number):
            if word == "{" and not quoted:
                if not stack[-1] or stack[-1][-1].block is not None:
                    raise ConfigError(number, "a block without a name")
                block: list[_Line] = []
                stack[-1][-1].block = block
                stack.append(block)
                opened.append(number)
                statement = None
            elif word == "}" and not quoted:
                if not opened:
                    raise ConfigError(number, "a } too many")
                opened.pop()
                stack.pop()
                statement = None
            elif statement is None and not quoted and _INCLUDE.fullmatch(word):
                raise ConfigError(number, f"{word} is not followed: give the files as one text")
            elif statement is None:
                statement = _Line(number, [word])
                stack[-1].append(statement)
            else:
                statement.words.append(word)
    if opened:
        raise ConfigError(number, f"the block of line {opened[-1]} is not closed")
    return stack[0]


def keepalived_conf(text: str) -> KeepalivedConf:
    """Read the live keepalived.conf.

    Defaults are those of keepalived.conf(5): version 2, priority 100, advert_int 1 s, state BACKUP.
    `include` is not followed.  Raises ConfigError naming the line.
    """
    router_id, version = None, 2
    raw: list[_Line] = []
    scripts: dict[str, Track] = {}
    for line in _tree(text):
        match line.words[0]:
            case "global_defs":
                for inner in line.block or []:
                    if inner.words[0] == "router_id":
                        router_id = _value(inner)
                    elif inner.words[0] == "vrrp_version":
                        version = int(_number(inner, 2, 3))
            case "vrrp_script":
                scripts[_value(line)] = _track(line)
            case "vrrp_instance":
                raw.append(line)
    instances: dict[str, Instance] = {}
    for line in raw:
        instance = _instance(line, version, scripts)
        if instance.name in instances:
            raise ConfigError(line.number, f"a second vrrp_instance {instance.name}")
        instances[instance.name] = instance
    return KeepalivedConf(router_id, version, instances)


def _track(line: _Line) -> Track:
    """Defaults are those of keepalived.conf(5): every second, no time limit of its own, once is enough, weight 0."""
    found = {inner.words[0]: inner for inner in line.block or []}
    interval = _number(found["interval"], 1, 1e6) if "interval" in found else 1.0
    return Track(
        name=_value(line),
        weight=int(_number(found["weight"], -253, 253)) if "weight" in found else 0,
        interval=interval,
        timeout=_number(found["timeout"], 1, 1e6) if "timeout" in found else interval,
        fall=int(_number(found["fall"], 1, 1e6)) if "fall" in found else 1,
        rise=int(_number(found["rise"], 1, 1e6)) if "rise" in found else 1,
    )


def _tracks(line: _Line | None, scripts: dict[str, Track]) -> tuple[Track, ...]:
    """The scripts that an instance names, each with the weight that it gives it there, if it does."""
    found = []
    for inner in (line.block or []) if line is not None else []:
        name = inner.words[0]
        if name not in scripts:
            raise ConfigError(inner.number, f"there is no vrrp_script {name}")
        weight = int(inner.words[inner.words.index("weight") + 1]) if "weight" in inner.words else None
        found.append(scripts[name] if weight is None else replace(scripts[name], weight=weight))
    return tuple(found)


def _instance(line: _Line, version: int, scripts: dict[str, Track]) -> Instance:
    name = _value(line)
    if line.block is None:
        raise ConfigError(line.number, f"vrrp_instance {name} has no block")
    found = {inner.words[0]: inner for inner in line.block}  # the last one wins, as in the daemon
    if "version" in found:
        version = int(_number(found["version"], 2, 3))
    if "virtual_router_id" not in found:
        raise ConfigError(line.number, f"vrrp_instance {name} has no virtual_router_id")
    auth: dict[str, _Line] = {}
    if "authentication" in found:
        auth = {inner.words[0]: inner for inner in found["authentication"].block or []}
    password = _value(auth["auth_pass"])[:8] if "auth_pass" in auth else None  # only 8 characters count
    return Instance(
        name=name,
        state=_value(found["state"]).upper() if "state" in found else "BACKUP",
        interface=_value(found["interface"]) if "interface" in found else None,
        vrid=int(_number(found["virtual_router_id"], 1, 255)),
        priority=int(_number(found["priority"], 1, 255)) if "priority" in found else 100,
        advert_int=_number(found["advert_int"], 0.01, 255) if "advert_int" in found else 1.0,
        addresses=_addresses(found.get("virtual_ipaddress")),
        auth_type=_value(auth["auth_type"]).lower() if "auth_type" in auth else "none",
        auth_sha256=hashlib.sha256(password.encode()).hexdigest() if password is not None else None,
        nopreempt="nopreempt" in found,
        preempt_delay=_number(found["preempt_delay"], 0, 1000) if "preempt_delay" in found else 0.0,
        version=version,
        unicast_peers=_addresses(found.get("unicast_peer")),
        tracks=_tracks(found.get("track_script"), scripts),
    )


def _addresses(line: _Line | None) -> tuple[str, ...]:
    """The first word of each line of a block, without prefix length."""
    return tuple(inner.words[0].split("/")[0] for inner in line.block or []) if line is not None else ()


def _value(line: _Line) -> str:
    if len(line.words) < 2:
        raise ConfigError(line.number, f"{line.words[0]} has no value")
    return line.words[1]


def _number(line: _Line, low: float, high: float) -> float:
    text = _value(line)
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(line.number, f"{line.words[0]}: {text!r} is no number") from None
    if not low <= value <= high:
        raise ConfigError(line.number, f"{line.words[0]}: {text} is not within {low:g} to {high:g}")
    return value
