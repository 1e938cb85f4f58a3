"""Accepting a loss: what counts afterwards, and what a death half-way leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from eventstore.errors import SnapshotsUnavailable
from eventstore.log import LogRecord, TopicPartition
from eventstore.memory_log import Fault
from eventstore.records import Claim, Flag, decode_prefix
from eventstore.rows import NO_STATE, ActorRow, FlushSlice
from spawn.core.checkpoint import capture_fold
from spawn.core.fold import Fold
from spawn.errors import OutcomeUnknown, RepairRefused
from spawn.query.starts import step_through
from spawn.repair import accepting
from spawn.repair.accepting import plan_acceptance
from spawn.repair.scan import fold_on, scan
from tests.unit.query.writing import Writer
from tests.unit.repair.tools import CUT_SHORT, make_tools


async def states(writer: Writer) -> dict[str, int]:
    """Return each actor's revision by the log alone."""
    first, end = await writer.log.bounds(writer.at)
    fold = Fold(first)
    return {
        (stored.key or b"").decode(): commit.revision
        async for stored, commit in step_through(writer.log, writer.at, fold, end)
    }


def drop(writer: Writer, offset: int) -> None:
    """Take one record out of the log."""
    kept = [each for each in writer.log.records(writer.at) if each.offset != offset]
    writer.log._partitions[writer.at].records = kept


async def test_all_behind_the_evidence_is_void_and_the_log_has_a_new_id() -> None:
    """Claims there too; who reads from the checkpoint and who reads from the start agree."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    await writer.flush()
    hole = writer.commit("b")
    evidence = writer.commit("c")
    writer.take("http://b:2")
    writer.commit("d")
    drop(writer, hole)
    tools = make_tools(writer.log, writer.store)
    plan = await plan_acceptance(tools, writer.at)
    assert any(f"from offset {evidence} to" in text for text in plan.loses)
    await plan.apply()
    assert await states(writer) == {"a": 1}
    found = await scan(writer.log, writer.store, writer.at, "shop")
    assert (found.stop, found.mismatch) == (None, "")
    assert found.checkpoint is not None
    assert found.checkpoint.log_id == found.fold.fence.log_id != b"log............1"
    assert not (await plan_acceptance(tools, writer.at)).steps
    # What the owner that was deposed still writes is void, and no new evidence.
    writer.commit("zombie")
    assert await states(writer) == {"a": 1}


async def test_a_death_between_database_and_claim_is_mended_by_the_same_again() -> None:
    """The checkpoint has the new id already; another one is made."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    await writer.flush()
    hole = writer.commit("b")
    writer.commit("c")
    drop(writer, hole)
    tools = make_tools(writer.log, writer.store)
    plan = await plan_acceptance(tools, writer.at)
    writer.log.fail(writer.at, Fault.LOST)
    with pytest.raises(OutcomeUnknown):
        await plan.apply()
    assert (await scan(writer.log, writer.store, writer.at, "shop")).stop is not None
    await (await plan_acceptance(tools, writer.at)).apply()
    found = await scan(writer.log, writer.store, writer.at, "shop")
    assert found.stop is None
    assert found.checkpoint is not None
    assert found.checkpoint.log_id == found.fold.fence.log_id
    # A first claim that was stored all the same is void: behind the accepted loss it is no more.
    assert await states(writer) == {"a": 1}


async def test_a_checkpoint_of_another_id_is_given_the_logs() -> None:
    """All else was done already."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    await writer.flush()
    checkpoint = await writer.store.checkpoint(writer.at)
    assert checkpoint is not None
    await writer.store.relabel(writer.at, checkpoint, b"another log's id")
    writer.take("http://b:2")
    tools = make_tools(writer.log, writer.store)
    plan = await plan_acceptance(tools, writer.at)
    assert plan.loses == ["nothing"]
    await plan.apply()
    assert await writer.store.checkpoint(writer.at) == checkpoint


@pytest.mark.parametrize("page", [1, 2, 1000])
@pytest.mark.parametrize("loss", ["new", "truncated", "used again", "trimmed"])
async def test_states_that_only_the_database_has_come_back_into_the_log(
    loss: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happened to the log; in batches of any size; deleted actors stay deleted."""
    monkeypatch.setattr(accepting, "_PAGE", page)
    monkeypatch.setattr(accepting, "_BATCH_RECORDS_MAX", page)
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    writer.commit("b")
    middle = writer.commit("c")
    writer.commit("a")
    writer.commit("b", deletes=True)
    end = await writer.flush()
    log, at = writer.log, writer.at
    if loss == "new":
        log.truncate(at, 0)
    elif loss == "trimmed":
        writer.commit("d")
        log.trim(at, end + 1)
    else:
        log.truncate(at, middle + 1)
    if loss == "used again":
        writer.take("http://b:2")
        for _ in range(4):
            writer.commit("e")
    tools = make_tools(log, writer.store)
    found = await scan(log, writer.store, at, "shop")
    assert found.mismatch
    plan = await plan_acceptance(tools, at)
    await plan.apply()
    assert await writer.store.checkpoint(at) is None
    expected = {"a": 2, "b": 2, "c": 1} | ({"e": 4} if loss == "used again" else {})
    assert await states(writer) == expected
    flags = {
        (each.key or b""): getattr(decode_prefix(each.value), "flags", 0)
        for each in log.records(at)
    }
    assert flags[b"b"] & Flag.DELETED
    assert flags[b"a"] & Flag.STATE
    assert not (await plan_acceptance(tools, at)).steps


