"""Following actors that other nodes own, and their past: the asking side.

A `RoutedFollower` follows an actor wherever its partition is served: here, by the runtime's own
follower, else by a `Watch` on a link to the owner. When that ends, because the partition moves or
the link breaks, it goes on behind the last revision that it told, so that no commit is left out and
none comes twice. A client that takes commits slowly holds back the owner (`Taken`), whose own bound
ends it then, as it would end a follower there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from eventstore.log import TopicPartition
from spawn.core.ingress import ActorCommit
from spawn.errors import Draining, Fenced, NodeUnreachable, NotStarted, SpawnError
from spawn.mesh.link import Link
from spawn.mesh.wire import FOLLOW_BYTES_MAX, Commits, Taken, ToldCommit, Unfollow
from spawn.routing.told_commits import commit_of, size_of
from spawn.runtime.following import ActorFollower

__all__ = ["RoutedFollower", "Watch"]

_AGAIN_S: Final = 0.05
_PATIENCE_S: Final = 60.0
"""So long a follower waits for an owner of its partition, as long as a call."""
_QUIET_S: Final = 15.0
"""After so long without a commit a follower says so, for connections that are cut when idle."""
_MOVING: Final = (Draining, Fenced, NodeUnreachable)
"""What a node says, or its link, that lets the partition go."""
_TAKEN_BYTES: Final = FOLLOW_BYTES_MAX // 4


class Watch:
    """Commits that come over one link, in answer to one question."""

    def __init__(
        self,
        link: Link,
        request_id: int,
        at: TopicPartition,
        last: int | None,
        forget: Callable[[], None],
    ) -> None:
        """`forget` is called once nothing is awaited on the link any more."""
        self.at = at
        self.last = last
        """All commits up to this revision were told."""
        self.is_whole = False
        """All that was asked for was told: a list is at its end."""
        self._link, self._id = link, request_id
        self._forget = forget
        self._queue: deque[ToldCommit] = deque()
        self._taken_bytes = 0
        self._news = asyncio.Event()
        self._has_ended = False
        self._error: SpawnError | None = None

    # --- what the link brings --------------------------------------------------------------------

    def told(self, message: Commits) -> None:
        """Take commits."""
        self._queue += message.commits
        if not message.commits and not message.is_last:
            self.last = message.revision if self.last is None else self.last
        if message.is_last:
            self.is_whole = True
            self.over(None)
        self._news.set()

    def over(self, error: SpawnError | None) -> None:
        """Nothing more comes: for this reason, or since others serve the partition now."""
        if not self._has_ended:
            self._has_ended = True
            self._error = error
            self._forget()
            self._news.set()

    # --- for who follows -------------------------------------------------------------------------

    async def commits(self) -> AsyncIterator[ActorCommit | None]:
        """Yield what comes, None now and then; ends where `over` says so. Raises: SpawnError."""
        while True:
            if self._queue:
                told = self._queue.popleft()
                self._take(size_of(told))
                self.last = told.revision
                yield commit_of(told, self.at)
            elif self._has_ended:
                if self._error is not None:
                    raise self._error
                return
            else:
                self._news.clear()
                try:
                    async with asyncio.timeout(_QUIET_S):
                        await self._news.wait()
                except TimeoutError:
                    yield None

    async def listed(self) -> list[ActorCommit]:
        """Return all that comes; less than was asked for, unless `is_whole`. Raises: SpawnError."""
        try:
            return [commit async for commit in self.commits() if commit is not None]
        except _MOVING:
            return []
        finally:
            self.close()

    def close(self) -> None:
        """Nobody follows any more."""
        if not self._has_ended:
            self._link.post(Unfollow(self._id))
        self._queue.clear()
        self.over(None)

    def _take(self, size: int) -> None:
        self._taken_bytes += size
        if self._taken_bytes >= _TAKEN_BYTES or not self._queue:
            self._link.post(Taken(self._id, self._taken_bytes))
            self._taken_bytes = 0


class _Ways(Protocol):
    """What a follower needs of the router."""

    def watch(
        self, at: TopicPartition, actor_type: str, key: bytes, after: int | None
    ) -> Watch | None: ...
    def follow_here(
        self, at: TopicPartition, actor_type: str, key: bytes, after: int | None
    ) -> ActorFollower | None: ...


class RoutedFollower:
    """Implements `spawn.core.ingress.Follower`."""

    def __init__(
        self, ways: _Ways, at: TopicPartition, actor_type: str, key: bytes, after: int | None
    ) -> None:
        self._ways = ways
        self._place = at, actor_type, key
        self._last = after
        self._now = asyncio.get_running_loop().time
        self._is_closed = False
        self._closing = asyncio.Event()
        # At once: a follower on this node misses nothing from now on.
        self._inner: Watch | ActorFollower | None = self._open()

    def _open(self) -> Watch | ActorFollower | None:
        return self._ways.follow_here(*self._place, self._last) or self._ways.watch(
            *self._place, self._last
        )

    def _is_open(self) -> bool:
        return not self._is_closed

    def close(self) -> None:
        self._is_closed = True
        self._closing.set()
        if self._inner is not None:
            self._inner.close()

    async def commits(self) -> AsyncIterator[ActorCommit | None]:
        heard_at = told_at = self._now()
        try:
            while self._is_open():
                inner = self._inner
                if inner is not None:
                    async for commit in self._told_by(inner):
                        heard_at = told_at = self._now()
                        yield commit
                    if inner.last is not None:
                        self._last = inner.last
                if not self._is_open():
                    return
                now = self._now()
                if now - heard_at > _PATIENCE_S:
                    at = self._place[0]
                    raise NotStarted(
                        f"no node was found for {_PATIENCE_S:g} s that serves {at}",
                        hint="follow again from the last event that came: nothing is left out",
                    )
                if now - told_at > _QUIET_S:
                    told_at = now
                    yield None
                await self._pause()
                self._inner = self._open() if self._is_open() else None
        finally:
            self.close()

    async def _told_by(self, inner: Watch | ActorFollower) -> AsyncIterator[ActorCommit | None]:
        """Yield what one of them tells, until others serve the partition. Raises: SpawnError."""
        try:
            async for commit in inner.commits():
                yield commit
        except _MOVING:
            return
        finally:
            inner.close()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_AGAIN_S):
                await self._closing.wait()
        except TimeoutError:
            pass
