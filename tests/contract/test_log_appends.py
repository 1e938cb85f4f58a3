"""What becomes of appends when the broker answers badly, late, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from eventstore.errors import LogForbidden, LogRefused, LogTooLarge, LogUnavailable
from eventstore.kafka_log import KafkaLog, KafkaSettings, connection
from eventstore.log import LogRecord, TopicPartition
from tests.contract.log_contract import MIB, TIME_MS, batch
from tests.contract.scripted_broker import Produced, ScriptedBroker

A, B, C = (TopicPartition("topic", number) for number in range(3))
ELSEWHERE = TopicPartition("another", 0)

_TIMEOUT_S = 0.4
_TOO_LARGE, _NOT_LEADER, _TIMED_OUT, _TOO_FEW, _TOO_FEW_AFTER = 10, 6, 7, 19, 20


@pytest.fixture
async def broker() -> AsyncIterator[ScriptedBroker]:
    """A broker that answers when the test says so."""
    async with ScriptedBroker() as broker:
        yield broker


@pytest.fixture
async def log(broker: ScriptedBroker) -> AsyncIterator[KafkaLog]:
    """A log that gives up soon; nothing may be left for the loop to complain of."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    log = KafkaLog(KafkaSettings(servers=broker.servers, append_timeout_s=_TIMEOUT_S))
    yield log
    await log.close()
    assert complaints == []


def _begin(log: KafkaLog, at: TopicPartition, *values: str) -> asyncio.Task[int]:
    return asyncio.ensure_future(log.append(at, batch(*values or ("x",)), TIME_MS))


async def _next(broker: ScriptedBroker) -> Produced:
    async with asyncio.timeout(2):
        return await broker.produced.get()


async def _warm_up(log: KafkaLog, broker: ScriptedBroker, *places: TopicPartition) -> None:
    """Let partitions have a connection."""
    for at in places:
        append = _begin(log, at)
        (await _next(broker)).answer((0, 0))
        assert await append == 0


async def test_appends_of_one_moment_share_a_request(log: KafkaLog, broker: ScriptedBroker) -> None:
    """Each gets its own offset, whatever the topic."""
    await _warm_up(log, broker, A, B, ELSEWHERE)
    appends = [_begin(log, at) for at in (A, B, ELSEWHERE)]
    request = await _next(broker)
    assert request.partitions == [0, 1, 0]
    request.answer((0, 7), (0, 8), (0, 9))
    assert await asyncio.gather(*appends) == [7, 8, 9]


async def test_what_comes_meanwhile_makes_the_next_request(
    log: KafkaLog, broker: ScriptedBroker
) -> None:
    """One is under way at a time, and two batches of one partition never share one."""
    await _warm_up(log, broker, A, B)
    first = _begin(log, A)
    request = await _next(broker)
    others = [_begin(log, at) for at in (A, A, B)]
    await asyncio.sleep(0.05)
    assert broker.produced.empty()
    request.answer((0, 1))
    assert await first == 1
    request = await _next(broker)
    assert request.partitions == [0, 1]
    request.answer((0, 2), (0, 5))
    request = await _next(broker)
    assert request.partitions == [0]
    request.answer((0, 3))
    assert await asyncio.gather(*others) == [2, 3, 5]


async def test_large_batches_do_not_share_a_request(log: KafkaLog, broker: ScriptedBroker) -> None:
    """A broker closes the connection when a request is too large."""
    await _warm_up(log, broker, A, B)
    large = [LogRecord(b"actor", bytes(5 * MIB))]
    appends = [asyncio.ensure_future(log.append(at, large, TIME_MS)) for at in (A, B)]
    for number in (0, 1):
        request = await _next(broker)
        assert request.partitions == [number]
        request.answer((0, number))
    assert await asyncio.gather(*appends) == [0, 1]


async def test_a_batch_that_was_not_stored_is_sent_again(
    log: KafkaLog, broker: ScriptedBroker
) -> None:
    """The broker does not lead, or lacks replicas, and says so before it appends anything."""
    append = _begin(log, A)
    (await _next(broker)).answer((_NOT_LEADER, -1))
    (await _next(broker)).answer((_TOO_FEW, -1))
    (await _next(broker)).answer((0, 3))
    assert await append == 3


