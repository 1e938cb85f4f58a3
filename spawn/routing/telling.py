"""What other nodes follow here, and what they ask of the past: a task for each, on the owner."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from eventstore.log import TopicPartition
from spawn.core.ingress import ActorCommit, CommitsAsked
from spawn.errors import NodeUnreachable, SpawnError, TooManyWaiting, Unavailable
from spawn.mesh.link import Link
from spawn.mesh.refusals import refusal_of
from spawn.mesh.wire import (
    FOLLOW_BYTES_MAX,
    Commits,
    Follow,
    Invoke,
    Past,
    Redirect,
    Reply,
    ToldCommit,
)
from spawn.routing.owners import OwnerTable
from spawn.routing.told_commits import size_of, told_of
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.following import ActorFollower

__all__ = ["TOLD_MAX", "Telling"]

TOLD_MAX: Final = 4_000
"""Followers and questions of other nodes that a node serves at once; one more is refused."""
_AGAIN_S: Final = 0.05
_PIECE_BYTES: Final = 64 * 1024
"""Of a list of commits, in one message."""


class _Asked:
    """One follower on another node, or one question."""

    __slots__ = ("follower", "room", "task", "under_way_bytes")

    def __init__(self) -> None:
        self.follower: ActorFollower | None = None
        self.task: asyncio.Task[None] | None = None
        self.under_way_bytes = 0
        self.room = asyncio.Event()


class Telling:
    """Tells commits over the links on which they were asked for, no faster than they are taken."""

    def __init__(self, dispatcher: NodeDispatcher, owners: OwnerTable) -> None:
        self._dispatcher = dispatcher
        self._owners = owners
        self._asked: dict[Link, dict[int, _Asked]] = {}
        self._count = 0
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Serve what is asked. Never returns."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None

    # --- what links bring ------------------------------------------------------------------------

    def take(self, link: Link, message: Follow | Past | Invoke) -> None:
        """Begin to answer; an Invoke here is one that asks for a past state."""
        if self._dispatcher.serving(message.topic, message.partition) is None:
            self._redirect(link, message)
            return
        if self._tasks is None or self._count >= TOLD_MAX:
            error: SpawnError = (
                Unavailable("the node is not serving", hint="ask again")
                if self._tasks is None
                else TooManyWaiting(f"the node serves {TOLD_MAX} followers of other nodes")
            )
            link.post(refusal_of(message.id, error, 0))
            return
        self._count += 1
        asked = self._asked.setdefault(link, {})[message.id] = _Asked()
        asked.task = self._tasks.create_task(self._answer(link, message, asked))
        asked.task.add_done_callback(lambda _: self._forget(link, message.id))

    def taken(self, link: Link, request_id: int, size_bytes: int) -> None:
        """Whoever follows has taken some of what was told."""
        if (asked := self._asked.get(link, {}).get(request_id)) is not None:
            asked.under_way_bytes -= size_bytes
            asked.room.set()

    def unfollow(self, link: Link, request_id: int) -> None:
        """Nobody follows any more."""
        if (asked := self._asked.get(link, {}).get(request_id)) is not None:
            self._end(asked)

    def ended(self, link: Link) -> None:
        """The link is over, and so is all that was asked on it."""
        for asked in list(self._asked.get(link, {}).values()):
            self._end(asked)

    def _end(self, asked: _Asked) -> None:
        if asked.task is not None:
            asked.task.cancel()

    def _forget(self, link: Link, request_id: int) -> None:
        self._count -= 1
        mine = self._asked[link]
        del mine[request_id]
        if not mine:
            del self._asked[link]

    # --- answers ---------------------------------------------------------------------------------

    async def _answer(self, link: Link, message: Follow | Past | Invoke, asked: _Asked) -> None:
        at = TopicPartition(message.topic, message.partition)
        try:
            if isinstance(message, Follow):
                await self._follow(link, message, at, asked)
                self._redirect(link, message)  # the partition was lost
            elif isinstance(message, Past):
                await self._list(link, message, at, asked)
            else:
                await self._past_state(link, message, at)
        except NodeUnreachable:
            return  # the link has ended
        except SpawnError as error:
            link.post(refusal_of(message.id, error, self._dispatcher.partition_time_us(at)))
        except Exception as error:  # noqa: BLE001 - user code's events and states are shown here
            failed = SpawnError(f"the node that owns {message.type} failed: {error!r}")
            link.post(refusal_of(message.id, failed, 0))

    async def _follow(self, link: Link, message: Follow, at: TopicPartition, asked: _Asked) -> None:
        after = None if message.after < 0 else message.after
        follower = self._dispatcher.follow_here(at, message.type, message.actor, after)
        if follower is None:
            return
        # It is told at once from where on: who follows from now on goes on from there elsewhere.
        follower.begun = lambda revision: _say_begun(link, message.id, revision)
        try:
            async for commit in follower.commits():
                if commit is not None:
                    told = told_of(commit)
                    await self._tell(link, message.id, asked, [told], size_of(told))
        finally:
            follower.close()

    async def _list(self, link: Link, message: Past, at: TopicPartition, asked: _Asked) -> None:
        wanted = CommitsAsked(message.from_revision, message.limit, message.newest_first)
        timeout_s = message.remaining_ms / 1000
        commits = await self._dispatcher.commits_here(
            at, message.type, message.actor, wanted, timeout_s
        )
        for piece, size in _pieces(commits):
            await self._tell(link, message.id, asked, piece, size)
        await _post(link, Commits(message.id, 0, [], True))

    async def _past_state(self, link: Link, message: Invoke, at: TopicPartition) -> None:
        state = await self._dispatcher.state(
            message.type,
            message.actor.decode(),
            message.remaining_ms / 1000,
            int(message.payload),
        )
        offset = -1 if state.position is None else state.position.offset
        time_us = self._dispatcher.partition_time_us(at)
        link.post(Reply(message.id, state.state, state.revision, offset, time_us))

    async def _tell(
        self, link: Link, request_id: int, asked: _Asked, told: list[ToldCommit], size: int
    ) -> None:
        """Send commits once there is room for them.

        Raises: NodeUnreachable - the link has ended; BodyTooLarge.
        """
        while asked.under_way_bytes and asked.under_way_bytes + size > FOLLOW_BYTES_MAX:
            asked.room.clear()
            await asked.room.wait()
        asked.under_way_bytes += size
        await _post(link, Commits(request_id, told[-1].revision, told))

    def _redirect(self, link: Link, message: Follow | Past | Invoke) -> None:
        owner = self._owners.of(TopicPartition(message.topic, message.partition))
        link.post(Redirect(message.id, owner.endpoint, owner.epoch))


async def _post(link: Link, message: Commits) -> None:
    """Post a message once the link has room. Raises: NodeUnreachable, BodyTooLarge."""
    while True:
        try:
            link.post(message)
        except TooManyWaiting:
            await asyncio.sleep(_AGAIN_S)
        else:
            return


def _say_begun(link: Link, request_id: int, revision: int) -> None:
    try:
        link.post(Commits(request_id, revision, []))
    except SpawnError:
        return  # the link has ended, or is full: the first commit says as much


def _pieces(commits: Iterable[ActorCommit]) -> Iterator[tuple[list[ToldCommit], int]]:
    """Yield commits in messages of some size, and what they count for."""
    piece: list[ToldCommit] = []
    size = 0
    for commit in commits:
        told = told_of(commit)
        if piece and size + size_of(told) > _PIECE_BYTES:
            yield piece, size
            piece, size = [], 0
        piece.append(told)
        size += size_of(told)
    if piece:
        yield piece, size
