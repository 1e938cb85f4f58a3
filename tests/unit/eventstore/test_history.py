"""Walking an actor's records back by their pointers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

import pytest

from eventstore import history
from eventstore.errors import CorruptRecord
from eventstore.history import read_one, walk_back
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.memory_log import MemoryLog, MemoryRecord
from eventstore.records import Cause, Commit, Outcome, encode_commit

AT = TopicPartition("t", 0)


def record(
    revision: int, previous: int, outcome: Outcome = Outcome.APPLIED, kind: bytes = b"T"
) -> bytes:
    commit = Commit(b"c" * 16, 1, 0, revision, 0, previous, outcome, Cause.REQUEST, 0, kind)
    return encode_commit(commit, bytes(8))


async def log_with(actors: int, rounds: int) -> tuple[MemoryLog, int]:
    """Return a log of a batch a round, a record for each actor; and actor 0's last offset."""
    log = MemoryLog()
    await log.create({"t": TopicSettings(partitions=1)})
    log.put(AT, LogRecord(None, b"the claim"))
    last = 0
    for number in range(rounds):
        previous = 0 if number == 0 else 1 + (number - 1) * actors
        batch = [LogRecord(b"0", record(number + 1, previous))]
        batch += [LogRecord(b"x", record(1, 0)) for _ in range(actors - 1)]
        last = log.put(AT, *batch)
    return log, last


@pytest.mark.parametrize(("actors", "rounds"), [(1, 300), (7, 100), (500, 5)])
async def test_every_record_is_met_once_newest_first(actors: int, rounds: int) -> None:
    """However dense the history is; the window of a fetch adapts to it."""
    log, last = await log_with(actors, rounds)
    met = [found.commit.revision async for found in walk_back(log, AT, "T", b"0", last)]
    assert met == list(range(rounds, 0, -1))


async def test_distances_lead_back_inside_a_batch() -> None:
    """A pointer below zero counts records back from its own."""
    log = MemoryLog()
    await log.create({"t": TopicSettings(partitions=1)})
    log.put(AT, LogRecord(None, b"the claim"))
    log.put(AT, LogRecord(b"a", record(1, 0)), LogRecord(b"b", record(1, 0)))
    last = log.put(AT, LogRecord(b"b", record(2, 2)), LogRecord(b"a", record(2, 1))) + 1
    log.put(AT, LogRecord(b"a", record(3, -1)))
    met = [found.offset async for found in walk_back(log, AT, "T", b"a", last + 1)]
    assert met == [5, 4, 1]


async def test_a_pointer_to_another_actors_record_is_corruption() -> None:
    """The position is named; nothing of the other actor is taken."""
    log, _ = await log_with(2, 2)
    with pytest.raises(CorruptRecord, match="t/0@2"):
        await read_one(log, AT, "T", b"0", 2)


async def test_an_actor_without_records_has_no_history() -> None:
    """No fetch is made for it."""
    log = MemoryLog()
    assert [found async for found in walk_back(log, AT, "T", b"0", 0)] == []


@pytest.mark.parametrize(
    ("actors", "rounds", "reads_max"), [(1, 600, 11), (145, 575, 11), (2_000, 5, 5)]
)
async def test_near_records_share_fetches_and_far_ones_are_fetched_alone(
    actors: int, rounds: int, reads_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year of one aircraft stands 145 records apart: a few fetches, not one for each."""
    log, last = await log_with(actors, rounds)
    read = log.read
    ranges: list[int] = []

    def counted(at: TopicPartition, start: int, end: int) -> AsyncIterator[Sequence[MemoryRecord]]:
        ranges.append(end - start)
        return read(at, start, end)

    monkeypatch.setattr(log, "read", counted)
    assert len([found async for found in walk_back(log, AT, "T", b"0", last)]) == rounds
    assert len(ranges) <= reads_max
    if actors > 512:
        assert ranges[1:] == [1] * (rounds - 1)


async def test_large_records_are_held_a_few_at_a_time_and_read_about_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory is bounded by bytes; what did not fit makes the next fetches smaller."""
    actors, rounds = 4, 400
    log, last = await log_with(actors, rounds)
    monkeypatch.setattr(history, "_WINDOW_BYTES_MAX", 40 * len(record(1, 0)))
    read = log.read
    records = 0

    async def counted(
        at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[Sequence[MemoryRecord]]:
        nonlocal records
        async for chunk in read(at, start, end):
            records += len(chunk)
            yield chunk

    monkeypatch.setattr(log, "read", counted)
    met = [found.commit.revision async for found in walk_back(log, AT, "T", b"0", last)]
    assert met == list(range(rounds, 0, -1))
    assert records < 4 * actors * rounds


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (record(1, 0), record(2, 2), "names 2 as the record before"),
        (record(1, 0), record(2, 7), "names 7 as the record before"),
        (record(1, 0), record(2, -2), "names -2 as the record before"),
        (record(1, 0), record(2, -9), "names -9 as the record before"),
        (record(2, 0), record(2, 1), "t/0@1 has revision 2"),
        (record(1, 0), record(3, 1), "t/0@1 has revision 1"),
        (record(1, 0), record(2, 1, Outcome.REJECTED), "t/0@1 has revision 1"),
        (record(1, 0, kind=b"U"), record(2, 1), "t/0@1 is of type U, no record of actor T/a"),
        (b"\xe5S\x09garbled", record(2, 1), "t/0@1: the record has version 9"),
    ],
)
async def test_a_pointer_that_does_not_lead_to_the_record_before_is_corruption(
    first: bytes, second: bytes, text: str
) -> None:
    """Nor does a walk ever go on for ever."""
    log = MemoryLog()
    await log.create({"t": TopicSettings(partitions=1)})
    log.put(AT, LogRecord(None, b"the claim"))
    log.put(AT, LogRecord(b"a", first))
    last = log.put(AT, LogRecord(b"a", second))
    with pytest.raises(CorruptRecord, match=re.escape(text)):
        assert len([found async for found in walk_back(log, AT, "T", b"a", last)]) == 2


async def test_records_that_changed_nothing_repeat_the_revision() -> None:
    """Whatever their outcome; also before the first change."""
    log = MemoryLog()
    await log.create({"t": TopicSettings(partitions=1)})
    log.put(AT, LogRecord(None, b"the claim"))
    outcomes = (Outcome.FAILED, Outcome.APPLIED, Outcome.UNCHANGED, Outcome.APPLIED)
    revisions = (0, 1, 1, 2)
    for number, (outcome, revision) in enumerate(zip(outcomes, revisions, strict=True)):
        log.put(AT, LogRecord(b"a", record(revision, number, outcome)))
    met = [found.commit.revision async for found in walk_back(log, AT, "T", b"a", 4)]
    assert met == [2, 1, 1, 0]
