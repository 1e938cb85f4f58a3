"""The partition's state machine where log or store do not take what it has, and in a gap."""

from __future__ import annotations

import random

import pytest

from eventstore.records import Commit, Outcome, RequestNumber, decode_prefix
from spawn.core import residents
from spawn.core.partition import Limits, Phase
from spawn.errors import StoreUnreachable
from tests.unit.core.harness import FakeLog, FakeStore, Owner, command


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
def owner(log: FakeLog) -> Owner:
    owner = Owner(log, FakeStore(), random.Random(1))
    assert owner.take_over()
    return owner


def commits(log: FakeLog) -> list[Commit]:
    found = [decode_prefix(stored.value) for stored in log.records]
    return [record for record in found if isinstance(record, Commit)]


def test_a_command_whose_record_is_too_large_keeps_its_input(owner: Owner, log: FakeLog) -> None:
    """The failure's record leaves it out; after a rollback the command runs again with it."""
    owner.machine.limits = Limits(commit_bytes_max=100)
    huge = command("add", "a", 10**90)
    payload = huge.payload
    owner.run(huge)
    owner.machine.lost()
    owner.claim()
    owner.machine.observe(log.read(owner.machine.fold.position))
    assert huge.payload == payload
    owner.machine.limits = Limits()
    owner.resume()
    owner.append()
    assert [entry.decision.outcome for entry in owner.settled] == [Outcome.APPLIED]
    assert payload in (log.records[-1].value or b"")


def test_a_refused_batch_is_cut_again_in_smaller_ones(owner: Owner, log: FakeLog) -> None:
    """Pointers and sequence numbers are made anew; what was decided meanwhile comes behind."""
    machine = owner.machine
    for n in range(4):
        owner.run(command("add", "a" if n % 2 else "b", n))
    cut = machine.cut(0.0)
    assert cut is not None
    owner.run(command("add", "a", 4))
    assert machine.too_large("too large") == ()
    while machine.pending:
        owner.append()
    assert [entry.command.payload for entry in owner.settled] == [b"0", b"1", b"2", b"3", b"4"]
    assert machine.batches > 1
    assert [c.sequence for c in commits(log)] == [0, 1, 2, 3, 4]
    assert owner.take_over()
    assert owner.states() == {b"a": (1, 3, 4), b"b": (0, 2)}


def test_a_single_refused_record_becomes_its_commands_failure(owner: Owner, log: FakeLog) -> None:
    """Those that ran on its state run again, others' speculation stays as it is."""
    machine = owner.machine
    owner.run(command("add", "a", 1))
    assert machine.cut(0.0) is not None
    owner.run(command("add", "a", 2))
    owner.run(command("add", "b", 3))
    actors = machine.too_large("too large")
    assert actors is not None
    for actor in actors:
        owner.start(actor)
    owner.append()
    found = [(e.command.payload, e.outcome, e.revision) for e in owner.settled]
    assert found == [
        (b"1", Outcome.FAILED, 0),
        (b"3", Outcome.APPLIED, 1),
        (b"2", Outcome.APPLIED, 1),
    ]
    assert owner.take_over()
    assert owner.states() == {b"a": (2,), b"b": (3,)}
    machine = owner.machine
    owner.run(command("add", "a", 4))
    assert machine.cut(0.0) is not None
    assert machine.too_large("none at all") is not None
    assert machine.cut(0.0) is not None
    assert machine.too_large("none at all") is None


def test_what_is_withdrawn_is_as_if_it_had_never_run(owner: Owner, log: FakeLog) -> None:
    """Nothing of it was stored, and its numbers are used again."""
    machine = owner.machine
    owner.run(command("add", "a", 1))
    owner.append()
    request = RequestNumber(b"s" * 16, 1, 1, owner.now_us)
    owner.run(command("add", "a", 2, request=request))
    assert machine.cut(0.0) is not None
    owner.run(command("add", "a", 3))
    commands, actors = machine.withdraw()
    assert [each.payload for each in commands] == [b"2", b"3"]
    for actor in actors:
        owner.start(actor)
    assert not machine.residents.busy
    owner.run(command("add", "a", 4, request=request))
    owner.append()
    assert owner.states() == {b"a": (1, 4)}
    assert [c.sequence for c in commits(log)] == [0, 1]


