"""What every consumer group holds: the contract suite, and a participant that keeps what it sees.

Not collected by itself: each implementation's test module inherits `GroupContract` and gives it a
fixture `group`.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol, Self

import pytest

from eventstore.group import GroupGeneration
from eventstore.group_member import GroupMember

# On a busy machine a rebalance takes a second; what takes a session has limits of its own.
SOON_S = 10.0
_GOODBYE_S = 2.5


def new_group() -> str:
    """Return a group id that no test used before."""
    return f"spawn.test-{uuid.uuid4().hex}"


class Participant:
    """Keeps what it is told, and as leader gives each member the list of all."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.generations: list[GroupGeneration] = []
        self.losses: list[str] = []
        self.led: list[Mapping[str, bytes]] = []

    def metadata(self) -> bytes:
        return self.name.encode()

    def assign(self, members: Mapping[str, bytes]) -> Mapping[str, bytes]:
        self.led.append(members)
        everybody = b",".join(sorted(members.values()))
        return {member_id: name + b" of " + everybody for member_id, name in members.items()}

    def began(self, generation: GroupGeneration) -> None:
        self.generations.append(generation)

    def lost(self, reason: str) -> None:
        self.losses.append(reason)

    @property
    def assignment(self) -> str:
        """The newest one."""
        return self.generations[-1].assignment.decode() if self.generations else ""


class Group(Protocol):
    """A group under test."""

    @property
    def session_s(self) -> float:
        """The session time-out."""
        ...

    @property
    def rebalance_s(self) -> float:
        """A rebalance takes so long at most if all members live."""
        ...

    def member(self, participant: Participant) -> GroupMember:
        """Return a new member."""
        ...

    async def expel(self, member_id: str) -> None:
        """Let the coordinator expel a member that lives."""
        ...

    def killed(self, member_id: str) -> None:
        """Take note that a member will never be heard of again."""
        ...


async def until(condition: Callable[[], bool], within_s: float = SOON_S) -> None:
    """Wait for a condition. Raises: TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


class Taking:
    """A member that takes part in a task of its own."""

    def __init__(self, group: Group, name: str) -> None:
        self.group = group
        self.seen = Participant(name)
        self.member = group.member(self.seen)
        self.task = asyncio.get_running_loop().create_task(self.member.run())

    async def has(self, *names: str, within_s: float = SOON_S) -> None:
        """Wait until it is in a generation of exactly these members."""
        wanted = f"{self.seen.name} of {','.join(sorted(names))}"
        try:
            await until(lambda: self.task.done() or self.seen.assignment == wanted, within_s)
        except TimeoutError:
            pytest.fail(f"{self.seen.assignment!r}, not {wanted!r}; {self.member.status()}")
        if self.task.done():
            await self.task

    async def shows(self, condition: Callable[[Self], bool], within_s: float = SOON_S) -> None:
        """Wait until something holds of it. Raises: TimeoutError."""
        await until(lambda: condition(self), within_s)

    async def kill(self) -> None:
        """End it without a word."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        assert self.member.status().generation is None
        if self.seen.generations:
            self.group.killed(self.seen.generations[-1].member_id)

    @property
    def generation(self) -> int:
        """The newest."""
        return self.seen.generations[-1].generation


@contextlib.asynccontextmanager
async def taking_part(group: Group, *names: str) -> AsyncIterator[list[Taking]]:
    """Let members take part until the end of the block, begun one after the other."""
    takings: list[Taking] = []
    try:
        for count, name in enumerate(names, 1):
            takings.append(Taking(group, name))
            for taking in takings:
                await taking.has(*names[:count])
        yield takings
    finally:
        for taking in takings:
            await taking.kill()


