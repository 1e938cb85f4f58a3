"""What the snapshot store alone can do: flushes by size of their slices, and loads.

    .venv/bin/python -m bench.parts.snapshots [DSN] [--rows N]

Without a DSN it starts PostgreSQL for itself. Actors of one partition with ids of 12 characters and
states of 40 random bytes, changed in random order. CPU is this process's own; the pause is the
longest time that the event loop did nothing else, seen by a task that is always ready, in runs of
their own. All are medians.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path

import asyncpg

from eventstore.log import TopicPartition
from eventstore.postgres_snapshots import PostgresSnapshots
from eventstore.rows import ActorRow, Checkpoint, FlushSlice
from spawn.dev.stack import EmbeddedStack

_AT = TopicPartition("spawn.bench.Counter", 0)
_SLICE_ROWS = (100, 250, 500, 1_000, 2_000)
_LOAD_IDS = (1, 10, 100, 2_000)
_RUNS = 3


def _name(number: int) -> str:
    return f"actor-{number:06}"


def _rows(count: int, offset: int) -> list[ActorRow]:
    made = []
    for number in range(count):
        state = random.randbytes(40)
        checksum = zlib.crc32(state)
        made.append(
            ActorRow("Counter", _name(number), offset, offset, False, state, bytes(8), 1, checksum)
        )
    random.shuffle(made)
    return made


async def _slices(rows: Sequence[ActorRow], size: int) -> AsyncIterator[FlushSlice]:
    for start in range(0, len(rows), size):
        yield FlushSlice(rows[start : start + size])


async def _longest_pause_s(work: Awaitable[object]) -> float:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        await work
        watching.cancel()
    return longest


class _Flushes:
    def __init__(self, store: PostgresSnapshots, dsn: str, count: int) -> None:
        self._store, self._dsn, self._count = store, dsn, count
        self._offset = 0

    async def run(self) -> None:
        for title, fresh in (("new actors", True), ("changed actors", False)):
            for size in _SLICE_ROWS:
                await self._measure(title, size, fresh=fresh)

    async def _measure(self, title: str, size: int, *, fresh: bool) -> None:
        took, cpu, pauses = [], [], []
        for _ in range(_RUNS):
            rows = await self._begin(fresh=fresh)
            start, cpu_start = time.perf_counter(), time.process_time()
            await self._flush(rows, size)
            took.append(time.perf_counter() - start)
            cpu.append(time.process_time() - cpu_start)
            rows = await self._begin(fresh=fresh)
            pauses.append(await _longest_pause_s(self._flush(rows, size)))
        print(
            f"{title:14} in slices of {size:5}"
            f"  {self._count / statistics.median(took):9,.0f} rows/s"
            f"  CPU {statistics.median(cpu) / self._count * 1e6:4.1f} us/row"
            f"  pause {statistics.median(pauses) * 1e3:5.1f} ms"
        )

    async def _begin(self, *, fresh: bool) -> list[ActorRow]:
        if fresh:
            # An empty table, without the dead rows of the run before.
            connection = await asyncpg.connect(self._dsn)
            await connection.execute("truncate spawn.actors")
            await connection.close()
            await self._store.discard(_AT)
            self._offset = 0
        self._offset += 1
        return _rows(self._count, self._offset)

    async def _flush(self, rows: Sequence[ActorRow], size: int) -> None:
        checkpoint = Checkpoint(
            offset=self._offset, claim=bytes(16), epoch=1, log_id=bytes(16), fold=bytes(1_000)
        )
        assert await self._store.flush(_AT, checkpoint, self._offset - 1, _slices(rows, size))


async def _loads(store: PostgresSnapshots, count: int) -> None:
    for size in _LOAD_IDS:
        took, cpu, pauses = [], [], []
        for _ in range(max(20, 500 // size)):
            names = [("Counter", _name(random.randrange(count))) for _ in range(size)]
            start, cpu_start = time.perf_counter(), time.process_time()
            await store.load(_AT, names)
            took.append(time.perf_counter() - start)
            cpu.append(time.process_time() - cpu_start)
            pauses.append(await _longest_pause_s(store.load(_AT, names)))
        print(
            f"load of {size:5} ids  p50 {statistics.median(took) * 1e3:6.2f} ms"
            f"  CPU {statistics.median(cpu) / size * 1e6:6.1f} us/id"
            f"  pause {statistics.median(pauses) * 1e3:4.1f} ms"
        )


async def _measure(dsn: str, count: int) -> None:
    store = PostgresSnapshots(dsn, "bench", command_s=60)
    await store.migrate()
    await _Flushes(store, dsn, count).run()
    await _loads(store, count)
    await store.discard(_AT)
    await store.close()


async def _main(dsn: str | None, count: int) -> None:
    if dsn is not None:
        await _measure(dsn, count)
        return
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedStack(Path(folder), kafka=False, nats=False) as stack:
            await _measure(stack.postgres_dsn, count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dsn", nargs="?")
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.dsn, arguments.rows))
