"""Nodes that are processes, and what they do not own or do not host."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

import spawn
from examples.counter import Counter
from tests.integration.node.running import NodeProcess
from tests.integration.node.servers import NewNodes
from tests.integration.routing.test_http import messages

ASKER = Path(__file__).with_name("asker.py")
SHARED_S = 30.0


async def shared(*nodes: NodeProcess) -> None:
    """Wait until each node serves some partitions."""
    async with asyncio.timeout(SHARED_S), aiohttp.ClientSession() as session:
        for node in nodes:
            serves = False
            while not serves:
                async with session.get(f"{node.url}/metrics") as response:
                    serves = "} 1" in "".join(
                        line
                        for line in (await response.text()).splitlines(keepends=True)
                        if line.startswith("spawn_partition_serving{")
                    )
                await asyncio.sleep(0.1)


async def test_a_stream_of_any_node_goes_on_when_partitions_move(
    new_nodes: NewNodes, tansu: str, postgres_dsn: str
) -> None:
    """Followers on both nodes; one node more comes, and one stops."""
    nodes = new_nodes(tansu, postgres_dsn)
    first = await nodes.start().serving()
    second = await nodes.start().serving()
    await shared(first, second)
    ids = [f"c{n}" for n in range(6)]
    async with spawn.Client(second.url) as client, aiohttp.ClientSession() as session:

        async def add(times: int) -> None:
            for _ in range(times):
                await asyncio.gather(*(client.actor(Counter, each).add(1) for each in ids))

        await add(3)
        streams = [
            await session.get(
                f"{second.url}/v1/actors/Counter/{each}/events?follow&from_revision=1"
            )
            for each in ids
        ]
        await add(3)
        third = await nodes.start().serving()
        await shared(third)
        await add(3)
        assert await first.stop() == 0
        await add(3)
        for stream in streams:
            async with asyncio.timeout(SHARED_S):
                assert [number for number, _ in await messages(stream, 12)] == list(range(1, 13))
            stream.close()


async def test_a_node_calls_what_only_another_one_hosts(
    new_nodes: NewNodes, tansu: str, postgres_dsn: str
) -> None:
    """By references in its actors, and for its callers over HTTP."""
    nodes = new_nodes(tansu, postgres_dsn)
    counting = await nodes.start().serving()
    asking = await nodes.start(target=ASKER).serving()
    async with spawn.Client(asking.url) as client:
        assert await client.call("Asker", "a", "ask", "x") == 1
        assert await client.actor(Counter, "x").add(4) == 5
    async with spawn.Client(counting.url) as client:
        assert await client.call("Asker", "a", "ask", "x") == 6
        assert await client.actor(Counter, "x").total() == 6
