"""Numbered requests at a partition: run once, joined while in flight, then answered by record."""

from __future__ import annotations

import random

import pytest

from eventstore.records import RequestNumber
from spawn.core.commands import Command
from spawn.core.partition import Limits
from spawn.core.sessions import HORIZON_US
from spawn.errors import InvalidHeader, RequestSettled, RequestTooOld, TooManySessions
from tests.unit.core.harness import FakeLog, FakeStore, Owner, command

SESSION = b"an ingress here."


def owner_of(log: FakeLog, store: FakeStore | None = None) -> Owner:
    owner = Owner(log, store or FakeStore(), random.Random(1))
    assert owner.take_over()
    return owner


def request(n: int, number: int = 7, low: int = 1, issued_us: int = 1_000_000) -> Command:
    some = command("add", "a", number)
    some.request = RequestNumber(SESSION, n, low, issued_us)
    return some


def recorded(owner: Owner, some: Command) -> int | None:
    assert some.request is not None
    return owner.machine.recorded(some, some.request, owner.now_us)


def test_a_copy_in_flight_joins_and_leaves_no_record() -> None:
    """Two copies that arrive before the commit are one command; both wait for its outcome."""
    log = FakeLog()
    owner = owner_of(log)
    first, copy = request(1), request(1)
    owner.run(first)
    owner.run(copy)
    assert owner.append()
    assert first.joined == [copy]
    assert [entry.command for entry in owner.settled] == [first]
    assert owner.states() == {b"a": (7,)}


def test_a_copy_joins_a_command_that_waits_behind_a_recovery() -> None:
    """A void command is back in its mailbox: it is still in flight."""
    log = FakeLog()
    owner = owner_of(log)
    owner.run(request(1))
    owner.machine.cut(0.0)
    owner.machine.lost()
    owner.run(request(1))
    end = owner.claim() + 1
    owner.machine.observe(log.read(owner.machine.fold.position, end))
    owner.resume()
    assert owner.append()
    assert owner.states() == {b"a": (7,)}


def test_a_done_request_is_answered_by_its_record_also_by_the_next_owner() -> None:
    """The offset of the first copy's record is known from own commits, tail and checkpoint."""
    log, store = FakeLog(), FakeStore()
    owner = owner_of(log, store)
    owner.run(request(1))
    owner.append()
    (entry,) = owner.settled
    assert recorded(owner, request(1)) == entry.offset
    assert recorded(owner_of(log), request(1)) == entry.offset
    assert owner.flush()
    assert recorded(owner_of(log, store), request(1)) == entry.offset


def test_below_low_nobody_waits() -> None:
    """A late copy of a request that its session has let go is not run."""
    log = FakeLog()
    owner = owner_of(log)
    owner.run(request(1))
    owner.run(request(2, low=2))
    owner.append()
    with pytest.raises(RequestSettled, match="request 1 is below the number"):
        recorded(owner, request(1))


def test_issued_before_the_horizon_it_is_refused_unless_it_is_in_flight() -> None:
    """Whether it ran is no longer known; a copy of what runs here now may join all the same."""
    log = FakeLog()
    owner = owner_of(log)
    owner.now_us = 2 * HORIZON_US
    owner.run(command("add", "a", 1))
    owner.append()
    old = HORIZON_US - 1
    with pytest.raises(RequestTooOld, match="no longer known"):
        recorded(owner, request(1, issued_us=old))
    in_time = request(2, issued_us=HORIZON_US)
    owner.run(in_time)
    owner.now_us += HORIZON_US
    owner.run(command("add", "b", 2))
    assert recorded(owner, request(2, issued_us=HORIZON_US)) is None


def test_issued_far_ahead_of_clock_and_log_it_is_refused() -> None:
    """It would be remembered for long; where the log itself is ahead, its time is the measure."""
    log = FakeLog()
    owner = owner_of(log)
    hour_us = 3_600 * 1_000_000
    far = owner.now_us + 5 * hour_us
    assert recorded(owner, request(1, issued_us=owner.now_us + hour_us)) is None
    with pytest.raises(InvalidHeader, match="issued is over an hour ahead"):
        recorded(owner, request(1, issued_us=owner.now_us + hour_us + 1))
    before, owner.now_us = owner.now_us, far
    owner.run(command("add", "a", 1))
    owner.append()
    after = owner_of(log)
    assert after.now_us == before
    assert recorded(after, request(1, issued_us=far)) is None
    assert recorded(after, request(1, issued_us=far + hour_us)) is None
    with pytest.raises(InvalidHeader):
        recorded(after, request(1, issued_us=far + hour_us + 1))


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(sessions_max=1), "1 sessions of numbered requests are known here"),
        (Limits(session_numbers_max=2), "2 numbered requests are remembered here"),
    ],
)
def test_what_is_remembered_is_bounded(limits: Limits, told: str) -> None:
    """One more is refused for now; what is remembered is answered, and room comes with `low`."""
    log = FakeLog()
    owner = owner_of(log)
    for n in (1, 2):
        owner.run(request(n))
    owner.append()
    owner.machine.limits = limits
    other = command("add", "a", 7)
    other.request = RequestNumber(b"another ingress.", 1, 1, 1_000_000)
    with pytest.raises(TooManySessions, match=told):
        recorded(owner, other)
    assert recorded(owner, request(1)) is not None
    owner.run(request(3, low=3))
    owner.append()
    assert recorded(owner, request(4, low=3)) is None


def test_a_command_with_a_waiting_copy_is_awaited() -> None:
    """The first copy's deadline ends the request only when no later copy waits."""
    first, copy = request(1), request(1)
    first.deadline, copy.deadline = 1.0, 2.0
    first.join(copy)
    assert [first.is_awaited(now) for now in (0.5, 1.5, 2.5)] == [True, True, False]
    assert copy.started, "what the copy is told at its deadline must hold for the request"
