"""Who stands on the roll, whatever else is written there."""

from __future__ import annotations

import pytest

from eventstore.errors import LogUnavailable, TopicMissing
from eventstore.log import LogRecord, TopicSettings
from eventstore.memory_log import Fault, MemoryLog
from spawn.cluster.members import encode_member
from spawn.membership.roll import ERASED, Roll, newest
from tests.unit.membership.system import ROLL, entry

_A, _B = b"a" * 16, b"b" * 16


async def _log() -> MemoryLog:
    log = MemoryLog(chunk_records=2)
    await log.create({ROLL.topic: TopicSettings(partitions=1, compacted=True)})
    return log


async def test_who_writes_itself_down_is_read_until_it_is_erased() -> None:
    """By itself and by others, each of whom reads on from where it was."""
    log = await _log()
    mine, theirs = Roll(log, "shop"), Roll(log, "shop")
    assert await theirs.read() == {}
    await mine.write(entry("a:1", _A), 0)
    await theirs.write(entry("b:1", _B), 0)
    assert list(await mine.read()) == list(await theirs.read()) == [_A, _B]
    await theirs.erase([_A], 0)
    await theirs.erase([], 0)
    assert list(await mine.read()) == [_B]
    assert (await mine.read())[_B] == entry("b:1", _B)


async def test_an_entry_that_is_written_again_is_the_newest() -> None:
    """The order tells who came last; compaction does not change it."""
    log = await _log()
    roll = Roll(log, "shop")
    for node_id in (_A, _B, _A):
        await roll.write(entry(f"{node_id[:1].decode()}:1", node_id), 0)
    log.compact(ROLL)
    assert list(await roll.read()) == list(await Roll(log, "shop").read()) == [_B, _A]


async def test_what_is_no_entry_is_passed_over() -> None:
    """Neither a stranger's record nor one under another node's key harms anybody."""
    log = await _log()
    roll = Roll(log, "shop")
    await roll.write(entry("a:1", _A), 0)
    log.put(ROLL, LogRecord(_B, b"\x01garbage"), LogRecord(None, b"?"), LogRecord(_B, None))
    log.put(ROLL, LogRecord(_B, encode_member(entry("a:1", _A))), LogRecord(_B, ERASED))
    assert list(await roll.read()) == [_A]


async def test_a_log_that_began_anew_is_read_from_its_start() -> None:
    """The development log keeps nothing over a restart."""
    log = await _log()
    roll = Roll(log, "shop")
    for number in range(3):
        await roll.write(entry("a:1", bytes([number]) * 16), 0)
    assert len(await roll.read()) == 3
    log.truncate(ROLL, 0)
    assert await roll.read() == {}
    await roll.write(entry("b:1", _B), 0)
    assert list(await roll.read()) == [_B]


async def test_what_the_log_refuses_is_told() -> None:
    """A node that starts has to know; one that runs tries again."""
    log = await _log()
    roll = Roll(log, "shop")
    log.fail(ROLL, Fault.LOST)
    with pytest.raises(LogUnavailable):
        await roll.write(entry("a:1", _A), 0)
    log.is_down = True
    with pytest.raises(LogUnavailable):
        await roll.read()
    with pytest.raises(TopicMissing):
        await Roll(MemoryLog(), "other").read()


def test_of_two_entries_at_one_endpoint_the_newer_one_counts() -> None:
    """The process that was there before has ended."""
    members = {_A: entry("x:1", _A), _B: entry("x:1", _B), b"c" * 16: entry("y:1", b"c" * 16)}
    assert list(newest(members)) == [_B, b"c" * 16]
