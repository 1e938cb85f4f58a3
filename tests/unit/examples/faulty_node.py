"""A stand-in for a node that fails in every way a feeder may meet, by the dice.

It executes each idempotency key once, as a node does, and keeps what it executed in order.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Self

from examples.flights.delivery import Address

REQUEST = re.compile(rb"(GET|POST) (\S+) HTTP/1\.1\r\n")
LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


def answer(status: int, body: object) -> bytes:
    """An answer as a node writes it."""
    text = json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(text),
        text,
    )


def problem(status: int, code: str, *, retryable: bool) -> bytes:
    """A problem body with what a client needs of it."""
    body = {"code": code, "detail": f"it is {code}", "hint": "look", "retryable": retryable}
    return answer(status, body)


class FaultyNode:
    """Listens on one port of loopback; can be stopped and started again on it."""

    def __init__(self, dice: Random, faults: float = 0.0) -> None:
        self.executed: dict[str, list[str]] = defaultdict(list)
        """For each path the keys that took effect, in order."""
        self.requests: Counter[str] = Counter()
        """How often each key was asked for."""
        self.running: set[str] = set()
        """Paths that are being asked for now."""
        self.refuse: bytes | None = None
        """Answered to everything, when set."""
        self.silent = False
        """Takes requests and never answers."""
        self.address = Address("127.0.0.1", 0)
        self._dice = dice
        self._faults = faults
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @classmethod
    @asynccontextmanager
    async def running_with(cls, dice: Random, faults: float = 0.0) -> AsyncIterator[Self]:
        """Serve while the body runs."""
        node = cls(dice, faults)
        await node.start()
        try:
            yield node
        finally:
            await node.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, *self.address)
        self.address = Address(*self._server.sockets[0].getsockname())

    async def stop(self) -> None:
        """Cut all connections and refuse new ones, as after SIGKILL."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.running.clear()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Take one request; false when the connection is to end."""
        head = await reader.readuntil(b"\r\n\r\n")
        request, length = REQUEST.match(head), LENGTH.search(head)
        assert request is not None
        assert length is not None
        body = await reader.readexactly(int(length[1]))
        assert request[2] == b"/v1/batch"
        calls = [
            (f"/v1/actors/{call['type']}/{call['id']}/{call['action']}", call["key"])
            for call in json.loads(body)
        ]
        self.requests.update(key for _, key in calls)
        if self.silent:
            await asyncio.sleep(60)
        if self.refuse is not None:
            writer.write(self.refuse)
            return True
        paths = {path for path, _ in calls}
        assert len(paths) == len(calls), "two flights of one aircraft in one batch"
        assert not paths & self.running, "two requests of one aircraft at once"
        self.running |= paths
        try:
            await asyncio.sleep(self._dice.random() * 0.001)
            return self._answer(writer, calls)
        finally:
            self.running -= paths

    def _answer(self, writer: asyncio.StreamWriter, calls: Sequence[tuple[str, str]]) -> bool:
        fault = self._fault(OF_REQUESTS)
        if fault == "lost request":
            return False
        if fault == "refused for now":
            writer.write(problem(503, "too-many-waiting", retryable=True))
            return True
        reply = answer(200, [self._outcome(path, key) for path, key in calls])
        if fault == "lost answer":
            return False
        if fault == "half an answer":
            writer.write(reply[: len(reply) // 2])
            return False
        writer.write(reply)
        return True

    def _outcome(self, path: str, key: str) -> object:
        """One call's outcome; it may have been executed or not when it is a problem."""
        fault = self._fault(OF_CALLS)
        if fault == "refused":
            return {"status": 429, "problem": {"code": "mailbox-full", "retryable": True}}
        if key not in self.executed[path]:
            self.executed[path].append(key)
        if fault == "outcome unknown":
            return {"status": 504, "problem": {"code": "outcome-unknown", "retryable": False}}
        return {"status": 200, "reply": self.executed[path].index(key) + 1, "revision": 1}

    def _fault(self, kinds: Sequence[str]) -> str:
        return self._dice.choice(kinds) if self._dice.random() < self._faults / 2 else ""


OF_REQUESTS = ("lost request", "refused for now", "lost answer", "half an answer")
OF_CALLS = ("refused", "outcome unknown")
