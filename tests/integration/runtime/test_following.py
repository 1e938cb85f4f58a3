"""Following an actor: every commit once and in order, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from spawn.core.decision import EventData
from spawn.core.ingress import ActorCommit, CommitsAsked
from spawn.errors import ActorParked, TooSlow, UnknownType
from spawn.runtime import following
from spawn.runtime.dispatcher import NodeDispatcher
from tests.integration.runtime.running import Cluster, add
from tests.unit.core.harness import Lists

Commits = AsyncIterator[ActorCommit | None]


async def take(commits: Commits, count: int) -> list[int]:
    """Return the revisions of the next commits."""
    found: list[int] = []
    while len(found) < count:
        commit = await anext(commits)
        if commit is not None:
            found.append(commit.revision)
    return found


async def take_from(looking: asyncio.Future[ActorCommit | None], commits: Commits) -> ActorCommit:
    """Return the next commit, the first look at which is under way."""
    commit = await looking
    while commit is None:
        commit = await anext(commits)
    return commit


def followers_of(node: NodeDispatcher) -> int:
    [served] = node._served.values()
    return sum(len(worker.followers.by_actor) for worker in served.workers)


async def test_past_and_present_meet_without_a_gap() -> None:
    """Commits are made while the past is read."""
    async with Cluster().node() as node:
        for number in range(20):
            await add(node, number)
        follower = node.follow("List", "a", 0)
        commits = follower.commits()
        adding = asyncio.gather(*(add(node, number) for number in range(200)))
        assert await take(commits, 220) == list(range(1, 221))
        await adding
        await add(node, 7, actor="b")
        await add(node, 7)
        last = await anext(commits)
        assert last is not None
        assert (last.revision, last.action, last.events) == (221, "add", [("Added", b"7")])
        follower.close()
        assert [commit async for commit in commits] == []
        assert followers_of(node) == 0


async def test_without_a_revision_only_what_comes_is_told() -> None:
    """And each of several followers is told all of it."""
    async with Cluster().node() as node:
        await add(node, 1)
        first, second = (node.follow("List", "a", None).commits() for _ in range(2))
        waiting = [asyncio.ensure_future(take(each, 2)) for each in (first, second)]
        await asyncio.sleep(0.05)
        for number in range(2):
            await add(node, number)
        assert await asyncio.gather(*waiting) == [[2, 3], [2, 3]]


async def test_a_lost_partition_leaves_nothing_out() -> None:
    """What another node wrote meanwhile is read from the log."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        commits = node.follow("List", "a", 0).commits()
        assert await take(commits, 1) == [1]
        [served] = node._served.values()
        await add(node, 2)
        served.workers[0].followers.look_again()
        await add(node, 3)
        assert await take(commits, 2) == [2, 3]


async def test_who_is_too_slow_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is bounded; it may go on from where it was."""
    monkeypatch.setattr(following, "QUEUE_MAX", 5)
    async with Cluster().node() as node:
        await add(node, 0)
        commits = node.follow("List", "a", 0).commits()
        assert await take(commits, 1) == [1]
        await add(node, 1)
        assert await take(commits, 1) == [2]
        for number in range(7):
            await add(node, number)
        with pytest.raises(TooSlow, match="5 commits of List/a wait"):
            await take(commits, 7)
        assert followers_of(node) == 0
        again = node.follow("List", "a", 2).commits()
        assert await take(again, 7) == list(range(3, 10))


async def test_few_commits_are_too_many_when_they_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What waits is bounded by bytes, too."""
    monkeypatch.setattr(following, "QUEUE_BYTES_MAX", 3)
    async with Cluster().node() as node:
        await add(node, 0)
        commits = node.follow("List", "a", 0).commits()
        assert await take(commits, 1) == [1]
        await add(node, 7)
        assert await take(commits, 1) == [2]
        for _ in range(4):
            await add(node, 7)
        with pytest.raises(TooSlow, match="3 commits of List/a wait for this follower, 3 bytes"):
            await take(commits, 4)


@pytest.mark.parametrize(
    ("name", "limit"), [("_CHUNK", 3), ("LIST_BYTES_MAX", 200), ("LIST_BYTES_MAX", 1)]
)
async def test_a_long_past_is_read_in_pieces(
    name: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly: what comes meanwhile overflows no queue for good."""
    monkeypatch.setattr(following, "QUEUE_MAX", 5)
    monkeypatch.setattr(f"spawn.runtime.commits.{name}", limit)
    async with Cluster().node() as node:
        for number in range(10):
            await add(node, number)
        commits = node.follow("List", "a", 0).commits()
        assert await take(commits, 4) == [1, 2, 3, 4]
        for number in range(20):
            await add(node, number)
        assert await take(commits, 26) == list(range(5, 31))


async def test_past_commits_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From either end, fewer when they are large; refusals are none."""
    async with Cluster().node() as node:
        for number in range(6):
            await add(node, number)

        async def listed(*asked: int | bool) -> list[int]:
            wanted = CommitsAsked(*asked)  # type: ignore[arg-type]
            found = await node.commits("List", "a", wanted, 5.0)
            return [commit.revision for commit in found]

        assert await listed(1, 100, True) == [6, 5, 4, 3, 2, 1]
        assert await listed(1, 2, True) == [6, 5]
        assert await listed(3, 2, False) == [3, 4]
        assert await listed(9, 2, False) == []
        assert await node.commits("List", "new", CommitsAsked(1, 9, True), 5.0) == []
        with pytest.raises(UnknownType):
            await node.commits("Lits", "a", CommitsAsked(1, 9, True), 5.0)
        with pytest.raises(UnknownType):
            node.follow("Lits", "a", None)
        monkeypatch.setattr("spawn.runtime.commits.LIST_BYTES_MAX", 300)
        assert (await listed(1, 100, True))[:2] == [6, 5]
        assert len(await listed(1, 100, True)) < 4
        assert (await listed(2, 100, False))[:2] == [2, 3]
        assert len(await listed(2, 100, False)) < 4
        monkeypatch.setattr("spawn.runtime.commits.LIST_BYTES_MAX", 1)
        assert await listed(1, 100, True) == [6]
        assert await listed(2, 100, False) == [2]


async def test_an_event_that_can_t_be_shown_harms_nobody_but_the_follower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message may be stored and yet have no JSON: the commit stands, the node goes on."""

    def no_json(_self: Lists, _event: EventData) -> bytes:
        raise TypeError("no JSON for it")

    async with Cluster().node() as node:
        follower = node.follow("List", "a", None)
        commits = follower.commits()
        looking = asyncio.ensure_future(anext(commits))
        await asyncio.sleep(0)
        monkeypatch.setattr(Lists, "event_json", no_json)
        assert await add(node, 1) == 1
        with pytest.raises(ActorParked, match="no JSON for it"):
            await take_from(looking, commits)
        assert await add(node, 2) == 2
        follower.close()
