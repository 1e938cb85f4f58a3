"""What nodes ask of Apache Kafka: CPU time of the broker for appends, time to take partitions over.

Appends of one moment share a request in production (D8), so a node with many busy partitions sends
few requests with many batches; the first table separates the two costs. Snapshots are in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from bench.scale.group import broker_pid, cpu_s
from eventstore.errors import LogUnavailable
from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import LogRecord, TopicPartition, TopicSettings
from eventstore.memory_snapshots import MemorySnapshots
from examples.counter import Counter
from spawn import System
from spawn.core.ids import topic_of
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.event_loop import run_serving
from spawn.runtime.node import Node, NodePlan
from tests.services.apache_kafka import ApacheKafka

__all__ = ["measure"]

_VALUE: Final = bytes(range(121))
_SECONDS: Final = 5.0
_WARM_UP_S: Final = 8.0
_LOADS: Final = ((1, 1, 1), (4, 1, 1), (4, 1, 30), (4, 16, 1), (4, 16, 30), (16, 16, 1))
"""Nodes, partitions of each that append all the time, records in a batch."""
_PARTITIONS: Final = max(nodes * partitions for nodes, partitions, _ in _LOADS)
_TAKEN: Final = (16, 160, 640)


async def _append(log: KafkaLog, at: TopicPartition, batch: int, until: float) -> int:
    count, records = 0, [LogRecord(b"actor", _VALUE)] * batch
    while time.monotonic() < until:
        await log.append(at, records, 1)
        count += 1
    return count


async def _led(settings: KafkaSettings, topic: str, partitions: int) -> None:
    """Wait until every partition takes appends: a busy disk makes their folders slowly."""
    log = KafkaLog(settings)
    for partition in range(partitions):
        for _ in range(10):
            with contextlib.suppress(LogUnavailable):
                await _append(log, TopicPartition(topic, partition), 1, time.monotonic() + 1e-3)
                break
    await log.close()


async def _appends(
    settings: KafkaSettings, topic: str, load: tuple[int, int, int], seconds: float
) -> str:
    nodes, partitions, batch = load
    logs = [KafkaLog(settings) for _ in range(nodes)]
    try:
        for each in logs:
            await each.bounds(TopicPartition(topic, 0))
        at, broker, own = time.monotonic(), cpu_s(broker_pid()), time.process_time()
        counts = await asyncio.gather(*(
            _append(log, TopicPartition(topic, n * partitions + p), batch, at + seconds)
            for n, log in enumerate(logs)
            for p in range(partitions)
        ))  # fmt: skip
        took, batches = time.monotonic() - at, sum(counts)
        broker, own = cpu_s(broker_pid()) - broker, time.process_time() - own
    finally:
        for each in logs:
            await each.close()
    rate = batches / took
    return (
        f"| {nodes} | {partitions} | {batch} | {rate:,.0f} | {rate * batch:,.0f}"
        f" | {broker / batches * 1e6:.0f} | {broker / took:.2f} | {own / took:.2f} |"
    )


async def _take_over(settings: KafkaSettings, count: int) -> str:
    name = f"taking{count}"
    system, topic = System(name, actors=[Counter]), topic_of(name, "Counter")
    await KafkaAdmin(settings).create({topic: TopicSettings(partitions=count)})
    store = MemorySnapshots()
    times = []
    for _ in range(2):
        log = KafkaLog(settings)
        node = Node(
            NodePlan(
                system=name,
                endpoint="bench",
                behaviors=system.behaviors,
                topics={topic: count},
                log=log,
                store=store,
                settings=RuntimeSettings(),
                body_bytes_max=1024 * 1024,
                say=lambda _text: None,
            )
        )
        at, own, broker = time.monotonic(), time.process_time(), cpu_s(broker_pid())
        async with node.running():
            await node.serving.wait()
            cpu = time.process_time() - own, cpu_s(broker_pid()) - broker
            times.append((time.monotonic() - at, *cpu))
        await log.close()
    (fresh, *_), (again, own, broker) = times
    return (
        f"| {count:,} | {fresh:.2f} | {again:.2f} | {own / count * 1e3:.2f}"
        f" | {broker / count * 1e3:.2f} |"
    )


async def _measure() -> None:
    with ApacheKafka(heap_mib=1024) as kafka:
        await asyncio.to_thread(kafka.start)
        settings, topic = KafkaSettings(servers=kafka.bootstrap, append_timeout_s=10), "broker"
        await KafkaAdmin(settings).create({topic: TopicSettings(partitions=_PARTITIONS)})
        await _led(settings, topic, _PARTITIONS)
        await _appends(settings, topic, (4, 16, 1), _WARM_UP_S)
        print(
            "| nodes | busy partitions of each | records a batch | batches/s | records/s"
            " | broker's CPU us a batch | broker's cores | all nodes' cores |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for load in _LOADS:
            print(await _appends(settings, topic, load, _SECONDS), flush=True)
        print(
            "\n| partitions | s to take over, new | s, from a dead owner | node's CPU ms each"
            " | broker's CPU ms each |"
        )
        print("| --- | --- | --- | --- | --- |", flush=True)
        for count in _TAKEN:
            print(await _take_over(settings, count), flush=True)


def measure(_nodes: int, _partitions: int, _rounds: int) -> None:
    """Print both tables."""
    print("broker: Apache Kafka, one broker, acks=all, no replicas\n")
    run_serving(_measure())
