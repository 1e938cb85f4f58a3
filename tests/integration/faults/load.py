"""Callers that keep nodes busy and remember what they were told."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.integration.faults.history import Outcome, Seen, check
from tests.integration.node.running import Client, Faulty, Reply

__all__ = ["Load"]

_PAUSE_S = 0.01
"""Between a caller's calls: the load shall be there, not fill the machine."""
_RETRY_S = 0.05
_GIVE_UP_S = 60.0
_FINAL_S = 60.0


class Load:
    """Callers of a `Journal` node, from `async with` to its end; then `check`.

    With `keys` a caller sends its command again, under one idempotency key, until it is told an
    outcome; without, it takes the first answer. A fifth of the calls are reads.
    """

    def __init__(
        self,
        *urls: str,
        seed: int = 1,
        keys: bool = True,
        callers: int = 8,
        actors: int = 5,
        timeout_ms: int = 60_000,
        prefix: str = "j",
        first_number: int = 1,
    ) -> None:
        """`urls` are the nodes called; who meets one that does not answer tries the next.

        `prefix` is of the actors' ids; loads that share actors take numbers of their own.
        """
        self.urls: Sequence[str] = urls
        self.seen: list[Seen] = []
        self.answers: Counter[str] = Counter()
        """Answers by status and code, retries included; `none` where there was none."""
        self.details: dict[str, str] = {}
        """The last text by code."""
        self._random = random.Random(seed)
        self._keys = keys
        self._callers = callers
        self._actors = [f"{prefix}{index}" for index in range(actors)]
        self._timeout_ms = timeout_ms
        self._numbers = itertools.count(first_number)
        self._tasks: asyncio.TaskGroup | None = None
        self._over = asyncio.Event()
        self._client = Client.open("")

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        for _ in range(self._callers):
            self._tasks.create_task(self._call_on())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let every caller end its call, unless the test failed."""
        self._over.set()
        assert self._tasks is not None
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            await self._client.close()

    @property
    def done(self) -> int:
        """How many commands were acknowledged so far."""
        return sum(each.outcome is Outcome.DONE and each.number is not None for each in self.seen)

    async def progress(self, commands: int = 20, within_s: float = 30.0) -> float:
        """Wait until so many more commands were acknowledged; return how long it took."""
        began, start = time.monotonic(), self.done
        while self.done < start + commands:
            waited = time.monotonic() - began
            assert waited < within_s, f"no progress in {within_s:g} s; answers: {self.answers}"
            await asyncio.sleep(_RETRY_S)
        return time.monotonic() - began

    async def check(self, url: str, *others: Load) -> None:
        """Read all lists and hold the history against them. Call it after the load has ended.

        `others` are loads on the same actors, ended too.
        """
        final: dict[str, Sequence[int]] = {}
        async with Client.open(url) as client:
            for actor in self._actors:
                deadline = time.monotonic() + _FINAL_S
                while True:
                    reply = await client.state(f"Journal/{actor}", timeout_ms=20_000)
                    if reply.status == 200:
                        break
                    assert time.monotonic() < deadline, f"{actor} can't be read: {reply}"
                    await asyncio.sleep(_RETRY_S)
                final[actor] = reply.json["state"]["numbers"]
        check([*self.seen, *(each for other in others for each in other.seen)], final)
        assert self.done > 0
        for load in (self, *others):
            print(f"history: {load.summary()}")
        print(f"{sum(map(len, final.values()))} commands in effect")

    def summary(self) -> str:
        """What was told, for the test's output."""
        outcomes = Counter(each.outcome.value for each in self.seen if each.number is not None)
        reads = sum(each.number is None for each in self.seen)
        return f"commands {dict(outcomes)}, reads {reads}, answers {dict(self.answers)}"

    # --- one caller ---

    async def _call_on(self) -> None:
        at = 0
        while not self._over.is_set():
            actor = self._random.choice(self._actors)
            if self._random.random() < 0.2:
                at = await self._read(at, actor)
            else:
                at = await self._append(at, actor)
            await asyncio.sleep(_PAUSE_S)

    async def _read(self, at: int, actor: str) -> int:
        began = time.monotonic()
        outcome, reply = await self._send(at, f"Journal/{actor}", None, None)
        if outcome is not Outcome.DONE or reply is None:
            return at + 1
        numbers = tuple(reply.json["state"]["numbers"])
        now = time.monotonic()
        self.seen.append(Seen(actor, None, began, now, outcome, len(numbers), numbers))
        return at

    async def _append(self, at: int, actor: str) -> int:
        """Append a number of its own; with keys until the outcome is known."""
        number, began = next(self._numbers), time.monotonic()
        key = f"key-{number}" if self._keys else None
        worst = Outcome.REFUSED
        while True:
            outcome, reply = await self._send(at, f"Journal/{actor}", number, key)
            if outcome is Outcome.DONE and reply is not None:
                now = time.monotonic()
                self.seen.append(Seen(actor, number, began, now, outcome, int(reply.json)))
                return at
            if outcome is Outcome.UNKNOWN:
                worst = outcome
            at += 1
            late = time.monotonic() - began > _GIVE_UP_S
            if key is None or late or self._over.is_set():
                self.seen.append(Seen(actor, number, began, time.monotonic(), worst))
                await asyncio.sleep(_RETRY_S)
                return at
            await asyncio.sleep(_RETRY_S)

    async def _send(
        self, at: int, actor: str, number: int | None, key: str | None
    ) -> tuple[Outcome, Reply | None]:
        """Send once. Whatever is neither an outcome nor "try again" fails the test."""
        client = self._client.at(self.urls[at % len(self.urls)])
        try:
            if number is None:
                reply = await client.state(actor, timeout_ms=self._timeout_ms)
            else:
                reply = await client.invoke(
                    actor, "append", number, key=key, timeout_ms=self._timeout_ms
                )
        except Faulty:
            self.answers["none"] += 1
            return Outcome.UNKNOWN, None
        self.answers[f"{reply.status} {reply.code}".strip()] += 1
        if reply.status == 200:
            return Outcome.DONE, reply
        self.details[reply.code] = reply.json["detail"]
        if reply.status == 504:
            return Outcome.UNKNOWN, reply
        assert reply.status in (429, 503), reply
        return Outcome.REFUSED, reply
