"""Skipping unreadable records: what is refused, what is told, what every reader then does."""

from __future__ import annotations

import pytest

from eventstore.log import LogRecord
from eventstore.memory_log import Fault, MemoryLog
from eventstore.records import Claim, decode_prefix
from spawn.core.fold import Fold, LossDetected
from spawn.errors import OutcomeUnknown, RepairRefused, UnknownPosition
from spawn.query.starts import step_through
from spawn.repair.scan import scan
from spawn.repair.skipping import plan_skip
from tests.unit.query.writing import TOPIC, Writer
from tests.unit.repair.tools import CUT_SHORT, make_tools


async def valid_offsets(log: MemoryLog, writer: Writer) -> list[int]:
    """Return the offsets of the valid commits. Raises as every reader does."""
    _, end = await log.bounds(writer.at)
    fold = Fold()
    return [stored.offset async for stored, _ in step_through(log, writer.at, fold, end)]


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 8, 1000])
async def test_a_skip_far_behind_is_found_whatever_the_chunks(chunk: int) -> None:
    """On both sides of each boundary; records behind the skipped ones count on."""
    [writer] = await Writer.open()
    writer.take()
    offsets = [writer.commit(f"x{n % 3}") for n in range(40)]
    bad = [offsets[2], offsets[7], offsets[8], offsets[9], offsets[30]]
    for offset in bad:
        writer.log.garble(writer.at, offset, CUT_SHORT)
    for _ in range(50):
        writer.log.put(writer.at, LogRecord(b"x", b"not ours"))
    writer.log._chunk_records = chunk
    tools = make_tools(writer.log, None)
    plan = await plan_skip(tools, writer.at, bad)
    assert plan.steps
    await plan.apply()
    writer.claim, writer.epoch = last_claim(writer)
    writer.sequence = 0
    behind = [writer.commit(f"x{n % 3}") for n in range(20)]
    kept = [offset for offset in offsets if offset not in bad]
    assert await valid_offsets(writer.log, writer) == [*kept, *behind]


def last_claim(writer: Writer) -> tuple[bytes, int]:
    """Return id and epoch of the newest claim in the log."""
    prefixes = [
        decode_prefix(each.value)
        for each in writer.log.records(writer.at)
        if each.value != CUT_SHORT
    ]
    claim = next(each for each in reversed(prefixes) if isinstance(each, Claim))
    return claim.claim, claim.epoch


async def test_records_may_be_skipped_one_after_the_other() -> None:
    """The second claim is void as a claim, since the first is current; its word counts."""
    [writer] = await Writer.open()
    writer.take()
    offsets = [writer.commit("x") for _ in range(6)]
    for offset in (offsets[1], offsets[3]):
        writer.log.garble(writer.at, offset, CUT_SHORT)
    tools = make_tools(writer.log, None)
    plan = await plan_skip(tools, writer.at, [offsets[1]])
    assert any(f"then stops at offset {offsets[3]}" in step for step in plan.steps)
    await plan.apply()
    with pytest.raises(RepairRefused, match=f"stops at offset {offsets[3]} first"):
        # Not the next one: named alone it would not let anybody past it.
        await plan_skip(tools, writer.at, [await garbled_behind(writer)])
    await (await plan_skip(tools, writer.at, [offsets[3], offsets[3]])).apply()
    found = await scan(writer.log, None, writer.at, "shop")
    assert found.stop is not None  # the one that `garbled_behind` wrote
    assert found.stop.offset > offsets[-1]


async def garbled_behind(writer: Writer) -> int:
    """Write one more unreadable record."""
    return writer.log.put(writer.at, LogRecord(b"x", CUT_SHORT))


async def test_what_can_be_read_is_never_skipped() -> None:
    """Commits, claims, foreign records; the text says what it is."""
    [writer] = await Writer.open()
    writer.take()
    commit = writer.commit("x")
    foreign = writer.log.put(writer.at, LogRecord(b"x", b"not ours"))
    writer.log.put(writer.at, LogRecord(b"x", CUT_SHORT))
    tools = make_tools(writer.log, None)
    for offset, text in ((0, "Claim"), (commit, "Counter/x, rev 1"), (foreign, "no record of")):
        with pytest.raises(RepairRefused, match=text):
            await plan_skip(tools, writer.at, [offset])
    assert len(writer.log.records(writer.at)) == 4


async def test_positions_that_are_not_there_are_told() -> None:
    """No such partition, no such record, an empty partition."""
    [writer, other] = await Writer.open(2)
    tools = make_tools(writer.log, None)
    with pytest.raises(UnknownPosition, match="empty"):
        await plan_skip(tools, other.at, [0])
    writer.take()
    writer.log.put(writer.at, LogRecord(b"x", CUT_SHORT))
    with pytest.raises(UnknownPosition, match="has 0 to 1"):
        await plan_skip(tools, writer.at, [2])
    with pytest.raises(UnknownPosition, match="there is no partition") as caught:
        await plan_skip(tools, writer.at._replace(partition=9), [0])
    assert TOPIC in caught.value.hint


async def test_another_systems_topic_is_not_touched() -> None:
    """Its first claim says whose it is."""
    [writer] = await Writer.open()
    writer.take()
    writer.log.put(writer.at, LogRecord(b"x", CUT_SHORT))
    with pytest.raises(RepairRefused, match="written by system 'shop'"):
        await plan_skip(make_tools(writer.log, None, "other"), writer.at, [1])


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNACKNOWLEDGED, Fault.LATE])
async def test_an_unknown_outcome_is_told_and_the_same_again_does_no_harm(fault: Fault) -> None:
    """Whether the first claim landed, did not, or lands later."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("x")
    bad = writer.log.put(writer.at, LogRecord(b"x", CUT_SHORT))
    tools = make_tools(writer.log, None)
    plan = await plan_skip(tools, writer.at, [bad])
    writer.log.fail(writer.at, fault)
    with pytest.raises(OutcomeUnknown):
        await plan.apply()
    again = await plan_skip(tools, writer.at, [bad])
    assert bool(again.steps) is (fault is not Fault.UNACKNOWLEDGED)
    await again.apply()
    if fault is Fault.LATE:
        writer.log.land(writer.at)
    assert (await scan(writer.log, None, writer.at, "shop")).stop is None


async def test_a_claim_that_comes_between_does_no_harm() -> None:
    """Somebody claimed behind the bad record before it read it, and stopped there."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("x")
    bad = writer.log.put(writer.at, LogRecord(b"x", CUT_SHORT))
    tools = make_tools(writer.log, None)
    plan = await plan_skip(tools, writer.at, [bad])
    writer.take("http://b:2")
    await plan.apply()
    writer.commit("x")
    assert len(await valid_offsets(writer.log, writer)) == 2


async def test_no_more_numbers_may_be_missing_than_records_were_skipped() -> None:
    """A skip is no way past a loss."""
    [writer] = await Writer.open()
    writer.take()
    offsets = [writer.commit("x") for _ in range(5)]
    writer.log.garble(writer.at, offsets[1], CUT_SHORT)
    writer.log._partitions[writer.at].records = [
        each for each in writer.log.records(writer.at) if each.offset != offsets[2]
    ]
    tools = make_tools(writer.log, None)
    plan = await plan_skip(tools, writer.at, [offsets[1]])
    assert any("accept-loss" in step for step in plan.steps)
    await plan.apply()
    with pytest.raises(LossDetected):
        await valid_offsets(writer.log, writer)
