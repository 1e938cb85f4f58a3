"""What commands print, as text and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from spawn.cli import render
from spawn.cli.render import EventLine

T0 = int(datetime(2026, 11, 24, 10, 2, 11, tzinfo=UTC).timestamp()) * 1_000_000
DAY_US = 24 * 3600 * 1_000_000


def line(revision: int = 1, **changes: Any) -> EventLine:
    """Return an `add(5)` from HTTP, changed where told."""
    values: dict[str, Any] = {
        "revision": revision,
        "time_us": T0,
        "action": "add",
        "caller": "http 127.0.0.1",
        "outcome": "applied",
        "events": [("Added", {"n": 5})],
        "position": f"spawn.shop.Counter/3@{100 + revision}",
        "state": {"total": 5},
    }
    return EventLine(**(values | changes))


def test_the_history_looks_as_experience_shows_it() -> None:
    """Word for word, with the state asked for."""
    second = line(2, time_us=T0 + 8_000_000, events=[("Added", {"n": 2})], state={"total": 7})
    zone = timezone(timedelta(0), "here")
    assert render.event_table([line(), second], now_us=T0, with_state=True, zone=zone) == (
        "  rev  when      action  by              event       state\n"
        "    1  10:02:11  add     http 127.0.0.1  Added(n=5)  total=5\n"
        "    2  10:02:19  add     http 127.0.0.1  Added(n=2)  total=7"
    )


def test_records_that_are_not_all_of_today_show_their_day_and_zone() -> None:
    """A time alone would be taken for today's."""
    zone = timezone(timedelta(hours=1))
    table = render.event_table([line(), line(2, time_us=T0 + DAY_US)], now_us=T0, zone=zone)
    assert "2026-11-24 11:02:11+01:00" in table
    assert "2026-11-25 11:02:11+01:00" in table
    table = render.event_table([line()], now_us=T0 + 3 * DAY_US, zone=UTC)
    assert "2026-11-24 10:02:11Z" in table


def test_a_record_with_many_events_has_a_line_for_each() -> None:
    """The first stands beside the revision."""
    events = [("Added", {"n": 5}), ("Named", {"name": "x y", "tag": "a-b"}), ("Odd", None)]
    table = render.event_table([line(events=events)], now_us=T0, zone=UTC)
    assert table.splitlines()[1].endswith("Added(n=5)")
    assert table.splitlines()[2].strip() == 'Named(name="x y", tag=a-b)'
    assert table.splitlines()[3].strip() == "Odd(unreadable)"


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"outcome": "unchanged"}, "(unchanged)"),
        ({"outcome": "unchanged", "repeats": 3}, "repeat of rev 3"),
        ({"outcome": "applied"}, "(state)"),
        ({"outcome": "applied", "deleted": True}, "(deleted)"),
        ({"outcome": "rejected", "refusal": ("negative", "cannot add -1")},
         "rejected: negative (cannot add -1)"),
        ({"outcome": "failed", "refusal": ("KeyError", "KeyError")}, "failed: KeyError"),
    ],
)  # fmt: skip
def test_a_record_without_events_says_what_it_came_to(changes: dict[str, Any], shown: str) -> None:
    """Nothing is left out of a history."""
    table = render.event_table([line(events=[], **changes)], now_us=T0, zone=UTC)
    assert table.splitlines()[1].endswith(shown)


def test_the_json_of_a_record_has_a_fixed_shape() -> None:
    """Programs rely on it."""
    assert json.loads(render.event_json(line(), with_state=True)) == {
        "revision": 1,
        "time": "2026-11-24T10:02:11Z",
        "action": "add",
        "position": "spawn.shop.Counter/3@101",
        "caller": "http 127.0.0.1",
        "outcome": "applied",
        "events": [{"name": "Added", "fields": {"n": 5}}],
        "state": {"total": 5},
    }
    refused = line(events=[], outcome="rejected", refusal=("negative", "no"))
    value = json.loads(render.event_json(refused))
    assert value["refusal"] == {"code": "negative", "text": "no"}
    assert "state" not in value
    assert "\n" not in render.event_json(line(action="a\nb"))


