"""Whether one order of the operations explains all that callers saw, and what contradicts it.

The log says in which order an actor's writes took effect; each answer carries the revision that it
saw or made. So nothing has to be searched for: an operation's place is known, and it is enough to
look whether

- each write that was acknowledged stands in the log, once, at the revision that was told, and what
  was told to be not executed does not;
- each answer holds the digest of just the writes up to its revision;
- what began after something had ended stands behind it: a write at a later revision, a read at no
  earlier one. Writes of unknown outcome that took effect count from when they were sent.

That is linearizability (Herlihy and Wing 1990) of a list under append and read, in the time that it
takes to sort. Each operation of unknown outcome may be there, at most once. Several attempts of one
operation are one: it was under way from the first one sent to the first one answered.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.faults.digest import EMPTY, chained
from tests.faults.history import NEVER, Attempt, Logged, Outcome

__all__ = ["COLUMNS", "Flaw", "Kind", "check", "shown"]


class Kind(enum.Enum):
    """What can be wrong with a history; the second word is the report's column."""

    LOST = ("acknowledged, and not in the log", "lost")
    VANISHED = ("read what is not in the log", "lost")
    DOUBLED = ("in effect twice", "doubled")
    PHANTOM = ("in effect, and nobody asked for it", "doubled")
    DENIED = ("told not to be executed, and in effect", "doubled")
    MISPLACED = ("told another place than it has", "doubled")
    FORKED = ("the state is not that of the writes up to its revision", "stale")
    STALE = ("did not see a write that had ended before", "stale")
    BACK = ("saw less than a read that had ended before", "stale")
    REORDERED = ("took effect before what had ended before it was sent", "stale")

    def __init__(self, text: str, column: str) -> None:
        self.text = text
        self.column = column


COLUMNS = ("lost", "doubled", "stale")


class Flaw(NamedTuple):
    """One contradiction."""

    kind: Kind
    actor: str
    text: str

    def __str__(self) -> str:
        return f"{self.actor}: {self.kind.text}: {self.text}"


def check(attempts: Iterable[Attempt], log: Mapping[str, Sequence[Logged]]) -> list[Flaw]:
    """Return what contradicts the guarantees: nothing, if all is well.

    `log` has each actor's numbers as the log's valid records say, in order.
    """
    by_actor: defaultdict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        by_actor[attempt.actor].append(attempt)
    return [
        flaw
        for actor in sorted(by_actor.keys() | log.keys())
        for flaw in _check_actor(actor, by_actor[actor], log.get(actor, ()))
    ]


def _check_actor(actor: str, attempts: Sequence[Attempt], log: Sequence[Logged]) -> Iterator[Flaw]:
    places: dict[int, int] = {}
    digests = [EMPTY]
    for revision, entry in enumerate(log, start=1):
        digests.append(chained(digests[-1], entry.number))
        if places.setdefault(entry.number, revision) != revision:
            text = f"{entry.number} at revisions {places[entry.number]} and {revision}"
            yield Flaw(Kind.DOUBLED, actor, text)
    writes: defaultdict[int, list[Attempt]] = defaultdict(list)
    spans: list[_Span] = []
    for each in attempts:
        if each.is_write:
            writes[each.operation].append(each)
        elif each.outcome is Outcome.DONE:
            if problem := _misread(each, digests):
                yield Flaw(problem, actor, shown(each))
            else:
                spans.append(_Span(each.sent, each.answered, each.revision, False, each))
    for number in places.keys() - writes.keys():
        yield Flaw(Kind.PHANTOM, actor, f"{number} at revision {places[number]}")
    for tries in writes.values():
        place = places.get(tries[0].operation)
        yield from _check_write(actor, tries, place, log, digests)
        if place is not None:
            spans.append(_span_of(tries, place))
    yield from _check_order(actor, spans)


def _misread(read: Attempt, digests: Sequence[int]) -> Kind | None:
    if read.revision >= len(digests):
        return Kind.VANISHED
    return None if read.digest == digests[read.revision] else Kind.FORKED


def _check_write(
    actor: str,
    tries: Sequence[Attempt],
    place: int | None,
    log: Sequence[Logged],
    digests: Sequence[int],
) -> Iterator[Flaw]:
    """Hold what was told of one write against its place in the log."""
    if place is None:
        for each in tries:
            if each.outcome is Outcome.DONE:
                yield Flaw(Kind.LOST, actor, shown(each))
        return
    if all(each.outcome is Outcome.REFUSED for each in tries):
        yield Flaw(Kind.DENIED, actor, f"at revision {place}: {shown(tries[-1])}")
    for each in tries:
        if each.outcome is not Outcome.DONE:
            continue
        offset = log[place - 1].offset
        if each.revision != place or each.offset not in (-1, offset):
            yield Flaw(Kind.MISPLACED, actor, f"at revision {place}, {offset}: {shown(each)}")
        elif each.digest != digests[place]:
            yield Flaw(Kind.FORKED, actor, shown(each))


class _Span(NamedTuple):
    """An operation with its place in the order and the time in which it took effect."""

    began: float
    ended: float
    revision: int
    is_write: bool
    told: Attempt


def _span_of(tries: Sequence[Attempt], place: int) -> _Span:
    first = min(tries, key=lambda each: each.sent)
    ends = [each.answered for each in tries if each.outcome is Outcome.DONE]
    return _Span(first.sent, min(ends, default=NEVER), place, True, first)


def _check_order(actor: str, spans: Sequence[_Span]) -> Iterator[Flaw]:
    """What began after something had ended stands behind it; nothing else is asked."""
    ends = sorted(spans, key=lambda span: span.ended)
    newest: _Span | None = None
    passed = 0
    for span in sorted(spans, key=lambda span: span.began):
        while passed < len(ends) and ends[passed].ended < span.began:
            if newest is None or _is_behind(newest, ends[passed]):
                newest = ends[passed]
            passed += 1
        if newest is None:
            continue
        if span.is_write and span.revision <= newest.revision:
            kind = Kind.REORDERED
        elif not span.is_write and span.revision < newest.revision:
            kind = Kind.STALE if newest.is_write else Kind.BACK
        else:
            continue
        text = f"revision {span.revision}, {shown(span.told)}, after {newest.revision}, "
        yield Flaw(kind, actor, text + shown(newest.told))


def _is_behind(newest: _Span, other: _Span) -> bool:
    """Of two at one revision the write is named: it is the older fact."""
    if other.revision == newest.revision:
        return other.is_write and not newest.is_write
    return other.revision > newest.revision


def shown(attempt: Attempt) -> str:
    """Return an attempt in words, for a person who has to find it in logs."""
    what = f"write {attempt.operation}" if attempt.is_write else f"read {attempt.operation}"
    told = f"revision {attempt.revision} @{attempt.offset}"
    if attempt.outcome is not Outcome.DONE:
        told = f"{attempt.outcome} {attempt.code}".strip()
    return (
        f"{what} at {attempt.node}, {attempt.sent:.4f} to {attempt.answered:.4f}, "
        f"partition {attempt.partition}: {told}"
    )
