"""What the snapshot store costs: flushes by slice size, and loads.

    python bench/parts/snapshots.py postgresql://user@/db?host=/folder [ROWS]

Prints rows/s, this process's CPU time per row, and the longest pause of the event loop (from a
second run, with a task that is always ready). Uses the system `bench` in the given database.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
import zlib
from collections.abc import AsyncIterator, Sequence

from eventstore.log import TopicPartition
from eventstore.postgres_snapshots import PostgresSnapshots
from eventstore.snapshots import ActorName, ActorRow, Checkpoint, FlushSlice

SLICES = (100, 250, 500, 1_000, 2_000)
AT = TopicPartition("spawn.bench.Counter", 0)
LOG = bytes(16)
FINGERPRINT = bytes(8)


def rows(count: int, offset: int) -> list[ActorRow]:
    """Rows as a runtime has them: ids of about 12 bytes, states of 40, in no order."""
    made = []
    for number in range(count):
        state = random.randbytes(40)
        name = f"actor-{number:06}"
        made.append(
            ActorRow(
                "Counter", name, offset, offset, False, state, FINGERPRINT, 1, zlib.crc32(state)
            )
        )
    random.shuffle(made)
    return made


async def slices_of(changed: Sequence[ActorRow], size: int) -> AsyncIterator[FlushSlice]:
    for start in range(0, len(changed), size):
        yield FlushSlice(changed[start : start + size])


class Pauses:
    """The longest time between two turns of the loop."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last)
            last = now


async def flush(
    store: PostgresSnapshots, changed: Sequence[ActorRow], size: int, offset: int
) -> tuple[float, float]:
    """Flush; return the time taken and the CPU time of this process, in seconds."""
    checkpoint = Checkpoint(offset=offset, claim=bytes(16), epoch=1, log_id=LOG, fold=b"fold")
    start, cpu = time.perf_counter(), time.process_time()
    assert await store.flush(AT, checkpoint, offset - 1, slices_of(changed, size))
    return time.perf_counter() - start, time.process_time() - cpu


async def flushes(store: PostgresSnapshots, count: int) -> None:
    offset = 1
    for label in ("new actors", "existing actors"):
        for size in SLICES:
            seconds, cpu_s, pauses = [], [], Pauses()
            for repeat in range(4):
                offset += 1
                if label == "new actors":
                    await store.discard(AT)
                    base = 0
                    checkpoint_offset = 1
                else:
                    base = offset - 1
                    checkpoint_offset = offset
                del base
                changed = rows(count, checkpoint_offset - 1)
                if repeat == 3:
                    async with asyncio.TaskGroup() as group:
                        watch = group.create_task(pauses.watch())
                        await flush(store, changed, size, checkpoint_offset)
                        watch.cancel()
                else:
                    took, cpu = await flush(store, changed, size, checkpoint_offset)
                    seconds.append(took)
                    cpu_s.append(cpu)
            if label == "new actors":
                offset = 1
            print(
                f"{label:16} slices of {size:5}: {count / statistics.median(seconds):9,.0f} rows/s"
                f"  own CPU {statistics.median(cpu_s) / count * 1e6:5.2f} us/row"
                f"  longest pause {pauses.longest_s * 1e3:5.1f} ms"
            )


async def loads(store: PostgresSnapshots, count: int) -> None:
    for size in (1, 10, 100, 2_000):
        took, cpu_s, pauses = [], [], Pauses()
        for repeat in range(max(6, 1_000 // size)):
            names: list[ActorName] = [
                ("Counter", f"actor-{random.randrange(count):06}") for _ in range(size)
            ]
            start, cpu = time.perf_counter(), time.process_time()
            await store.load(AT, names)
            took.append(time.perf_counter() - start)
            cpu_s.append(time.process_time() - cpu)
            del repeat
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(pauses.watch())
            await store.load(AT, names)
            watch.cancel()
        print(
            f"load of {size:5}: median {statistics.median(took) * 1e3:6.2f} ms"
            f"  own CPU {statistics.median(cpu_s) / size * 1e6:6.1f} us/row"
            f"  longest pause {pauses.longest_s * 1e3:4.1f} ms"
        )


async def main(dsn: str, count: int) -> None:
    store = PostgresSnapshots(dsn, "bench", command_s=60)
    await store.migrate()
    await store.discard(AT)
    await flushes(store, count)
    await loads(store, count)
    await store.discard(AT)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100_000))
