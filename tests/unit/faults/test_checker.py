"""The checker of the runs with real faults: sound histories pass, planted errors are named."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.checker import Kind, check
from tests.faults.history import NEVER, Attempt, Outcome
from tests.unit.faults.histories import ACTOR, Story, is_linearizable, stories


def found(story: Story) -> list[Kind]:
    """The kinds of flaws that the checker finds."""
    return [flaw.kind for flaw in check(story.attempts, {ACTOR: story.log})]


@given(stories())
def test_what_a_correct_actor_shows_passes(story: Story) -> None:
    """However operations overlap, and whichever outcomes are unknown."""
    assert not found(story)


@given(stories(operations_max=6), st.data())
def test_the_checker_and_a_search_for_an_order_agree(story: Story, data: st.DataObject) -> None:
    """Moved in time by the dice, a history is flawed if and only if no order explains it."""
    moved = tuple(
        msgspec.structs.replace(each, sent=each.sent + by, answered=each.answered + by)
        for each in story.attempts
        for by in [data.draw(st.sampled_from([0.0, 0.0, -3.0, 3.0]))]
    )
    story = Story(moved, story.log)
    flaws = found(story)
    if not flaws:
        assert is_linearizable(story)
    elif not any(each.outcome is Outcome.UNKNOWN for each in moved):
        assert not is_linearizable(story)


SOUND = (
    Story()
    .write(1, 0, 1)
    .read(2, 2, 3)
    .write(3, 4, 5)
    .read(4, 6, 7)
    .unknown(5, 7)
    .write(6, 8, NEVER, outcome=Outcome.UNKNOWN, revision=0)
    .read(7, 9, 10)
    .refused(8, 9, 10)
    .write(9, 11, 12)
    .read(10, 13, 14)
)


def test_the_history_in_which_errors_are_planted_is_sound() -> None:
    """Else they would prove nothing."""
    assert not found(SOUND)


PLANTED = {
    "lost": (SOUND.with_log(1, 3, 6), [Kind.VANISHED, Kind.LOST]),
    "lost from the middle": (
        SOUND.with_log(1, 6, 9),
        [Kind.FORKED, Kind.VANISHED, Kind.FORKED, Kind.LOST, Kind.MISPLACED],
    ),
    "doubled": (SOUND.with_log(1, 3, 6, 9, 9), [Kind.DOUBLED]),
    "phantom": (SOUND.with_log(1, 3, 6, 9, 77), [Kind.PHANTOM]),
    "told not to be executed": (SOUND.with_log(1, 3, 6, 9, 8), [Kind.DENIED]),
    "a stale read": (SOUND.read(11, 15, 16, revision=2, digest=SOUND.attempts[3].digest), [
        Kind.STALE
    ]),
    "a read of nothing": (SOUND.read(11, 15, 16, revision=0, digest=0), [Kind.STALE]),
    "two reads going back": (
        Story()
        .write(1, 0, NEVER, outcome=Outcome.UNKNOWN, revision=0)
        .read(2, 1, 2)
        .read(3, 3, 4, revision=0, digest=0),
        [Kind.BACK],
    ),
    "reordered": (
        Story().write(2, 4, 5).write(1, 2, 3),
        [Kind.REORDERED],
    ),
    "a silent write before what had ended": (
        Story().write(2, 4, NEVER, outcome=Outcome.UNKNOWN, revision=0).write(1, 2, 3),
        [Kind.REORDERED],
    ),
    "another state": (SOUND.with_attempt(4, digest=12345), [Kind.FORKED]),
    "another reply": (SOUND.with_attempt(9, digest=12345), [Kind.FORKED]),
    "another revision": (SOUND.with_attempt(9, revision=3), [Kind.MISPLACED]),
    "another position": (SOUND.with_attempt(9, offset=4711), [Kind.MISPLACED]),
    "a read of what is to come": (
        SOUND.with_attempt(2, revision=2, digest=SOUND.attempts[3].digest),
        [Kind.REORDERED],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_is_found_and_named(name: str) -> None:
    """Each kind of error, and nothing besides that does not follow from it."""
    story, kinds = PLANTED[name]
    assert sorted(kind.name for kind in found(story)) == sorted(kind.name for kind in kinds)


def test_every_kind_of_flaw_is_planted() -> None:
    """A kind that no history has would be a check that nobody has seen fail."""
    assert {kind for _, kinds in PLANTED.values() for kind in kinds} == set(Kind)


@given(stories(), st.data())
def test_an_acknowledged_write_that_is_missing_is_lost(story: Story, data: st.DataObject) -> None:
    """Whichever write it is, and whatever else the history holds."""
    told = [each.operation for each in story.attempts if each.is_write and each.revision]
    if not told:
        return
    gone = data.draw(st.sampled_from(told))
    kept = [entry.number for entry in story.log if entry.number != gone]
    assert Kind.LOST in found(story.with_log(*kept))


def test_attempts_of_one_operation_are_one() -> None:
    """Sent three times under one key: in effect once, and both answers tell the same."""
    story = Story().write(1, 4, 5)
    silent = msgspec.structs.replace(
        story.attempts[0], sent=0.0, answered=NEVER, outcome=Outcome.UNKNOWN, revision=0
    )
    late = msgspec.structs.replace(story.attempts[0], sent=1.0, answered=9.0)
    several = Story((silent, late, *story.attempts), story.log)
    assert not found(several.read(2, 6, 7))
    other = msgspec.structs.replace(late, revision=2)
    assert found(Story((*several.attempts, other), story.log)) == [Kind.MISPLACED]
    again = several.with_log(1, 1)
    assert found(again) == [Kind.DOUBLED]


def test_a_flaw_says_where_to_look() -> None:
    """The text has actor, operation, node, times, and what it contradicts."""
    story = SOUND.read(11, 15, 16, revision=2, digest=SOUND.attempts[3].digest)
    (flaw,) = check(story.attempts, {ACTOR: story.log})
    text = str(flaw)
    for part in (ACTOR, "did not see a write", "read 11", "n2", "15.0000", "write 9", "11.0000"):
        assert part in text


def test_what_nobody_asked_of_an_actor_is_found() -> None:
    """An actor in the log that no caller knows."""
    attempts: list[Attempt] = []
    flaws = check(attempts, {"k9": Story().with_log(5).log})
    assert [(flaw.kind, flaw.actor) for flaw in flaws] == [(Kind.PHANTOM, "k9")]
