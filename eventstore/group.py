"""Port of the consumer group: who is there, and who should do what (design 3.3).

A group says who should own a partition; nothing of safety rests on it, which is the log protocol's.
So nothing here asks anybody to stop: a rebalance is news, and what was served goes on being served
until a new assignment has been carried out.

`GroupMember` (`group_member`) takes part through a `Coordinator`: the broker's (`kafka_group`), or
one in memory that a test drives (`memory_group`). One contract suite holds both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

__all__ = [
    "GROUP_KIND",
    "Coordinator",
    "CoordinatorAway",
    "GenerationEnded",
    "GroupGeneration",
    "GroupMembership",
    "GroupParticipant",
    "GroupStatus",
    "Joined",
    "MemberUnknown",
]


GROUP_KIND: Final = "spawn"
"""The protocol type of our groups: their members can't be in a group with consumers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupGeneration:
    """One agreement of the group: who is in it, and what the leader gave to this member."""

    generation: int
    """Grows with each; begins anew where the coordinator has forgotten the group."""
    member_id: str
    """Ours; the coordinator gives a new one to a member that it has expelled."""
    assignment: bytes
    """What the leader's `assign` returned for us; empty if it returned nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatus:
    """What a supervisor wants to know (design 3.4)."""

    generation: GroupGeneration | None
    """None: not a member (yet, any more), or the coordinator was silent for a session's length."""
    is_leader: bool
    heartbeat_age_s: float | None
    """Seconds since the last request was sent that the coordinator answered well; None: none yet.
    Counted from the sending, so the coordinator can't have heard of us later than it says."""
    failure: str
    """Why the last attempt failed; empty after a success."""


class GroupParticipant(Protocol):
    """Who takes part. Its methods are called one at a time, neither block nor raise."""

    def metadata(self) -> bytes:
        """Return what the leader is to know of us. Asked for before each join."""
        ...

    def assign(self, members: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Return each member's assignment, by member id, from their metadata.

        Asked of one member, the leader, in each generation. It may run in a thread of its own
        (large groups), so it touches nothing but what it is given. What a member says of itself may
        be unreadable; an error raised here ends `run`.
        """
        ...

    def began(self, generation: GroupGeneration) -> None:
        """Take note of a new generation; or of the same one again, after a `lost`."""
        ...

    def lost(self, reason: str) -> None:
        """Take note that we count as gone: expelled, or silent for a session's length.

        Others may be given what was ours. `run` goes on and joins again by itself.
        """
        ...


class GroupMembership(Protocol):
    """Taking part in one group. Used on one event loop."""

    async def run(self) -> None:
        """Take part until cancelled, or until `leave`; it never gives up.

        Cancelled, it ends without a word: to the others it looks like a crash.

        Raises:
            GroupRefused: before the first generation, a refusal that stays one: the group id is
                used by other programs, or may not be used by us. Later such a refusal is in
                `status` and the attempt is repeated.
        """
        ...

    def rejoin(self) -> None:
        """Say that our metadata changed: a new generation begins with it, soon.

        That is a rebalance for everybody. What changes all the time (partitions held) is asked for
        at the next one anyway.
        """
        ...

    async def leave(self) -> None:
        """Leave as planned and for good: the others are told at once, and `run` returns.

        Waits for the coordinator a moment only; if it does not answer, our session ends by itself.
        """
        ...

    def status(self) -> GroupStatus:
        """Return how it stands now."""
        ...


class Joined(NamedTuple):
    """The coordinator's answer to a join: a generation has begun, its assignment is still open."""

    generation: int
    member_id: str
    members: Mapping[str, bytes] | None
    """Of the leader: everybody's metadata. Of the others: None."""


class CoordinatorAway(Exception):
    """No answer that helps: try again later."""


class MemberUnknown(Exception):
    """The coordinator has expelled us, or has forgotten the group."""


class GenerationEnded(Exception):
    """The generation is over or about to end: join again, under the same member id."""


class Coordinator(Protocol):
    """The group's coordinator, as one member sees it.

    One request is under way at a time. All but `close` raise CoordinatorAway; cancelling one leaves
    its outcome open, and the next request does not queue behind it.
    """

    @property
    def session_timeout_s(self) -> float:
        """A member that was not heard of for so long is expelled; known at the latest after `join`.

        A join or sync under way counts as being heard of.
        """
        ...

    async def join(self, member_id: str, metadata: bytes) -> Joined:
        """Join, or join again (an empty `member_id`: for the first time); answered once all have.

        Raises: MemberUnknown, GenerationEnded, GroupRefused.
        """
        ...

    async def sync(
        self, generation: int, member_id: str, assignments: Mapping[str, bytes] | None
    ) -> bytes:
        """Return our assignment; the leader brings those of all, the others wait for it.

        Raises: MemberUnknown, GenerationEnded, GroupRefused.
        """
        ...

    async def heartbeat(self, generation: int, member_id: str) -> None:
        """Say that we live.

        Raises: MemberUnknown, GenerationEnded, GroupRefused.
        """
        ...

    async def leave(self, member_id: str) -> None:
        """Say that we go; one who is not known has gone already."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
