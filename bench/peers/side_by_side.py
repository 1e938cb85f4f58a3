"""Spawn, Restate and DBOS in turns in one run: a durable step of a counter, 64 callers and one.

Over HTTP: Spawn's node and Restate's ingress get the same requests from the same client; each has
its user's code in Python. In process: Spawn's reference and DBOS's workflow, called by the process
that holds them. Spawn and Kafka do not sync to the disk before an answer, DBOS's Postgres and
Restate by default do; so Restate is measured both ways and judged by the faster one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from bench import http_load
from bench.figures import Figure, Run, Target
from bench.load import closed_loop
from bench.peers.servers import dbos_workflows, restate_ingress
from bench.scenarios.http_node import spawn_node
from bench.world import World, counter_id

__all__ = ["run"]

_Load = Callable[[int, float], Awaitable[Sequence[float]]]
"""Callers, seconds -> the latency of each call."""

_CALLERS: Final = (64, 1)
_WARM_UP_S: Final = 6.0
_THROUGHPUT: Final = "throughput_ratio"
_LATENCY: Final = "p50_ratio"
_TARGETS: Final = (Target(_THROUGHPUT, 7), Target(_LATENCY, 0.5, at_most=True))

_SPAWN, _SPAWN_INSIDE = "Spawn over HTTP", "Spawn in process"
_RESTATE, _RESTATE_FSYNC = "Restate over HTTP, without fsync", "Restate over HTTP, as it comes"
_DBOS = "DBOS in process"


async def run(world: World) -> list[Figure]:
    """Each round measures all of them, one after the other, and compares within the round."""
    async with AsyncExitStack() as stack:
        node, _ = await stack.enter_async_context(spawn_node(world))
        plain = await stack.enter_async_context(restate_ingress(fsync=False))
        synced = await stack.enter_async_context(restate_ingress(fsync=True))
        workflows = await stack.enter_async_context(dbos_workflows(world.dsn))
        counters = await stack.enter_async_context(world.counters("peers"))
        add = counters.adding([counter_id(number) for number in range(1_000)])
        loads: dict[str, _Load] = {
            _SPAWN: _over_http(node, "/v1/actors/Counter/{}/add"),
            _RESTATE: _over_http(plain, "/Counter/{}/add"),
            _RESTATE_FSYNC: _over_http(synced, "/Counter/{}/add"),
            _SPAWN_INSIDE: lambda callers, seconds: closed_loop(add, callers, seconds),
            _DBOS: workflows.closed_loop,
        }
        for load in loads.values():
            await load(64, 1.0 if world.quick else _WARM_UP_S)
        rounds = [await _round(world, loads) for _ in range(world.runs)]
    figures = [
        Figure("peers", f"{name}, {callers} callers", [each[name, callers] for each in rounds])
        for callers in _CALLERS
        for name in loads
    ]
    return [
        *figures,
        _compared(rounds, _SPAWN, _RESTATE, *_TARGETS),
        _compared(rounds, _SPAWN, _RESTATE_FSYNC),
        _compared(rounds, _SPAWN_INSIDE, _DBOS, *_TARGETS),
        _compared(rounds, _SPAWN, _DBOS, *_TARGETS),
    ]


async def _round(world: World, loads: dict[str, _Load]) -> dict[tuple[str, int], Run]:
    runs: dict[tuple[str, int], Run] = {}
    for name, load in loads.items():
        for callers in _CALLERS:

            async def measured(load: _Load = load, callers: int = callers) -> Sequence[float]:
                return await load(callers, world.seconds)

            runs[name, callers] = await world.measure_load(measured)
    return runs


def _over_http(port: int, path: str) -> _Load:
    requests = [http_load.post(path.format(counter_id(number)), "1") for number in range(1_000)]

    async def load(connections: int, seconds: float) -> Sequence[float]:
        async with http_load.connected(port, connections) as clients:
            return await http_load.closed_loop(clients, requests, seconds)

    return load


def _compared(
    rounds: Sequence[dict[tuple[str, int], Run]], ours: str, peer: str, *targets: Target
) -> Figure:
    """Ratios within each round: throughput with 64 callers, p50 with one."""
    runs = [
        {
            _THROUGHPUT: each[ours, 64]["rate"] / each[peer, 64]["rate"],
            _LATENCY: each[ours, 1]["p50_ms"] / each[peer, 1]["p50_ms"],
            "others": max(run["others"] for run in each.values()),
            "hop_us": each[ours, 64]["hop_us"],
            "work_ms": each[ours, 64]["work_ms"],
        }
        for each in rounds
    ]
    return Figure("peers", f"{ours} / {peer}", runs, targets)
