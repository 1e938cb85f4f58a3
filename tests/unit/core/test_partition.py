"""The partition's state machine: commit path, gap, fence, unknown outcome, flush."""

from __future__ import annotations

import random

import pytest

from eventstore.records import NO_PREVIOUS, Commit, RequestNumber, decode_prefix
from spawn.core.checkpoint import capture_fold, restore_fold
from spawn.core.fold import LossDetected
from spawn.core.keys import KEY_FRESH_US, digest_key
from spawn.core.partition import LEASE_S, Phase
from spawn.errors import MailboxFull, TooManyKeys
from tests.unit.core.harness import FakeLog, FakeStore, Lists, Owner, command


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


def test_commands_of_one_actor_run_on_uncommitted_state_and_share_a_batch(
    owner: Owner, log: FakeLog
) -> None:
    """Three adds before any append make three records of one batch, each on the one before."""
    for n in (1, 2, 3):
        owner.run(command("add", "a", n))
    assert owner.settled == []
    assert owner.append()
    assert [entry.decision.reply for entry in owner.settled] == [1, 2, 3]
    assert [c.previous for c in commits(log)] == [NO_PREVIOUS, -1, -1]
    assert [c.sequence for c in commits(log)] == [0, 1, 2]


def test_previous_is_an_offset_once_the_batch_before_is_acknowledged(
    owner: Owner, log: FakeLog
) -> None:
    """The back pointer across batches names the offset of the actor's last record."""
    owner.run(command("add", "a", 1))
    owner.append()
    owner.run(command("add", "b", 1))
    owner.run(command("add", "a", 2))
    owner.append()
    assert [c.previous for c in commits(log)] == [NO_PREVIOUS, NO_PREVIOUS, 1]


def test_previous_names_the_batch_before_also_for_an_actor_that_stayed_busy(
    owner: Owner, log: FakeLog
) -> None:
    """Its place in that batch, which is remembered, is no distance within the next one."""
    owner.run(command("add", "a", 1))
    owner.run(command("add", "b", 1))
    owner.run(command("add", "b", 2))
    owner.send()
    owner.run(command("add", "a", 2))
    owner.run(command("add", "b", 3))
    owner.run(command("add", "b", 4))
    owner.acknowledge()
    owner.append()
    found = [(log.records[c.sequence + 1].key, c.previous) for c in commits(log)]
    first = [(b"a", NO_PREVIOUS), (b"b", NO_PREVIOUS), (b"b", -1)]
    assert found == [*first, (b"a", 1), (b"b", 3), (b"b", -1)]


def test_refused_and_unchanged_commands_leave_one_record_each(owner: Owner, log: FakeLog) -> None:
    """A command that reached user code leaves exactly one record, whatever came of it."""
    for action in ("add", "nothing", "refuse"):
        owner.run(command(action, "a", 1))
    owner.append()
    assert [c.revision for c in commits(log)] == [1, 1, 1]
    assert len(commits(log)) == 3


def test_a_foreign_claim_before_the_batch_fences_and_voids_it(owner: Owner, log: FakeLog) -> None:
    """What was appended behind another process's claim never counts, and nobody is answered."""
    rival = Owner(log, owner.store, random.Random(2))
    assert rival.take_over()
    owner.run(command("add", "a", 1))
    assert not owner.append()
    assert owner.machine.phase is Phase.FENCED
    assert owner.settled == []
    assert [c.action for c in owner.machine.unsettled()] == ["add"]


def test_void_records_of_a_zombie_do_not_disturb_the_owner(owner: Owner, log: FakeLog) -> None:
    """A deposed owner's late batch makes a gap; the new owner's own batch counts all the same."""
    rival = Owner(log, owner.store, random.Random(2))
    assert rival.take_over()
    owner.run(command("add", "a", 1))
    owner.append()
    rival.run(command("add", "a", 7))
    assert rival.append()
    assert rival.states() == {b"a": (7,)}


def test_a_batch_that_landed_twice_counts_once(owner: Owner, log: FakeLog) -> None:
    """The log repeats a batch and acknowledges the second copy: the first one's offsets count."""
    owner.run(command("add", "a", 1))
    cut = owner.machine.cut(0.0)
    assert cut is not None
    log.append(cut.records)
    base = log.append(cut.records)
    assert owner.machine.acknowledged(base) is None
    settled = owner.machine.observe(log.read(owner.machine.fold.position - 1))
    assert [entry.offset for entry in settled] == [1]
    assert owner.states() == {b"a": (1,)}


