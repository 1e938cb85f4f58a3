"""The tables of docs/guides/upgrade-your-types.md and rolling-upgrades.md, on real types."""

from __future__ import annotations

import io
import itertools
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import fastavro
import pytest

from eventstore.errors import WrittenByNewerCode
from spawn.core.decision import EventData
from spawn.errors import SchemaIncompatible
from spawn.sdk.behavior import ClassBehavior
from tests.docs.pages import ROOT

_PAGE = ROOT / "docs" / "guides" / "upgrade-your-types.md"
_ROLLING_PAGE = ROOT / "docs" / "guides" / "rolling-upgrades.md"
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
class Plain:
    x: int = 0

@dataclass(frozen=True)
class Subject:
    {fields}

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


def _table(page: Path = _PAGE) -> list[list[str]]:
    text = page.read_text(encoding="utf-8")
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


# Of each change: code before and after, an event of the new code, what the old code reads of it;
# None: it refuses it.
_MEANWHILE: dict[str, list[tuple[dict[str, str], dict[str, str], Any, Any]]] = {
    "adds a field with a default": [
        ({}, {"fields": "a: int; b: int = 1"}, {"a": 5, "b": 1}, {"a": 5}),
        ({}, {"fields": "a: int; b: int = 1"}, {"a": 5, "b": 2}, None),
        (
            {},
            {"fields": "a: int; b: date = date(2026, 1, 2)"},
            {"a": 5, "b": "2026-01-02"},
            {"a": 5},
        ),
        ({}, {"fields": "a: int; b: date = date(2026, 1, 2)"}, {"a": 5, "b": "2026-01-03"}, None),
        ({}, {"fields": "a: int; b: tuple[str, ...] = ()"}, {"a": 5, "b": []}, {"a": 5}),
        ({}, {"fields": "a: int; b: tuple[str, ...] = ()"}, {"a": 5, "b": ["x"]}, None),
        ({}, {"fields": "a: int; b: bytes = b'\\xff'"}, {"a": 5, "b": b"\xff"}, {"a": 5}),
        ({}, {"fields": "a: int; b: Plain | None = None"}, {"a": 5, "b": None}, {"a": 5}),
        ({}, {"fields": "a: int; b: Plain | None = None"}, {"a": 5, "b": {"x": 0}}, None),
        ({}, {"fields": "a: int; b: Plain = Plain()"}, {"a": 5, "b": {"x": 0}}, {"a": 5}),
        ({}, {"fields": "a: int; b: Plain = Plain()"}, {"a": 5, "b": {"x": 1}}, None),
        ({}, {"fields": "a: int; b: Colour = Colour.RED"}, {"a": 5, "b": "RED"}, {"a": 5}),
    ],
    "adds an `Enum` member": [
        (
            {"fields": "a: Colour"},
            {"fields": "a: Colour", "colour": _BLUE},
            {"a": "RED"},
            {"a": "red"},
        ),
        ({"fields": "a: Colour"}, {"fields": "a: Colour", "colour": _BLUE}, {"a": "BLUE"}, None),
        (
            {"fields": "a: tuple[Colour | None, ...]"},
            {"fields": "a: tuple[Colour | None, ...]", "colour": _BLUE},
            {"a": [None, "RED"]},
            {"a": [None, "red"]},
        ),
        (
            {"fields": "a: tuple[Colour | None, ...]"},
            {"fields": "a: tuple[Colour | None, ...]", "colour": _BLUE},
            {"a": ["BLUE"]},
            None,
        ),
    ],
    "adds an event type": [({}, {"events": "Other | Subject"}, {"x": 1}, None)],
    "removes a field": [
        ({"fields": "a: int; b: int = 7"}, {"fields": "a: int"}, {"a": 5}, {"a": 5, "b": 7}),
        ({"fields": "a: int; b: int"}, {"fields": "a: int"}, {"a": 5}, None),
    ],
    r"changes `int` to `float`, `T` to `T \| None`": [
        ({}, {"fields": "a: float"}, {"a": 5.0}, None),
        ({}, {"fields": "a: int | None"}, {"a": 5}, None),
    ],
}


@pytest.mark.parametrize("change", _MEANWHILE)
def test_old_code_reads_new_events_as_the_page_says(change: str) -> None:
    """Whole, or not at all."""
    assert change in [row[0] for row in _table(_ROLLING_PAGE)]
    for before, after, written, read in _MEANWHILE[change]:
        old, new = _behavior(_EVENT, before), _behavior(_EVENT, after)
        old.meet(new.schemas)
        use = new.schemas[0]
        stream, schema = io.BytesIO(), fastavro.parse_schema(json.loads(use.schema))
        fastavro.schemaless_writer(stream, schema, written)
        event = EventData(use.name, use.fingerprint, stream.getvalue())
        if read is None:
            with pytest.raises(WrittenByNewerCode):
                old.event_json(event)
        else:
            assert json.loads(old.event_json(event)) == read, (before, after)
