"""The table of docs/guides/upgrade-your-types.md: every row is tried on real types."""

from __future__ import annotations

import itertools
import re
import sys
import types
from typing import Any

import pytest

from spawn.errors import SchemaIncompatible
from spawn.sdk.behavior import ClassBehavior
from tests.docs.pages import ROOT

_PAGE = ROOT / "docs" / "guides" / "upgrade-your-types.md"
_EVENT, _FOLDED, _STATE_STYLE = "event", "folded", "state style"

_HEAD = """
from __future__ import annotations
import enum
from dataclasses import dataclass
from datetime import date, datetime
from spawn import Actor

class Colour(enum.Enum):
    RED = "red"
    {colour}

@dataclass(frozen=True)
class Subject:
    {fields}

@dataclass(frozen=True)
class Plain:
    x: int = 0

@dataclass(frozen=True)
class {other}:
    x: int = 0
"""
_TAILS = {
    _EVENT: """
class T(Actor[Plain, {events}]):
    @staticmethod
    def evolve(state, event):
        return state
""",
    _FOLDED: """
class T(Actor[Subject, Plain]):
    @classmethod
    def initial(cls, actor_id):
        raise NotImplementedError
    @staticmethod
    def evolve(state, event):
        return state
""",
    _STATE_STYLE: """
class T(Actor[Subject]):
    @classmethod
    def initial(cls, actor_id):
        raise NotImplementedError
""",
}
_BLUE = 'BLUE = "blue"'

# First cell of the row -> before and after, of each pair that stands for it.
_ROWS: dict[str, list[tuple[dict[str, str], dict[str, str]]]] = {
    "add a field with a default": [({"fields": "a: int"}, {"fields": "a: int; b: int = 1"})],
    "add a field without a default": [({"fields": "a: int"}, {"fields": "a: int; b: int"})],
    "remove a field": [({"fields": "a: int; b: int"}, {"fields": "a: int"})],
    "rename a field": [({"fields": "a: int"}, {"fields": "b: int"})],
    "`int` to `float`": [({"fields": "a: int"}, {"fields": "a: float"})],
    r"`T` to `T \| None`": [({"fields": "a: int"}, {"fields": "a: int | None"})],
    "`int` to `str`, `date` to `datetime`, ...": [
        ({"fields": "a: int"}, {"fields": "a: str"}),
        ({"fields": "a: date"}, {"fields": "a: datetime"}),
        ({"fields": "a: float"}, {"fields": "a: int"}),
        ({"fields": "a: int | None"}, {"fields": "a: int"}),
    ],
    r"add an event type to `Actor[State, A \| B]`": [({}, {"events": "Subject | Other"})],
    "remove one, or rename its class": [
        ({"events": "Subject | Other"}, {}),
        ({"events": "Subject | Other"}, {"events": "Subject | Another", "other": "Another"}),
    ],
    "add an `Enum` member": [
        ({"fields": "a: Colour"}, {"fields": "a: Colour", "colour": _BLUE}),
    ],
    "remove one": [({"fields": "a: Colour", "colour": _BLUE}, {"fields": "a: Colour"})],
}
_serial = itertools.count()


def _behavior(kind: str, parts: dict[str, str]) -> ClassBehavior:
    filled = {"fields": "a: int", "events": "Subject", "other": "Other", "colour": ""} | parts
    module = types.ModuleType(f"upgrade_{next(_serial)}")
    sys.modules[module.__name__] = module
    exec((_HEAD + _TAILS[kind]).format(**filled), vars(module))  # noqa: S102 - our own text
    actor: Any = vars(module)["T"]
    return ClassBehavior(actor)


def _is_read(kind: str, before: dict[str, str], after: dict[str, str]) -> bool:
    try:
        _behavior(kind, after).learn(_behavior(kind, before).schemas)
    except SchemaIncompatible:
        return False
    return True


def _table() -> list[list[str]]:
    text = _PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (.*?) \|$", text)[1:]
    return [re.split(r"(?<!\\) \| ?", row) for row in rows]


@pytest.mark.parametrize("row", _table(), ids=lambda row: row[0])
def test_a_row_is_true(row: list[str]) -> None:
    """`yes` starts, `refused` does not; of a state, with events and without."""
    change, event, state = [*row, ""][:3]
    for before, after in _ROWS[change]:
        assert _is_read(_EVENT, before, after) == event.startswith("yes"), (before, after)
        if not state:
            continue
        if state == "as adding":
            state = "from events: yes; state style: refused"
        assert _is_read(_FOLDED, before, after) == ("yes" in state), (before, after)
        assert _is_read(_STATE_STYLE, before, after) == ("refused" not in state), (before, after)


def test_every_change_that_is_tried_stands_in_the_table() -> None:
    """And the other way round."""
    assert {row[0] for row in _table()} == set(_ROWS)
