"""Numbered requests: done, settled, too old (log protocol 7)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventstore.records import Flag, RequestNumber
from spawn.core.sessions import Arrival, Session, Sessions

S, T = b"S" * 16, b"T" * 16


def fold(sessions: Sessions, n: int, low: int = 0, issued: int = 100, offset: int = 7) -> None:
    sessions.fold(RequestNumber(S, n, low, issued), Flag.REQUEST, offset)


def judge(sessions: Sessions, n: int, issued: int = 100, horizon: int = 0) -> Arrival:
    return sessions.arrival(RequestNumber(S, n, 0, issued), False, horizon)


def test_a_done_number_is_answered_from_its_record() -> None:
    """Its offset is kept until the ingress says that all below is settled."""
    sessions = Sessions()
    fold(sessions, 3, offset=42)
    assert judge(sessions, 3) is Arrival.DONE
    assert sessions.by_id[S].done == {3: 42}
    assert judge(sessions, 4) is Arrival.RUN


def test_numbers_below_low_are_purged_and_dropped() -> None:
    """Nobody waits for them any more, whether they were executed or not."""
    sessions = Sessions()
    for n in range(5):
        fold(sessions, n)
    fold(sessions, 5, low=4)
    assert sessions.by_id[S].done == {4: 7, 5: 7}
    assert judge(sessions, 2) is Arrival.DROP


def test_a_durable_session_is_told_that_it_is_settled() -> None:
    """An activator may start again below its low; its time of issue does not count."""
    sessions = Sessions()
    request = RequestNumber(S, 10, 5, 0)
    sessions.fold(request, Flag.REQUEST | Flag.DURABLE, 1)
    assert sessions.arrival(RequestNumber(S, 3, 0, 0), True, 10**9) is Arrival.SETTLED
    sessions.forget(10**12)
    assert S in sessions.by_id


def test_issued_before_the_horizon_is_too_old() -> None:
    """Whether it was executed is unknown for ever; it never runs again."""
    assert judge(Sessions(), 1, issued=99, horizon=100) is Arrival.TOO_OLD
    assert judge(Sessions(), 1, issued=100, horizon=100) is Arrival.RUN


def test_sessions_are_forgotten_when_the_horizon_passes_their_newest_request() -> None:
    """Everything that they could still send is too old by then."""
    sessions = Sessions()
    fold(sessions, 1, issued=100)
    sessions.fold(RequestNumber(T, 1, 0, 200), Flag.REQUEST, 8)
    sessions.forget(100)
    assert set(sessions.by_id) == {S, T}
    sessions.forget(150)
    assert set(sessions.by_id) == {T}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_the_fold_equals_its_definition(requests: list[tuple[int, int]]) -> None:
    """done = numbers seen and not below the highest low, whatever the order."""
    sessions = Sessions()
    low = 0
    seen: set[int] = set()
    for n, said in requests:
        fold(sessions, n, low=min(n, said))
        low = max(low, min(n, said))
        seen.add(n)
    if requests:
        assert set(sessions.by_id[S].done) == {n for n in seen if n >= low}
        assert sessions.by_id[S].low == low
    assert sessions.numbers == sum(len(session.done) for session in sessions.by_id.values())


def test_a_restored_session_goes_on() -> None:
    """What a checkpoint keeps is all that the fold needs."""
    sessions = Sessions({S: Session(3, 100, False, {4: 9})})
    assert judge(sessions, 4) is Arrival.DONE
    assert judge(sessions, 2) is Arrival.DROP
    sessions.forget(101)
    assert sessions.by_id == {}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400), st.integers(0, 300)), max_size=60)
)
def test_exactly_those_older_than_the_horizon_are_forgotten(
    steps: list[tuple[int, int, int]],
) -> None:
    """Whatever the order in which sessions come, are used again and are forgotten."""
    sessions, newest, horizon = Sessions(), dict[bytes, int](), 0
    for n, (which, issued, forward) in enumerate(steps, start=1):
        name = bytes([which]) * 16
        sessions.fold(RequestNumber(name, n, 1, issued), 0, n)
        newest[name] = max(issued, newest.get(name, 0))
        horizon = max(horizon, forward)
        sessions.forget(horizon)
        newest = {name: at for name, at in newest.items() if at >= horizon}
        assert {name: s.newest_us for name, s in sessions.by_id.items()} == newest
        assert sessions.numbers == sum(len(s.done) for s in sessions.by_id.values())
        assert sessions.numbers == Sessions(sessions.by_id).numbers
