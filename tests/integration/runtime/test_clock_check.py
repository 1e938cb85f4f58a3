"""This machine's clock against the database's, a real one where it matters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from eventstore.log import TopicSettings
from eventstore.memory_snapshots import MemorySnapshots
from eventstore.postgres_snapshots import PostgresSnapshots
from spawn.errors import ClockWrong
from spawn.runtime.clock import SystemClock
from spawn.runtime.clock_check import ClockWatch, check_clock, measure_gap
from spawn.runtime.node import Node
from tests.integration.node.servers import postgres_dsn
from tests.integration.runtime.running import TOPIC, Cluster, add
from tests.unit.core.harness import Lists

__all__ = ["postgres_dsn"]

S = 1_000_000


class Off:
    """The system's clocks, the one for people `seconds` ahead."""

    def __init__(self, seconds: float) -> None:
        self._clock = SystemClock()
        self.monotonic = self._clock.monotonic
        self.seconds = seconds

    def time_us(self) -> int:
        """Return a wrong time."""
        return self._clock.time_us() + int(self.seconds * S)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7200, "7200.0 s ahead of"), (-30, "30.0 s behind"), (5.5, "5.5 s ahead")],
)
async def test_a_clock_that_is_far_from_the_databases_refuses_the_start(
    postgres_dsn: str, seconds: float, words: str
) -> None:
    """The text says by how much and what the database says; NTP is the mend."""
    store = PostgresSnapshots(postgres_dsn, "clocks")
    said: list[str] = []
    try:
        with pytest.raises(ClockWrong) as caught:
            await check_clock(store, Off(seconds).time_us, 5.0, said.append)
    finally:
        await store.close()
    assert words in str(caught.value)
    assert "node.clock_limit (5 s)" in str(caught.value)
    assert "NTP" in caught.value.hint
    assert said == []


@pytest.mark.parametrize(("seconds", "warns"), [(0, 0), (0.5, 0), (3, 1), (-3, 1)])
async def test_a_clock_that_is_near_starts(postgres_dsn: str, seconds: float, warns: int) -> None:
    """One that is not quite right is said."""
    store = PostgresSnapshots(postgres_dsn, "clocks")
    said: list[str] = []
    try:
        await check_clock(store, Off(seconds).time_us, 5.0, said.append)
        gap = await measure_gap(store, Off(seconds).time_us)
    finally:
        await store.close()
    assert len(said) == warns
    assert gap is not None
    assert abs(gap.ahead_us / S - seconds) < 0.3


class SlowStore(MemorySnapshots):
    """Its answers take their time on our clock, before and after its own clock is read."""

    def __init__(self, now: list[int], trips: list[tuple[int, int]], ahead_us: int = 0) -> None:
        super().__init__()
        self._now, self._trips, self._ahead_us = now, trips, ahead_us

    async def time_us(self) -> int | None:
        """Take the next trip."""
        there, back = self._trips.pop(0)
        self._now[0] += there
        theirs = self._now[0] - self._ahead_us
        self._now[0] += back
        return theirs


@pytest.mark.parametrize(
    ("trips", "ahead_us", "found"),
    [
        ([(8 * S, 0)] * 3, 0, 0),
        ([(0, 8 * S)] * 3, 0, 0),
        ([(4 * S, 4 * S), (0, 0)], 6 * S, 6 * S),
        ([(4 * S, 4 * S), (0, 0)], -6 * S, -6 * S),
        ([(S, S)] * 3, 6 * S, 5 * S),
        ([(-9 * S, 0), (0, 0)], 2 * S, 2 * S),
    ],
)
async def test_the_way_of_an_answer_is_no_difference(
    trips: list[tuple[int, int]], ahead_us: int, found: int
) -> None:
    """What may be the round trip is not counted; the shortest counts, a clock set back never."""
    now = [100 * S]
    gap = await measure_gap(SlowStore(now, list(trips), ahead_us), lambda: now[0])
    assert gap is not None
    assert gap.ahead_us == found


async def test_a_store_without_a_clock_refuses_nobody() -> None:
    """The one in memory is as good as any."""
    await check_clock(MemorySnapshots(), Off(1e6).time_us, 0.1, pytest.fail)


async def watched(cluster: Cluster, time_us: Callable[[], int]) -> Node:
    """Return a node whose clock was compared once."""
    await cluster.log.create({TOPIC: TopicSettings(partitions=1)})
    node = Node(cluster.plan(Lists()))
    node.context.clock = Off(0)
    cluster.store.clock = time_us
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await ClockWatch(node.context).run()
    return node


@pytest.mark.parametrize(("seconds", "level"), [(2, "WARNING"), (-9, "ERROR")])
async def test_a_drift_is_told_while_the_node_runs(
    seconds: float, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And measured."""
    node = await watched(Cluster(), Off(-seconds).time_us)
    [record] = [each for each in caplog.records if each.name == "spawn.node"]
    assert record.levelname == level
    assert node.dispatcher.statistics().clock_ahead_s == pytest.approx(seconds, abs=0.2)


async def test_a_database_that_is_away_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Others tell that."""
    cluster = Cluster()
    cluster.store.go_down()
    await watched(cluster, Off(0).time_us)
    assert caplog.records == []


async def test_a_partition_of_the_future_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A node whose clock was ahead wrote it; it is served all the same, and time goes on."""
    cluster = Cluster(partitions=2)
    async with cluster.node(clock=Off(3600)) as node:
        for actor in "abcdef":
            await add(node, 1, actor)
    with caplog.at_level(logging.WARNING, "spawn.partition"):
        async with cluster.node() as node:
            assert await add(node, 2) == 2
    told = [each for each in caplog.records if "in the future" in each.getMessage()]
    assert len(told) == 1
    assert "3600 s in the future" in told[0].getMessage() or "3599 s" in told[0].getMessage()
