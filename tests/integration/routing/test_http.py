"""What HTTP answers on a node that does not own the actor, or does not host its type."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp

import spawn
from spawn.api.server import HttpServer
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.sdk.behavior import ClassBehavior
from tests.integration.routing.nodes import Nodes
from tests.integration.routing.test_forwarding import Added, Counter, Total, both


class Other(spawn.Actor[Total, Added]):
    """Nobody calls it."""

    @staticmethod
    def evolve(state: Total, event: Added) -> Total:
        return state


@contextlib.asynccontextmanager
async def http(node: NodeDispatcher) -> AsyncIterator[str]:
    """Serve a node over HTTP; give its address."""
    server = HttpServer(node, new_error_id=lambda: "id", port=0)
    await server.start()
    yield f"http://127.0.0.1:{server.port}"
    await server.stop(0.2)


async def messages(response: aiohttp.ClientResponse, count: int) -> list[tuple[int, object]]:
    """Return the ids and data of the next messages of a stream of events."""
    found: list[tuple[int, object]] = []
    number = 0
    while len(found) < count:
        raw = await response.content.readline()
        assert raw, "the stream has ended"
        line = raw.decode().rstrip()
        name, _, value = line.partition(": ")
        if name == "id":
            number = int(value)
        elif name == "data":
            found.append((number, json.loads(value)["events"]))
    return found


async def test_calls_batches_events_and_streams() -> None:
    """As on the owner; a batch may have actors of several."""
    nodes = Nodes(partitions=4)
    async with nodes.running(**both()) as running, http(running["a"]) as url:
        nodes.give(nodes.place("Counter", "x"), "a")
        async with aiohttp.ClientSession(url) as session:
            ids = [f"c{n}" for n in range(20)] + ["x"]
            calls = [{"type": "Counter", "id": each, "action": "add", "input": 2} for each in ids]
            calls += [{"type": "Counter", "id": each, "action": "subtract"} for each in ids[:2]]
            async with session.post("/v1/batch", json=calls) as response:
                outcomes = await response.json()
            assert [each["status"] for each in outcomes] == [200] * 21 + [404] * 2
            assert {each["reply"] for each in outcomes[:21]} == {2}
            other = next(
                each for each in ids if nodes.owner_of(nodes.place("Counter", each)) == "b"
            )
            actor = f"/v1/actors/Counter/{other}"
            async with session.post(f"{actor}/add", data="3") as response:
                headers = response.headers
                assert (response.status, await response.text()) == (200, "5\n")
            assert headers["Spawn-Revision"] == "2"
            topic, _, rest = headers["Spawn-Position"].partition("/")
            assert (topic, int(rest.partition("@")[0])) == nodes.place("Counter", other)
            assert int(headers["Spawn-Time"]) == running["b"].log_time_us("Counter", other) > 0
            async with session.get(f"{actor}?revision=1") as response:
                assert (await response.json())["state"] == {"total": 2}
            async with session.get(f"{actor}/events") as response:
                assert [each["revision"] for each in await response.json()] == [2, 1]
            async with session.get(
                f"{actor}/events?follow", headers={"Last-Event-ID": "1"}
            ) as response:
                assert await messages(response, 1) == [(2, [{"name": "Added", "fields": {"n": 3}}])]
                nodes.give(nodes.place("Counter", other), "a")
                async with session.post(f"{actor}/add", data="4") as answer:
                    assert answer.status == 200
                assert await messages(response, 1) == [(3, [{"name": "Added", "fields": {"n": 4}}])]


async def test_a_type_that_this_node_does_not_host() -> None:
    """Programs call it by name, follow it, and their numbers are kept."""
    nodes = Nodes()
    hosted = {"b": [ClassBehavior(Counter)], "a": [ClassBehavior(Other)]}
    async with nodes.running(**hosted) as running, http(running["a"]) as url:
        async with spawn.Client(url) as client:
            assert await client.actor(Counter, "x").add(5) == 5
            assert await client.call("Counter", "x", "total") == 5
            worker = running["b"].serving(*nodes.place("Counter", "x"))
            assert worker is not None
            assert list(worker.machine.fold.sessions.by_id) == [client._session_id]
        async with aiohttp.ClientSession(url) as session:
            async with session.get("/v1/types") as response:
                told = await response.json()
            assert [each["type"] for each in told["types"]] == ["Other"]
            assert told["elsewhere"] == [
                {"type": "Counter", "topic": "spawn.test.Counter", "partitions": 2}
            ]
            async with session.get("/v1/actors/Counter/x/events?follow&from_revision=1") as stream:
                async with session.post("/v1/actors/Counter/x/add", data="1") as answer:
                    assert answer.status == 200
                assert [number for number, _ in await messages(stream, 2)] == [1, 2]
            async with session.post("/v1/actors/Counter/x/add", data="nonsense") as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, "invalid-json")
            async with session.post("/v1/actors/Kounter/x/add", data="1") as answer:
                assert (answer.status, (await answer.json())["code"]) == (404, "unknown-type")
        await asyncio.sleep(0)


async def test_references_to_actors_that_other_nodes_host() -> None:
    """A system that does not name the class reaches it, as its own references would."""
    hosted = {"b": [ClassBehavior(Counter)], "a": [ClassBehavior(Other)]}
    async with Nodes().running(**hosted) as running:
        system = spawn.System("test", actors=[Other])
        system.bind(running["a"])
        counter = system.actor(Counter, "x")
        assert await counter.add(5) == 5
        assert await counter.total() == 5
        assert await counter.get_state() == Total(5)
