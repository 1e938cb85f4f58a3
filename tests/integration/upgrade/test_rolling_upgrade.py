"""Two versions of user code on the nodes of one system, which own its partitions in turn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from types import ModuleType
from typing import Any

import pytest

from eventstore.errors import LogUnavailable, UnreadableBody
from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import EventLog, LogRecord, TopicPartition
from eventstore.memory_log import Fault, MemoryLog, MemoryRecord
from spawn import System
from spawn.core.ingress import CommitsAsked
from spawn.errors import (
    ActorParked,
    LogUnreachable,
    NewerCodeNeeded,
    SchemaIncompatible,
    SpawnError,
)
from spawn.provision import ensure_schemas
from spawn.runtime import schema_book
from spawn.runtime.dispatcher import NodeDispatcher
from tests.integration.upgrade.code import after, before
from tests.integration.upgrade.rolling import Rolling, ask
from tests.services.apache_kafka import ApacheKafka


class CountingLog(MemoryLog):
    """Knows what was read, and in which order topics were written."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.appends: list[str] = []
        self.away: set[str] = set()
        """Topics that do not answer."""

    async def append(self, at: TopicPartition, batch: Sequence[LogRecord], time_ms: int) -> int:
        offset = await super().append(at, batch, time_ms)
        self.appends.append(at.topic)
        return offset

    async def bounds(self, at: TopicPartition) -> tuple[int, int]:
        if at.topic in self.away:
            raise LogUnavailable(f"{at} is away")
        return await super().bounds(at)

    def read(
        self, at: TopicPartition, start: int, end: int
    ) -> AsyncIterator[Sequence[MemoryRecord]]:
        self.reads.append(at.topic)
        return super().read(at, start, end)


@pytest.fixture
async def rolling() -> Rolling:
    """A system in memory."""
    log = CountingLog()
    rolling = Rolling(log, log)
    await rolling.create()
    return rolling


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
async def anywhere(request: pytest.FixtureRequest) -> AsyncIterator[Rolling]:
    """A system in memory, and one on Apache Kafka."""
    async with contextlib.AsyncExitStack() as stack:
        log: EventLog
        if request.param == "memory":
            log = memory = CountingLog()
            rolling = Rolling(log, memory)
        else:
            server: ApacheKafka = request.getfixturevalue("apache_kafka")
            address = KafkaSettings(servers=server.bootstrap)
            log = KafkaLog(address)
            stack.push_async_callback(log.close)
            rolling = Rolling(log, KafkaAdmin(address))
        await rolling.create()
        yield rolling


async def start(rolling: Rolling, code: ModuleType, *types: Any) -> None:
    """Do what a node does with the schema topic at its start."""
    system = System(rolling.name, actors=types or [code.Cart, code.Note])
    await ensure_schemas(rolling.log, rolling.name, system.behaviors, 0)


async def refused(node: NodeDispatcher, actor: str, action: str, body: Any = None) -> SpawnError:
    """Call what newer code is needed for; return the error."""
    with pytest.raises(NewerCodeNeeded) as caught:
        await ask(node, actor, action, body)
    assert caught.value.retryable
    return caught.value


async def test_both_versions_serve_what_holds_nothing_new(anywhere: Rolling) -> None:
    """Each reads the other's events, states and snapshots, whoever wrote last."""
    rolling = anywhere
    async with rolling.node(before) as old:
        assert await ask(old, "Cart/a", "put", {"item": "apple"}) == 1
        await ask(old, "Note/n", "write", "first")
    for round_ in range(2):
        async with rolling.node(after) as new:
            assert await ask(new, "Cart/a", "put", {"item": f"new {round_}", "size": "m"})
            assert await ask(new, "Note/n", "colour") == "black"
            await ask(new, "Note/n", "write", f"new {round_}")
        async with rolling.node(before, starts=False) as old:
            items = await ask(old, "Cart/a", "items")
            assert items[-1] == f"new {round_}"
            assert await ask(old, "Cart/a", "put", {"item": "old"}) == len(items) + 1
            assert await ask(old, "Note/n", "text") == f"new {round_}"
            await ask(old, "Note/n", "write", "old")
            asked = CommitsAsked(1, 100, newest_first=False)
            commits = await old.commits("Cart", "a", asked, 5.0)
            assert len(commits) == len(items) + 1
            assert commits[1].events == [("Put", b'{"item":"new 0","size":"m"}')]
            assert (await old.state("Cart", "a", 5.0, revision=2)).state == (
                b'{"items":["apple","new 0"]}'
            )
    async with rolling.node(after) as new:
        assert await ask(new, "Cart/a", "items") == ["apple", "new 0", "old", "new 1", "old"]
        assert await ask(new, "Note/n", "text") == "old"


