"""Commands over HTTP to a node process (`spawn run`), from this one: a look ahead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, cast

from bench.figures import Figure
from bench.world import ROOT, World, counter_id
from tests.services.ports import free_port

__all__ = ["run"]

_START_S: Final = 60
_LATE_S: Final = 30
"""After the end of a run an answer that is still missing is an error."""
_STRIDE: Final = 131
"""Connections begin so far from one another in the row of actors."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


async def run(world: World) -> list[Figure]:
    """64 connections and one, each with one request under way; `cpu_us` is the client's."""
    figures = []
    requests = [_add(counter_id(number)) for number in range(1_000)]
    async with _node(world) as (port, pid):
        for connections in (64, 1):
            async with _connected(port, connections) as clients:
                await _closed_loop(clients, requests, 2)
                runs = []
                for _ in range(world.runs):
                    cpu = _cpu_s(pid)
                    run = dict(
                        await world.measure_load(
                            lambda: _closed_loop(clients, requests, world.seconds)
                        )
                    )
                    spent = (_cpu_s(pid) - cpu) * 1e6
                    run["node_cpu_us"] = spent / (run["rate"] * world.seconds)
                    runs.append(run)
            figures.append(Figure("http", f"commits over HTTP, {connections} connections", runs))
    return figures


def _add(actor_id: str) -> bytes:
    return (
        f"POST /v1/actors/Counter/{actor_id}/add HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: 1\r\n\r\n1"
    ).encode()


class _Client(asyncio.Protocol):
    """One connection that sends the next request from the callback that sees an answer.

    The client shares the machine's cores with node and broker: a stream and a task for each
    connection cost it 60 us a request, this about 25.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = b""
        self._on_answer: Callable[[], None] = _unasked

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
        if not received.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the node answered {received!r}")
        self._on_answer()

    def close(self) -> None:
        self._transport.close()


def _unasked() -> None:
    raise RuntimeError("the node answered what was not asked")


@contextlib.asynccontextmanager
async def _connected(port: int, connections: int) -> AsyncIterator[list[_Client]]:
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(_Client, "127.0.0.1", port)
        clients.append(client)
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


async def _closed_loop(
    clients: Sequence[_Client], requests: Sequence[bytes], seconds: float
) -> Sequence[float]:
    """Return the latency of each request; each client has one under way."""
    clock = time.perf_counter
    latencies: list[float] = []
    end = clock() + seconds
    finished = asyncio.get_running_loop().create_future()
    running = len(clients)

    def start(client: _Client, number: int) -> None:
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

        client.ask(requests[number % len(requests)], answered)

    for position, client in enumerate(clients):
        start(client, position * _STRIDE)
    async with asyncio.timeout(seconds + _LATE_S):
        await finished
    return latencies


@contextlib.asynccontextmanager
async def _node(world: World) -> AsyncIterator[tuple[int, int]]:
    """Run a node; give its port and process id."""
    port = free_port()
    environment = {
        **os.environ,
        "SPAWN_SYSTEM": f"http{world.tag}",
        "SPAWN_KAFKA_BOOTSTRAP_SERVERS": world.kafka,
        "SPAWN_POSTGRES_DSN": world.dsn,
        "SPAWN_HTTP_PORT": str(port),
    }
    node = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("spawn"), "run", "examples/counter.py"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await _ready(port)
        yield port, node.pid
    finally:
        node.terminate()
        await node.wait()


async def _ready(port: int) -> None:
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


def _cpu_s(pid: int) -> float:
    status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    user, system = status.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS
