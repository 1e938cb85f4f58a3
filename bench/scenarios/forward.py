"""Calls through a node that owns nothing, beside the same calls on the owner."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from bench.figures import Figure, Run, Target
from bench.http_load import closed_loop, connected, post
from bench.scenarios.http_node import cpu_s
from bench.world import ROOT, World, counter_id

__all__ = ["TwoNodes", "run", "two_nodes"]

_MORE: Final = Target("more_ms", 1.0, at_most=True)
_LOADS: Final[Sequence[tuple[str, Mapping[str, Any], Sequence[Target]]]] = (
    ("commits, 1 caller", {"action": "add", "callers": 1}, [_MORE]),
    ("commits, open loop, 1,000/s", {"action": "add", "rate": 1_000}, [_MORE]),
    ("commits, 64 callers", {"action": "add", "callers": 64}, []),
    ("commits, 256 callers", {"action": "add", "callers": 256}, [Target("rate", 10_000)]),
    ("reads, 256 callers", {"action": "total", "callers": 256}, []),
)
_CONNECTIONS: Final[Sequence[tuple[int, Sequence[Target]]]] = (
    (1, [_MORE]),
    (64, [Target("rate", 4_000)]),
)
_START_S: Final = 60.0


class _NodeProcess:
    """One of the nodes, as a process that is told what load to make."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: Mapping[str, Any] = {}
        """Its first words: `mesh`, `http`, `pid`."""

    async def ask(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have it make a load; return what it measured."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Mapping[str, Any]:
        """Return its next line."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("a node of the bench has ended")
        found: Mapping[str, Any] = json.loads(line)
        return found


class TwoNodes:
    """The owner of everything, and another node."""

    def __init__(self, owner: _NodeProcess, other: _NodeProcess) -> None:
        self.owner = owner
        self.other = other

    @property
    def both(self) -> Sequence[tuple[str, _NodeProcess]]:
        """The nodes with what is said of calls to them."""
        return (("on the owner", self.owner), ("forwarded", self.other))

    def cpu_s(self) -> float:
        """Return the CPU time that both have used."""
        return cpu_s(self.owner.told["pid"]) + cpu_s(self.other.told["pid"])


@contextlib.asynccontextmanager
async def two_nodes(world: World) -> AsyncIterator[TwoNodes]:
    """Run them."""
    async with _node(world, "owner") as owner:
        async with _node(world, "other", owner.told["mesh"]) as other:
            yield TwoNodes(owner, other)


@contextlib.asynccontextmanager
async def _node(world: World, *arguments: str) -> AsyncIterator[_NodeProcess]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.forward_node", json.dumps(asdict(world)), *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    node = _NodeProcess(process)
    try:
        async with asyncio.timeout(_START_S):
            node.told = await node.answer()
        yield node
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def run(world: World) -> list[Figure]:
    """Both nodes get each load in turns; `more_ms` is what is added to p50, `share` of the rate."""
    figures: list[Figure] = []
    async with two_nodes(world) as nodes:
        for name, load, targets in _LOADS:
            found: dict[str, list[Run]] = {}
            for _ in range(world.runs):
                for where, node in nodes.both:
                    cpu = nodes.cpu_s()
                    asked = {**load, "seconds": world.seconds}
                    found.setdefault(where, []).append(
                        _with_cpu(await node.ask(asked), nodes.cpu_s() - cpu, world)
                    )
            figures += _compared(name, found, targets)
        requests = [post(f"/v1/actors/Counter/{counter_id(n)}/add", "1") for n in range(1_000)]
        for connections, targets in _CONNECTIONS:
            found = {}
            for _ in range(world.runs):
                for where, node in nodes.both:
                    async with connected(node.told["http"], connections) as clients:
                        await closed_loop(clients, requests, min(1.0, world.seconds / 4))
                        cpu = nodes.cpu_s()
                        measured = await world.measure_load(
                            lambda: closed_loop(clients, requests, world.seconds)
                        )
                        found.setdefault(where, []).append(
                            _with_cpu(measured, nodes.cpu_s() - cpu, world)
                        )
            figures += _compared(f"over HTTP, {connections} connections", found, targets)
    return figures


def _with_cpu(run: Run, spent_s: float, world: World) -> Run:
    """Add the CPU time of both nodes for each call; about, since a warm-up is in it."""
    return {**run, "nodes_cpu_us": spent_s / (run["rate"] * world.seconds) * 1e6}


def _compared(
    name: str, found: Mapping[str, Sequence[Run]], targets: Sequence[Target]
) -> Sequence[Figure]:
    on_owner, forwarded = found.values()
    compared = [
        {
            **run,
            "more_ms": run["p50_ms"] - beside["p50_ms"],
            "share": run["rate"] / beside["rate"],
        }
        for run, beside in zip(forwarded, on_owner, strict=True)
    ]
    first, second = found
    return [
        Figure("forward", f"{name}, {first}", on_owner),
        Figure("forward", f"{name}, {second}", compared, targets),
    ]
