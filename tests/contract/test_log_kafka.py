"""The event log on Apache Kafka: the contract, what only a whole broker does, and its faults."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaPartition

from eventstore.errors import LogRefused, LogUnavailable
from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from tests.contract.log_contract import (
    MIB,
    TIME_MS,
    LogContract,
    Seen,
    batch,
    expected,
    new_topic,
    read,
)
from tests.services.apache_kafka import ApacheKafka
from tests.services.ports import free_port

# Two seconds until an append is given up (the default), and time for a busy machine.
_LOST_WITHIN_S = 3.0
_RECOVERED_WITHIN_S = 20.0


@pytest.fixture
def settings(apache_kafka: ApacheKafka) -> KafkaSettings:
    """The defaults, but for reads that give up sooner."""
    return KafkaSettings(servers=apache_kafka.bootstrap, read_timeout_s=4)


@pytest.fixture
async def log(settings: KafkaSettings) -> AsyncIterator[KafkaLog]:
    """A log of its own for each test; nothing may be left for the loop to complain of."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    log = KafkaLog(settings)
    yield log
    await log.close()
    assert complaints == []


@pytest.fixture
def admin(settings: KafkaSettings) -> KafkaAdmin:
    """The administration of the same broker."""
    return KafkaAdmin(settings)


@pytest.fixture
async def at(admin: KafkaAdmin) -> TopicPartition:
    """A partition of a new topic with four."""
    topic = new_topic()
    await admin.create({topic: TopicSettings(partitions=4)})
    return TopicPartition(topic, 1)


class TestApacheKafka(LogContract):
    """The contract."""


async def test_records_below_the_beginning_are_refused(
    log: KafkaLog, at: TopicPartition, apache_kafka: ApacheKafka
) -> None:
    """Retention took them away: a read never skips ahead by itself."""
    await log.append(at, batch("a", "b", "c"), TIME_MS)
    client = AIOKafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap)
    await client.start()
    await client.delete_records({KafkaPartition(*at): RecordsToDelete(before_offset=2)})
    await client.close()
    assert await log.bounds(at) == (2, 3)
    with pytest.raises(LogRefused, match="begins at 2"):
        await read(log, at, 1, 3)
    assert await read(log, at, 2, 3) == [(2, b"actor", b"c")]


async def test_a_batch_above_the_topics_own_limit_is_refused_by_the_broker(
    log: KafkaLog, admin: KafkaAdmin
) -> None:
    """Where it is lower than ours; the append after it goes the same way and succeeds."""
    topic = new_topic()
    await admin.create({topic: TopicSettings(partitions=1, max_message_bytes=MIB)})
    at = TopicPartition(topic, 0)
    for _ in range(2):
        with pytest.raises(LogRefused, match="refused"):
            await log.append(at, [LogRecord(b"actor", bytes(2 * MIB))], TIME_MS)
    assert await log.append(at, batch("a"), TIME_MS) == 0


async def test_a_topic_is_made_to_last(admin: KafkaAdmin, at: TopicPartition) -> None:
    """One copy on the only broker, and no leader may be elected that lacks records."""
    topic = (await admin.describe([at.topic]))[at.topic]
    assert topic.settings["unclean.leader.election.enable"] == "false"
    assert topic.settings["min.insync.replicas"] == "1"
    assert topic.settings["max.message.bytes"] == str(8 * MIB)


async def test_what_the_broker_refuses_to_create_is_named(admin: KafkaAdmin) -> None:
    """More copies than brokers, or a name that no topic can have."""
    topic = new_topic()
    with pytest.raises(LogRefused, match=topic):
        await admin.create({topic: TopicSettings(partitions=1, replication=3)})
    with pytest.raises(LogRefused, match="no/topic"):
        await admin.create({"no/topic": TopicSettings(partitions=1)})


async def test_a_broker_that_is_not_there_is_named() -> None:
    """By every call, within its time-out."""
    servers = f"127.0.0.1:{free_port()}"
    settings = KafkaSettings(servers=servers, read_timeout_s=0.5)
    log, admin, at = KafkaLog(settings), KafkaAdmin(settings), TopicPartition("any", 0)
    for call in (
        log.append(at, batch("a"), TIME_MS),
        log.bounds(at),
        read(log, at, 0, 1),
        admin.brokers(),
        admin.describe(["any"]),
        admin.create({"any": TopicSettings(partitions=1)}),
    ):
        with pytest.raises(LogUnavailable, match=servers):
            await call
    await log.close()


