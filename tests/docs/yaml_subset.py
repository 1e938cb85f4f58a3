"""YAML as far as our own files use it, so that no test needs a parser that nothing else needs.

Block mappings and lists, `[flow, lists]`, plain and quoted scalars, folded `>-`, comments. What it
does not know it refuses, so a file that leaves the subset is noticed. Every scalar is a str.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

__all__ = ["parse_yaml"]

_KEY = re.compile(r'("[^"]+"|[\w./-]+):(?:\s+(.*))?$')
_UNKNOWN = re.compile(r"^[&*!|%@`{?]|^>(?!-$)")


class _Line(NamedTuple):
    number: int
    indent: int
    text: str


def parse_yaml(text: str) -> Any:
    """Return dicts, lists and strings. Raises: ValueError - with the line."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if "\t" in bare:
            raise ValueError(f"line {number}: a tab")
        if bare:
            lines.append(_Line(number, len(bare) - len(bare.lstrip()), bare.lstrip()))
    if not lines:
        return None
    value, rest = _value(lines, lines[0].indent)
    if rest:
        raise ValueError(f"line {rest[0].number}: {rest[0].text!r} is indented in no known way")
    return value


def _value(lines: list[_Line], indent: int) -> tuple[Any, list[_Line]]:
    if lines[0].text.startswith("- ") or lines[0].text == "-":
        return _list(lines, indent)
    return _mapping(lines, indent)


def _list(lines: list[_Line], indent: int) -> tuple[list[Any], list[_Line]]:
    items: list[Any] = []
    while lines and lines[0].indent == indent and lines[0].text.startswith("-"):
        number, _, text = lines[0]
        inner = text[1:].lstrip()
        if _KEY.match(inner):
            offset = len(text) - len(inner)
            item, lines = _mapping(
                [_Line(number, indent + offset, inner), *lines[1:]], indent + offset
            )
        else:
            item, lines = _scalar(inner, number), lines[1:]
        items.append(item)
    return items, lines


def _mapping(lines: list[_Line], indent: int) -> tuple[dict[str, Any], list[_Line]]:
    mapping: dict[str, Any] = {}
    while lines and lines[0].indent == indent:
        number, _, text = lines[0]
        found = _KEY.match(text)
        if found is None:
            raise ValueError(f"line {number}: {text!r} is no `key: value`")
        key, rest = found[1].strip('"'), found[2] or ""
        if key in mapping:
            raise ValueError(f"line {number}: {key} twice")
        lines = lines[1:]
        if rest == ">-":
            folded = []
            while lines and lines[0].indent > indent:
                folded.append(lines[0].text)
                lines = lines[1:]
            mapping[key] = " ".join(folded)
        elif rest:
            mapping[key] = _scalar(rest, number)
        elif lines and (
            lines[0].indent > indent
            or (lines[0].indent == indent and lines[0].text.startswith("- "))
        ):
            mapping[key], lines = _value(lines, lines[0].indent)
        else:
            mapping[key] = None
    return mapping, lines


def _scalar(text: str, number: int) -> Any:
    if _UNKNOWN.match(text):
        raise ValueError(f"line {number}: {text!r} is more YAML than is known here")
    if text.startswith("["):
        if not text.endswith("]"):
            raise ValueError(f"line {number}: a flow list over several lines")
        parts = re.findall(r'"(?:[^"\\]|\\.)*"|[^,\s\[\]][^,\[\]]*', text[1:-1])
        return [_scalar(part.strip(), number) for part in parts]
    if text.startswith('"'):
        return json.loads(text)
    return text
