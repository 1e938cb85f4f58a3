"""The load's process, as the harness sees it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from spawn.core.ids import partition_of
from tests.faults.history import Attempt, read_history
from tests.faults.load import Orders, Progress

__all__ = ["Load", "actors_by_partition"]

_ROOT: Final = Path(__file__).parents[2]
_END_S: Final = 40.0
_POLL_S: Final = 0.05


def actors_by_partition(partitions: int, count: int) -> list[list[str]]:
    """Return so many actors' ids for each partition."""
    found: list[list[str]] = [[] for _ in range(partitions)]
    number = 0
    while min(map(len, found)) < count:
        name = f"k{number}"
        number += 1
        ids = found[partition_of(name.encode(), partitions)]
        if len(ids) < count:
            ids.append(name)
    return found


class Load:
    """From `start` to `end`, which gives the history; `close` in any case."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.progress = Progress(0.0, 0, 0, 0, [0.0] * len(orders.actors))

    async def start(self) -> None:
        """Begin to call."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.load"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            start_new_session=True,  # Ctrl-C is the harness's, which ends it
        )
        self._say(self._orders)
        self._reading = asyncio.get_running_loop().create_task(self._read())

    def call(self, nodes: dict[str, int]) -> None:
        """Call these nodes from now on."""
        self._say(Orders(nodes=nodes))

    async def succeeds(self, since: float, within_s: float, partitions: Sequence[int] = ()) -> None:
        """Wait until each partition has had a success after `since`. Raises: TimeoutError."""
        places = partitions or range(len(self._orders.actors))
        async with asyncio.timeout(within_s):
            while not all(self.progress.last_success[place] > since for place in places):
                await asyncio.sleep(_POLL_S)

    async def is_calm(self, for_s: float, within_s: float) -> None:
        """Wait until nothing has failed for a while. Raises: TimeoutError."""
        async with asyncio.timeout(within_s):
            failed, since = self.progress.failed, time.monotonic()
            while time.monotonic() - since < for_s:
                await asyncio.sleep(_POLL_S)
                if self.progress.failed != failed:
                    failed, since = self.progress.failed, time.monotonic()

    async def end(self) -> list[Attempt]:
        """Stop planning; return all that callers saw."""
        assert self._process is not None
        assert self._reading is not None
        self._say(Orders(ends=True))
        async with asyncio.timeout(_END_S):
            await self._reading
            code = await self._process.wait()
        if code != 0:
            raise RuntimeError(f"the load ended with {code}")
        return read_history([Path(self._orders.history)])

    async def close(self) -> None:
        """Leave nothing of it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    def _say(self, orders: Orders) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(orders) + b"\n")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.progress = msgspec.json.decode(line, type=Progress)
