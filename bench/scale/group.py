"""A group of that size on Apache Kafka: how long a generation takes, and the broker's record of it.

All members run in this process, each with connections of its own, as so many nodes would; what they
say is that of nodes which hold their share. The broker's own record is read back from
`__consumer_offsets`. Then metadata grow until the broker refuses, and its topic's limit is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from bench.scale.assignment import KAFKA_RECORD_BYTES_MAX
from bench.scale.shapes import SHAPES, Shape, settled
from eventstore.group import GroupGeneration
from eventstore.group_member import GroupMember
from eventstore.kafka_group import kafka_group_member
from eventstore.kafka_log import KafkaLog, KafkaSettings
from eventstore.log import TopicPartition
from spawn.cluster.assignor import assign, lead
from spawn.cluster.members import decode_member, encode_member
from spawn.runtime.event_loop import run_serving
from tests.services.apache_kafka import ApacheKafka

__all__ = ["broker_pid", "cpu_s", "measure"]

_OFFSETS: Final = "__consumer_offsets"
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_BEGIN_S: Final = 60.0
_QUIET_S: Final = 10.0
_RAISED: Final = 8 * 1024 * 1024


class _Node:
    """A member that says what it was made with."""

    def __init__(self, metadata: bytes) -> None:
        self.said = metadata
        self.generation: GroupGeneration | None = None
        self.led_s = 0.0
        self.losses = 0

    def metadata(self) -> bytes:
        return self.said

    def assign(self, members: Mapping[str, bytes]) -> Mapping[str, bytes]:
        began = time.thread_time()
        try:
            return lead(members).assignments
        finally:
            self.led_s = time.thread_time() - began

    def began(self, generation: GroupGeneration) -> None:
        self.generation = generation

    def lost(self, _reason: str) -> None:
        self.losses += 1


def _metadata(shape: Shape, nodes: int, partitions: int) -> list[bytes]:
    members = {f"m{number}": shape.member(number, partitions) for number in range(nodes)}
    members = settled(members, assign(members), 50)
    return [encode_member(member) for member in members.values()]


@contextlib.asynccontextmanager
async def _group(
    settings: KafkaSettings, name: str, nodes: Sequence[_Node]
) -> AsyncIterator[list[GroupMember]]:
    members = [kafka_group_member(settings, name, node) for node in nodes]
    tasks = []
    for number, member in enumerate(members):
        tasks.append(asyncio.create_task(member.run()))
        if number % 20 == 0:
            await asyncio.sleep(0.05)
    try:
        yield members
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until(what: Callable[[], bool], within_s: float = _BEGIN_S) -> float:
    """Return the seconds until it holds; -1: it does not, in that time."""
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > within_s:
            return -1.0
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def _together(nodes: Sequence[_Node], after: int) -> bool:
    """Tell whether all have begun one generation later than `after`."""
    numbers = {-1 if node.generation is None else node.generation.generation for node in nodes}
    return len(numbers) == 1 and min(numbers) > after


async def _record_bytes(settings: KafkaSettings, name: str) -> int:
    """Return the size of the largest record of a group."""
    log, at, size = KafkaLog(settings), TopicPartition(_OFFSETS, 0), 0
    try:
        first, end = await log.bounds(at)
        async for chunk in log.read(at, first, end):
            for stored in chunk:
                if stored.value and stored.key and stored.key[4:] == name.encode():
                    size = max(size, len(stored.value))
    finally:
        await log.close()
    return size


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def broker_pid() -> int:
    """Return the process id of the broker, a descendant of this process."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = entry.read_text(encoding="ascii").rpartition(") ")
            parents[int(entry.parent.name)] = int(rest.split()[1]), head.partition("(")[2]
    for pid, (_, command) in parents.items():
        above = pid
        while above in parents and above != os.getpid():
            above = parents[above][0]
        if command == "java" and above == os.getpid():
            return pid
    raise LookupError("no broker runs")


