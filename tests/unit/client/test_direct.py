"""A client among several nodes, which are scripted: who is called, and who instead of whom."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from spawn.client.client import Client
from spawn.core.ids import partition_of
from spawn.errors import NodeUnreachable, OutcomeUnknown

PARTITIONS = 4
TOPIC = "spawn.shop.Counter"
ACTORS = {n: next(str(i) for i in range(99) if partition_of(str(i).encode(), PARTITIONS) == n)
          for n in range(PARTITIONS)}  # fmt: skip
"""An actor of each partition."""


class System:
    """Two nodes, or as many as a test starts."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.owners = [0, 1, 0, 1]
        self.effects: dict[str, int] = {}
        """By number of the request: so that one that comes twice is seen."""

    async def start(self, token: str = "") -> Node:
        node = Node(self, token)
        self.nodes.append(node)
        await node.start()
        return node


class Node:
    """A node that answers what it is told to."""

    def __init__(self, system: System, token: str) -> None:
        self.system, self.token = system, token
        self.id = f"node{len(system.nodes)}"
        self.url = self.told_url = ""
        self.standing = "serving"
        self.silent = self.draining = self.resets = False
        self.calls: list[str] = []
        self.looks = 0
        self.tokens: list[tuple[str, str]] = []
        self._runner: Any = None

    async def start(self) -> None:
        self._runner = web.ServerRunner(
            web.Server(self.handle), handler_cancellation=True, shutdown_timeout=0.05
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = self.told_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        self.tokens.append((path, request.headers.get("Authorization", "")))
        if path == "/health/live":
            return web.json_response({}, headers={"Spawn-Node": self.id})
        if self.silent:
            await asyncio.sleep(60)
        if path == "/v1/types":
            kind = {"type": "Counter", "topic": TOPIC, "partitions": PARTITIONS}
            return web.json_response({"types": [kind]})
        if path == "/v1/owners":
            self.looks += 1
            nodes = [
                {"id": each.id, "http": each.told_url, "standing": each.standing}
                for each in self.system.nodes
            ]
            told = {"node": self.id, "nodes": nodes, "owners": {TOPIC: self.system.owners}}
            return web.json_response(told, headers={"ETag": '"x"'})
        return await self.call(request)

    async def call(self, request: web.BaseRequest) -> web.StreamResponse:
        actor = request.path.split("/")[4]
        self.calls.append(actor)
        if self.draining:
            problem = {"code": "draining", "detail": "the node is stopping", "retryable": True}
            body = json.dumps(problem).encode()
            return web.Response(
                status=503, body=body, content_type="application/problem+json",
                headers={"Retry-After": "30"},
            )  # fmt: skip
        number = request.headers.get("Spawn-Request", f"read {len(self.calls)}")
        self.system.effects[number] = self.system.effects.get(number, 0) + 1
        if self.resets:
            assert request.transport is not None
            request.transport.abort()
        owner = self.system.nodes[self.system.owners[partition_of(actor.encode(), PARTITIONS)]]
        headers = {} if owner is self else {"Spawn-Owner": owner.told_url}
        return web.json_response(1, headers=headers)


@pytest.fixture
async def system() -> AsyncIterator[System]:
    """Two nodes that serve."""
    system = System()
    await system.start()
    await system.start()
    yield system
    for node in system.nodes:
        await node.stop()


async def call(client: Client, partition: int, **options: Any) -> Any:
    return await client.call("Counter", ACTORS[partition], "add", 1, **options)


async def until(client: Client, partition: int, node: Node) -> None:
    """Call until the call goes to a node."""
    async with asyncio.timeout(5):
        while True:
            before = len(node.calls)
            await call(client, partition)
            if len(node.calls) > before:
                return
            await asyncio.sleep(0.02)


async def test_calls_go_straight_to_owners_also_when_they_move(system: System) -> None:
    """The answer of one that passed a call on names the owner, and the next goes there."""
    first, second = system.nodes
    async with Client(first.url) as client:
        await until(client, 1, second)
        first.calls.clear()
        for _ in range(5):
            await call(client, 1)
        assert not first.calls
        await client.call("Counter", ACTORS[0], "total")
        assert first.calls == [ACTORS[0]]
        looks = first.looks + second.looks
        system.owners = [1, 0, 1, 0]
        await call(client, 1)
        second.calls.clear()
        await call(client, 1)
        assert not second.calls
        async with asyncio.timeout(5):
            while first.looks + second.looks == looks:
                await asyncio.sleep(0.02)


async def test_without_direct_only_the_addresses_given_are_called(system: System) -> None:
    """As before a gateway: what has a path or a user is one."""
    first, second = system.nodes
    async with Client(first.url, direct=False) as client:
        for _ in range(5):
            await call(client, 1)
    assert (len(first.calls), second.calls, first.looks) == (5, [], 0)
    assert not Client(f"{first.url}/gateway")._direct
    assert not Client(first.url.replace("//", "//user:pw@"))._direct


async def test_a_call_whose_node_dies_is_answered_by_another_one(system: System) -> None:
    """Before it was sent and after, under the same number: it takes effect once."""
    first, second = system.nodes
    async with Client(first.url) as client:
        await until(client, 1, second)
        second.resets = True
        system.effects.clear()
        assert await call(client, 1, timeout_s=5) == 1
        assert list(system.effects.values()) == [2], "one number, at two nodes"
        await second.stop()
        system.owners = [0, 0, 0, 0]
        began = asyncio.get_running_loop().time()
        for _ in range(5):
            assert await call(client, 1, timeout_s=5) == 1
        assert asyncio.get_running_loop().time() - began < 2


async def test_a_node_that_stops_is_left_at_once(system: System) -> None:
    """Whatever it says of when to try again: others are there now."""
    first, second = system.nodes
    async with Client(first.url) as client:
        await until(client, 1, second)
        second.draining = True
        async with asyncio.timeout(2):
            assert await call(client, 1) == 1
        assert second.calls[-1] == first.calls[-1] == ACTORS[1]


async def test_a_node_that_hangs_is_given_up_when_others_do_not_reach_it(system: System) -> None:
    """Its call goes to another one; a slow action of a node that is well is waited for."""
    first, second = system.nodes
    async with Client(first.url) as client:
        await until(client, 1, second)
        second.silent = True
        calling = asyncio.ensure_future(call(client, 1, timeout_s=30))
        await asyncio.sleep(1.6)
        assert not calling.done()
        second.standing, system.owners = "unreachable", [0, 0, 0, 0]
        async with asyncio.timeout(5):
            assert await calling == 1


async def test_of_several_addresses_one_is_enough(system: System) -> None:
    """In a list or with commas; the others may be nobody's, or die."""
    first, second = system.nodes
    nobody = "http://127.0.0.1:1"
    for given in ([nobody, first.url], f"{nobody}, {first.url}"):
        async with Client(given) as client:
            assert await call(client, 0, timeout_s=5) == 1
            assert client.url == f"{nobody}, {first.url}"
    async with Client([first.url, nobody]) as client:
        await until(client, 1, second)
        await first.stop()
        system.owners = [1, 1, 1, 1]
        assert await call(client, 0, timeout_s=5) == 1
    with pytest.raises(ValueError, match="the address of a node at least"):
        Client([])
    with pytest.raises(ValueError, match="a node's address is"):
        Client([first.url, "h:1"])


async def test_an_address_that_leads_elsewhere_is_not_called_and_sees_no_token(
    system: System,
) -> None:
    """Behind a port forwarding a node's own idea of its address is somebody else's."""
    first, second = system.nodes
    stranger = await System().start()
    stranger.id = "somebody else"
    second.told_url = stranger.url
    async with Client(first.url, token="secret") as client:
        for _ in range(3):
            await call(client, 1)
            await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            while not stranger.tokens:
                await asyncio.sleep(0.02)
        assert await call(client, 1) == 1
        looks = first.looks
        for _ in range(10):
            await call(client, 1)
            await asyncio.sleep(0.05)
        assert first.looks == looks, "that it can't be called is no reason to ask again"
    assert set(stranger.tokens) == {("/health/live", "")}
    assert {token for path, token in first.tokens if path != "/health/live"} == {"Bearer secret"}
    await stranger.stop()


async def test_without_any_node_the_error_is_that_of_one_node(system: System) -> None:
    """Reads and calls that were never sent; what was sent is unknown."""
    for node in system.nodes:
        await node.stop()
    async with Client([node.url for node in system.nodes]) as client:
        with pytest.raises(NodeUnreachable, match="connection refused"):
            await call(client, 0, timeout_s=0.5)
    lost = await System().start()
    lost.resets = True
    async with Client(lost.url) as client:
        with pytest.raises(OutcomeUnknown):
            await call(client, 0, timeout_s=0.5)
    await lost.stop()