class GroupContract:
    """The suite."""

    cancelled_after: Sequence[int] = (0, 1, 3, 8, 40)
    """A member's first join is cut off after so many times 2 ms."""

    @pytest.mark.parametrize("count", [1, 2, 3])
    async def test_members_that_come_at_once_agree(self, group: Group, count: int) -> None:
        """One leads; its assignments, made from what all say of themselves, reach all."""
        names = ["a", "b", "c"][:count]
        takings = [Taking(group, name) for name in names]
        for taking in takings:
            await taking.has(*names)
        generations = {taking.generation for taking in takings}
        assert len(generations) == 1
        assert sum(taking.member.status().is_leader for taking in takings) == 1
        assert len({taking.seen.generations[-1].member_id for taking in takings}) == count
        for taking in takings:
            await taking.kill()

    async def test_a_member_that_comes_disturbs_nobody(self, group: Group) -> None:
        """The others learn of a new generation; nobody is told of a loss."""
        async with taking_part(group, "a", "b", "c") as takings:
            for taking in takings:
                numbers = [each.generation for each in taking.seen.generations]
                assert numbers == sorted(set(numbers))
                assert taking.seen.losses == []
                status = taking.member.status()
                assert status.generation == taking.seen.generations[-1]
                assert status.heartbeat_age_s is not None
                assert status.heartbeat_age_s < group.session_s
                assert not status.failure

    async def test_killed_members_are_missed(self, group: Group) -> None:
        """The leader and another one: who is left has all when their sessions have run out."""
        async with taking_part(group, "a", "b", "c") as (a, b, c):
            await a.kill()
            await b.kill()
            await c.has("c", within_s=group.session_s + 2 * group.rebalance_s)
            assert c.member.status().is_leader
            assert c.seen.losses == []

    async def test_who_leaves_is_gone_at_once(self, group: Group) -> None:
        """`run` returns, and the others need not wait for its session."""
        async with taking_part(group, "a", "b", "c") as (a, b, c):
            await asyncio.wait_for(a.member.leave(), _GOODBYE_S)
            await a.task
            await b.has("b", "c", within_s=group.rebalance_s)
            await c.has("b", "c", within_s=group.rebalance_s)
            await c.member.leave()
            await b.has("b", within_s=group.rebalance_s)
            assert a.seen.losses == []
            assert a.member.status().generation is None
            await a.member.leave()  # once more changes nothing

    async def test_who_leaves_after_the_end_is_gone_at_once_too(self, group: Group) -> None:
        """A node that was cancelled may still say goodbye."""
        async with taking_part(group, "a", "b") as (a, b):
            a.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await a.task
            await asyncio.wait_for(a.member.leave(), _GOODBYE_S)
            await b.has("b", within_s=group.rebalance_s)

    async def test_new_metadata_makes_a_new_generation(self, group: Group) -> None:
        """The leader's own, and another member's."""
        async with taking_part(group, "a", "b") as takings:
            for taking in takings:
                taking.seen.name += "2"
                taking.member.rejoin()
                names = [each.seen.name for each in takings]
                for each in takings:
                    await each.has(*names)
            assert [taking.seen.losses for taking in takings] == [[], []]

    async def test_who_was_expelled_is_told_and_comes_back(self, group: Group) -> None:
        """Under a new member id, so that nothing it said before is taken for news."""
        async with taking_part(group, "a", "b") as (a, b):
            before = b.seen.generations[-1]
            await group.expel(before.member_id)
            await until(lambda: len(b.seen.losses) == 1)
            await until(lambda: b.seen.generations[-1] != before)
            await a.has("a", "b")
            await b.has("a", "b")
            assert b.seen.generations[-1].member_id != before.member_id
            assert b.seen.losses == ["the group's coordinator has expelled this member"]
            assert a.seen.losses == []

    async def test_cancelling_leaves_nothing_behind(self, group: Group) -> None:
        """Wherever it happens: no task, and the same member may take part again."""
        async with taking_part(group, "a") as (a,):
            tasks = asyncio.all_tasks()
            for turns in self.cancelled_after:
                taking = Taking(group, "b")
                for _ in range(turns):
                    await asyncio.sleep(0.002)
                await taking.kill()
                taking.task = asyncio.get_running_loop().create_task(taking.member.run())
                await taking.has("a", "b", within_s=group.session_s + 4 * group.rebalance_s)
                await taking.member.leave()
                await taking.task
                await a.has("a", within_s=group.session_s + 4 * group.rebalance_s)
            await until(lambda: asyncio.all_tasks() <= tasks)

    async def test_leaving_ends_a_join_that_waits(self, group: Group) -> None:
        """Somebody who is dead holds up the rebalance, but not those who want to go."""
        async with taking_part(group, "a") as (a,):
            a.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await a.task
            b = Taking(group, "b")
            await asyncio.sleep(0.3)
            await asyncio.wait_for(b.member.leave(), _GOODBYE_S)
            await b.task
            assert b.seen.generations == []

    async def test_who_has_left_before_it_began_takes_no_part(self, group: Group) -> None:
        """`run` returns at once."""
        member = group.member(Participant("a"))
        await member.leave()
        await asyncio.wait_for(member.run(), 1)
        assert member.status().generation is None
