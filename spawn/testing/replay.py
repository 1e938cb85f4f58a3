"""The forced replay: what one actor's records say, folded beside the state that it lived.

What runs here is what rebuilds a state in production: `apply_commit` on the encoded record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from eventstore.codec import read_effect
from eventstore.errors import UnreadableBody
from eventstore.records import Commit, decode_prefix
from spawn.core.actors import Entry
from spawn.core.decision import EventData
from spawn.core.tail import Base, apply_commit
from spawn.errors import ReplayDiffers
from spawn.sdk.shapes import place_of
from spawn.testing.cast import Cast

__all__ = ["Replay"]

_WHOLE_UP_TO: Final = 50
"""Commits replayed from the first one after each step; beyond, once for so many commits, so that a
test with thousands of them does not pay for the square."""
_TEXT_LENGTH_MAX: Final = 300
_PURE: Final = "evolve may use only its two arguments (no clock, no random, no outside data)"
_STORED: Final = (
    "every field must come back equal from its encoding: no defaults that depend on the moment, no "
    "fields that __init__ or __post_init__ makes anew"
)


class _Lived(NamedTuple):
    """One applied commit: its record, and the state that the actor had after it."""

    offset: int
    value: bytes
    revision: int
    state: Any
    deleted: bool


class Replay:
    """One actor's applied commits."""

    def __init__(self, cast: Cast, actor_id: str) -> None:
        self._cast = cast
        self._behavior = cast.behavior
        self._id = actor_id
        self._lived: list[_Lived] = []
        self._checked = 0
        self._folded = Base(None, 0, False)
        """After the first `_checked` commits, from their records alone."""
        self.events: list[Any] = []
        """All that were emitted or given, decoded again."""

    @property
    def state(self) -> Any:
        """The state as committed last; the initial one if there is none."""
        if not self._lived or self._lived[-1].deleted:
            return self._behavior.initial(self._id)
        return self._lived[-1].state

    @property
    def revision(self) -> int:
        """Of the last commit; 0: none."""
        return self._lived[-1].revision if self._lived else 0

    @property
    def deleted(self) -> bool:
        """The last commit deleted the actor."""
        return bool(self._lived) and self._lived[-1].deleted

    def add(self, entry: Entry, value: bytes) -> None:
        """Take a commit that was applied, with its record."""
        state, deleted = entry.decision.state, entry.decision.deleted
        self._lived.append(_Lived(entry.offset, value, entry.revision, state, deleted))

    def check(self) -> Sequence[Any]:
        """Compare what was lived since the last check with its replay; return its events.

        Raises: ReplayDiffers.
        """
        fresh = range(self._checked, len(self._lived))
        if not fresh:
            return ()
        events: list[Any] = []
        for index in fresh:
            events += self._events_of(self._lived[index])
        if len(self._lived) <= _WHOLE_UP_TO or len(self._lived) % _WHOLE_UP_TO == 0:
            self._checked, self._folded = 0, Base(None, 0, False)
        for index in range(self._checked, len(self._lived)):
            self._folded = self._fold(self._lived[index])
        self._checked = len(self._lived)
        self._check_storable(self._lived[-1])
        self.events += events
        return events

    def check_loaded(self, revision: int, state: Any) -> None:
        """Compare a state that was loaded from snapshot and tail. Raises: ReplayDiffers."""
        if self._lived and revision == self.revision and not self.deleted:
            self._compare_stored(self._lived[-1], state, "a restart", "loaded")

    def _events_of(self, lived: _Lived) -> Sequence[Any]:
        try:
            return self._cast.read_events(self._id, _stored_events(lived))
        except UnreadableBody as error:
            raise self._fails(lived, error) from error

    def _fold(self, lived: _Lived) -> Base:
        try:
            step = apply_commit(self._behavior, self._id, self._folded, lived.offset, lived.value)
        except UnreadableBody as error:
            raise self._fails(lived, error) from error
        if not lived.deleted and not self._same(lived.state, step.state):
            texts = _difference(lived.state, step.state)
            message = "replay gives another state: live {}, replayed {}".format(*texts)
            raise self._differs(message, lived)
        return Base(step.state, step.revision, step.deleted)

    def _check_storable(self, lived: _Lived) -> None:
        if not lived.deleted:
            behavior = self._behavior
            found = behavior.decode_state(behavior.encode_state(lived.state))
            self._compare_stored(lived, found, "a snapshot", "read back")

    def _compare_stored(self, lived: _Lived, found: Any, what: str, how: str) -> None:
        if self._same(lived.state, found):
            return
        live, other = _difference(lived.state, found)
        raise _noted(
            ReplayDiffers(
                f"{what} gives another state: live {live}, {how} {other}",
                at=f"{place_of(type(lived.state))} {type(lived.state).__name__}, "
                f"{self._name} revision {lived.revision}",
                hint=_STORED,
            )
        )

    def _same(self, live: Any, other: Any) -> bool:
        """Tell whether two states are equal, to Python or as stored: NaN is not equal to itself."""
        if live == other:
            return True
        encode = self._behavior.encode_state
        return bool(encode(live) == encode(other))

    def _fails(self, lived: _Lived, error: UnreadableBody) -> ReplayDiffers:
        return self._differs(f"replay fails where the live run did not: {error}", lived)

    def _differs(self, message: str, lived: _Lived) -> ReplayDiffers:
        cls = self._behavior.cls
        events: Sequence[Any] = ()
        try:
            events = self._cast.read_events(self._id, _stored_events(lived))
        except UnreadableBody:
            events = ["(unreadable)"]
        if events:
            what = f"{place_of(cls.evolve)} evolve({_shortened(', '.join(map(_plain, events)))})"
            hint = _PURE
        else:
            what, hint = f"{place_of(type(lived.state))} {type(lived.state).__name__}", _STORED
        at = f"{what}, {self._name} revision {lived.revision}"
        return _noted(ReplayDiffers(message, at=at, hint=hint))

    @property
    def _name(self) -> str:
        return f"{self._behavior.type}/{self._id}"


def _stored_events(lived: _Lived) -> Sequence[EventData]:
    commit = decode_prefix(lived.value)
    assert isinstance(commit, Commit), "only commits are kept"
    events, _ = read_effect(lived.value, commit.body_at)
    return [EventData(*event) for event in events]


def _noted(error: ReplayDiffers) -> ReplayDiffers:
    """Put place and hint where a test's report shows them."""
    error.add_note(f"at:   {error.at}")
    error.add_note(f"hint: {error.hint}")
    return error


def _plain(value: Any) -> str:
    """Return an object as its class would be written: without the names of outer classes."""
    text, cls = repr(value), type(value)
    return text.replace(cls.__qualname__, cls.__name__, 1)


def _difference(live: Any, other: Any) -> tuple[str, str]:
    """Return both as text, of dataclasses of one type only the fields that differ."""
    if type(live) is type(other) and dataclasses.is_dataclass(live):
        names = [
            field.name
            for field in dataclasses.fields(live)
            if getattr(live, field.name) != getattr(other, field.name)
        ]
        if names:
            return _fields(live, names), _fields(other, names)
    return _shortened(_plain(live)), _shortened(_plain(other))


def _fields(state: Any, names: Sequence[str]) -> str:
    return _shortened(", ".join(f"{name}={getattr(state, name)!r}" for name in names))


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH_MAX else text[: _TEXT_LENGTH_MAX - 3] + "..."