@pytest.mark.parametrize(
    ("action", "body", "says"),
    [
        ("put", {"item": "pear", "count": 2}, "field `count` is not known to this code"),
        ("put", {"item": "pear", "size": "l"}, "Size has no member LARGE in this code"),
        ("say", "hello", "this code has no event Noted"),
    ],
)
async def test_old_code_does_not_touch_what_it_would_misread(
    anywhere: Rolling, action: str, body: Any, says: str
) -> None:
    """It names what it lacks, serves all other actors, and the new code finds all as it was."""
    rolling = anywhere
    async with rolling.node(before) as old:
        await ask(old, "Cart/a", "put", {"item": "apple"})
    async with rolling.node(after, dies=True) as new:
        await ask(new, "Cart/a", action, body)
        await ask(new, "Cart/b", "put", {"item": "bread"})
        seen = [await ask(new, "Cart/a", "items"), await ask(new, "Cart/a", "note")]
    async with rolling.node(before, starts=False, flush_s=0.05) as old:
        for call in (("put", {"item": "x"}), ("items", None)):
            assert says in (await refused(old, "Cart/a", *call)).message
        assert await ask(old, "Cart/b", "put", {"item": "butter"}) == 2
        with pytest.raises(NewerCodeNeeded, match="newer code"):
            await old.commits("Cart", "a", CommitsAsked(1, 100, newest_first=False), 5.0)
    async with rolling.node(after) as new:
        assert [await ask(new, "Cart/a", "items"), await ask(new, "Cart/a", "note")] == seen
        assert await ask(new, "Cart/b", "items") == ["bread", "butter"]


async def test_old_code_goes_on_from_a_newer_snapshot_that_it_reads_whole(
    rolling: Rolling,
) -> None:
    """What the events behind it held does not matter to the state, only to the history."""
    await start(rolling, before)
    async with rolling.node(after) as new:
        await ask(new, "Cart/a", "put", {"item": "pear", "size": "l", "count": 2})
    async with rolling.node(before, starts=False) as old:
        assert await ask(old, "Cart/a", "put", {"item": "x"}) == 3
        with pytest.raises(NewerCodeNeeded, match="which newer code wrote"):
            await old.commits("Cart", "a", CommitsAsked(1, 100, newest_first=False), 5.0)
    async with rolling.node(after) as new:
        assert await ask(new, "Cart/a", "items") == ["pear", "pear", "x"]
        asked = CommitsAsked(1, 100, newest_first=False)
        assert len(await new.commits("Cart", "a", asked, 5.0)) == 2


async def test_old_code_takes_no_snapshot_that_lacks_something(rolling: Rolling) -> None:
    """Neither from a newer snapshot, nor from the log behind none; new code finds all of it."""
    await start(rolling, before)
    cart = TopicPartition(f"spawn.{rolling.name}.Cart", 0)
    async with rolling.node(after) as new:
        await ask(new, "Cart/a", "say", "hello")
        await ask(new, "Cart/a", "put", {"item": "apple"})
    for discard in (False, True):
        if discard:
            await rolling.store.discard(cart)
        async with rolling.node(before, starts=False, flush_s=0.02) as old:
            await refused(old, "Cart/a", "put", {"item": "x"})
            assert await ask(old, "Cart/b", "put", {"item": "bread"})
        async with rolling.node(after) as new:
            assert await ask(new, "Cart/a", "note") == "hello"
            assert await ask(new, "Cart/a", "items") == ["apple"]


async def test_old_code_does_not_overwrite_a_state_that_holds_more(anywhere: Rolling) -> None:
    """In state style nothing else has it: the command is refused, and so is the read."""
    rolling = anywhere
    async with rolling.node(before) as old:
        await ask(old, "Note/n", "write", "text")
    async with rolling.node(after) as new:
        await ask(new, "Note/n", "paint", "red")
        await ask(new, "Note/other", "write", "plain")
    async with rolling.node(before, starts=False, flush_s=0.05) as old:
        assert "field `colour`" in (await refused(old, "Note/n", "write", "lost?")).message
        assert "field `colour`" in (await refused(old, "Note/n", "text")).message
        await ask(old, "Note/other", "write", "plainer")
    async with rolling.node(after) as new:
        assert await ask(new, "Note/n", "colour") == "red"
        assert await ask(new, "Note/other", "text") == "plainer"


async def test_a_repeated_key_is_answered_from_the_newer_record(rolling: Rolling) -> None:
    """Its reply needs no schema of the newer code."""
    await start(rolling, before)
    async with rolling.node(after) as new:
        assert await ask(new, "Cart/a", "put", {"item": "a"}, key="k") == 1
    async with rolling.node(before, starts=False) as old:
        assert await ask(old, "Cart/a", "put", {"item": "a"}, key="k") == 1
        assert await ask(old, "Cart/a", "items") == ["a"]


# --- starting and rolling back ----------------------------------------------------------------


