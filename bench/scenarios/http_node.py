"""Commands over HTTP to a node process (`spawn run`), from this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from bench.figures import Figure, Target
from bench.http_load import closed_loop, connected, post, until_listening
from bench.world import ROOT, World, counter_id
from tests.services.ports import free_port

__all__ = ["cpu_s", "run", "spawn_node"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_TARGETS: Final = {64: [Target("rate", 7_000)], 1: [Target("p50_ms", 1.2, at_most=True)]}


async def run(world: World) -> list[Figure]:
    """64 connections and one, each with one request under way; `cpu_us` is the client's."""
    figures = []
    requests = [
        post(f"/v1/actors/Counter/{counter_id(number)}/add", "1") for number in range(1_000)
    ]
    async with spawn_node(world) as (port, pid):
        for connections in (64, 1):
            async with connected(port, connections) as clients:
                await closed_loop(clients, requests, 2)
                runs = []
                for _ in range(world.runs):
                    cpu = cpu_s(pid)
                    run = dict(
                        await world.measure_load(
                            lambda: closed_loop(clients, requests, world.seconds)
                        )
                    )
                    spent = (cpu_s(pid) - cpu) * 1e6
                    run["node_cpu_us"] = spent / (run["rate"] * world.seconds)
                    runs.append(run)
            figures.append(
                Figure(
                    "http",
                    f"commits over HTTP, {connections} connections",
                    runs,
                    _TARGETS[connections],
                )
            )
    return figures


@contextlib.asynccontextmanager
async def spawn_node(world: World) -> AsyncIterator[tuple[int, int]]:
    """Run a node with counters; give its port and process id."""
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
        await until_listening(port)
        yield port, node.pid
    finally:
        node.terminate()
        await node.wait()


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used."""
    status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    user, system = status.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS
