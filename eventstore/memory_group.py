"""Consumer groups in memory: the twin of `kafka_group`, for tests and simulations.

`MemoryGroups` does what Kafka's coordinator does, but for time: it has no clock and no randomness.
Whoever drives it says when a member's session has run out (`expire`), cuts one off (`freeze`), or
takes the whole coordinator away (`is_down`, `forget`). The members are the real `GroupMember`s.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from typing import Final

from eventstore.errors import GroupRefused
from eventstore.group import (
    CoordinatorAway,
    GenerationEnded,
    GroupParticipant,
    Joined,
    MemberUnknown,
)
from eventstore.group_member import GroupMember

__all__ = ["MemoryGroups"]

_SESSION_TIMEOUT_S: Final = 6.0


class _Phase(enum.Enum):
    JOINING = enum.auto()
    """A rebalance: it waits until every member has joined (again)."""
    SYNCING = enum.auto()
    """A generation has begun; the leader's assignments are not there yet."""
    STABLE = enum.auto()


class _Member:
    __slots__ = ("assignment", "joining", "metadata", "syncing")

    def __init__(self) -> None:
        self.metadata = b""
        self.joining: asyncio.Future[Joined] | None = None
        self.syncing: asyncio.Future[bytes] | None = None
        self.assignment = b""


class _Group:
    __slots__ = ("generation", "leader", "members", "phase")

    def __init__(self) -> None:
        self.generation = 0
        self.leader = ""
        self.members: dict[str, _Member] = {}
        """In the order in which they came."""
        self.phase = _Phase.STABLE


