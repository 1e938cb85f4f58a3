"""A real actor's past, as `spawn events TYPE/ID --json` prints it, read again for a kit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from spawn.sdk.carrying import Carrier
from spawn.sdk.mismatch import describe_mismatch

__all__ = ["PastCommit", "read_past"]


class PastCommit(NamedTuple):
    """One change that the actor lived: events, or a state that was set, or its deletion."""

    revision: int
    time: datetime
    events: list[Any]
    state: Any
    deleted: bool


def read_past(
    history: str | Path | Iterable[str],
    events: Mapping[str, type],
    state_types: Iterable[type],
) -> list[PastCommit]:
    """Return the changes in a file (its path) or in lines, by revision.

    Each line is a JSON object, or a list of them as `GET .../events` answers. What was refused is
    left out: it changed nothing. `events` are the type's classes by the events' names.

    Raises: OSError; ValueError - a line is not such a record, or its event does not fit the class.
    """
    lines = _lines_of(history)
    commits = [
        _commit(record, where, events, list(state_types))
        for where, line in enumerate(lines, 1)
        if line.strip()
        for record in _records(line, where)
        if record.get("outcome", "applied") == "applied"
    ]
    return sorted(commits, key=lambda commit: commit.revision)


def _lines_of(history: str | Path | Iterable[str]) -> Iterable[str]:
    if isinstance(history, str | Path):
        return Path(history).read_text(encoding="utf-8").splitlines()
    return history


def _records(line: str, where: int) -> Iterator[dict[str, Any]]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {where} is not JSON: {error}") from error
    for record in value if isinstance(value, list) else [value]:
        if not isinstance(record, dict) or not {"revision", "time", "events"} <= record.keys():
            raise ValueError(
                f"line {where} is no record of a history: write down what "
                "`spawn events TYPE/ID --json` prints"
            )
        yield record


def _commit(
    record: dict[str, Any], where: int, kinds: Mapping[str, type], state_types: list[type]
) -> PastCommit:
    events = []
    for event in record["events"]:
        name = event["name"]
        if name not in kinds:
            known = ", ".join(kinds) or "none"
            raise ValueError(f"line {where}: the class has no event {name}; it has {known}")
        events.append(_value(event["fields"], [kinds[name]], f"line {where}: {name}"))
    state = None
    if not events and not record.get("deleted"):
        if "state" not in record:
            raise ValueError(f"line {where} has neither events nor a state")
        state = _value(record["state"], state_types, f"line {where}: state")
    time = datetime.fromisoformat(record["time"])
    return PastCommit(record["revision"], time, events, state, bool(record.get("deleted")))


def _value(fields: Any, kinds: list[type], where: str) -> Any:
    payload = json.dumps(fields).encode()
    text = "no class fits"
    for kind in kinds:
        try:
            return Carrier(kind, where).decode(payload)
        except msgspec.ValidationError as error:
            text = describe_mismatch(str(error), payload, "")
        except Exception as error:  # noqa: BLE001 - of the user's class
            text = str(error)
    raise ValueError(
        f"{where}: {text}; were the lines written with today's classes (--target FILE)?"
    )
