"""What callers saw, and whether one order of the commands explains all of it (list-append).

Each command appends a number of its own to an actor's list; its reply is the list's length then.
So the final list is the order in which the commands took effect, and every reply, every list that
was read and every "not executed" can be held against it, and against real time.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Outcome", "Seen", "check"]


class Outcome(enum.Enum):
    """What a caller knows of its command."""

    DONE = "done"
    """Acknowledged."""
    REFUSED = "refused"
    """Told that it was not executed, and no copy of it was ever sent without such an answer."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Seen:
    """One command, or one read (`number` is None), as its caller saw it."""

    actor: str
    number: int | None
    began: float
    ended: float
    outcome: Outcome
    length: int = 0
    """The list's length: a command's reply, or of the list that was read."""
    numbers: tuple[int, ...] = ()
    """The list that was read."""


def check(seen: Iterable[Seen], final: dict[str, Sequence[int]]) -> None:
    """Hold everything seen against the final lists.

    Raises: AssertionError - it names the command or read that nothing explains.
    """
    by_actor: dict[str, list[Seen]] = {actor: [] for actor in final}
    for each in seen:
        by_actor[each.actor].append(each)
    for actor, numbers in final.items():
        _check_effects(by_actor[actor], numbers)
        _check_order(by_actor[actor])


def _check_effects(seen: Sequence[Seen], final: Sequence[int]) -> None:
    places = {number: index + 1 for index, number in enumerate(final)}
    assert len(places) == len(final), f"in effect twice: {_repeated(final)}"
    sent = {each.number for each in seen if each.number is not None}
    assert places.keys() <= sent, f"nobody sent {places.keys() - sent}"
    for each in seen:
        if each.number is None:
            assert each.numbers == tuple(final[: each.length]), f"read what never was: {each}"
        elif each.outcome is Outcome.DONE:
            assert each.number in places, f"acknowledged and lost: {each}"
            assert places[each.number] == each.length, (
                f"told to be at {each.length}, stands at {places[each.number]}: {each}"
            )
        elif each.outcome is Outcome.REFUSED:
            assert each.number not in places, f"told 'not executed', yet in effect: {each}"


def _check_order(seen: Sequence[Seen]) -> None:
    """What began after something had ended saw it, and at least as much."""
    ends = sorted(
        (each for each in seen if each.outcome is Outcome.DONE), key=lambda each: each.ended
    )
    least, passed = 0, 0
    before: Seen | None = None
    for each in sorted(ends, key=lambda each: each.began):
        while passed < len(ends) and ends[passed].ended < each.began:
            if ends[passed].length > least:
                least, before = ends[passed].length, ends[passed]
            passed += 1
        grown = each.length > least if each.number is not None else each.length >= least
        assert grown, f"{_short(each)} did not see {_short(before)}, which had ended"


def _short(each: Seen | None) -> str:
    if each is None:
        return "nothing"
    what = "a read" if each.number is None else f"the command {each.number}"
    return f"{what} of {each.actor} ({each.began:.4f} to {each.ended:.4f}, length {each.length})"


def _repeated(numbers: Sequence[int]) -> set[int]:
    return {number for number, times in Counter(numbers).items() if times > 1}