def test_after_an_unknown_outcome_what_proved_void_runs_again_in_order(
    owner: Owner, log: FakeLog
) -> None:
    """A lost batch and what was decided on top of it run again behind the new claim, in order."""
    owner.run(command("add", "a", 1))
    assert owner.machine.cut(0.0) is not None
    owner.run(command("add", "a", 2))
    owner.machine.lost()
    owner.claim()
    assert owner.machine.observe(log.read(owner.machine.fold.position - 1)) == []
    owner.resume()
    owner.append()
    assert owner.states() == {b"a": (1, 2)}


def test_after_an_unknown_outcome_what_proved_valid_is_answered_once(
    owner: Owner, log: FakeLog
) -> None:
    """An append whose acknowledgement was lost is found valid and not run again."""
    owner.run(command("add", "a", 1))
    cut = owner.machine.cut(0.0)
    assert cut is not None
    log.append(cut.records)
    owner.machine.lost()
    owner.claim()
    settled = owner.machine.observe(log.read(owner.machine.fold.position - 1))
    assert [entry.decision.reply for entry in settled] == [1]
    owner.resume()
    owner.append()
    assert owner.states() == {b"a": (1,)}


def test_a_smaller_offset_than_expected_is_loss(owner: Owner) -> None:
    """An offset given out twice means that the log lost acknowledged records."""
    owner.run(command("add", "a", 1))
    owner.append()
    owner.run(command("add", "a", 2))
    assert owner.machine.cut(0.0) is not None
    with pytest.raises(LossDetected):
        owner.machine.acknowledged(1)


def test_a_full_mailbox_refuses_the_next_command(owner: Owner) -> None:
    """Commands waiting or uncommitted are bounded per actor; others are not held up."""
    for n in range(1_000):
        owner.run(command("add", "a", n))
    with pytest.raises(MailboxFull, match="List/a has 1000 commands"):
        owner.run(command("add", "a", 1))
    owner.run(command("add", "b", 1))


def test_a_key_in_flight_holds_the_next_command_with_the_same_key(owner: Owner) -> None:
    """A repetition queues behind the command in flight and is then bound to its record."""
    key = digest_key("order-7", "add", b"1")
    owner.run(command("add", "a", 1, key=key))
    owner.run(command("add", "a", 1, key=key))
    assert len(owner.machine.pending) == 1
    cut = owner.machine.cut(0.0)
    assert cut is not None
    owner.machine.acknowledged(owner.log.append(cut.records))
    (actor,) = owner.machine.resumable
    repeated = owner.machine.start(actor)
    assert repeated is not None
    bound = owner.machine.bound_key(actor, repeated, owner.now_us)
    assert bound is not None
    assert bound.offset == 1


