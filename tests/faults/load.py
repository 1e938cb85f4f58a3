"""The load: a process of its own that plans operations at a fixed rate and keeps what it is told.

    python -m tests.faults.load    # told what to do by lines on standard input (`Orders`)

The loop is open: an operation starts when it was planned to, whatever became of those before, and
its latency counts from then. Operations go round the partitions, so that each has one every
`partitions / rate` seconds; half of them are reads. Each is sent to a node chosen by the dice.

A caller is patient for `timeout_s`. Whom it can't reach, or who says that nothing was executed, it
leaves at once for another node; a read whose connection breaks too. A write that may have been
executed is sent again only where it has an idempotency key (one in four), and then until its
outcome is known. Answers to those who have given up are still taken down: a node that was frozen
must not lie, even if nobody waits any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.faults.connection import Answer, Connection, request
from tests.faults.history import NEVER, Attempt, Outcome, write_history
from tests.faults.pool import Pool

__all__ = ["Orders", "Progress"]

_now: Final = time.monotonic
_PROGRESS_S: Final = 0.1
_AGAIN_S: Final = 0.02
"""Before a caller that was refused, or reaches nobody, tries again."""
_KEYED_FOR_S: Final = 15.0
"""A write with a key is sent again so long."""
_LATE_S: Final = 3.0
"""After the end, late answers are waited for."""
_UNAVAILABLE: Final = (429, 503)


class Orders(msgspec.Struct, omit_defaults=True):
    """A line to the load; the first has everything, later ones what changes."""

    nodes: dict[str, int] | None = None
    """Name and port of those that are called; one that is not named any more is left alone."""
    rate: float = 0.0
    seed: int = 0
    timeout_s: float = 1.0
    actors: list[list[str]] = []
    """By partition."""
    first: int = 0
    """Number of the first operation; runs on one system take different ones."""
    history: str = ""
    """The file for what callers saw."""
    ends: bool = False
    """Plan no more, wait for what is under way, write the history, end."""


class Progress(msgspec.Struct):
    """A line of the load, ten times a second."""

    now: float
    planned: int
    succeeded: int
    failed: int
    last_success: list[float]
    """By partition; 0: none yet."""


class _Caller:
    """One operation, from its plan until its caller knows enough."""

    __slots__ = (
        "_deadline",
        "_load",
        "actor",
        "intended",
        "is_keyed",
        "is_over",
        "is_write",
        "number",
        "partition",
        "rotation",
        "was_sent",
    )

    def __init__(self, load: _Load, number: int, partition: int, actor: str, at: float) -> None:
        self._load = load
        self.number = number
        self.partition = partition
        self.actor = actor
        self.intended = at
        dice = load.dice
        self.is_write = dice.random() < 0.5
        self.is_keyed = self.is_write and dice.random() < 0.25
        self.rotation = dice.randrange(1 << 16)
        self._deadline = at + load.orders.timeout_s
        self.was_sent = False
        self.is_over = False

    def start(self) -> None:
        """Send it, as soon as a node takes it."""
        if self.is_over:
            return
        nodes = self._load.nodes
        if not nodes:
            self._again()
            return
        node = nodes[self.rotation % len(nodes)]
        self.rotation += 1
        free = node.take_idle()
        if free is not None:
            self._send(node, free)
        else:
            self._load.aside(self._connect(node))

    async def _connect(self, node: Pool) -> None:
        connection = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._patience()):
                connection = await node.connection()
        if connection is not None:
            self._send(node, connection)
        else:
            self._again()

    def _patience(self) -> float:
        """Until when it may be sent."""
        return self.intended + _KEYED_FOR_S if self.is_keyed and self.was_sent else self._deadline

    def _again(self) -> None:
        """Try another node, unless it is too late."""
        loop = self._load.loop
        if _now() + _AGAIN_S < self._patience():
            loop.call_later(_AGAIN_S, self.start)
        else:
            self._load.over(self, succeeded=False)

    def _send(self, node: Pool, connection: Connection) -> None:
        sent = _now()
        timeout_s = self._load.orders.timeout_s
        if sent >= self._patience():
            connection.close()
            self._load.over(self, succeeded=False)
            return
        path = f"/v1/actors/Ledger/{self.actor}/{'add' if self.is_write else 'look'}"
        body = str(self.number) if self.is_write else ""
        key = f"op-{self.number}" if self.is_keyed else ""
        self.was_sent = True
        waiting = _Waiting(self, node, sent)
        self._load.waiting.add(waiting)
        waiting.timer = self._load.loop.call_later(timeout_s, waiting.give_up)
        connection.ask(request(path, body, int(timeout_s * 1000), key), waiting.answered)

    def unsent(self, now: float) -> Attempt:
        """Return the line of the history where there was nobody to send it to."""
        return Attempt(
            self.number,
            self.actor,
            self.partition,
            self.is_write,
            self.intended,
            self.intended,
            now,
            "",
            Outcome.REFUSED,
            code="nobody reached",
        )

    def give_up(self) -> None:
        """No answer in time: with a key it is sent again, else the caller goes."""
        if self.is_keyed:
            self._again()
        else:
            self._load.over(self, succeeded=False)

    def take(self, attempt: Attempt, *, in_time: bool) -> None:
        """Take what became of an attempt; too late an answer only counts if it is a good one."""
        if attempt.outcome is Outcome.DONE:
            self._load.over(self, succeeded=in_time)
        elif not in_time:
            pass
        elif attempt.outcome is Outcome.REFUSED or self.is_keyed or not self.is_write:
            self._again()
        else:
            self._load.over(self, succeeded=False)


class _Waiting:
    """One attempt without an answer."""

    __slots__ = ("_caller", "_node", "_sent", "timer")

    def __init__(self, caller: _Caller, node: Pool, sent: float) -> None:
        self._caller, self._node, self._sent = caller, node, sent
        self.timer: asyncio.TimerHandle | None = None

    def give_up(self) -> None:
        """The caller waits no longer."""
        self.timer = None
        self._caller.give_up()

    def answered(self, answer: Answer | None) -> None:
        """Called by the connection, once."""
        load = self._caller._load
        load.waiting.discard(self)
        attempt = self.attempt(answer, _now())
        load.attempts.append(attempt)
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()
        self._caller.take(attempt, in_time=timer is not None)

    def attempt(self, answer: Answer | None, now: float) -> Attempt:
        """Return the line of the history."""
        caller = self._caller
        outcome, code, digest, answered = Outcome.UNKNOWN, "no answer", 0, NEVER
        if answer is not None:
            answered = now
            if answer.status == 200:
                outcome, code, digest = Outcome.DONE, "", int(answer.body)
            else:
                code = f"{answer.status} {json.loads(answer.body)['code']}"
                if answer.status in _UNAVAILABLE:
                    outcome = Outcome.REFUSED
        return Attempt(
            caller.number,
            caller.actor,
            caller.partition,
            caller.is_write,
            caller.intended,
            self._sent,
            answered,
            self._node.name,
            outcome,
            answer.revision if outcome is Outcome.DONE and answer is not None else 0,
            digest,
            answer.offset if outcome is Outcome.DONE and answer is not None else -1,
            code,
        )


class _Load:
    """Plans operations and takes down what becomes of them."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.dice = random.Random(orders.seed)
        self.loop = asyncio.get_running_loop()
        self.nodes: Sequence[Pool] = []
        self._left: list[Pool] = []
        self.attempts: list[Attempt] = []
        self.waiting: set[_Waiting] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers: set[_Caller] = set()
        self.planned = self.succeeded = self.failed = 0
        self.last_success = [0.0] * len(orders.actors)
        self._plan = self._operations()
        self._began = _now() + 0.01
        self._is_planning = True
        self.change(orders)
        self.loop.call_at(self._began, self._start_due)

    def change(self, orders: Orders) -> None:
        """Call other nodes from now on."""
        if orders.nodes is None:
            return
        known = {node.name: node for node in self.nodes if node.is_wanted}
        wanted = []
        for name, port in orders.nodes.items():
            node = known.pop(name, None)
            wanted.append(node if node is not None else Pool(name, port))
        for node in known.values():
            node.leave()
            self._left.append(node)
        self.nodes = wanted

    def aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the side."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def over(self, caller: _Caller, *, succeeded: bool) -> None:
        """A caller knows enough."""
        if caller.is_over:
            return
        caller.is_over = True
        self._callers.discard(caller)
        if not caller.was_sent:
            self.attempts.append(caller.unsent(_now()))
        if succeeded:
            self.succeeded += 1
            self.last_success[caller.partition] = _now()
        else:
            self.failed += 1

    def _operations(self) -> Iterator[tuple[int, int, str]]:
        """Yield number, partition and actor, round and round."""
        actors, number = self.orders.actors, self.orders.first
        place = 0
        while True:
            for partition, ids in enumerate(actors):
                number += 1
                yield number, partition, ids[place % len(ids)]
            place += 1

    def _start_due(self) -> None:
        """Start what is due, then wait for the next one."""
        if not self._is_planning:
            return
        step_s = 1 / self.orders.rate
        while (at := self._began + self.planned * step_s) <= _now():
            number, partition, actor = next(self._plan)
            self.planned += 1
            caller = _Caller(self, number, partition, actor, at)
            self._callers.add(caller)
            caller.start()
        self.loop.call_at(at, self._start_due)

    def progress(self) -> Progress:
        """Return how it stands."""
        return Progress(_now(), self.planned, self.succeeded, self.failed, self.last_success)

    async def end(self) -> None:
        """Plan no more, wait for what is under way, and write what was seen."""
        self._is_planning = False
        deadline = _now() + _KEYED_FOR_S + 1
        while self._callers and _now() < deadline:
            await asyncio.sleep(0.01)
        deadline = _now() + _LATE_S
        while self.waiting and _now() < deadline:
            await asyncio.sleep(0.01)
        for waiting in self.waiting:
            self.attempts.append(waiting.attempt(None, NEVER))
        write_history(Path(self.orders.history), self.attempts)
        for node in (*self.nodes, *self._left):
            node.close()


async def _lines(take: Callable[[bytes], None]) -> None:
    """Give lines of standard input until it closes."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        take(line)


async def _main() -> None:
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    reading = loop.create_task(_lines(lines.put_nowait))
    # Whoever started it is gone: nobody wants the history.
    reading.add_done_callback(lambda _: lines.put_nowait(b""))
    load = _Load(msgspec.json.decode(await lines.get(), type=Orders))
    while True:
        try:
            async with asyncio.timeout(_PROGRESS_S):
                line = await lines.get()
        except TimeoutError:
            _say(load.progress())
            continue
        if not line:
            sys.exit(1)
        orders = msgspec.json.decode(line, type=Orders)
        load.change(orders)
        if orders.ends:
            await load.end()
            _say(load.progress())
            break
    reading.cancel()


def _say(progress: Progress) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(progress) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(_main())
