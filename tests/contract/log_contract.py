"""What every event log holds: the contract suite and its small data.

Not collected by itself: each implementation's test module inherits `LogContract` and gives it
fixtures `log` and `admin` on one and the same log.
"""

import asyncio
import itertools
import uuid
from collections.abc import Sequence

import pytest

from eventstore.errors import LogRefused, TopicMissing
from eventstore.log import EventLog, LogAdmin, LogRecord, TopicPartition, TopicSettings
from eventstore.records import StoredRecord

PARTITIONS = 4
TIME_MS = 1_767_225_600_000
MIB = 1024 * 1024

Seen = tuple[int, bytes | None, bytes | None]
"""Offset, key and value of a record."""


def new_topic() -> str:
    """Return a name that no test used before; topics outlive a test."""
    return f"spawn.test.{uuid.uuid4().hex}"


def batch(*values: str) -> list[LogRecord]:
    """Return records with these values; the first has no key, like a claim."""
    keys = itertools.chain([None], itertools.repeat(b"actor"))
    return [LogRecord(key, value.encode()) for key, value in zip(keys, values, strict=False)]


def seen(records: Sequence[StoredRecord]) -> list[Seen]:
    """Return what can be compared of records."""
    return [(record.offset, record.key, record.value) for record in records]


def expected(base: int, records: Sequence[LogRecord]) -> list[Seen]:
    """Return what a batch stored at `base` is read back as."""
    return [(base + number, key, value) for number, (key, value) in enumerate(records)]


async def read(log: EventLog, at: TopicPartition, start: int, end: int) -> list[Seen]:
    """Read a range to its end."""
    return [record async for chunk in log.read(at, start, end) for record in seen(chunk)]