def test_an_error_says_what_where_and_how_to_mend_it() -> None:
    """The form of experience.md section 4; what is not known has no line."""
    assert render.error("Counter has no action `ad`", "unknown-action", "POST /x", "add?") == (
        "error: Counter has no action `ad` [unknown-action]\n  at:   POST /x\n  hint: add?"
    )
    assert render.error("it broke", "internal", "", "") == "error: it broke [internal]"
    assert render.error("two\n  a\n  b", "c", "", "") == "error: two [c]\n  a\n  b"


def test_colour_is_only_there_when_asked_for() -> None:
    """And says nothing that the words don't."""
    assert render.error("x", "c", "", "", colour=True) == "\x1b[1;31merror:\x1b[0m x [c]"
    assert render.warning("x") == "warning: x"
    assert render.warning("x", colour=True) == "\x1b[33mwarning:\x1b[0m x"


def test_what_would_move_the_cursor_is_shown_as_an_escape() -> None:
    """Ids and texts are other people's data."""
    assert render.visible("grüße ✈ \x1b[31m\0\n") == "grüße ✈ \\x1b[31m\\x00\\n"
    assert "\x1b" not in render.error("\x1b[2J", "\x1b", "\x1b", "\x1b")
    assert "\x1b" not in render.state("C/\x1b", 1, "", {"\x1bk": "\x1b"})
    assert "\x1b" not in render.reply(b'"\x1b"')


def test_a_state_shows_a_line_for_each_member() -> None:
    """Aligned; what is no object stands alone."""
    shown = render.state("Aircraft/N1", 3, "spawn.x.Aircraft/0@7", {"n": 5, "airport": "JFK"})
    assert shown == ("Aircraft/N1  revision 3  spawn.x.Aircraft/0@7\n  n        5\n  airport  JFK")
    assert render.state("C/a", 0, "", [1, 2]) == "C/a  revision 0\n  [1,2]"
    assert render.state("C/a", 0, "", {}) == "C/a  revision 0\n  {}"


def test_a_reply_is_shown_as_it_came_and_indented_when_long() -> None:
    """A number stays a number."""
    assert render.reply(b"5") == "5"
    assert render.reply(b'{"a":1}') == '{"a":1}'
    long = b'{"first":"%s","second":2}' % (b"x" * 60)
    assert render.reply(long).splitlines()[2] == '  "second": 2'


def test_columns_are_aligned_for_wide_characters() -> None:
    """A terminal gives 東 two columns, and a combining accent none."""
    assert render.table([["東", "x"], ["abc", "y"]]) == ["東   x", "abc  y"]
    assert render.table([["e\u0301", "x"], ["abc", "y"]]) == ["e\u0301    x", "abc  y"]
    assert render.table([["1", "x"], ["10", ""]], right=(0,)) == [" 1  x", "10"]


def test_rows_that_come_later_stand_below_those_before() -> None:
    """In the columns that were printed."""
    first = line(action="a_long_action")
    later = line(2, caller="x", state={"total": 7})
    shown, widths = render.event_rows([first], now_us=T0, with_state=True, zone=UTC)
    below, wider = render.event_rows(
        [later], now_us=T0, with_state=True, zone=UTC, titles=False, widths=widths
    )
    assert len(shown) == 2
    assert len(below) == 1
    for text in ("Added(", "total="):
        assert below[0].index(text) == shown[1].index(text)
    assert list(wider) == list(widths)
    assert render.event_rows([], now_us=T0, titles=False, widths=widths) == ([], widths)


def test_a_check_is_a_line_and_its_mend_another() -> None:
    """Colour says nothing that the word does not."""
    assert render.check("clock", "ok", "right", "") == "ok       clock: right"
    text = "failed   log: away\n         mend: start it"
    assert render.check("log", "failed", "away", "start it") == text
    coloured = render.check("log", "failed", "away", "start it", colour=True)
    assert coloured == text.replace("failed ", "\x1b[1;31mfailed \x1b[0m")


def test_numbers_times_and_words_of_a_shell() -> None:
    """For tables, for programs, for the next command."""
    assert render.number(1234567) == "1,234,567"
    assert render.iso_time(1_500_000) == "1970-01-01T00:00:01.500000Z"
    assert render.when(1_500_000, UTC) == "1970-01-01 00:00:01Z"
    assert render.shell_word("it's") == "'it'\"'\"'s'"
