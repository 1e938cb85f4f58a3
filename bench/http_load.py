"""Load over HTTP/1.1: connections that each have one request under way."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, cast

__all__ = ["HttpClient", "closed_loop", "connected", "post", "until_listening"]

_START_S: Final = 60
_LATE_S: Final = 30
"""After the end of a run an answer that is still missing is an error."""
_STRIDE: Final = 131
"""Connections begin so far from one another in the row of requests."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def post(path: str, body: str) -> bytes:
    """Return a request as it goes over the wire."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode("ascii")


class HttpClient(asyncio.Protocol):
    """One connection that sends the next request from the callback that sees an answer.

    The client shares the machine's cores with node and broker: a stream and a task for each
    connection cost it 60 us a request, this about 25. Only answers of status 200 with a
    Content-Length are understood.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = b""
        self._on_answer: Callable[[], None] = _unasked
        self.failed: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, on_answer: Callable[[], None]) -> None:
        """Send a request; `on_answer` is called once."""
        self._on_answer = on_answer
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        head_end = received.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(received, 0, head_end) if head_end >= 4 else None
        if length is None or len(received) < head_end + int(length[1]):
            self._received = received
            return
        self._received = b""
        if received.startswith(b"HTTP/1.1 200"):
            self._on_answer()
        else:
            self._fail(f"the server answered {received!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server closed the connection: {exc}")

    def _fail(self, text: str) -> None:
        if self.failed is not None and not self.failed.done():
            self.failed.set_exception(RuntimeError(text))

    def close(self) -> None:
        """End the connection."""
        self._transport.close()


def _unasked() -> None:
    raise RuntimeError("the server answered what was not asked")


@contextlib.asynccontextmanager
async def connected(port: int, connections: int) -> AsyncIterator[list[HttpClient]]:
    """Give connections to a server on loopback."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(HttpClient, "127.0.0.1", port)
        clients.append(client)
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


async def closed_loop(
    clients: Sequence[HttpClient], requests: Sequence[bytes], seconds: float
) -> Sequence[float]:
    """Return the latency of each request; each client has one under way."""
    clock = time.perf_counter
    latencies: list[float] = []
    end = clock() + seconds
    finished = asyncio.get_running_loop().create_future()
    running = len(clients)

    def start(client: HttpClient, number: int) -> None:
        started = clock()

        def answered() -> None:
            nonlocal started, number, running
            now = clock()
            latencies.append(now - started)
            if now >= end:
                running -= 1
                if not running:
                    finished.set_result(None)
                return
            number += 1
            started = now
            client.ask(requests[number % len(requests)], answered)

        client.failed = finished
        client.ask(requests[number % len(requests)], answered)

    for position, client in enumerate(clients):
        start(client, position * _STRIDE)
    async with asyncio.timeout(seconds + _LATE_S):
        await finished
    for client in clients:
        client.failed = None
    return latencies


async def until_listening(port: int) -> None:
    """Wait until somebody listens on a port of loopback. Raises: OSError - not in time."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
