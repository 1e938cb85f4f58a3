"""What `spawn repair` lists."""

from __future__ import annotations

from collections.abc import AsyncIterator

from eventstore.codec import encode_commit_body
from eventstore.log import LogRecord
from eventstore.records import Cause, Commit, Flag, Outcome, encode_commit
from eventstore.rows import NO_STATE, ActorRow, FlushSlice
from spawn.core.checkpoint import capture_fold
from spawn.core.fold import Fold
from spawn.repair.bodies import Bodies
from spawn.repair.findings import find
from spawn.repair.plan import Finding
from spawn.repair.scan import fold_on
from tests.unit.query.writing import TOPIC, Writer
from tests.unit.repair.tools import CUT_SHORT, make_tools


async def found(writer: Writer, system: str = "shop") -> list[Finding]:
    """Return the findings of the writer's topic."""
    tools = make_tools(writer.log, writer.store, system)
    return [each async for each in find(tools, {TOPIC: 1}, Bodies([]), {})]


def garbled(writer: Writer, actor: str, *, whole: bool = False) -> int:
    """Write a valid commit whose body can't be read, or one that says the whole state."""
    revision, previous, _ = writer.last.get(("Counter", actor), (0, 0, False))
    flags = Flag.DELETED if whole else 0
    record = Commit(
        writer.claim, writer.epoch, writer.sequence, revision + 1, 5, previous, Outcome.APPLIED,
        Cause.REQUEST, flags, b"Counter",
    )  # fmt: skip
    body = encode_commit_body("add", b"5", (), None, b"5", None, "", "test", None)
    value = encode_commit(record, body if whole else body[:12])
    offset = writer.log.put(writer.at, LogRecord(actor.encode(), value))
    writer.sequence += 1
    writer.last["Counter", actor] = revision + 1, offset, whole
    return offset


async def flush_without_states(writer: Writer) -> None:
    """Write rows that only tell where histories end, as a node does for parked actors."""
    _, end = await writer.log.bounds(writer.at)
    fold = Fold()
    await fold_on(writer.log, writer.at, fold, end)

    async def slices() -> AsyncIterator[FlushSlice]:
        yield FlushSlice([
            ActorRow(*name, revision, offset, False, b"", bytes(8), NO_STATE, 0)
            for name, (revision, offset, _) in writer.last.items()
        ])  # fmt: skip

    assert await writer.store.flush(writer.at, capture_fold(fold), 0, slices())


async def test_nothing_is_found_in_a_healthy_system() -> None:
    """Claimed, written, flushed."""
    [writer] = await Writer.open()
    assert await found(writer) == []
    writer.take()
    writer.commit("a")
    await writer.flush()
    writer.commit("a")
    assert await found(writer) == []


async def test_a_stop_is_told_with_what_stands_behind_it() -> None:
    """And each way out says what it loses."""
    [writer] = await Writer.open()
    writer.take()
    bad = writer.log.put(writer.at, LogRecord(b"x", CUT_SHORT))
    writer.commit("a")
    [finding] = await found(writer)
    assert (finding.kind, finding.position) == ("stopped", f"{writer.at}@{bad}")
    assert "1 records stand behind it" in finding.what
    assert [way.command for way in finding.ways] == ["", f"spawn repair skip {writer.at}@{bad}"]
    assert all(way.loses for way in finding.ways)


async def test_parked_actors_are_found_in_rows_and_behind_the_checkpoint() -> None:
    """With the record that can't be read; not those whose later record says all."""
    [writer] = await Writer.open()
    writer.take()
    bad = garbled(writer, "row")
    writer.commit("row")
    garbled(writer, "healed")
    await flush_without_states(writer)
    later = garbled(writer, "tail")
    garbled(writer, "healed", whole=True)
    garbled(writer, "both")
    garbled(writer, "both", whole=True)
    findings = {each.actor: each for each in await found(writer)}
    assert set(findings) == {"Counter/row", "Counter/tail"}
    assert {each.kind for each in findings.values()} == {"parked"}
    assert f"offset {bad}: " in findings["Counter/row"].what
    assert f"offset {later}: " in findings["Counter/tail"].what


async def test_an_actor_without_a_stored_state_is_a_suspect() -> None:
    """Its bytes can be read; whether its code takes them only the code can say."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    await flush_without_states(writer)
    [finding] = await found(writer)
    assert (finding.kind, finding.actor) == ("suspect", "Counter/a")


async def test_a_log_that_does_not_fit_the_database_is_lost_history() -> None:
    """Nothing is said of its actors: offsets in the rows are another log's."""
    [writer] = await Writer.open()
    writer.take()
    garbled(writer, "a")
    await flush_without_states(writer)
    writer.log.truncate(writer.at, 0)
    [finding] = await found(writer)
    assert finding.kind == "lost"
    assert f"spawn repair accept-loss {writer.at}" in [way.command for way in finding.ways]


async def test_rows_of_a_topic_that_is_gone_are_lost_history() -> None:
    """The whole broker was replaced, say."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    await writer.flush()
    await writer.log.delete([TOPIC])
    tools = make_tools(writer.log, writer.store)
    [finding] = [each async for each in find(tools, {}, Bodies([]), {})]
    assert (finding.kind, "does not have" in finding.what) == ("lost", True)
    assert finding.ways[-1].command == "spawn repair drop-type Counter"


async def test_another_systems_topic_is_foreign() -> None:
    """And has no way out here."""
    [writer] = await Writer.open()
    writer.take()
    [finding] = await found(writer, "other")
    assert finding.kind == "foreign"
    assert not any(way.command for way in finding.ways)
