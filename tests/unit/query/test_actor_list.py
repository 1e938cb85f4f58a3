"""Actors by id, from rows and tail, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from eventstore.memory_snapshots import MemorySnapshots
from eventstore.records import Outcome
from spawn.core.ids import partition_of
from spawn.query.actor_list import ActorLine, ActorList
from tests.unit.query.writing import TOPIC, Writer


async def listed(
    writers: Sequence[Writer],
    *,
    store: MemorySnapshots | None = None,
    actor_type: str | None = "Counter",
    after: tuple[str, str] | None = None,
    limit: int | None = None,
    times: bool = True,
) -> list[ActorLine]:
    """Return all lines of a list."""
    kept = store or writers[0].store
    actors = ActorList(writers[0].log, kept, {TOPIC: len(writers)}, actor_type)
    return [
        line async for page in actors.pages(after=after, limit=limit, times=times) for line in page
    ]


async def written(ids: Sequence[str], partitions: int = 4) -> list[Writer]:
    """Return writers that wrote each id where it belongs; every second one was flushed."""
    writers = await Writer.open(partitions)
    for writer in writers:
        writer.take()
    for number, actor_id in enumerate(ids):
        if number == len(ids) // 2:
            for writer in writers:
                await writer.flush()
        writers[partition_of(actor_id.encode(), partitions)].commit(actor_id)
    return writers


async def test_rows_and_tail_come_as_one_list_by_id() -> None:
    """In the order of the ids' bytes, over all partitions."""
    ids = [f"{number:03}é"[:: 1 - 2 * (number % 2)] for number in range(60)]
    lines = await listed(await written(ids))
    assert [line.id for line in lines] == sorted(ids, key=str.encode)
    assert all(line.time_us and line.revision == 1 and not line.deleted for line in lines)


@pytest.mark.parametrize("size", [1, 2, 7, 100])
async def test_pages_meet_without_a_gap(size: int) -> None:
    """Each goes on behind the last id of the one before."""
    ids = [f"a{number}" for number in range(40)]
    writers = await written(ids)
    met: list[str] = []
    after: tuple[str, str] | None = None
    while page := await listed(writers, after=after, limit=size):
        assert len(page) <= size
        met += [line.id for line in page]
        after = ("Counter", page[-1].id)
    assert met == sorted(ids)


async def test_the_tail_is_newer_than_the_rows() -> None:
    """Revision, time and deletion are those of the last record."""
    [writer] = await Writer.open()
    writer.take()
    for actor_id in ("a", "b", "c", "d"):
        writer.commit(actor_id)
    writer.commit("d", deletes=True)
    await writer.flush()
    writer.commit("a")
    writer.commit("b", deletes=True)
    writer.commit("d", outcome=Outcome.REJECTED)
    a, b, c, d = await listed([writer])
    assert (a.revision, a.deleted, b.revision, b.deleted) == (2, False, 2, True)
    assert (c.revision, c.deleted) == (1, False)
    # A refusal changes nothing, but is the last record.
    assert (d.revision, d.deleted, d.offset) == (2, True, 8)
    assert [line.time_us for line in (a, b, c, d)] == [7_000_000, 8_000_000, 4_000_000, 9_000_000]


async def test_void_records_make_no_actor() -> None:
    """What another claim wrote never happened."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    writer.take()
    writer.void(3)
    assert [line.id for line in await listed([writer])] == ["a"]


async def test_types_that_share_a_topic_are_told_apart() -> None:
    """By type, or all by id then type."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a", actor_type="Other")
    writer.commit("a")
    await writer.flush()
    writer.commit("b", actor_type="Other")
    assert [(line.type, line.id) for line in await listed([writer])] == [("Counter", "a")]
    lines = await listed([writer], actor_type=None)
    assert [(line.type, line.id) for line in lines] == [
        ("Counter", "a"),
        ("Other", "a"),
        ("Other", "b"),
    ]
    behind = await listed([writer], actor_type=None, after=("Counter", "a"))
    assert [(line.type, line.id) for line in behind] == [("Other", "a"), ("Other", "b")]


async def test_times_can_be_left_out() -> None:
    """Then nothing is fetched for those of long ago; those of the tail are known."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    await writer.flush()
    writer.commit("b")
    lines = await listed([writer], times=False)
    assert [line.time_us for line in lines] == [None, 3_000_000]


async def test_a_time_that_is_no_longer_kept_stays_unknown() -> None:
    """The actor is listed all the same."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    writer.commit("b")
    await writer.flush()
    writer.log.trim(writer.at, 2)
    lines = await listed([writer])
    assert [(line.id, line.time_us) for line in lines] == [("a", None), ("b", 3_000_000)]


async def test_rows_of_records_that_are_not_there_are_listed() -> None:
    """Without a time: the log lost what the database has."""
    [writer] = await Writer.open()
    writer.take()
    writer.commit("a")
    writer.last["Counter", "lost"] = 1, 99, False
    await writer.flush()
    lines = await listed([writer])
    assert [(line.id, line.time_us) for line in lines] == [("a", 2_000_000), ("lost", None)]


async def test_a_page_asks_the_store_for_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many actors there are."""
    [writer] = await Writer.open()
    writer.take()
    for number in range(3_000):
        writer.commit(f"{number:05}")
    await writer.flush()
    asked: list[int] = []
    actors = writer.store.actors

    async def counted(*args: Any, **named: Any) -> Any:
        asked.append(named["limit"])
        return await actors(*args, **named)

    monkeypatch.setattr(writer.store, "actors", counted)
    lines = await listed([writer], after=("Counter", "01500"), limit=10)
    assert [line.id for line in lines] == [f"{number:05}" for number in range(1501, 1511)]
    assert sum(asked) <= 40