class MemoryGroups:
    """The coordinator of all groups of a simulated log."""

    def __init__(self, *, session_timeout_s: float = _SESSION_TIMEOUT_S) -> None:
        """`session_timeout_s`: what members are told; nothing here counts it."""
        self.session_timeout_s = session_timeout_s
        self._groups: dict[str, _Group] = {}
        self._reserved: set[str] = set()
        self._frozen: dict[str, asyncio.Event] = {}
        self._ids = 0
        self.is_down = False
        """Every request is answered by nobody; members stay what they are."""

    def member(self, group: str, participant: GroupParticipant) -> GroupMember:
        """Return a new member; `run` lets it take part."""
        return GroupMember(MemoryCoordinator(self, group), participant)

    # The test's hands

    def members(self, group: str) -> Mapping[str, bytes]:
        """Return the members in the order in which they came, with their metadata."""
        return {name: each.metadata for name, each in self._group(group).members.items()}

    def expire(self, group: str, member_id: str) -> None:
        """Let a member's session run out: it is expelled, the others begin a rebalance."""
        self.remove(group, member_id)

    def freeze(self, member_id: str) -> None:
        """Let the member's requests and the answers to them wait for `thaw`."""
        self._frozen[member_id] = asyncio.Event()

    def thaw(self, member_id: str) -> None:
        """Let them go on."""
        self._frozen.pop(member_id).set()

    def forget(self, group: str) -> None:
        """Forget the group, as a coordinator does that keeps nothing over a restart."""
        for member_id in list(self._group(group).members):
            self.remove(group, member_id)
        del self._groups[group]

    def reserve(self, group: str) -> None:
        """Let other programs have this group id: whoever joins is refused."""
        self._reserved.add(group)

    # The requests, as `MemoryCoordinator` makes them

    async def reach(self, member_id: str) -> None:
        """Wait while the member is frozen. Raises: CoordinatorAway."""
        await asyncio.sleep(0)  # callers must not count on an answer without a pause
        while (thawed := self._frozen.get(member_id)) is not None:
            await thawed.wait()
        if self.is_down:
            raise CoordinatorAway("the coordinator is down")

    def join(self, name: str, member_id: str, metadata: bytes) -> asyncio.Future[Joined]:
        """Let a member wait for the next generation, which begins once all have joined."""
        if name in self._reserved:
            raise GroupRefused(f"group {name}: other programs use this id")
        group = self._group(name)
        if not member_id:
            self._ids += 1
            member_id = f"member-{self._ids}"
            group.members[member_id] = _Member()
        member = self._known(group, member_id)
        answer: asyncio.Future[Joined] = asyncio.get_running_loop().create_future()
        is_same = member.metadata == metadata and member_id != group.leader
        if group.phase is not _Phase.JOINING and is_same and group.generation:
            answer.set_result(Joined(group.generation, member_id, None))
            return answer
        member.metadata, member.joining = metadata, answer
        self._rebalance(group)
        return answer

    def sync(
        self, name: str, generation: int, member_id: str, told: Mapping[str, bytes] | None
    ) -> asyncio.Future[bytes]:
        """Let a member wait for the leader's assignments, or take them from it."""
        group = self._group(name)
        member = self._known(group, member_id, generation)
        if group.phase is _Phase.JOINING:
            raise GenerationEnded("a rebalance has begun")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if group.phase is _Phase.SYNCING and member_id == group.leader:
            for each_id, each in group.members.items():
                each.assignment = (told or {}).get(each_id, b"")
                if each.syncing is not None and not each.syncing.done():
                    each.syncing.set_result(each.assignment)
                each.syncing = None
            group.phase = _Phase.STABLE
        if group.phase is _Phase.STABLE:
            answer.set_result(member.assignment)
        else:
            member.syncing = answer
        return answer

    def heartbeat(self, name: str, generation: int, member_id: str) -> None:
        """Say whether the member is one, and whether a rebalance has begun."""
        group = self._group(name)
        self._known(group, member_id, generation)
        if group.phase is _Phase.JOINING:
            raise GenerationEnded("a rebalance has begun")

    def remove(self, name: str, member_id: str) -> None:
        """Take a member out; the others begin a rebalance."""
        group = self._group(name)
        member = group.members.pop(member_id, None)
        if member is None:
            return
        for answer in (member.joining, member.syncing):
            if answer is not None and not answer.done():
                answer.set_exception(MemberUnknown("expelled"))
        if group.members:
            self._rebalance(group)
        else:
            group.phase = _Phase.STABLE

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())

    def _known(self, group: _Group, member_id: str, generation: int | None = None) -> _Member:
        member = group.members.get(member_id)
        if member is None:
            raise MemberUnknown(member_id)
        if generation is not None and generation != group.generation:
            raise GenerationEnded(f"generation {generation}")
        return member

    def _rebalance(self, group: _Group) -> None:
        """Begin a rebalance unless there is one, and end it if nobody is waited for."""
        group.phase = _Phase.JOINING
        for member in group.members.values():
            if member.syncing is not None and not member.syncing.done():
                member.syncing.set_exception(GenerationEnded("a rebalance has begun"))
            member.syncing = None
        if any(member.joining is None for member in group.members.values()):
            return
        group.generation += 1
        group.phase = _Phase.SYNCING
        if group.leader not in group.members:
            group.leader = next(iter(group.members))
        metadata = {member_id: each.metadata for member_id, each in group.members.items()}
        for member_id, member in group.members.items():
            told = metadata if member_id == group.leader else None
            if member.joining is not None and not member.joining.done():  # else it was cancelled
                member.joining.set_result(Joined(group.generation, member_id, told))
            member.joining, member.assignment = None, b""


class MemoryCoordinator:
    """`Coordinator` of one member."""

    def __init__(self, groups: MemoryGroups, group: str) -> None:
        self._groups = groups
        self._group = group

    @property
    def session_timeout_s(self) -> float:
        return self._groups.session_timeout_s

    async def join(self, member_id: str, metadata: bytes) -> Joined:
        await self._groups.reach(member_id)
        joined = await self._groups.join(self._group, member_id, metadata)
        await self._groups.reach(joined.member_id)
        return joined

    async def sync(
        self, generation: int, member_id: str, assignments: Mapping[str, bytes] | None
    ) -> bytes:
        await self._groups.reach(member_id)
        assignment = await self._groups.sync(self._group, generation, member_id, assignments)
        await self._groups.reach(member_id)
        return assignment

    async def heartbeat(self, generation: int, member_id: str) -> None:
        await self._groups.reach(member_id)
        self._groups.heartbeat(self._group, generation, member_id)
        await self._groups.reach(member_id)

    async def leave(self, member_id: str) -> None:
        await self._groups.reach(member_id)
        self._groups.remove(self._group, member_id)

    async def close(self) -> None:
        return
