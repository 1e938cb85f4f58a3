"""Which producer a partition's appends go through after a lost one, without a broker."""

from dataclasses import dataclass, field

import pytest

from eventstore import kafka_log
from eventstore.errors import LogUnavailable
from eventstore.kafka_log import KafkaSettings
from eventstore.log import TopicPartition

A, B, C = (TopicPartition("topic", number) for number in range(3))


@dataclass(eq=False)
class _Producer:
    """Stands for a `_Sender` in which appends are answered when the test says so."""

    partitions: set[TopicPartition] = field(default_factory=set)
    in_flight: int = 0
    has_answered: bool = False
    is_retired: bool = False
    is_ending: bool = False
    has_ended: bool = False

    async def end(self) -> None:
        self.has_ended = True


@pytest.fixture
def background() -> kafka_log._Background:
    """Where ends run."""
    return kafka_log._Background()


@pytest.fixture
def senders(
    monkeypatch: pytest.MonkeyPatch, background: kafka_log._Background
) -> kafka_log._Senders:
    """Senders whose producers are stand-ins."""
    monkeypatch.setattr(kafka_log, "_Sender", lambda settings, background: _Producer())
    return kafka_log._Senders(KafkaSettings(servers="nowhere:1"), background)


def _begin(senders: kafka_log._Senders, at: TopicPartition) -> _Producer:
    producer: object = senders.of(at)
    assert isinstance(producer, _Producer)
    producer.partitions.add(at)
    producer.in_flight += 1
    return producer


def _finish(
    senders: kafka_log._Senders, at: TopicPartition, producer: _Producer, *, lost: bool = False
) -> None:
    """Do what `KafkaLog._send` does when an append is over."""
    sender: kafka_log._Sender = producer  # type: ignore[assignment]
    if lost:
        senders.lost(at, sender)
    producer.in_flight -= 1
    if producer.is_retired:
        senders.end_if_unused(sender)
    if not lost and not producer.has_answered:
        senders.answered(sender)


async def test_all_partitions_share_one_producer(senders: kafka_log._Senders) -> None:
    """More of them would cost more."""
    assert _begin(senders, A) is _begin(senders, B)


async def test_only_the_partition_of_a_lost_append_moves(senders: kafka_log._Senders) -> None:
    """The others stay where they are answered."""
    old = _begin(senders, A)
    _finish(senders, B, _begin(senders, B))
    _finish(senders, A, old, lost=True)
    assert _begin(senders, A) is not old
    assert _begin(senders, B) is old


async def test_the_others_follow_once_the_new_producer_has_answered(
    senders: kafka_log._Senders, background: kafka_log._Background
) -> None:
    """Then the old one ends, but not before the appends in it are over."""
    old = _begin(senders, A)
    b = _begin(senders, B)
    _finish(senders, A, old, lost=True)
    new = _begin(senders, A)
    _finish(senders, A, new)
    assert _begin(senders, C) is new
    await background.wait(1)
    ended_too_early = old.has_ended
    _finish(senders, B, b)
    await background.wait(1)
    assert (ended_too_early, old.has_ended) == (False, True)
    assert _begin(senders, B) is new


async def test_partitions_that_lose_appends_together_share_the_next_producer(
    senders: kafka_log._Senders, background: kafka_log._Background
) -> None:
    """One new connection for an outage, not one for each of them."""
    old = _begin(senders, A)
    _begin(senders, B)
    _finish(senders, A, old, lost=True)
    new = _begin(senders, A)
    _finish(senders, B, old, lost=True)
    assert _begin(senders, B) is new
    await background.wait(1)
    assert old.has_ended


async def test_a_producer_that_never_answered_is_left_too(
    senders: kafka_log._Senders, background: kafka_log._Background
) -> None:
    """An outage that lasts leaves no trail of them."""
    producers = []
    for _ in range(3):
        producers.append(_begin(senders, A))
        _finish(senders, A, producers[-1], lost=True)
    await background.wait(1)
    assert len(set(producers)) == 3
    assert all(producer.has_ended for producer in producers)


async def test_a_late_loss_does_not_move_a_partition_that_has_moved(
    senders: kafka_log._Senders,
) -> None:
    """Two appends of one partition may be lost in the same producer."""
    old = _begin(senders, A)
    _begin(senders, A)
    _finish(senders, A, old, lost=True)
    new = _begin(senders, A)
    _finish(senders, A, old, lost=True)
    assert _begin(senders, A) is new


async def test_closing_ends_all(
    senders: kafka_log._Senders, background: kafka_log._Background
) -> None:
    """The old ones and the current one; then there is none to be had."""
    old = _begin(senders, A)
    _begin(senders, B)
    _finish(senders, A, old, lost=True)
    new = _begin(senders, A)
    senders.close()
    await background.wait(1)
    assert old.has_ended
    assert new.has_ended
    with pytest.raises(LogUnavailable, match="closed"):
        senders.of(B)
