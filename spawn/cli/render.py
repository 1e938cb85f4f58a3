"""Answers and errors as text and as JSON (pure)."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import msgspec

__all__ = [
    "EventLine",
    "age",
    "check",
    "clock",
    "error",
    "event_json",
    "event_rows",
    "event_table",
    "iso_time",
    "json_line",
    "number",
    "reply",
    "shell_word",
    "state",
    "table",
    "visible",
    "warning",
    "when",
]

_RED, _YELLOW, _PLAIN = "\x1b[1;31m", "\x1b[33m", "\x1b[0m"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORD = re.compile(r"[\w./:@+-]+")
"""Texts that stand in a table without quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLine:
    """One record of an actor's history."""

    revision: int
    time_us: int
    """Microseconds since 1970 UTC."""
    action: str
    caller: str
    outcome: str
    """`applied`, `unchanged`, `rejected`, `failed` or `dead`."""
    events: Sequence[tuple[str, Any]]
    """Name and fields of each event; None for fields that can't be read."""
    position: str
    """`topic/partition@offset`."""
    state: Any = None
    """After this record, or None where it was not asked for or is not known."""
    refusal: tuple[str, str] | None = None
    """Code and text of a rejection or failure."""
    deleted: bool = False
    """It deleted the actor."""
    repeats: int | None = None
    """Revision of the record whose reply it gave again, to a repeated idempotency key."""


def error(message: str, code: str, at: str, hint: str, *, colour: bool = False) -> str:
    """Return an error as people meet it everywhere (experience 4)."""
    first, *rest = (visible(line) for line in message.split("\n"))
    label = f"{_RED}error:{_PLAIN}" if colour else "error:"
    lines = [f"{label} {first} [{visible(code)}]", *rest]
    if at:
        lines.append(f"  at:   {visible(at)}")
    if hint:
        lines.append(f"  hint: {visible(hint)}")
    return "\n".join(lines)


def warning(text: str, *, colour: bool = False) -> str:
    """Return a warning."""
    return f"{_YELLOW}warning:{_PLAIN} {visible(text)}" if colour else f"warning: {visible(text)}"


def check(name: str, status: str, text: str, mend: str, *, colour: bool = False) -> str:
    """Return one line of the doctor's, and one with the mend where there is something to do."""
    label = f"{status:7}"
    if colour and status != "ok":
        label = f"{_RED if status == 'failed' else _YELLOW}{label}{_PLAIN}"
    line = f"{label}  {visible(name)}: {visible(text)}"
    return f"{line}\n         mend: {visible(mend)}" if mend else line


def reply(body: bytes) -> str:
    """Return a reply's JSON for people: a short one as it is, a longer one indented."""
    if len(body) > 60 and body[:1] in b"{[":
        body = msgspec.json.format(body, indent=2)
    return visible(body.decode(errors="replace"), lines=True)


def state(name: str, revision: int, position: str, value: Any) -> str:
    """Return an actor's state: a line on what it is, then one for each member."""
    head = [visible(name), f"revision {revision}", *([position] if position else [])]
    lines = ["  ".join(head)]
    if isinstance(value, dict) and value:
        lines += table([[f"  {key}", _compact(member)] for key, member in value.items()])
    else:
        lines.append(f"  {_compact(value)}")
    return "\n".join(lines)


def event_table(
    lines: Sequence[EventLine],
    *,
    now_us: int,
    with_state: bool = False,
    zone: tzinfo | None = None,
) -> str:
    """Return an actor's history as a table, oldest first.

    `zone` None is the local one. If all of it is of today, times stand without their day.
    """
    shown, _ = event_rows(lines, now_us=now_us, with_state=with_state, zone=zone)
    return "\n".join(shown)


def event_rows(
    lines: Sequence[EventLine],
    *,
    now_us: int,
    with_state: bool = False,
    zone: tzinfo | None = None,
    titles: bool = True,
    widths: Sequence[int] = (),
) -> tuple[Sequence[str], Sequence[int]]:
    """Return rows of such a table and their columns' widths, which are at least `widths`.

    So the rows of records that come later stand below those printed before.
    """
    rows = []
    if titles:
        rows.append(["  rev", "when", "action", "by", "event", *(["state"] if with_state else [])])
    times = [_time(line.time_us).astimezone(zone) for line in lines]
    today = {time.date() for time in times} <= {_time(now_us).astimezone(zone).date()}
    for line, time in zip(lines, times, strict=True):
        events = [_event(name, fields) for name, fields in line.events] or [_no_event(line)]
        last = [] if not with_state or line.state is None else [_members(line.state)]
        when = _when(time, today=today, utc=zone is UTC)
        rows.append([str(line.revision), when, line.action, line.caller, events[0], *last])
        rows += [["", "", "", "", event] for event in events[1:]]
    return _aligned(rows, (0,), widths)


