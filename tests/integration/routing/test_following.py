"""Followers on a node that does not own their actor miss nothing and are told nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from spawn.core.ingress import ActorCommit, Follower
from spawn.errors import TooSlow
from spawn.mesh.link import Ending
from spawn.routing import telling, watching
from spawn.runtime import following
from spawn.runtime.dispatcher import NodeDispatcher
from tests.integration.routing.nodes import Nodes
from tests.integration.runtime.running import add
from tests.unit.core.harness import Lists

Commits = AsyncIterator[ActorCommit | None]


def both() -> dict[str, list[Lists]]:
    return {name: [Lists()] for name in ("b", "a")}


async def take(commits: Commits, count: int) -> list[int]:
    """Return the revisions of the next commits."""
    found: list[int] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            commit = await anext(commits)
            if commit is not None:
                found.append(commit.revision)
    return found


def asked_of(nodes: Nodes, name: str) -> int:
    """Return how much others follow on a node."""
    return nodes.routers[name]._telling._count


async def _end(follower: Follower, commits: AsyncIterator[ActorCommit | None]) -> None:
    """Follow no longer."""
    follower.close()
    async for _ in commits:
        pass


async def test_past_and_present_of_another_nodes_actor() -> None:
    """From a revision on; every commit whole, as its owner tells it; and its end is noticed."""
    nodes = Nodes()
    async with nodes.running(**both()) as running:
        a, b = running["a"], running["b"]
        for number in range(20):
            await add(b, number)
        follower = a.follow("List", "a", 5)
        commits = follower.commits()
        adding = asyncio.gather(*(add(a, number) for number in range(200)))
        assert await take(commits, 215) == list(range(6, 221))
        await adding
        await add(b, 7)
        last = await anext(commits)
        assert last is not None
        assert (last.revision, last.action, last.events) == (221, "add", [("Added", b"7")])
        assert last.position[:2] == nodes.place("List", "a")
        follower.close()
        assert [commit async for commit in commits] == []
        while asked_of(nodes, "b"):
            await asyncio.sleep(0.01)
        [watches] = nodes.routers["a"]._watches.values()
        assert watches == {}


async def test_from_now_on() -> None:
    """Without a revision it begins with what comes."""
    async with Nodes().running(**both()) as running:
        a, b = running["a"], running["b"]
        await add(b, 1)
        follower = a.follow("List", "a", None)
        commits = follower.commits()
        looking = asyncio.ensure_future(anext(commits))
        await asyncio.sleep(0.2)
        await add(b, 2)
        commit = await looking
        assert commit is not None
        assert commit.revision == 2
        await _end(follower, commits)


@pytest.mark.parametrize("first", ["a", "b"])
async def test_a_partition_that_moves_is_followed(first: str) -> None:
    """To this node and away from it, while commits come on both."""
    nodes = Nodes(partitions=1, owner=first)
    async with nodes.running(**both(), c=[Lists()]) as running:
        at = nodes.place("List", "a")
        follower = running["a"].follow("List", "a", 0)

        async def load(node: NodeDispatcher) -> None:
            for number in range(150):
                await add(node, number)
                await asyncio.sleep(0.005)

        loads = asyncio.gather(*(load(running[name]) for name in ("a", "b", "c")))
        following_all = asyncio.ensure_future(take(follower.commits(), 450))
        for owner in ("b", "a", "c", "a"):
            await asyncio.sleep(0.25)
            nodes.give(at, owner)
        await loads
        assert await following_all == list(range(1, 451))
        follower.close()


async def test_a_link_that_breaks_is_replaced() -> None:
    """The follower goes on behind the last commit that came."""
    nodes = Nodes()
    async with nodes.running(**both()) as running:
        a, b = running["a"], running["b"]
        await add(b, 0)
        follower = a.follow("List", "a", 0)
        commits = follower.commits()
        assert await take(commits, 1) == [1]
        for number in range(4):
            await add(b, number)
            for link in list(nodes.routers["a"].peers.links()):
                link.abort(Ending.RESET, "test")
            await add(b, number)
            assert await take(commits, 2) == [2 * number + 2, 2 * number + 3]
        await _end(follower, commits)


async def test_who_takes_too_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way and what waits have bounds; the owner's own bound ends it."""
    monkeypatch.setattr(telling, "FOLLOW_BYTES_MAX", 1_000)
    monkeypatch.setattr(watching, "_TAKEN_BYTES", 250)
    monkeypatch.setattr(following, "QUEUE_MAX", 50)
    nodes = Nodes()
    async with nodes.running(**both()) as running:
        a, b = running["a"], running["b"]
        await add(b, 0)
        follower = a.follow("List", "a", 0)
        commits = follower.commits()
        assert await take(commits, 1) == [1]
        for number in range(200):
            await add(b, number)
        [watch] = next(iter(nodes.routers["a"]._watches.values())).values()
        assert len(watch._queue) < 20
        with pytest.raises(TooSlow):
            await take(commits, 200)
        assert asked_of(nodes, "b") == 0
        assert (await add(a, 1)) == 202


async def test_a_slow_reader_of_a_long_past_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The past waits for its reader: nothing is cut off."""
    monkeypatch.setattr(telling, "FOLLOW_BYTES_MAX", 1_000)
    monkeypatch.setattr(watching, "_TAKEN_BYTES", 250)
    async with Nodes().running(**both()) as running:
        a, b = running["a"], running["b"]
        for number in range(300):
            await add(b, number)
        follower = a.follow("List", "a", 0)
        commits = follower.commits()
        found = []
        for _ in range(30):
            found += await take(commits, 10)
            await asyncio.sleep(0.005)
        assert found == list(range(1, 301))
        await _end(follower, commits)
