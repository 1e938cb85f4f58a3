"""Who follows actors of a partition: told what is committed, when it is settled.

A follower is registered first and reads the past then, so that nothing falls between the two; what
comes meanwhile waits in its queue. Whenever a revision is missing (the partition was lost and
served elsewhere for a while) it reads the past again. A partition that nobody follows does nothing
for it but look whether anybody does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from eventstore.log import TopicPartition
from eventstore.records import Outcome
from spawn.core.actors import Entry
from spawn.core.behavior import Behavior
from spawn.core.ingress import ActorCommit
from spawn.errors import SpawnError, TooSlow
from spawn.runtime.commits import PastCommits, commit_of_entry

__all__ = ["QUEUE_MAX", "ActorFollower", "Followers"]

QUEUE_MAX: Final = 1_000
"""Commits that wait for one follower; with one more it is cut off."""
QUEUE_BYTES_MAX: Final = 8 * 1024 * 1024
"""And so it is when they are this large together."""
_QUIET_S: Final = 15.0
"""After so long without a commit a follower says so, for connections that are cut when idle."""

Look = Callable[[], Awaitable[tuple[int, PastCommits]]]
"""Reads the actor: its revision as committed now, and its commits up to there."""


class Followers:
    """All followers of one partition's actors."""

    def __init__(self) -> None:
        self.by_actor: dict[tuple[str, bytes], set[ActorFollower]] = {}

    def tell(self, entries: Sequence[Entry], at: TopicPartition) -> None:
        """Hand what was committed to those who follow it; called only if somebody follows."""
        for entry in entries:
            if entry.outcome is not Outcome.APPLIED:
                continue
            actor = entry.actor
            followers = self.by_actor.get((actor.table.type, actor.id))
            if followers is None:
                continue
            commit: ActorCommit | SpawnError
            try:
                commit = commit_of_entry(actor.table.behavior, at, entry)
            except SpawnError as error:
                commit = error
            for follower in followers:
                follower.put(commit)

    def look_again(self) -> None:
        """The partition was lost: what others write is not told here."""
        for followers in self.by_actor.values():
            for follower in followers:
                follower.look_again()


class ActorFollower:
    """Implements `spawn.core.ingress.Follower`."""

    def __init__(
        self, followers: Followers, behavior: Behavior, key: bytes, after: int | None, look: Look
    ) -> None:
        self._followers = followers
        self._name = (behavior.type, key)
        self.last = after
        """All commits up to this revision were told, or were not wanted."""
        self.begun: Callable[[int], None] | None = None
        """Is told the revision from which on it follows, once that is known."""
        self.moves = False
        """It ends when the partition is lost: whoever made it follows its next owner."""
        self._look = look
        self._queue: deque[ActorCommit | SpawnError] = deque()
        self._queued_bytes = 0
        self._news = asyncio.Event()
        self._closed = self._gap = self._slow = False
        self._behind = True
        """It reads the past, as slowly as its client takes it."""
        followers.by_actor.setdefault(self._name, set()).add(self)

    def put(self, commit: ActorCommit | SpawnError) -> None:
        """Take what was committed; too much waiting ends a follower that has no past to read."""
        if len(self._queue) < QUEUE_MAX and self._queued_bytes < QUEUE_BYTES_MAX:
            self._queue.append(commit)
            self._queued_bytes += _size(commit)
        elif self._behind:
            self._queue.clear()
            self._queued_bytes = 0
            self._gap = True
        else:
            self._slow = True
        self._news.set()

    def look_again(self) -> None:
        """Read the past before the next commit."""
        self._gap = True
        self._closed = self._closed or self.moves
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()
        followers = self._followers.by_actor
        if (mine := followers.get(self._name)) is not None:
            mine.discard(self)
            if not mine:
                del followers[self._name]

    async def commits(self) -> AsyncIterator[ActorCommit | None]:
        try:
            while self._is_open():
                self._gap, self._behind = False, True
                revision, past = await self._look()
                if self.last is None:
                    self.last = revision
                if self.begun is not None:
                    self.begun(self.last)
                if self.last < revision:
                    async for commit in past.from_revision(self.last + 1):
                        if not self._is_open():
                            return
                        self.last = commit.revision
                        yield commit
                self._behind = False
                async for each in self._live(self.last):
                    if each is not None:
                        self.last = each.revision
                    yield each
        finally:
            self.close()

    def _is_open(self) -> bool:
        return not self._closed

    async def _live(self, last: int) -> AsyncIterator[ActorCommit | None]:
        """Yield what comes, until a gap. Raises: TooSlow."""
        while self._is_open() and not self._gap:
            if self._slow:
                raise TooSlow(
                    f"{len(self._queue)} commits of {self._name[0]}/{self._name[1].decode()} wait "
                    f"for this follower, {self._queued_bytes} bytes: as many as may",
                    hint="follow again from the last event that came: nothing is left out",
                )
            if not self._queue:
                self._news.clear()
                try:
                    async with asyncio.timeout(_QUIET_S):
                        await self._news.wait()
                except TimeoutError:
                    yield None
                continue
            commit = self._queue.popleft()
            self._queued_bytes -= _size(commit)
            if isinstance(commit, SpawnError):
                raise commit
            if commit.revision <= last:
                continue  # the past had it already
            if commit.revision > last + 1:
                self._gap = True
                return
            last = commit.revision
            yield commit


def _size(commit: ActorCommit | SpawnError) -> int:
    if isinstance(commit, SpawnError):
        return 0
    return len(commit.state or b"") + sum(len(fields) for _, fields in commit.events)