async def test_appends_follow_the_leader(log: KafkaLog, broker: ScriptedBroker) -> None:
    """To another broker, at once for the one that was told, and with their next for the others."""
    async with ScriptedBroker() as successor:
        await _warm_up(log, broker, A, B)
        broker.leader = successor
        append = _begin(log, A)
        (await _next(broker)).answer((_NOT_LEADER, -1))
        (await _next(successor)).answer((0, 3))
        assert await append == 3
        append = _begin(log, B)
        (await _next(broker)).answer((_NOT_LEADER, -1))
        (await _next(successor)).answer((0, 4))
        assert await append == 4


async def test_a_batch_that_nobody_takes_is_given_up(log: KafkaLog, broker: ScriptedBroker) -> None:
    """In the same time as one without an answer; the text says why."""
    append = _begin(log, A)
    (await _next(broker)).answer((_NOT_LEADER, -1))
    broker.leader = None
    async with asyncio.timeout(_TIMEOUT_S + 1):
        with pytest.raises(LogUnavailable, match="nobody leads"):
            await append


@pytest.mark.parametrize(
    "outcome", [(_NOT_LEADER, 5), (_TIMED_OUT, -1), (_TOO_FEW_AFTER, -1), (0, -1)]
)
async def test_a_batch_that_may_be_stored_is_not_sent_again(
    log: KafkaLog, broker: ScriptedBroker, outcome: tuple[int, int]
) -> None:
    """A deposed leader tells the offset of what it has appended, with its error."""
    append = _begin(log, A)
    (await _next(broker)).answer(outcome)
    with pytest.raises(LogUnavailable):
        await append
    await asyncio.sleep(0.3)
    assert broker.produced.empty()
    await _warm_up(log, broker, A)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(29, LogForbidden), (31, LogForbidden), (53, LogForbidden), (10, LogTooLarge),
     (18, LogTooLarge), (17, LogRefused)],
)  # fmt: skip
async def test_a_refusal_is_told_by_its_kind(
    log: KafkaLog, broker: ScriptedBroker, code: int, kind: type[Exception]
) -> None:
    """Want of rights may pass, a smaller batch may be taken; the rest is for good."""
    append = _begin(log, A)
    (await _next(broker)).answer((code, -1))
    with pytest.raises(kind) as refused:
        await append
    assert type(refused.value) is kind
    await _warm_up(log, broker, A)


async def test_one_refused_batch_does_not_touch_the_others(
    log: KafkaLog, broker: ScriptedBroker
) -> None:
    """In the same request."""
    await _warm_up(log, broker, A, B)
    refused, append = _begin(log, A), _begin(log, B)
    (await _next(broker)).answer((_TOO_LARGE, -1), (0, 1))
    with pytest.raises(LogRefused):
        await refused
    assert await append == 1


async def test_after_a_lost_append_all_go_by_another_connection(
    log: KafkaLog, broker: ScriptedBroker
) -> None:
    """A claim must not queue behind the lost batch; one new connection serves them all."""
    await _warm_up(log, broker, A, B, C)
    lost = [_begin(log, A), _begin(log, B)]
    assert (await _next(broker)).connection == 0
    for append in lost:
        with pytest.raises(LogUnavailable, match="none within"):
            await append
    appends = [_begin(log, at) for at in (A, B, C)]
    answered = 0
    while answered < 3:  # they may have found it one after the other
        request = await _next(broker)
        assert request.connection == 1
        answered += len(request.partitions)
        request.answer((0, 1))
    assert await asyncio.gather(*appends) == [1, 1, 1]
    assert broker.ended == {0}


async def test_an_append_that_waits_behind_a_lost_one_is_sent_elsewhere(
    log: KafkaLog, broker: ScriptedBroker
) -> None:
    """It never left the process, so it is not lost."""
    await _warm_up(log, broker, A, B)
    lost = _begin(log, A)
    await _next(broker)
    await asyncio.sleep(_TIMEOUT_S / 2)
    append = _begin(log, B)
    with pytest.raises(LogUnavailable):
        await lost
    request = await _next(broker)
    assert request.connection == 1
    assert request.partitions == [1]
    request.answer((0, 4))
    assert await append == 4


async def test_a_late_answer_to_one_is_still_an_answer_to_the_other(
    log: KafkaLog, broker: ScriptedBroker
) -> None:
    """Each is given up in its own time, and the connection ends when none is left."""
    await _warm_up(log, broker, A, B)
    first = _begin(log, A)
    request = await _next(broker)
    early = _begin(log, A)
    await asyncio.sleep(_TIMEOUT_S / 2)
    late = _begin(log, B)
    request.answer((0, 1))
    assert await first == 1
    request = await _next(broker)
    with pytest.raises(LogUnavailable):
        await early
    assert broker.ended == set()
    request.answer((0, 2))
    assert await late == 2
    await asyncio.sleep(0.05)
    assert broker.ended == {0}


