"""Consumer groups in memory: the contract, and what the test does to them."""

import asyncio
import random
import threading
from collections.abc import Mapping

import pytest

from eventstore.errors import GroupRefused
from eventstore.group_member import GroupMember
from eventstore.memory_group import MemoryGroups
from tests.contract.group_contract import (
    GroupContract,
    Participant,
    Taking,
    new_group,
    taking_part,
    until,
)


class MemoryGroup:
    """One group; a killed member's session runs out at once."""

    rebalance_s = 1.0

    def __init__(self, session_s: float = 2.0) -> None:
        self.session_s = session_s
        self.groups = MemoryGroups(session_timeout_s=session_s)
        self.name = new_group()

    def member(self, participant: Participant) -> GroupMember:
        return self.groups.member(self.name, participant)

    async def expel(self, member_id: str) -> None:
        self.groups.expire(self.name, member_id)

    def killed(self, member_id: str) -> None:
        self.groups.expire(self.name, member_id)


@pytest.fixture
def group() -> MemoryGroup:
    """An empty group."""
    return MemoryGroup()


class TestMemoryGroup(GroupContract):
    """The contract."""

    cancelled_after = ()  # see below: who was cancelled is not expelled by itself


async def test_a_member_cancelled_while_it_joins_holds_up_nobody_once_expelled(
    group: MemoryGroup,
) -> None:
    """At whichever step: the others go on without it."""
    a = Taking(group, "a")
    await a.has("a")
    for turns in range(8):
        b = Taking(group, "b")
        for _ in range(turns):
            await asyncio.sleep(0)
        await b.kill()
        for member_id, name in group.groups.members(group.name).items():
            if name == b"b":
                group.groups.expire(group.name, member_id)
        await a.has("a")
    await a.kill()


@pytest.mark.parametrize("seed", range(6))
async def test_after_any_trouble_the_living_agree(seed: int) -> None:
    """Members come, die, leave, freeze and change, the coordinator goes and forgets: then quiet."""
    group, dice = MemoryGroup(session_s=0.3), random.Random(seed)
    living = [Taking(group, f"m{number}") for number in range(4)]
    frozen: list[str] = []
    for number in range(60):
        taking = dice.choice(living)
        ids = [each.member_id for each in taking.seen.generations[-1:]]
        match dice.randrange(8):
            case 0 if len(living) < 7:
                living.append(Taking(group, f"n{number}"))
            case 1 if len(living) > 2:
                living.remove(taking)
                await taking.kill()
            case 2 if len(living) > 2:
                living.remove(taking)
                leaving = asyncio.get_running_loop().create_task(taking.member.leave())
                await asyncio.sleep(0)
                taking.task.cancel() if dice.random() < 0.3 else None
                await asyncio.wait([leaving, taking.task])
                group.groups.expire(group.name, ids[0]) if ids else None
            case 3 if ids and ids[0] not in frozen:
                frozen.append(ids[0])
                group.groups.freeze(ids[0])
            case 4:
                for member_id in frozen[:1]:
                    frozen.remove(member_id)
                    group.groups.thaw(member_id)
            case 5:
                taking.seen.name += "'"
                taking.member.rejoin()
            case 6:
                group.groups.is_down = not group.groups.is_down
            case 7 if dice.random() < 0.3:
                group.groups.forget(group.name)
            case _:
                for member_id in ids:
                    group.groups.expire(group.name, member_id)
        await asyncio.sleep(dice.choice([0, 0, 0.001, 0.02]))
    group.groups.is_down = False
    for member_id in frozen:
        group.groups.thaw(member_id)
    names = sorted(taking.seen.name for taking in living)
    for member_id, name in group.groups.members(group.name).items():
        known = {taking.member._member_id for taking in living}
        if name.decode() not in names or member_id not in known:
            group.groups.expire(group.name, member_id)
    for taking in living:
        taking.member.rejoin()
    for taking in living:
        await taking.has(*names)
    assert sum(taking.member.status().is_leader for taking in living) == 1
    for taking in living:
        await taking.kill()


