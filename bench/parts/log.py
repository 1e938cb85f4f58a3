"""What the log adapter alone can do: appends under group commit, bulk reads, point reads.

    .venv/bin/python -m bench.parts.log [SERVERS] [--records N] [--seconds S]

Without SERVERS it starts Apache Kafka for itself (Java 17 and Maven). No actors, no commit path:
the ceiling for `make bench`'s figures, and the first place to look when they fall.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Sequence

from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from tests.services.apache_kafka import ApacheKafka

_PARTITIONS = 8
_CALLERS = 64
_VALUE = random.Random(1).randbytes(121)
_BULK_BATCH = 200
_WARM_UP_S = 10.0


class _GroupCommit:
    """One append in flight; what arrives meanwhile forms the next batch."""

    def __init__(self, log: KafkaLog, at: TopicPartition) -> None:
        self._log, self._at = log, at
        self._waiting: list[tuple[LogRecord, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    def commit(self, record: LogRecord) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((record, done))
        self._wake.set()
        return done

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._log.append(self._at, [record for record, _ in batch], 1)
                for _, done in batch:
                    done.set_result(None)


async def _appends(
    log: KafkaLog, topic: str, callers: int, partitions: int, seconds: float
) -> tuple[float, list[float]]:
    """Return commits a second and each one's latency."""
    groups = [_GroupCommit(log, TopicPartition(topic, number)) for number in range(partitions)]
    tasks = [asyncio.create_task(group.run()) for group in groups]
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        choose = random.Random(number)
        while (start := time.perf_counter()) < end:
            record = LogRecord(b"actor-%d" % number, _VALUE)
            await groups[choose.randrange(partitions)].commit(record)
            latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return len(latencies) / seconds, latencies


async def _fill(log: KafkaLog, at: TopicPartition, records: int, batch: int) -> None:
    for _ in range(records // batch):
        await log.append(at, [LogRecord(b"actor", _VALUE)] * batch, 1)


async def _bulk(log: KafkaLog, at: TopicPartition) -> float:
    first, end = await log.bounds(at)
    start, count = time.perf_counter(), 0
    async for chunk in log.read(at, first, end):
        count += len(chunk)
    assert count == end - first
    return count / (time.perf_counter() - start)


async def _points(log: KafkaLog, at: TopicPartition, tries: int) -> list[float]:
    first, end = await log.bounds(at)
    choose, latencies = random.Random(7), []
    for _ in range(tries):
        offset = choose.randrange(first, end)
        start = time.perf_counter()
        async for chunk in log.read(at, offset, offset + 1):
            assert chunk[0].offset == offset
        latencies.append(time.perf_counter() - start)
    return latencies


def _percentiles(latencies: Sequence[float]) -> str:
    ordered = sorted(latencies)
    p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
    return f"p50 {p50:.2f} ms  p99 {p99:.2f} ms"


async def _measure(servers: str, records: int, seconds: float, batch: int) -> None:
    settings = KafkaSettings(servers=servers, append_timeout_s=10)
    topic = f"bench-{time.time_ns()}"
    await KafkaAdmin(settings).create({topic: TopicSettings(partitions=_PARTITIONS + 1)})
    log = KafkaLog(settings)
    try:
        if seconds:
            await _appends(log, topic, _CALLERS, _PARTITIONS, _WARM_UP_S)
            rates = []
            for _ in range(5):
                rate, latencies = await _appends(log, topic, _CALLERS, _PARTITIONS, seconds)
                rates.append(rate)
                print(f"{_CALLERS} callers, {_PARTITIONS} partitions: {rate:,.0f}/s", end="  ")
                print(_percentiles(latencies))
            print(f"median {statistics.median(rates):,.0f}/s")
            rate, latencies = await _appends(log, topic, 1, _PARTITIONS, seconds)
            print(f"1 caller: {rate:,.0f}/s  {_percentiles(latencies)}")
        at = TopicPartition(topic, _PARTITIONS)
        await _fill(log, at, records, batch)
        for _ in range(3):
            print(f"bulk read of {records:,}: {await _bulk(log, at):,.0f} records/s")
        print(f"point read: {_percentiles(await _points(log, at, 200))}")
        start = time.perf_counter()
        await log.bounds(at)
        print(f"bounds: {(time.perf_counter() - start) * 1000:.2f} ms")
    finally:
        await log.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("servers", nargs="?")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=_BULK_BATCH, help="records in a stored batch")
    parser.add_argument("--seconds", type=float, default=2.0, help="per round; 0: no appends")
    given = parser.parse_args()
    if given.servers:
        asyncio.run(_measure(given.servers, given.records, given.seconds, given.batch))
        return
    with ApacheKafka() as broker:
        broker.start()
        asyncio.run(_measure(broker.bootstrap, given.records, given.seconds, given.batch))


if __name__ == "__main__":
    main()
