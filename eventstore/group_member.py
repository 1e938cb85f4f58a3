"""One member of a consumer group: join, sync, heartbeats, over and over (design 3.3, 3.4).

aiokafka's coordinator is not used: it swallows what callbacks raise, loses its generation, and
beats only while somebody polls (reliability 2.2). The flow here is the same for every
`Coordinator`, so that a simulation drives the code that runs in production.

No rebalance is waited for by anybody but this flow, and no failure ends it: a coordinator that is
away is asked again, after pauses of up to a second, and one that has expelled us is joined again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from eventstore.errors import GroupRefused
from eventstore.group import (
    Coordinator,
    CoordinatorAway,
    GenerationEnded,
    GroupGeneration,
    GroupParticipant,
    GroupStatus,
    MemberUnknown,
)

__all__ = ["GroupMember"]

_BEATS_PER_SESSION: Final = 10
_BEAT_MAX_S: Final = 1.0
"""A rebalance is heard of with a heartbeat: rarer ones make all wait longer for each other."""
_PAUSE_FIRST_S: Final = 0.1
_PAUSE_MAX_S: Final = 1.0
"""Between attempts. Longer, and a coordinator that is back waits for us in vain."""
_RACE_S: Final = 0.02
"""Before joining again after a generation that ended before it had begun."""
_LEAVE_S: Final = 2.0
"""Saying goodbye may take so long; a node that ends has other things to do."""
_ASSIGN_INLINE_MEMBERS_MAX: Final = 50
"""Assignments for so many take the loop some milliseconds; for more a thread is used."""


class GroupMember:
    """`GroupMembership` through any `Coordinator`, which is closed when `run` ends."""

    def __init__(self, coordinator: Coordinator, participant: GroupParticipant) -> None:
        self._coordinator = coordinator
        self._participant = participant
        self._member_id = ""
        self._generation: GroupGeneration | None = None
        """The last one that we know of; its membership may have run out (`_is_lost`)."""
        self._is_lost = True
        self._is_leader = False
        self._has_begun = False
        self._must_join = True
        self._wake = asyncio.Event()
        self._heard_at: float | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._failure = ""
        self._pause_s = 0.0
        self._is_leaving = False
        self._running: asyncio.Timeout | None = None
        self._ended = asyncio.Event()
        self._ended.set()

    # GroupMembership

    async def run(self) -> None:
        assert self._ended.is_set(), "a member takes part once at a time"
        self._ended.clear()
        try:
            if not self._is_leaving:
                await self._until_leaving()
            await self._say_goodbye()
        finally:
            self._stop_listening()
            self._is_lost = True  # nobody keeps it up any more; run again, a heartbeat may find it
            self._ended.set()
            await self._coordinator.close()

    def rejoin(self) -> None:
        self._must_join = True
        self._wake.set()

    async def leave(self) -> None:
        self._is_leaving = True
        if self._running is not None and not self._running.expired():
            self._running.reschedule(asyncio.get_running_loop().time())
        if self._ended.is_set():  # `run` was cancelled before; the others still wait for us
            await self._say_goodbye()
            await self._coordinator.close()
        else:
            await self._ended.wait()

    def status(self) -> GroupStatus:
        heard_at = self._heard_at
        age_s = None if heard_at is None else asyncio.get_running_loop().time() - heard_at
        return GroupStatus(
            generation=None if self._is_lost else self._generation,
            is_leader=self._is_leader and not self._is_lost,
            heartbeat_age_s=age_s,
            failure=self._failure,
        )

    # The flow

    async def _until_leaving(self) -> None:
        try:
            # No limit in time, but `leave` lets it run out: a way to end it from inside.
            async with asyncio.timeout(None) as self._running:
                await self._take_part()
        except TimeoutError:
            if self._running is None or not self._running.expired():
                raise
        finally:
            self._running = None

    async def _take_part(self) -> None:
        while True:
            try:
                if self._must_join or self._generation is None:
                    await self._join()
                else:
                    await self._beat()
            except MemberUnknown:
                self._member_id, self._generation = "", None
                self._lose("the group's coordinator has expelled this member")
                await self._pause("expelled")
            except GenerationEnded:
                if self._must_join:  # it ended while it began: others come and go
                    await asyncio.sleep(_RACE_S)
                self._must_join = True
            except CoordinatorAway as error:
                await self._pause(str(error))
            except GroupRefused as error:
                if not self._has_begun:
                    raise
                await self._pause(str(error))

    async def _join(self) -> None:
        """Join and learn what is ours; after a failure the next call begins anew."""
        self._must_join = False  # `rejoin` from now on means metadata newer than what we send
        try:
            await self._agree()
        except BaseException:
            self._must_join = True
            raise

    async def _agree(self) -> None:
        loop, metadata = asyncio.get_running_loop(), self._participant.metadata()
        joined = await self._coordinator.join(self._member_id, metadata)
        self._member_id = joined.member_id
        self._heard(loop.time())
        assignments = None
        if joined.members is not None:
            assignments = await self._assignments(joined.members)
        sent_at = loop.time()
        assignment = await self._coordinator.sync(joined.generation, joined.member_id, assignments)
        self._is_leader = joined.members is not None
        self._heard(sent_at)
        self._pause_s = 0.0
        self._begin(
            GroupGeneration(
                generation=joined.generation, member_id=joined.member_id, assignment=assignment
            )
        )

    async def _assignments(self, members: Mapping[str, bytes]) -> Mapping[str, bytes]:
        if len(members) <= _ASSIGN_INLINE_MEMBERS_MAX:
            return self._participant.assign(members)
        return await asyncio.to_thread(self._participant.assign, members)

    async def _beat(self) -> None:
        """Wait for the next heartbeat's time, or for something to do; then beat."""
        assert self._generation is not None
        interval_s = min(self._coordinator.session_timeout_s / _BEATS_PER_SESSION, _BEAT_MAX_S)
        try:
            async with asyncio.timeout(interval_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
        if self._must_join:
            return
        sent_at = asyncio.get_running_loop().time()
        await self._coordinator.heartbeat(self._generation.generation, self._member_id)
        self._heard(sent_at)
        self._pause_s = 0.0
        if self._is_lost:  # it was away for long and has kept us all the same
            self._begin(self._generation)

    async def _pause(self, failure: str) -> None:
        self._failure = failure
        self._pause_s = min(self._pause_s * 2 or _PAUSE_FIRST_S, _PAUSE_MAX_S)
        await asyncio.sleep(self._pause_s)

    def _begin(self, generation: GroupGeneration) -> None:
        self._generation, self._is_lost, self._has_begun = generation, False, True
        self._participant.began(generation)

    def _heard(self, sent_at: float) -> None:
        self._heard_at, self._failure = sent_at, ""
        self._stop_listening()
        session_s = self._coordinator.session_timeout_s
        loop = asyncio.get_running_loop()
        self._silence = loop.call_at(sent_at + session_s, self._ran_out, session_s)

    def _ran_out(self, session_s: float) -> None:
        self._lose(f"the group's coordinator was silent for {session_s:g} s")

    def _lose(self, reason: str) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._participant.lost(reason)

    def _stop_listening(self) -> None:
        if self._silence is not None:
            self._silence.cancel()

    async def _say_goodbye(self) -> None:
        member_id, self._member_id = self._member_id, ""
        self._generation, self._is_lost, self._must_join = None, True, True
        if member_id:
            try:
                async with asyncio.timeout(_LEAVE_S):
                    await self._coordinator.leave(member_id)
            except (CoordinatorAway, TimeoutError) as error:
                self._failure = f"leaving: {str(error) or 'no answer'}"