async def test_a_death_while_states_are_written_leaves_a_partition_that_nobody_takes() -> None:
    """Until the snapshots are discarded they do not fit; the same again ends it."""
    [writer] = await Writer.open()
    writer.take()
    for name in "abc":
        writer.commit(name)
    await writer.flush()
    writer.log.truncate(writer.at, 0)
    tools = make_tools(writer.log, writer.store)
    plan = await plan_acceptance(tools, writer.at)
    writer.store.go_down()
    with pytest.raises(SnapshotsUnavailable):
        await plan.apply()
    writer.store.come_up()
    assert (await scan(writer.log, writer.store, writer.at, "shop")).mismatch
    plan = await plan_acceptance(tools, writer.at)
    writer.store.lose_answer()
    with pytest.raises(SnapshotsUnavailable):
        await plan.apply()
    assert not (await plan_acceptance(tools, writer.at)).steps
    assert await states(writer) == {"a": 1, "b": 1, "c": 1}


async def test_states_are_dropped_only_when_asked_for() -> None:
    """Then the log is all there is."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    kept = writer.commit("a")
    writer.commit("a")
    await writer.flush()
    writer.log.truncate(writer.at, kept + 1)
    tools = make_tools(writer.log, writer.store)
    plan = await plan_acceptance(tools, writer.at, keep_states=False)
    assert "the states of 1 actors: they go back to what the log has" in plan.loses
    await plan.apply()
    assert await states(writer) == {"a": 2}


async def test_actors_without_a_state_anywhere_are_named() -> None:
    """The database has only where their history ended."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    fold = Fold()
    await fold_on(writer.log, writer.at, fold, 2)
    row = ActorRow("Counter", "a", 1, 1, False, b"", b"f" * 8, NO_STATE, 0)

    async def slices() -> AsyncIterator[FlushSlice]:
        yield FlushSlice([row])

    assert await writer.store.flush(writer.at, capture_fold(fold), 0, slices())
    writer.log.truncate(writer.at, 0)
    plan = await plan_acceptance(make_tools(writer.log, writer.store), writer.at)
    assert "1 actors of which the database has no state: Counter/a" in plan.loses


async def test_a_topic_made_anew_with_other_partitions_is_refused() -> None:
    """The states would stand where nobody looks for them."""
    [writer, _] = await Writer.open(2)
    writer.take()
    for name in "abcdef":
        writer.commit(name)
    await writer.flush()
    writer.log.truncate(writer.at, 0)
    with pytest.raises(RepairRefused, match="another number of partitions"):
        await plan_acceptance(make_tools(writer.log, writer.store), writer.at)


async def test_an_unreadable_record_with_good_ones_behind_is_no_loss() -> None:
    """It is skipped, which costs less."""
    [writer] = await Writer.open()
    writer.take()
    bad = writer.log.put(writer.at, LogRecord(b"x", CUT_SHORT))
    writer.commit("a")
    with pytest.raises(RepairRefused) as caught:
        await plan_acceptance(make_tools(writer.log, writer.store), writer.at)
    assert caught.value.hint == f"spawn repair skip {writer.at}@{bad}"


async def test_unreadable_records_before_the_evidence_are_named_by_the_same_claim() -> None:
    """All under the claim that was current when the first of them was met."""
    [writer] = await Writer.open()
    writer.take()
    offsets = [writer.commit("a") for _ in range(5)]
    writer.log.garble(writer.at, offsets[1], CUT_SHORT)
    drop(writer, offsets[3])
    tools = make_tools(writer.log, writer.store)
    await (await plan_acceptance(tools, writer.at)).apply()
    claims = [decode_prefix(each.value) for each in writer.log.records(writer.at)[-1:]]
    assert isinstance(claims[0], Claim)
    assert claims[0].skips == (offsets[1], offsets[4])
    assert (await scan(writer.log, None, writer.at, "shop")).stop is None
    assert await states(writer) == {"a": 3}


async def test_an_old_end_of_the_log_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that was deposed while it was frozen tells one."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    end = await writer.flush()
    bounds, old = writer.log.bounds, [(0, end - 1), (0, end - 1)]

    async def told(at: TopicPartition) -> tuple[int, int]:
        return old.pop() if old else await bounds(at)

    monkeypatch.setattr(writer.log, "bounds", told)
    assert not (await scan(writer.log, writer.store, writer.at, "shop")).mismatch


async def test_a_plan_for_what_is_no_longer_so_is_not_carried_out() -> None:
    """Somebody put the log back while the plan was read."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    await writer.flush()
    whole = writer.log.records(writer.at)
    writer.log.truncate(writer.at, 0)
    plan = await plan_acceptance(make_tools(writer.log, writer.store), writer.at)
    for record in whole:
        assert record.value is not None
        writer.log.put(writer.at, LogRecord(record.key, record.value))
    with pytest.raises(RepairRefused, match="not as it was"):
        await plan.apply()
    assert writer.log.records(writer.at) == whole
