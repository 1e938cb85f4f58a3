"""Histories for tests of the checker: what callers of one correct actor might see."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from hypothesis import strategies as st

from tests.faults.digest import EMPTY, chained
from tests.faults.history import NEVER, Attempt, Logged, Outcome

__all__ = ["ACTOR", "Story", "is_linearizable", "stories"]

ACTOR = "k1"


@dataclass(frozen=True)
class Story:
    """What callers saw of an actor, and what the log says of it."""

    attempts: tuple[Attempt, ...] = ()
    log: tuple[Logged, ...] = ()

    def write(self, number: int, began: float, ended: float, **more: Any) -> Story:
        """Add a write that takes effect now."""
        log = (*self.log, Logged(number, 10 * len(self.log) + 7))
        attempt = Attempt(number, ACTOR, 0, True, began, began, ended, "n1", Outcome.DONE)
        told = {"revision": len(log), "digest": digest_of(log), "offset": log[-1].offset, **more}
        return Story((*self.attempts, msgspec.structs.replace(attempt, **told)), log)

    def read(self, number: int, began: float, ended: float, **more: Any) -> Story:
        """Add a read of what is there now."""
        attempt = Attempt(number, ACTOR, 0, False, began, began, ended, "n2", Outcome.DONE)
        told = {"revision": len(self.log), "digest": digest_of(self.log), **more}
        return replace(self, attempts=(*self.attempts, msgspec.structs.replace(attempt, **told)))

    def unknown(self, number: int, began: float) -> Story:
        """Add a write without an answer that had no effect."""
        attempt = Attempt(number, ACTOR, 0, True, began, began, NEVER, "n3", Outcome.UNKNOWN)
        return replace(self, attempts=(*self.attempts, attempt))

    def refused(self, number: int, began: float, ended: float) -> Story:
        """Add a write that was told to be not executed."""
        attempt = Attempt(number, ACTOR, 0, True, began, began, ended, "n3", Outcome.REFUSED)
        return replace(self, attempts=(*self.attempts, attempt))

    def with_attempt(self, number: int, **more: Any) -> Story:
        """Change what was told of one operation."""
        return replace(
            self,
            attempts=tuple(
                msgspec.structs.replace(each, **more) if each.operation == number else each
                for each in self.attempts
            ),
        )

    def with_log(self, *numbers: int) -> Story:
        """Let the log say something else than what happened."""
        log = tuple(Logged(number, 10 * place + 7) for place, number in enumerate(numbers))
        return replace(self, log=log)


def digest_of(log: Sequence[Logged]) -> int:
    """Return the digest of what is in the log."""
    digest = EMPTY
    for entry in log:
        digest = chained(digest, entry.number)
    return digest


@st.composite
def stories(draw: st.DrawFn, operations_max: int = 12) -> Story:
    """Return what may be seen of a correct actor: each operation takes effect within its span."""
    story = Story()
    reach = st.floats(0, 5, allow_nan=False)
    for number in range(1, draw(st.integers(0, operations_max)) + 1):
        began, ended = number - draw(reach), number + draw(reach)
        match draw(st.sampled_from(["write", "write", "read", "read", "silent", "lost", "busy"])):
            case "write":
                story = story.write(number, began, ended)
            case "read":
                story = story.read(number, began, ended)
            case "silent":  # without an answer, and in effect
                story = story.write(number, began, NEVER, outcome=Outcome.UNKNOWN, revision=0)
            case "lost":
                story = story.unknown(number, began)
            case _:
                story = story.refused(number, began, ended)
    return story


def is_linearizable(story: Story) -> bool:
    """Search for an order that explains a story, whatever the log says: slow, and plain."""
    known = [each for each in story.attempts if each.outcome is Outcome.DONE]
    silent = [each for each in story.attempts if each.outcome is Outcome.UNKNOWN]
    for count in range(len(silent) + 1):
        for chosen in itertools.combinations(silent, count):
            if _explains([*known, *chosen], ()):
                return True
    return False


def _explains(left: Sequence[Attempt], log: tuple[Logged, ...]) -> bool:
    if not left:
        return True
    first_end = min(each.answered for each in left)
    for each in left:
        if each.sent > first_end:
            continue  # another one had ended before it began
        after = (*log, Logged(each.operation, 0)) if each.is_write else log
        is_told = each.outcome is Outcome.UNKNOWN or (each.revision, each.digest) == (
            len(after),
            digest_of(after),
        )
        if is_told and _explains([other for other in left if other is not each], after):
            return True
    return False
