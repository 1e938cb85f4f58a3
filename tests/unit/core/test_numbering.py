"""The numbers of a client's requests, as log protocol 7 wants them."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from spawn.core.numbering import WINDOW, Drawn, Numbers


def numbers() -> Numbers:
    ids = (bytes([n]) * 16 for n in itertools.count(1))
    return Numbers(bytes(16), lambda: next(ids))


@given(st.lists(st.integers(0, 6), max_size=60))
def test_low_is_the_lowest_that_is_waited_for(steps: list[int]) -> None:
    """In each step draw, or settle one of those outstanding."""
    drawing, outstanding, drawn = numbers(), list[Drawn](), 0
    for step in steps:
        if step < 4 or not outstanding:
            drawn += 1
            each = drawing.draw(100)
            assert each.number.n == drawn
            outstanding.append(each)
            assert each.number.low == min(one.number.n for one in outstanding)
        else:
            outstanding.pop(step % len(outstanding)).settle()
        if outstanding:
            assert outstanding[0].low == min(one.number.n for one in outstanding)


def test_one_slow_request_does_not_hold_others_up() -> None:
    """They go on in another session when the window ends."""
    drawing = numbers()
    slow = last = drawing.draw(1)
    for _ in range(WINDOW - 1):
        last = drawing.draw(1)
        assert last.number.session == slow.number.session
        last.settle()
    assert (last.number.n, last.number.low) == (WINDOW, 1)
    other = drawing.draw(1)
    assert other.number.session != slow.number.session
    assert (other.number.n, other.number.low) == (1, 1)
    slow.settle()


def test_the_time_of_issue_never_lies_before_the_partitions() -> None:
    """Else an owner whose clock is ahead would take it for too old."""
    drawing = numbers()
    drawing.learn(500)
    drawing.learn(300)
    assert drawing.draw(400).number.issued_us == 500
    assert drawing.draw(600).number.issued_us == 600