def test_an_actor_full_of_keys_in_flight_is_given_no_more(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key binds with its commit; those on their way count, or the limit is none."""
    monkeypatch.setattr("spawn.core.keys.KEYS_MAX", 2)
    made = [command("add", "a", n, key=digest_key(str(n), "add", b"")) for n in range(3)]
    for some in made[:2]:
        owner.run(some)
    actor = owner.machine.residents.actor("List", b"a")
    with pytest.raises(TooManyKeys):
        owner.machine.bound_key(actor, made[2], owner.now_us)
    owner.append()
    with pytest.raises(TooManyKeys):
        owner.machine.bound_key(actor, made[2], owner.now_us)
    owner.now_us += KEY_FRESH_US
    assert owner.machine.bound_key(actor, made[2], owner.now_us) is None


def test_reads_wait_for_an_append_that_starts_after_they_arrived(owner: Owner) -> None:
    """Without a lease a read is answered by the next append, not by one already in flight."""
    owner.run(command("add", "a", 1))
    cut = owner.machine.cut(10.0)
    assert cut is not None
    strict = command("all", "a")
    strict.strict = True
    assert owner.machine.read(strict, 10.0) is None
    owner.machine.acknowledged(owner.log.append(cut.records))
    assert owner.machine.readable(10.1) == []
    barrier = owner.machine.cut(10.2)
    assert barrier is not None
    assert barrier.is_barrier
    owner.machine.acknowledged(owner.log.append(barrier.records))
    assert owner.machine.readable(10.3) == [strict]


def test_the_lease_runs_from_the_start_of_the_append(owner: Owner) -> None:
    """A read rests on an acknowledged append for 250 ms from that append's start."""
    owner.run(command("add", "a", 1))
    cut = owner.machine.cut(10.0)
    assert cut is not None
    owner.machine.acknowledged(owner.log.append(cut.records))
    assert owner.machine.read(command("all", "a"), 10.0 + LEASE_S - 0.01) is not None
    assert owner.machine.read(command("all", "a"), 10.0 + LEASE_S) is None


def test_a_released_partition_needs_no_wait_and_a_live_one_does(owner: Owner, log: FakeLog) -> None:
    """Only a claim that was not released may still be read under."""
    value = owner.machine.release()
    log.append([(None, value)])
    second = Owner(log, owner.store, random.Random(2))
    assert second.take_over()
    assert not second.machine.displaces_live_claim
    third = Owner(log, owner.store, random.Random(3))
    assert third.take_over()
    assert third.machine.displaces_live_claim


def test_a_flush_holds_committed_state_only(owner: Owner) -> None:
    """Speculative state never reaches the store."""
    owner.run(command("add", "a", 1))
    owner.append()
    owner.run(command("add", "a", 2))
    assert owner.flush()
    assert owner.store.rows == {b"a": ((1,), 1, 1)}


def test_an_actor_leaves_memory_only_when_clean_and_idle(owner: Owner) -> None:
    """Passivation never drops what the store does not have, nor what is under way."""
    owner.run(command("add", "a", 1))
    actor = owner.machine.residents.actor("List", b"a")
    assert not owner.machine.residents.evict(actor)
    owner.append()
    assert not owner.machine.residents.evict(actor)
    owner.flush()
    assert owner.machine.residents.evict(actor)
    owner.run(command("add", "a", 2))
    owner.append()
    assert owner.states() == {b"a": (1, 2)}


def test_a_late_copy_behind_the_checkpoint_is_void_to_who_starts_from_it(
    owner: Owner, log: FakeLog
) -> None:
    """The checkpoint holds the next sequence, so an older record landing later never counts."""
    owner.run(command("add", "a", 1))
    cut = owner.machine.cut(0.0)
    assert cut is not None
    owner.machine.acknowledged(log.append(cut.records))
    assert owner.flush()
    log.append(cut.records)
    second = Owner(log, owner.store, random.Random(2))
    assert second.take_over()
    second.run(command("add", "a", 2))
    second.append()
    assert second.states() == {b"a": (1, 2)}


def test_a_checkpoint_reads_back_as_it_was_captured(owner: Owner) -> None:
    """Fence, anchor, time, sessions: field by field."""
    request = RequestNumber(b"S" * 16, 4, 2, 500)
    owner.run(command("add", "a", 1, request=request))
    owner.append()
    fold = owner.machine.fold
    again = restore_fold(capture_fold(fold))
    assert again.position == fold.position
    assert again.anchor == fold.anchor
    assert again.time_us == fold.time_us
    for name in ("claim", "epoch", "log_id", "next", "released"):
        assert getattr(again.fence, name) == getattr(fold.fence, name)
    assert again.sessions.by_id == fold.sessions.by_id
    assert again.sessions.by_id[b"S" * 16].done == {4: 1}


def test_log_time_never_goes_back(owner: Owner, log: FakeLog) -> None:
    """A command that started earlier and is decided later takes the later one's time."""
    slow, quick = command("add", "a", 1), command("add", "b", 1)
    actor = owner.machine.arrive(slow)
    assert actor is not None
    assert owner.machine.start(actor) is slow
    started_us = owner.machine.time(owner.now_us)
    owner.now_us += 500
    owner.run(quick)
    decision = Lists().run("add", "a", (), 0, started_us, slow)
    owner.machine.decide(actor, slow, decision, started_us)
    owner.append()
    times = [commit.time_us for commit in commits(log)]
    assert times == [owner.now_us, owner.now_us]