async def test_a_closed_log_answers_nobody(log: KafkaLog, at: TopicPartition) -> None:
    """It does not connect again by itself."""
    await log.append(at, batch("a"), TIME_MS)
    await log.close()
    with pytest.raises(LogUnavailable, match="closed"):
        await log.append(at, batch("b"), TIME_MS)
    with pytest.raises(LogUnavailable, match="closed"):
        await log.bounds(at)


class TestFrozenBroker:
    """Connections stay open and nothing answers, as on a host that is overloaded or cut off."""

    @pytest.fixture(autouse=True)
    def thaw(self, apache_kafka: ApacheKafka) -> Iterator[None]:
        """Thaw it before the log is closed, whatever became of the test."""
        yield
        apache_kafka.thaw()

    async def test_an_append_is_given_up_and_the_next_one_overtakes_it(
        self, log: KafkaLog, at: TopicPartition, apache_kafka: ApacheKafka
    ) -> None:
        """What was lost may be there or not; what was acknowledged is where it was told."""
        await log.append(at, batch("before"), TIME_MS)
        await _freeze(apache_kafka)
        lost = batch("lost", "lost")
        await _assert_given_up(log, at, lost)
        apache_kafka.thaw()
        base, claim = await _append_in_the_end(log, at, batch("claim", "x"))
        assert await log.append(at, batch("after"), TIME_MS) > base
        stored = await _read_all(log, at)
        assert stored[base : base + 2] == expected(base, claim)
        assert stored[0] == (0, None, b"before")
        assert [value for _, _, value in stored].count(b"lost") in (0, 2, 4)

    async def test_appends_to_many_partitions_are_given_up_together(
        self, log: KafkaLog, at: TopicPartition, apache_kafka: ApacheKafka
    ) -> None:
        """Those that waited behind others in the client too; afterwards all are served."""
        places = [TopicPartition(at.topic, number) for number in range(4)]
        for place in places:
            await log.append(place, batch("before"), TIME_MS)
        await _freeze(apache_kafka)
        async with asyncio.TaskGroup() as tasks:
            for place in places:
                tasks.create_task(_assert_given_up(log, place, batch("lost")))
                await asyncio.sleep(0.05)
        apache_kafka.thaw()
        for place in places:
            base, claim = await _append_in_the_end(log, place, batch("claim"))
            assert await read(log, place, base, base + 1) == expected(base, claim)

    async def test_a_large_append_is_given_up_too(
        self, log: KafkaLog, at: TopicPartition, apache_kafka: ApacheKafka
    ) -> None:
        """Larger than what the sockets hold, so its bytes are still with us."""
        await log.append(at, batch("before"), TIME_MS)
        await _freeze(apache_kafka)
        await _assert_given_up(log, at, [LogRecord(b"actor", bytes(6 * MIB))])
        apache_kafka.thaw()
        base, claim = await _append_in_the_end(log, at, batch("claim"))
        assert await read(log, at, base, base + 1) == expected(base, claim)

    async def test_an_append_that_is_cancelled_does_no_harm(
        self, log: KafkaLog, at: TopicPartition, apache_kafka: ApacheKafka
    ) -> None:
        """It may still be stored; the next append is acknowledged where it stands."""
        await log.append(at, batch("before"), TIME_MS)
        await _freeze(apache_kafka)
        task = asyncio.ensure_future(log.append(at, batch("cancelled"), TIME_MS))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        apache_kafka.thaw()
        base, after = await _append_in_the_end(log, at, batch("after"))
        assert (await _read_all(log, at))[base : base + 1] == expected(base, after)

    async def test_reads_are_given_up(
        self, log: KafkaLog, at: TopicPartition, apache_kafka: ApacheKafka
    ) -> None:
        """Within their time-out, and succeed again after it."""
        written = batch("a", "b")
        await log.append(at, written, TIME_MS)
        assert await read(log, at, 0, 2) == expected(0, written)
        await _freeze(apache_kafka)
        calls = (read(log, at, 0, 2), log.bounds(at))
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, LogUnavailable)
        apache_kafka.thaw()
        assert await read(log, at, 0, 2) == expected(0, written)
        assert await log.bounds(at) == (0, 2)

    async def test_closing_waits_for_nobody(
        self,
        log: KafkaLog,
        settings: KafkaSettings,
        at: TopicPartition,
        apache_kafka: ApacheKafka,
    ) -> None:
        """Not longer than it says, with an append still on its way."""
        await log.append(at, batch("before"), TIME_MS)
        await _freeze(apache_kafka)
        append = asyncio.ensure_future(
            log.append(at, [LogRecord(b"actor", bytes(6 * MIB))], TIME_MS)
        )
        await asyncio.sleep(0.1)
        async with asyncio.timeout(settings.close_timeout_s + 1):
            await log.close()
        with pytest.raises(LogUnavailable):
            await append