def test_states_kept_for_time_travel_are_bounded_while_no_flush_writes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest go, also when a failed flush gives its own back."""
    monkeypatch.setattr(residents, "HISTORY_MAX", 10)
    owner = Owner(FakeLog(), FakeStore(), random.Random(1))
    assert owner.take_over()
    for n in range(64 * 12):
        owner.run(command("add", "a", n))
        owner.append()
        if n == 64 * 6:
            assert not owner.flush(fails=True)
    kept = owner.machine.residents.history
    assert [revision for _, revision, _, _ in kept] == [64 * n for n in range(3, 13)]
    capture = owner.machine.residents.capture(owner.machine.fold)
    owner.run(command("add", "a", 0))
    owner.append()
    owner.machine.residents.flush_failed(capture)
    assert len(owner.machine.residents.history) == 10


def test_with_too_many_unwritten_changes_further_actors_are_refused(owner: Owner) -> None:
    """Those with changes go on, reads too; a flush makes room, one under way does not yet."""
    machine = owner.machine
    machine.limits = Limits(dirty_max=3)
    for name in "abc":
        owner.run(command("add", name, 1))
    owner.append()
    capture = machine.residents.capture(machine.fold)
    with pytest.raises(StoreUnreachable, match="the limit is 3") as refused:
        owner.run(command("add", "d", 1))
    assert refused.value.retryable
    assert not machine.residents.busy
    machine.residents.flush_failed(capture)
    with pytest.raises(StoreUnreachable):
        owner.run(command("add", "d", 1))
    owner.run(command("add", "a", 2))
    owner.append()
    assert owner.flush()
    owner.run(command("add", "d", 1))
    owner.append()
    assert owner.states() == {b"a": (1, 2), b"b": (1,), b"c": (1,), b"d": (1,)}


def test_a_read_rests_on_a_barrier_only_when_that_was_met_in_the_gap(
    owner: Owner, log: FakeLog
) -> None:
    """A gap is read piece by piece: a foreign claim may stand between."""
    machine = owner.machine
    owner.run(command("add", "a", 1))
    owner.append()
    machine._lease_from = float("-inf")
    assert machine.read(command("all", "a"), 10.0) is None
    cut = machine.cut(10.0)
    assert cut is not None
    assert cut.is_barrier
    junk = log.append([(b"x", b"hello"), (b"x", b"hello")])
    base = log.append(cut.records)
    assert machine.acknowledged(base) is None
    assert machine.observe(log.read(junk - 1, junk + 1)) == []
    assert machine.readable(10.0) == ()
    assert machine.read(command("all", "a"), 10.1) is None
    assert machine.observe(log.read(junk + 1, base + 1)) == []
    assert not machine.appending
    assert len(machine.readable(10.1)) == 2
    assert machine.read(command("all", "a"), 10.2) is not None


def test_a_barrier_behind_a_foreign_claim_allows_no_read(owner: Owner, log: FakeLog) -> None:
    """Its own claim is current no more."""
    machine = owner.machine
    owner.run(command("add", "a", 1))
    owner.append()
    machine._lease_from = float("-inf")
    assert machine.read(command("all", "a"), 10.0) is None
    cut = machine.cut(10.0)
    assert cut is not None
    thief = Owner(log, FakeStore(), random.Random(2))
    assert thief.take_over()
    base = log.append(cut.records)
    assert machine.acknowledged(base) is None
    position = machine.fold.position
    for offset in range(position - 1, base + 1):
        machine.observe(log.read(offset, offset + 1))
        if machine.phase is Phase.FENCED:
            break
    assert machine.phase is Phase.FENCED
    assert machine.readable(10.0) == ()
