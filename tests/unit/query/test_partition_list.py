"""Owners, claims and lag, from log and store alone."""

from __future__ import annotations

from eventstore.log import LogRecord
from spawn.query.partition_list import list_partitions
from tests.unit.query.writing import TOPIC, Writer

MAGIC_CUT_SHORT = b"\xe5S\x01\x02"


async def test_a_partition_that_nobody_claimed() -> None:
    """It has no owner, no claim and no checkpoint."""
    [writer] = await Writer.open()
    [line] = await list_partitions(writer.log, writer.store, {TOPIC: 1})
    assert (line.owner, line.claim, line.checkpoint, line.lag) == ("", "", None, 0)
    assert not line.released


async def test_the_owner_is_that_of_the_current_claim() -> None:
    """Found though it stands below the checkpoint, behind void records and barriers."""
    [writer] = await Writer.open()
    writer.take("http://a:1")
    writer.commit("x")
    writer.take("http://b:2")
    for number in range(300):
        writer.commit(f"x{number % 7}")
        if number % 3 == 0:
            writer.void()
        if number % 5 == 0:
            writer.barrier()
    checkpoint = await writer.flush()
    writer.void(2)
    [line] = await list_partitions(writer.log, writer.store, {TOPIC: 1})
    assert (line.owner, line.claim, line.epoch) == ("http://b:2", writer.claim.hex(), 2)
    assert (line.checkpoint, line.end, line.lag) == (checkpoint, checkpoint + 2, 2)
    assert not line.problem


async def test_a_released_partition_is_told() -> None:
    """And the owner that gave it up."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("x")
    writer.release()
    [line] = await list_partitions(writer.log, None, {TOPIC: 1})
    assert line.released
    assert line.owner == "http://a:1"
    assert line.lag == 3


async def test_a_claim_that_is_no_longer_kept_leaves_the_owner_unknown() -> None:
    """Its id is in the checkpoint all the same."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("x")
    writer.commit("x")
    await writer.flush()
    writer.log.trim(writer.at, 2)
    [line] = await list_partitions(writer.log, writer.store, {TOPIC: 1})
    assert (line.owner, line.claim, line.start) == ("", writer.claim.hex(), 2)


async def test_a_checkpoint_of_another_log_is_not_used() -> None:
    """It would put another log's claim in front of this one's records; that is said."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("x")
    await writer.flush()
    [other] = await Writer.open()
    other.take("http://c:3")
    other.commit("y")
    other.commit("y")
    [line] = await list_partitions(other.log, writer.store, {TOPIC: 1})
    assert line.checkpoint is None
    assert "is of another log" in line.problem
    assert line.owner == "http://c:3"


async def test_all_partitions_come_in_order() -> None:
    """However many are looked at together."""
    writers = await Writer.open(40)
    for writer in writers:
        writer.take(f"http://n:{writer.at.partition}")
    lines = await list_partitions(writers[0].log, writers[0].store, {TOPIC: 40})
    assert [line.partition for line in lines] == list(range(40))
    assert [line.owner for line in lines] == [f"http://n:{n}" for n in range(40)]


async def test_a_database_that_is_away_is_told_and_the_log_read() -> None:
    """From its start."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("x")
    writer.store.go_down()
    [line] = await list_partitions(writer.log, writer.store, {TOPIC: 1})
    assert "down" in line.problem
    assert line.owner == "http://a:1"


async def test_a_partition_that_stops_its_readers_is_told() -> None:
    """With the offset; what stands before it is shown."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("x")
    writer.log.put(writer.at, LogRecord(b"x", MAGIC_CUT_SHORT))
    [line] = await list_partitions(writer.log, writer.store, {TOPIC: 1})
    assert line.problem.startswith("stopped: offset 2")
    assert line.owner == "http://a:1"