async def test_a_broker_killed_and_started_again_is_served_by_the_same_log(
    log: KafkaLog, at: TopicPartition, apache_kafka: ApacheKafka
) -> None:
    """What was acknowledged is still there, and appends and reads go on."""
    await log.append(at, batch("before"), TIME_MS)
    assert await read(log, at, 0, 1) == expected(0, batch("before"))
    await asyncio.to_thread(apache_kafka.kill)
    await _assert_given_up(log, at, batch("lost"))
    await _assert_given_up(log, at, batch("lost"))
    await asyncio.to_thread(apache_kafka.start)
    base, after = await _append_in_the_end(log, at, batch("after"))
    stored = await _read_all(log, at)
    assert stored[0] == (0, None, b"before")
    assert stored[base : base + 1] == expected(base, after)


async def test_appends_under_load_survive_a_broker_that_freezes_now_and_then(
    log: KafkaLog, at: TopicPartition, apache_kafka: ApacheKafka
) -> None:
    """Every acknowledged batch of every partition stands where it was told."""
    places = [TopicPartition(at.topic, number) for number in range(4)]
    told: dict[tuple[TopicPartition, int], bytes] = {}
    done = False

    async def write(place: TopicPartition) -> None:
        n = 0
        while not done:
            n += 1
            value = f"{place.partition}-{n}"
            try:
                told[place, await log.append(place, batch(value), TIME_MS)] = value.encode()
            except LogUnavailable:
                await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as tasks:
        for place in places:
            tasks.create_task(write(place))
        for frozen_s in (0.5, 2.5, 0.1):
            await asyncio.sleep(0.3)
            await _freeze(apache_kafka)
            await asyncio.sleep(frozen_s)
            apache_kafka.thaw()
        acknowledged = len(told)
        async with asyncio.timeout(_RECOVERED_WITHIN_S):
            while len(told) < acknowledged + 200:
                await asyncio.sleep(0.05)
        done = True
    for place in places:
        stored = {offset: value for offset, _, value in await _read_all(log, place)}
        mine = {offset: value for (where, offset), value in told.items() if where == place}
        assert mine == {offset: stored[offset] for offset in mine}


async def _freeze(kafka: ApacheKafka) -> None:
    """Freeze it and wait until it is: the signal reaches a busy thread a moment later."""
    kafka.freeze()
    assert kafka._process is not None
    states = list(Path(f"/proc/{kafka._process.pid}/task").glob("*/stat"))  # none but on Linux
    async with asyncio.timeout(_LOST_WITHIN_S):
        while not all(_is_stopped(state) for state in states):
            await asyncio.sleep(0.005)


def _is_stopped(state: Path) -> bool:
    """Whether the third word of a thread's stat says so; the second, its name, may have blanks."""
    try:
        return state.read_text().rpartition(")")[2].split()[0] == "T"
    except FileNotFoundError:  # it has ended
        return True


async def _assert_given_up(log: KafkaLog, at: TopicPartition, records: list[LogRecord]) -> None:
    async with asyncio.timeout(_LOST_WITHIN_S):
        with pytest.raises(LogUnavailable):
            await log.append(at, records, TIME_MS)


async def _append_in_the_end(
    log: KafkaLog, at: TopicPartition, records: list[LogRecord]
) -> tuple[int, list[LogRecord]]:
    """Append until it is acknowledged, as a claim is; return where, and the records."""
    async with asyncio.timeout(_RECOVERED_WITHIN_S):
        while True:
            try:
                return await log.append(at, records, TIME_MS), records
            except LogUnavailable:
                await asyncio.sleep(0.05)


async def _read_all(log: KafkaLog, at: TopicPartition) -> list[Seen]:
    stored = await read(log, at, *await log.bounds(at))
    assert [offset for offset, _, _ in stored] == list(range(len(stored)))
    return stored