async def _run(shape: Shape, count: int, partitions: int, kafka: ApacheKafka) -> None:
    settings = KafkaSettings(servers=kafka.bootstrap)
    name = f"spawn.bench{time.time_ns()}"
    nodes = [_Node(each) for each in _metadata(shape, count, partitions)]
    async with _group(settings, name, nodes) as members:
        began = await _until(lambda: _together(nodes, 0))
        await asyncio.sleep(2.0)
        pid, at = broker_pid(), time.monotonic()
        broker, own = cpu_s(pid), time.process_time()
        await asyncio.sleep(_QUIET_S)
        took = time.monotonic() - at
        quiet = [(cpu_s(pid) - broker) / took, (time.process_time() - own) / took]
        now = max(node.generation.generation for node in nodes if node.generation is not None)
        broker = cpu_s(pid)
        one = nodes[count // 2]  # with the same words its join would begin nothing
        one.said = encode_member(replace(decode_member(one.said), release="0.2.1"))
        members[count // 2].rejoin()
        again = await _until(lambda: _together(nodes, now))
        broker = cpu_s(pid) - broker
        led = max(node.led_s for node in nodes)
        said = sum(len(node.said) for node in nodes)
        given = sum(len(node.generation.assignment) for node in nodes if node.generation)
    record = await _record_bytes(settings, name)
    print(
        f"| {shape.name} | {count:,} | {began:.1f} | {again:.1f} | {led:.2f} | {broker:.1f}"
        f" | {quiet[0]:.0%}, {quiet[1]:.0%} | {record:,} |"
        f" {(record - said - given) / count:.0f} | {sum(node.losses for node in nodes)} |",
        flush=True,
    )


async def _limit(kafka: ApacheKafka, count: int, limit: int) -> None:
    """Let few members say so much that their record is just below a limit, and above it."""
    for share in (0.95, 1.02):
        print(f"{share:.0%} of {limit:,} bytes: {await _agree(kafka, count, int(limit * share))}")


async def _agree(kafka: ApacheKafka, count: int, size_bytes: int) -> str:
    nodes = [_Node(b"\x00" + bytes(size_bytes // count)) for _ in range(count)]
    name = f"spawn.limit{time.time_ns()}"
    async with _group(KafkaSettings(servers=kafka.bootstrap), name, nodes) as members:
        took = await _until(lambda: _together(nodes, 0), 20.0)
        failure = next((m.status().failure for m in members if m.status().failure), "")
    return f"agreed in {took:.1f} s" if took >= 0 else f"refused: {failure[-150:]}"


async def _raise_limit(kafka: ApacheKafka) -> None:
    """As `kafka-configs --alter --topic __consumer_offsets` does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        config: Any = {"max.message.bytes": str(_RAISED)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, _OFFSETS, config)])
    finally:
        await admin.close()


async def _measure(nodes: int, partitions: int) -> None:
    with ApacheKafka(heap_mib=1024) as kafka:
        await asyncio.to_thread(kafka.start)
        print(
            "| shape | members | s until all began | s of a generation when one says something new"
            " | leader's CPU s | broker's CPU s | CPU when quiet: broker, all members"
            " | record, bytes | Kafka's own, a member | losses |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for count in sorted({10, min(100, nodes), nodes}):
            await _run(SHAPES[0], count, partitions * count // nodes, kafka)
        await _run(SHAPES[1], nodes, partitions, kafka)
        print()
        await _limit(kafka, 50, KAFKA_RECORD_BYTES_MAX)
        await _raise_limit(kafka)
        print(f"with max.message.bytes={_RAISED} of the topic {_OFFSETS}:")
        await _limit(kafka, 50, _RAISED)


def measure(nodes: int, partitions: int, _rounds: int) -> None:
    """Print what groups cost."""
    print("group: on Apache Kafka, one broker\n")
    run_serving(_measure(nodes, partitions))
