"""The checker itself: it finds each mistake that it is there for."""

from __future__ import annotations

import dataclasses

import pytest

from tests.integration.faults.history import Outcome, Seen, check

FIRST = Seen("a", 10, 0.0, 1.0, Outcome.DONE, 1)
SECOND = Seen("a", 20, 2.0, 3.0, Outcome.DONE, 2)
READ = Seen("a", None, 4.0, 5.0, Outcome.DONE, 2, (10, 20))
UNKNOWN = Seen("a", 30, 0.0, 9.0, Outcome.UNKNOWN)


def test_a_sound_history_passes() -> None:
    """An unknown outcome may be there or not."""
    check([FIRST, SECOND, READ, UNKNOWN], {"a": [10, 20]})
    check([FIRST, SECOND, READ, UNKNOWN], {"a": [10, 20, 30]})


@pytest.mark.parametrize(
    ("seen", "final", "words"),
    [
        ([FIRST, SECOND], [10], "acknowledged and lost"),
        ([FIRST, SECOND], [10, 20, 10], "in effect twice"),
        ([FIRST], [10, 40], "nobody sent"),
        ([FIRST, SECOND], [20, 10], "told to be at"),
        ([FIRST, dataclasses.replace(UNKNOWN, outcome=Outcome.REFUSED)], [10, 30], "not executed"),
        ([FIRST, dataclasses.replace(READ, numbers=(20,), length=1)], [10], "never was"),
        ([FIRST, SECOND, dataclasses.replace(READ, numbers=(10,), length=1)], [10, 20], "did not"),
        (
            [
                dataclasses.replace(FIRST, length=2),
                dataclasses.replace(SECOND, length=1),
            ],
            [20, 10],
            "did not see",
        ),
    ],
)
def test_each_mistake_is_found(seen: list[Seen], final: list[int], words: str) -> None:
    """Lost, doubled, foreign, misplaced, told otherwise, read stale, out of real time."""
    with pytest.raises(AssertionError, match=words):
        check(seen, {"a": final})