class LogContract:
    """The suite."""

    @pytest.fixture
    async def at(self, admin: LogAdmin) -> TopicPartition:
        """A partition of a new topic, neither the first nor the last one."""
        topic = new_topic()
        await admin.create({topic: TopicSettings(partitions=PARTITIONS)})
        return TopicPartition(topic, 1)

    async def test_batches_stand_one_after_the_other(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """Each append returns the offset of its first record, the first one 0."""
        batches = [batch("a"), batch("b", "c", "d"), batch("e")]
        bases = [await log.append(at, each, TIME_MS) for each in batches]
        assert bases == [0, 1, 4]

    async def test_a_batch_is_read_back_whole_and_in_order(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """Keys (none, empty, bytes) and values come back byte for byte."""
        written = [
            LogRecord(None, b"claim"),
            LogRecord(b"", b""),
            LogRecord(b"\x00\xff", bytes(range(256))),
            LogRecord("Zürich/1".encode(), b"x"),
        ]
        base = await log.append(at, written, TIME_MS)
        assert await read(log, at, base, base + len(written)) == expected(base, written)

    async def test_concurrent_appends_to_many_partitions_keep_to_their_own(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """Partitions count their offsets apart, and nothing crosses over."""
        places = [TopicPartition(at.topic, number) for number in range(PARTITIONS)]

        async def fill(place: TopicPartition) -> list[int]:
            return [
                await log.append(place, batch(f"{place.partition}-{n}", "x"), TIME_MS)
                for n in range(25)
            ]

        for bases in await asyncio.gather(*(fill(place) for place in places)):
            assert bases == list(range(0, 50, 2))
        for place in places:
            values = [value for _, _, value in await read(log, place, 0, 50)]
            assert values[::2] == [f"{place.partition}-{n}".encode() for n in range(25)]

    async def test_concurrent_appends_to_one_partition_are_not_mixed(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """Each batch stands at the offset that its caller was told, in one piece."""
        batches = [batch(f"{n}-a", f"{n}-b", f"{n}-c") for n in range(12)]
        bases = await asyncio.gather(*(log.append(at, each, TIME_MS) for each in batches))
        assert sorted(bases) == list(range(0, 36, 3))
        stored = await read(log, at, 0, 36)
        for base, each in zip(bases, batches, strict=True):
            assert stored[base : base + 3] == expected(base, each)

    async def test_a_commit_of_six_mebibytes_is_stored(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """The largest commit that we write (design 3.1), between small ones."""
        large = [LogRecord(b"actor", bytes(6 * MIB))]
        bases = [await log.append(at, each, TIME_MS) for each in (batch("a"), large, batch("b"))]
        assert bases == [0, 1, 2]
        assert await read(log, at, 1, 3) == expected(1, large) + expected(2, batch("b"))

    async def test_a_batch_above_the_limit_is_refused_and_leaves_no_trace(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """Nothing is stored, nothing is pending, and the next append succeeds."""
        await log.append(at, batch("a"), TIME_MS)
        with pytest.raises(LogRefused, match="limit"):
            await log.append(at, [LogRecord(b"actor", bytes(3 * MIB))] * 3, TIME_MS)
        assert await log.append(at, batch("b"), TIME_MS) == 1
        assert await log.bounds(at) == (0, 2)

    @pytest.mark.parametrize(
        ("start", "end"), [(0, 9), (0, 3), (3, 7), (4, 5), (8, 9), (4, 4), (9, 9)]
    )
    async def test_a_range_gives_exactly_its_records(
        self, log: EventLog, at: TopicPartition, start: int, end: int
    ) -> None:
        """Wherever it begins and ends within batches; none of an empty range."""
        written = []
        for base in (0, 3, 6):
            each = batch(f"{base}-a", f"{base}-b", f"{base}-c")
            await log.append(at, each, TIME_MS)
            written += expected(base, each)
        assert await read(log, at, start, end) == written[start:end]

    async def test_a_long_range_comes_in_chunks(self, log: EventLog, at: TopicPartition) -> None:
        """In order, nothing twice, nothing left out, whatever the chunks."""
        for _ in range(20):
            await log.append(at, [LogRecord(b"actor", bytes(500))] * 1000, TIME_MS)
        chunks = [[record.offset for record in chunk] async for chunk in log.read(at, 500, 19_500)]
        assert len(chunks) > 1
        assert list(itertools.chain.from_iterable(chunks)) == list(range(500, 19_500))

    async def test_a_read_that_is_left_early_leaves_the_log_usable(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """A reader may stop at any chunk."""
        for _ in range(20):
            await log.append(at, [LogRecord(b"actor", bytes(500))] * 1000, TIME_MS)
        async for chunk in log.read(at, 0, 20_000):
            assert chunk[0].offset == 0
            break
        assert len(await read(log, at, 0, 20_000)) == 20_000

    async def test_many_reads_at_once_give_each_its_own(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """More of them than there are connections for reads."""
        for n in range(40):
            await log.append(at, batch(f"{n}"), TIME_MS)
        ranges = await asyncio.gather(*(read(log, at, n, n + 1) for n in range(40)))
        assert [value for ((_, _, value),) in ranges] == [f"{n}".encode() for n in range(40)]

    async def test_a_range_above_the_end_is_refused(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """After a moment, in which a broker that is behind may catch up; it is never empty."""
        await log.append(at, batch("a"), TIME_MS)
        with pytest.raises(LogRefused, match="above the log's end"):
            await read(log, at, 5, 6)

    async def test_bounds_tell_where_the_log_begins_and_the_next_record_will_stand(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """Also when the last batch has several records, and of an empty partition."""
        assert await log.bounds(at) == (0, 0)
        await log.append(at, batch("a"), TIME_MS)
        assert await log.bounds(at) == (0, 1)
        await log.append(at, batch("b", "c", "d"), TIME_MS)
        assert await log.bounds(at) == (0, 4)
        assert await log.append(at, batch("e"), TIME_MS) == 4

    async def test_a_cancelled_append_does_no_harm(self, log: EventLog, at: TopicPartition) -> None:
        """It is there or not, whole; the appends after it are where they say."""
        lost = batch("lost", "lost")
        for _ in range(10):
            task = asyncio.ensure_future(log.append(at, lost, TIME_MS))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        bases = [await log.append(at, batch(f"{n}"), TIME_MS) for n in range(3)]
        stored = await read(log, at, 0, (await log.bounds(at))[1])
        for n, base in enumerate(bases):
            assert stored[base] == (base, None, f"{n}".encode())
        others = [value for offset, _, value in stored if offset not in bases]
        assert len(others) in range(0, 21, 2)
        assert set(others) <= {b"lost"}

    async def test_appends_go_one_way_while_nothing_happens(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """So the owner need not read again what it wrote; reads don't change it either."""
        await log.append(at, batch("a"), TIME_MS)
        way = log.way(at)
        for _ in range(3):
            await log.append(at, batch("b"), TIME_MS)
            await read(log, at, 0, 1)
        assert log.way(at) == way
        assert log.way(TopicPartition(new_topic(), 7)) == 0

    async def test_a_missing_topic_is_named(self, log: EventLog, at: TopicPartition) -> None:
        """By every call, and none of them creates it."""
        await self._assert_missing(log, TopicPartition(new_topic(), 0))

    async def test_partitions_are_counted_for_topics_that_are_there(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """A topic that is not there is left out, and not made by asking for it."""
        missing = new_topic()
        for _ in range(2):
            assert await log.partitions([at.topic, missing]) == {at.topic: PARTITIONS}
        assert await log.partitions([]) == {}

    async def test_a_missing_partition_is_named(self, log: EventLog, at: TopicPartition) -> None:
        """A number beyond those of the topic is as good as no topic."""
        await self._assert_missing(log, TopicPartition(at.topic, PARTITIONS))

    async def _assert_missing(self, log: EventLog, missing: TopicPartition) -> None:
        calls = (
            log.append(missing, batch("a"), TIME_MS),
            log.bounds(missing),
            read(log, missing, 0, 1),
        )
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, TopicMissing)
            assert str(missing) in str(error)

    async def test_the_cluster_has_brokers(self, admin: LogAdmin) -> None:
        """All that are tested here have one."""
        assert await admin.brokers() == 1

    async def test_a_topic_is_described_as_it_was_made(self, admin: LogAdmin) -> None:
        """Partitions, copies, and the settings that durability rests on."""
        topic, compacted = new_topic(), new_topic()
        await admin.create(
            {
                topic: TopicSettings(partitions=3, max_message_bytes=1_000_000),
                compacted: TopicSettings(partitions=1, compacted=True),
            }
        )
        told = await admin.describe([topic, compacted])
        assert {name: state.name for name, state in told.items()} == {
            name: name for name in (topic, compacted)
        }
        assert (told[topic].partitions, told[topic].replication) == (3, 1)
        assert told[topic].settings["cleanup.policy"] == "delete"
        assert told[topic].settings["retention.ms"] == "-1"
        assert told[topic].settings["retention.bytes"] == "-1"
        assert told[topic].settings["max.message.bytes"] == "1000000"
        assert told[compacted].settings["cleanup.policy"] == "compact"

    async def test_topics_are_listed_by_the_beginning_of_their_names(self, admin: LogAdmin) -> None:
        """Sorted; and asking makes none."""
        prefix = new_topic()
        assert await admin.topics(prefix) == []
        names = [f"{prefix}.b", f"{prefix}.a"]
        await admin.create({name: TopicSettings(partitions=1) for name in names})
        assert await admin.topics(prefix) == sorted(names)
        assert await admin.topics(f"{prefix}.b") == [f"{prefix}.b"]
        assert await admin.topics(f"{prefix}.c") == []

    async def test_a_topic_that_is_not_there_is_left_out_of_the_description(
        self, admin: LogAdmin, at: TopicPartition
    ) -> None:
        """Asking does not create it either."""
        missing = new_topic()
        for _ in range(2):
            assert list(await admin.describe([at.topic, missing])) == [at.topic]
        assert await admin.describe([]) == {}

    async def test_creating_a_topic_again_leaves_it_as_it_is(
        self, log: EventLog, admin: LogAdmin, at: TopicPartition
    ) -> None:
        """Its records and settings stay, and a new topic in the same call is made."""
        await log.append(at, batch("a"), TIME_MS)
        other = new_topic()
        await admin.create(
            {at.topic: TopicSettings(partitions=9), other: TopicSettings(partitions=1)}
        )
        told = await admin.describe([at.topic, other])
        assert told[at.topic].partitions == PARTITIONS
        assert told[other].partitions == 1
        assert await log.bounds(at) == (0, 1)

    async def test_a_deleted_topic_is_gone_and_others_stay(
        self, log: EventLog, admin: LogAdmin
    ) -> None:
        """Also one whose name begins alike; deleting again does nothing; it can be made anew."""
        gone, stays = new_topic(), new_topic()
        alike = f"{gone}2"
        await admin.create({name: TopicSettings(partitions=1) for name in (gone, stays, alike)})
        for name in (gone, stays, alike):
            await log.append(TopicPartition(name, 0), batch("a", "b"), TIME_MS)
        await admin.delete([gone, new_topic()])
        await admin.delete([gone])
        assert set(await admin.describe([gone, stays, alike])) == {stays, alike}
        assert await admin.topics(gone) == [alike]
        await admin.create({gone: TopicSettings(partitions=1)})
        assert await log.bounds(TopicPartition(gone, 0)) == (0, 0)
        assert await log.bounds(TopicPartition(alike, 0)) == (0, 2)

    async def test_a_group_that_nobody_joined_has_no_members_and_is_deleted(
        self, admin: LogAdmin
    ) -> None:
        """Asked about or deleted: it is as good as not there."""
        name = new_topic()
        assert not await admin.group_members(name)
        assert await admin.group_kind(name) == ""
        await admin.delete_group(name)

    async def test_a_record_without_a_value_is_read_back(
        self, log: EventLog, at: TopicPartition
    ) -> None:
        """In a compacted topic it says that its key is to be forgotten."""
        base = await log.append(at, [LogRecord(b"k", None)], TIME_MS)
        assert await read(log, at, base, base + 1) == [(base, b"k", None)]
