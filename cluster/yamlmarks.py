"""YAML that remembers on which line each part was written, and that cannot surprise.

Scalars follow the core schema of YAML 1.2 (section 10.3.2): `12:34:56` and `no` are text, not a number or a
truth value as in YAML 1.1, so a MAC address needs no quotes.  Aliases, tags and merge keys are refused: an
inventory has no use for them, and without them no input can make the reader build something huge or cyclic.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import yaml

Key = tuple[str | int, ...]

MAX_DEPTH = 32
_INT = re.compile(r"[-+]?[0-9]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, bool | None] = (
    dict.fromkeys(("", "~", "null", "Null", "NULL"), None)
    | dict.fromkeys(("true", "True", "TRUE"), True)
    | dict.fromkeys(("false", "False", "FALSE"), False)
)


class YamlError(Exception):
    """The text is not YAML as this project reads it; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Mistake:
    """Something that reads as YAML but cannot be meant; `line` counts from 1."""

    line: int
    key: Key
    message: str


@dataclass(frozen=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) with the line of every key and list item."""

    data: Any
    lines: dict[Key, int]
    mistakes: tuple[Mistake, ...]

    def line(self, key: Key) -> int:
        """The line of `key`, or of the nearest part around it that was written."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)


class _Loader(yaml.SafeLoader):
    """Composes nodes only; nothing is ever constructed from a tag."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise YamlError(line, f"alias *{event.anchor} is not supported; write the value out")
        if getattr(event, "tag", None) is not None:
            raise YamlError(line, f"tag {event.tag} is not supported; remove it")
        if self.depth >= MAX_DEPTH:
            raise YamlError(line, f"nested deeper than {MAX_DEPTH} levels; remove the excess brackets")
        self.depth += 1
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
            return node
        finally:
            self.depth -= 1


def read(text: str) -> Document:
    """Read one YAML document; raises YamlError, and notes repeated keys instead of dropping one of them."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise YamlError(
            line, f"not YAML: {what}; correct the indentation, colon, bracket or quote near column {column}"
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(line, "a control character that YAML does not allow; remove it") from error
    lines: dict[Key, int] = {}
    mistakes: list[Mistake] = []
    data = None if node is None else _plain(node, (), lines, mistakes)
    return Document(data, lines, tuple(mistakes))


def _plain(node: yaml.Node, key: Key, lines: dict[Key, int], mistakes: list[Mistake]) -> Any:
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*key, n), lines, mistakes) for n, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Hashable, Any] = {}
        for name, value in node.value:
            line = name.start_mark.line + 1
            if not isinstance(name, yaml.ScalarNode):
                mistakes.append(Mistake(line, key, "a key that is a list or mapping; write a plain word"))
                continue
            inner = (*key, str(name.value))
            if name.value in mapping:
                first = lines[inner]
                mistakes.append(Mistake(line, inner, f"written twice, first on line {first}; remove one"))
                continue
            lines[inner] = line
            mapping[name.value] = _plain(value, inner, lines, mistakes)
        return mapping
    return _scalar(node)


def _scalar(node: Any) -> str | int | float | bool | None:
    text = str(node.value)
    if node.style is not None:  # quoted or a block: always text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 16 if text.startswith("0x") else 10)
    return float(text) if _FLOAT.fullmatch(text) else text