def event_json(line: EventLine, *, with_state: bool = False) -> str:
    """Return one record as one line of JSON; its shape only ever grows.

    What `GET .../events` shows has the same names there; refused commands are here only.
    """
    value: dict[str, Any] = {
        "revision": line.revision,
        "time": _time(line.time_us),
        "position": line.position,
        "action": line.action,
        "caller": line.caller,
        "events": [{"name": name, "fields": fields} for name, fields in line.events],
        "outcome": line.outcome,
    }
    if line.deleted:
        value["deleted"] = True
    if line.repeats is not None:
        value["repeats"] = line.repeats
    if line.refusal is not None:
        value["refusal"] = {"code": line.refusal[0], "text": line.refusal[1]}
    was_set = line.outcome == "applied" and not line.events and not line.deleted
    if with_state or (was_set and line.state is not None):
        value["state"] = line.state
    return json_line(value)


def json_line(value: Mapping[str, Any]) -> str:
    """Return one value as one line of JSON."""
    return msgspec.json.encode(value).decode()


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Return rows as lines of aligned columns, those of `right` with their text to the right."""
    return _aligned(rows, right, ())[0]


def _aligned(
    rows: Sequence[Sequence[str]], right: Sequence[int], widths: Sequence[int]
) -> tuple[list[str], Sequence[int]]:
    shown = [[visible(cell) for cell in row] for row in rows]
    columns = max((len(row) for row in shown), default=0)
    least = [*widths, *[0] * columns]
    wide = [
        max(least[i], *(_width(row[i]) for row in shown if i < len(row)), 0) for i in range(columns)
    ]
    lines = []
    for row in shown:
        cells = []
        for i, cell in enumerate(row):
            blank = " " * (wide[i] - _width(cell))
            cells.append(blank + cell if i in right else cell + blank)
        lines.append("  ".join(cells).rstrip())
    return lines, wide if len(wide) >= len(widths) else [*wide, *widths[len(wide) :]]


def number(value: int) -> str:
    """Return a number for people, its thousands parted."""
    return f"{value:,}"


def age(seconds: float) -> str:
    """Return a length of time for people, of one unit: `12 s`, `4 min`, `3 h`, `2 d`."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < size * most:
            return f"{int(seconds / size)} {unit}"
    return f"{int(seconds / 86400)} d"


def clock(time_us: int, zone: tzinfo | None = None) -> str:
    """Return a time without its day, in the local zone."""
    return f"{_time(time_us).astimezone(zone):%H:%M:%S}"


def when(time_us: int, zone: tzinfo | None = None) -> str:
    """Return a time with its day, in the local zone or in UTC."""
    return _when(_time(time_us).astimezone(zone), today=False, utc=zone is UTC)


def iso_time(time_us: int) -> str:
    """Return a time for programs, as HTTP gives it: RFC 3339 in UTC, with `Z`."""
    return msgspec.json.encode(_time(time_us)).decode()[1:-1]


def shell_word(text: str) -> str:
    """Return a text as one word of a shell's command line."""
    return shlex.quote(text)


def visible(text: str, *, lines: bool = False) -> str:
    """Return text that a terminal only shows: what would move its cursor is written as an escape.

    Ids, replies and error texts are other people's data.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or (lines and char == "\n")
        else char.encode("unicode_escape").decode()
        for char in text
    )


def _event(name: str, fields: Any) -> str:
    return f"{name}({_members(fields, ', ')})" if fields is not None else f"{name}(unreadable)"


def _no_event(line: EventLine) -> str:
    if line.repeats is not None:
        return f"repeat of rev {line.repeats}"
    if line.deleted:
        return "(deleted)"
    if line.refusal is not None:
        code, text = line.refusal
        return f"{line.outcome}: {code}" + (f" ({text})" if text and text != code else "")
    return "(state)" if line.outcome == "applied" else f"({line.outcome})"


def _members(value: Any, separator: str = " ") -> str:
    if isinstance(value, dict):
        return separator.join(f"{name}={_compact(member)}" for name, member in value.items())
    return _compact(value)


def _compact(value: Any) -> str:
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    return msgspec.json.encode(value).decode()


def _time(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)


def _when(time: datetime, *, today: bool, utc: bool) -> str:
    if today:
        return f"{time:%H:%M:%S}Z" if utc else f"{time:%H:%M:%S}"
    return f"{time:%Y-%m-%d %H:%M:%S}Z" if utc else time.isoformat(" ", timespec="seconds")


def _width(text: str) -> int:
    """Return how many columns a text takes in a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) != 0 for char in text)
