"""Commands over HTTP to a node process (`spawn run`), from this one: a look ahead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.figures import Figure
from bench.load import closed_loop
from bench.world import ROOT, World, counter_id
from tests.services.ports import free_port

__all__ = ["run"]

_START_S = 60
_TICKS = os.sysconf("SC_CLK_TCK")


async def run(world: World) -> list[Figure]:
    """64 connections and one, each with one request under way; `cpu_us` is the client's."""
    figures = []
    async with _node(world) as (port, pid):
        for connections in (64, 1):
            clients = [_Client(port) for _ in range(connections)]
            for client in clients:
                await client.connect()
            idle = list(clients)

            async def post(number: int, idle: list[_Client] = idle) -> None:
                client = idle.pop()
                await client.add(counter_id(number % 1_000))
                idle.append(client)

            await closed_loop(post, connections, 2)
            runs = []
            for _ in range(world.runs):
                cpu = _cpu_s(pid)
                run = dict(
                    await world.measure_load(
                        lambda: closed_loop(post, connections, world.seconds)  # noqa: B023
                    )
                )
                run["node_cpu_us"] = (_cpu_s(pid) - cpu) / (run["rate"] * world.seconds) * 1e6
                runs.append(run)
            figures.append(Figure("http", f"commits over HTTP, {connections} connections", runs))
            for client in clients:
                client.close()
    return figures


class _Client:
    """One connection, written out: a client library would cost more than the node."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def add(self, actor_id: str) -> None:
        self._writer.write(
            f"POST /v1/actors/Counter/{actor_id}/add HTTP/1.1\r\nHost: bench\r\n"
            "Content-Type: application/json\r\nContent-Length: 1\r\n\r\n1".encode()
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the node answered {head!r}")
        _, _, rest = head.lower().partition(b"content-length:")
        await self._reader.readexactly(int(rest.partition(b"\r\n")[0]))

    def close(self) -> None:
        self._writer.close()


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