async def test_a_frozen_member_learns_that_it_was_expelled(group: MemoryGroup) -> None:
    """By the clock when its session is over, or else from the coordinator; once, not twice."""
    async with taking_part(group, "a", "b") as (a, b):
        member_id = b.seen.generations[-1].member_id
        group.groups.freeze(member_id)
        await until(lambda: b.seen.losses != [], group.session_s + 1)
        assert b.seen.losses == ["the group's coordinator was silent for 2 s"]
        assert b.member.status().generation is None
        group.groups.expire(group.name, member_id)
        await a.has("a")
        group.groups.thaw(member_id)
        await b.has("a", "b")
        assert len(b.seen.losses) == 1


async def test_who_was_kept_over_a_silence_goes_on(group: MemoryGroup) -> None:
    """A coordinator that was away for long may count the sessions anew: the same generation."""
    async with taking_part(group, "a", "b") as takings:
        before = [taking.seen.generations[-1] for taking in takings]
        group.groups.is_down = True
        for taking in takings:
            await taking.shows(lambda each: each.seen.losses != [], group.session_s + 1)
            assert "down" in taking.member.status().failure
        group.groups.is_down = False
        for taking, generation in zip(takings, before, strict=True):
            await taking.shows(lambda each: each.member.status().generation is not None)
            assert taking.seen.generations[-2:] == [generation, generation]


async def test_a_forgotten_group_is_joined_anew(group: MemoryGroup) -> None:
    """As on a broker that keeps no groups over a restart: generations begin anew."""
    async with taking_part(group, "a", "b") as takings:
        group.groups.forget(group.name)
        for taking in takings:
            await taking.shows(lambda each: each.seen.losses != [])
        for taking in takings:
            await taking.has("a", "b")


async def test_a_group_of_other_programs_is_refused(group: MemoryGroup) -> None:
    """At the start it ends `run`; who was in before tries on, and says why."""
    async with taking_part(group, "a") as (a,):
        group.groups.reserve(group.name)
        with pytest.raises(GroupRefused, match="other programs"):
            await group.member(Participant("b")).run()
        a.member.rejoin()
        await until(lambda: "other programs" in a.member.status().failure)
        assert not a.task.done()


async def test_a_leader_that_dies_before_it_has_assigned_is_followed_by_another(
    group: MemoryGroup,
) -> None:
    """The others wait for its assignments; when it is expelled, they begin anew."""
    async with taking_part(group, "a", "b", "c") as (a, b, c):
        leader_id = a.seen.generations[-1].member_id
        b.seen.name = "b2"
        b.member.rejoin()
        await until(lambda: len(a.seen.led) == 4, 2)
        group.groups.freeze(leader_id)
        await until(lambda: a.seen.losses != [], group.session_s + 1)
        group.groups.expire(group.name, leader_id)
        await b.has("b2", "c")
        await c.has("b2", "c")
        group.groups.thaw(leader_id)
        await a.has("a", "b2", "c")


async def test_an_error_of_the_participant_ends_it(group: MemoryGroup) -> None:
    """It is ours: hiding it would leave a group that never agrees."""

    class Broken(Participant):
        def assign(self, members: object) -> dict[str, bytes]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await group.member(Broken("a")).run()


async def test_a_large_group_is_assigned_in_a_thread(group: MemoryGroup) -> None:
    """It may take a second, and the loop has requests to serve."""
    threads: dict[int, str] = {}

    class Large(Participant):
        def assign(self, members: Mapping[str, bytes]) -> Mapping[str, bytes]:
            threads[len(members)] = threading.current_thread().name
            return super().assign(members)

    members = [group.member(Large(str(number))) for number in range(60)]
    async with asyncio.TaskGroup() as tasks:
        for member in members:
            tasks.create_task(member.run())
        await until(lambda: len(group.groups.members(group.name)) == 60)
        await until(lambda: all(member.status().generation for member in members))
        assert threads[60].startswith("asyncio_")
        for member in members:
            tasks.create_task(member.leave())


async def test_news_while_joining_are_joined_with_later(group: MemoryGroup) -> None:
    """Metadata that change between a join and its answer reach the leader by another one."""

    class Changing(Participant):
        def assign(self, members: Mapping[str, bytes]) -> Mapping[str, bytes]:
            if self.name == "a":
                self.name = "a2"
                member.rejoin()
            return super().assign(members)

    seen = Changing("a")
    member = group.member(seen)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(member.run())
        await until(lambda: seen.assignment == "a2 of a2")
        await member.leave()
    assert [each.generation for each in seen.generations] == [1, 2]
