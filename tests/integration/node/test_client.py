"""`spawn.Client` against nodes that are processes of their own."""

from __future__ import annotations

import asyncio

import pytest

import spawn
from examples.counter import Counter, Total
from spawn.errors import BodyMismatch, InvalidId, NodeUnreachable, UnknownAction, UnknownType
from tests.integration.node.running import until
from tests.integration.node.servers import NewNodes
from tests.services.ports import free_port


async def test_references_are_the_same_as_in_a_node(
    new_nodes: NewNodes, tansu: str, postgres_dsn: str
) -> None:
    """Replies, states and errors come back as what they were."""
    node = await new_nodes(tansu, postgres_dsn).start().serving()
    async with spawn.Client(node.url) as client:
        counter = client.actor(Counter, "a/ü ..")
        assert await counter.add(5) == 5
        assert await counter.add(n=2) == 7
        assert await counter.total() == 7
        assert await counter.get_state() == Total(7)
        keyed = counter.add.options(idempotency_key="k", timeout_s=5)
        assert [await keyed(1), await keyed(1)] == [8, 8]
        with pytest.raises(spawn.Rejected) as rejected:
            await counter.add(-1)
        assert (rejected.value.code, rejected.value.retryable) == ("negative", False)
        with pytest.raises(BodyMismatch):
            await counter.add("five")  # type: ignore[arg-type]
        with pytest.raises(InvalidId):
            client.actor(Counter, "")
        assert await client.call("Counter", "a/ü ..", "add", 2) == 10
        with pytest.raises(UnknownAction) as unknown:
            await client.call("Counter", "a", "ad", 2)
        assert unknown.value.hint.startswith("did you mean `add`?")
        with pytest.raises(UnknownType, match="no actor type `Conter`"):
            await client.call("Conter", "a", "add", 2)
        await client.delete(Counter, "a/ü ..")
        assert await counter.total() == 0
        assert await asyncio.gather(*(client.actor(Counter, "b").add(1) for _ in range(300)))
        assert await client.actor(Counter, "b").total() == 300


async def test_a_node_that_is_not_there_is_named_at_the_deadline() -> None:
    """The call was certainly not executed."""
    async with spawn.Client(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(NodeUnreachable, match="connection refused"):
            await client.actor(Counter, "a").add.options(timeout_s=0.3)(1)


async def test_every_command_takes_effect_once_though_its_node_is_killed(
    new_nodes: NewNodes, tansu: str, postgres_dsn: str
) -> None:
    """SIGKILL under load, twice; callers notice nothing but the time that it takes."""
    nodes = new_nodes(tansu, postgres_dsn)
    port = free_port()
    node = await nodes.start(HTTP_PORT=port).serving()
    replies: dict[str, list[int]] = {f"c{n}": [] for n in range(12)}
    enough = asyncio.Event()

    async def load(client: spawn.Client, actor_id: str) -> None:
        counter = client.actor(Counter, actor_id)
        while not enough.is_set():
            replies[actor_id].append(await counter.add(1))

    async def answered(more: int) -> None:
        wanted = sum(map(len, replies.values())) + more
        await until(lambda: sum(map(len, replies.values())) > wanted, 30.0, "load")

    async with spawn.Client(node.url) as client:
        async with asyncio.TaskGroup() as tasks:
            for actor_id in replies:
                tasks.create_task(load(client, actor_id))
            for _ in range(2):
                await answered(300)
                await node.kill()
                node = await nodes.start(HTTP_PORT=port).serving()
            await answered(100)
            enough.set()
        for actor_id, told in replies.items():
            assert told == list(range(1, len(told) + 1)), actor_id
            assert await client.actor(Counter, actor_id).total() == len(told)