async def test_old_code_starts_again_beside_newer_code(
    rolling: Rolling, caplog: pytest.LogCaptureFixture
) -> None:
    """A crashed node comes back, and a release is rolled back; it says what it can't read."""
    async with rolling.node(before) as old:
        await ask(old, "Cart/a", "put", {"item": "apple"})
    async with rolling.node(after) as new:
        await ask(new, "Cart/b", "say", "hello")
    with caplog.at_level(logging.WARNING, "spawn.schemas"):
        async with rolling.node(before) as old:
            assert await ask(old, "Cart/a", "put", {"item": "bread"}) == 2
            assert "no event Noted" in (await refused(old, "Cart/b", "items")).message
    assert "newer code of Cart than this has run: this code has no event Noted" in caplog.text


async def test_code_that_never_ran_must_read_all(rolling: Rolling) -> None:
    """The old code only counts as old where it ran before the new one."""
    await start(rolling, after)
    with pytest.raises(SchemaIncompatible, match="event Noted was removed or renamed"):
        await start(rolling, before)


async def test_schemas_are_acknowledged_before_the_first_record(rolling: Rolling) -> None:
    """A node that can't write its schemas writes nothing; the next try writes all of them."""
    log = rolling.log
    assert isinstance(log, CountingLog)
    for fault in (Fault.LOST, Fault.UNACKNOWLEDGED):
        log.fail(TopicPartition(rolling.schemas, 0), fault)
        with pytest.raises(LogUnavailable):
            async with rolling.node(before):
                pytest.fail("it must not run")
        assert set(log.appends) <= {rolling.schemas}
    async with rolling.node(after) as new:
        await ask(new, "Cart/a", "say", "hello")
    topics = list(dict.fromkeys(log.appends))
    assert topics[0] == rolling.schemas


# --- following the schema topic -----------------------------------------------------------------


async def test_the_topic_is_read_once_for_many_actors(rolling: Rolling) -> None:
    """However many are loaded at the same moment."""
    await start(rolling, before)
    names = [f"Cart/{n}" for n in range(50)]
    async with rolling.node(after) as new:
        await asyncio.gather(*(ask(new, name, "put", {"item": "x"}) for name in names))
    log = rolling.log
    assert isinstance(log, CountingLog)
    async with rolling.node(before, starts=False) as old:
        log.reads.clear()
        await asyncio.gather(*(ask(old, name, "items") for name in names))
        assert log.reads.count(rolling.schemas) == 1


async def test_while_the_topic_can_not_be_read_nobody_is_parked(rolling: Rolling) -> None:
    """Callers are told to try again, and then it works."""
    await start(rolling, before)
    async with rolling.node(after) as new:
        await ask(new, "Cart/a", "put", {"item": "x"})
    log = rolling.log
    assert isinstance(log, CountingLog)
    async with rolling.node(before, starts=False) as old:
        log.away.add(rolling.schemas)
        with pytest.raises(LogUnreachable, match="is away"):
            await ask(old, "Cart/a", "items")
        log.away.clear()
        assert await ask(old, "Cart/a", "items") == ["x"]
        assert await ask(old, "Cart/a", "put", {"item": "y"}) == 2


async def test_a_schema_that_nobody_wrote_parks_the_actor(
    rolling: Rolling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some looks; for a while nobody looks for it again."""
    monkeypatch.setattr(schema_book, "_LOOK_AGAIN_S", 0.0)
    async with rolling.node(after, starts=False) as new:  # it breaks the rule
        for name in ("a", "b", "c"):
            await ask(new, f"Cart/{name}", "put", {"item": "x"})
    log = rolling.log
    assert isinstance(log, CountingLog)
    async with rolling.node(before) as old:
        log.reads.clear()
        with pytest.raises(ActorParked, match="neither the code nor the schema topic has"):
            await ask(old, "Cart/a", "items")
        looks = log.reads.count(rolling.schemas)
        assert looks >= 2
        with pytest.raises(ActorParked):
            await ask(old, "Cart/b", "items")
        assert log.reads.count(rolling.schemas) == looks
        monkeypatch.setattr(schema_book, "ABSENT_S", 0.0)
        worker = old._served["Cart"].workers[0]
        monkeypatch.setattr(worker._context.schemas, "_absent", {})
        await start(rolling, after)
        assert await ask(old, "Cart/c", "items") == ["x"]


async def test_a_garbled_entry_of_the_topic_harms_only_who_needs_it(
    rolling: Rolling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partition goes on; who starts then is told where it stands."""
    monkeypatch.setattr(schema_book, "_LOOK_AGAIN_S", 0.0)
    async with rolling.node(before) as old:
        assert await ask(old, "Cart/b", "put", {"item": "x"}) == 1
    async with rolling.node(after) as new:
        await ask(new, "Cart/a", "put", {"item": "x"})
    await rolling.log.append(
        TopicPartition(rolling.schemas, 0), [LogRecord(b"k", b"12345678garbled")], 0
    )
    async with rolling.node(before, starts=False) as old:
        with pytest.raises(ActorParked, match="neither the code"):
            await ask(old, "Cart/a", "items")
        assert await ask(old, "Cart/b", "put", {"item": "x"}) == 2
    with pytest.raises(UnreadableBody, match=r"_schemas/0@\d+ is an entry of schema 31323334"):
        await start(rolling, after)