async def test_a_connection_that_breaks_loses_what_was_sent_and_nothing_else(
    log: KafkaLog, broker: ScriptedBroker
) -> None:
    """What waited goes by the next connection."""
    await _warm_up(log, broker, A, B)
    lost = _begin(log, A)
    request = await _next(broker)
    append = _begin(log, B)
    await asyncio.sleep(0.05)
    request.drop()
    with pytest.raises(LogUnavailable):
        await lost
    request = await _next(broker)
    assert request.connection == 1
    request.answer((0, 2))
    assert await append == 2


@pytest.mark.parametrize("answer", [b"", b"\x00\x00\x00\x01\x00\x09", bytes(12)])
async def test_an_answer_that_is_none_counts_as_no_answer(
    log: KafkaLog, broker: ScriptedBroker, answer: bytes
) -> None:
    """Cut short, or silent about the batch; the next append goes on."""
    append = _begin(log, A)
    (await _next(broker)).answer_bytes(answer)
    with pytest.raises(LogUnavailable, match="may be stored"):
        await append
    await _warm_up(log, broker, A)


async def test_a_cancelled_append_that_was_not_sent_never_is(
    log: KafkaLog, broker: ScriptedBroker
) -> None:
    """It leaves the queue, and what stands behind it is sent."""
    await _warm_up(log, broker, A, B, C)
    first = _begin(log, A)
    request = await _next(broker)
    cancelled, last = _begin(log, B), _begin(log, C)
    await asyncio.sleep(0.05)
    cancelled.cancel()
    request.answer((0, 1))
    request = await _next(broker)
    assert request.partitions == [2]
    request.answer((0, 2))
    assert await first == 1
    assert await last == 2


async def test_a_cancelled_append_without_an_answer_holds_up_nobody(
    log: KafkaLog, broker: ScriptedBroker
) -> None:
    """Its connection is given up in its time as if somebody still waited."""
    await _warm_up(log, broker, A, B)
    cancelled = _begin(log, A)
    await _next(broker)
    cancelled.cancel()
    await asyncio.sleep(_TIMEOUT_S / 2)
    append = _begin(log, B)
    request = await _next(broker)
    assert request.connection == 1
    request.answer((0, 1))
    assert await append == 1


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    log: KafkaLog, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker may end it just then; the append goes by a new one at once."""
    await _warm_up(log, broker, A)
    monkeypatch.setattr(connection, "_IDLE_S", 0.0)
    append = _begin(log, A)
    request = await _next(broker)
    assert request.connection == 1
    request.answer((0, 1))
    assert await append == 1
    assert broker.ended == {0}


async def test_closing_leaves_time_for_an_answer(broker: ScriptedBroker) -> None:
    """What was sent is answered, what was not is unavailable; then all has ended."""
    log = KafkaLog(KafkaSettings(servers=broker.servers))
    await _warm_up(log, broker, A, B)
    sent = _begin(log, A)
    request = await _next(broker)
    unsent = _begin(log, B)
    await asyncio.sleep(0.05)
    closing = asyncio.ensure_future(log.close())
    with pytest.raises(LogUnavailable, match="closed"):
        await unsent
    request.answer((0, 1))
    assert await sent == 1
    async with asyncio.timeout(1):
        await closing


async def test_appends_that_go_another_way_show_it(log: KafkaLog, broker: ScriptedBroker) -> None:
    """A connection that broke, a broker that said it does not lead; others' ways stay."""
    await _warm_up(log, broker, A, B)
    ways = [log.way(A), log.way(B)]
    append = _begin(log, A)
    (await _next(broker)).answer((_NOT_LEADER, -1))
    (await _next(broker)).answer((0, 1))
    assert await append == 1
    assert log.way(A) != ways[0]
    assert log.way(B) == ways[1]
    ways = [log.way(A), log.way(B)]
    append = _begin(log, A)
    (await _next(broker)).drop()
    with pytest.raises(LogUnavailable):
        await append
    await _warm_up(log, broker, A, B)
    assert log.way(A) != ways[0]
    assert log.way(B) != ways[1]
