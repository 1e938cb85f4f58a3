"""Nodes among others: starts, joins, stops, crashes, cuts - in virtual time.

Over 400 lines: one story after another.
"""

from __future__ import annotations

import asyncio

import pytest

from eventstore.codec import ClaimBody
from eventstore.errors import GroupRefused
from eventstore.log import TopicPartition
from spawn.cluster.choice import Standing
from spawn.errors import Fenced
from spawn.membership.roll import Roll
from tests.unit.membership.system import GROUP, TOPIC, Running, System, entry

_DEAD = b"d" * 16


def _standing(running: Running, of: str) -> str:
    node = running.membership.at_endpoint(of)
    assert node is not None, f"{of} is not known"
    return node.standing.value


def test_a_node_that_starts_alone_serves_everything_at_once() -> None:
    """It waits neither for the group nor for anybody."""
    system = System()
    system.groups.is_down = True

    async def story() -> None:
        node = system.start("a")
        took = await system.until(lambda: system.is_whole, 1.0)
        assert took < 0.1
        assert node.membership.not_ready() == []
        assert system.claims == 6

    system.run(story)


def test_a_dead_entry_that_refuses_costs_a_start_nothing() -> None:
    """Its host answers that nobody listens there."""
    system = System()

    async def story() -> None:
        system.put_on_roll(entry("dead", _DEAD))
        node = system.start("a")
        assert await system.until(lambda: system.is_whole, 1.0) < 0.3
        assert _standing(node, "dead") == Standing.UNMET

    system.run(story)


def test_a_dead_entry_that_is_silent_is_waited_for_once() -> None:
    """It may live: nothing is claimed from it before it had its time."""
    system = System()

    async def story() -> None:
        system.put_on_roll(entry("dead", _DEAD))
        system.isolate("dead", "a")
        node = system.start("a")
        await asyncio.sleep(3.5)
        assert node.serves == []
        assert node.membership.not_ready()
        assert await system.until(lambda: system.is_whole, 2.0) < 1.0

    system.run(story)


def test_a_node_that_starts_again_at_its_endpoint_takes_the_place_of_its_old_entry() -> None:
    """Though that stands on the roll for a while: nobody takes the new process for the old one."""
    system = System()

    async def story() -> None:
        system.start("a")
        system.start("b")
        await system.until(lambda: system.is_even, 10.0)
        system.kill("a")
        await asyncio.sleep(0.05)
        system.start("a")
        await system.until(lambda: system.is_even, 12.0)
        assert system.on_roll == ["a", "b", "a"]
        claims = system.claims
        await asyncio.sleep(20.0)
        assert system.claims == claims, "somebody took the new process for the old one"
        await system.until(lambda: system.on_roll == ["b", "a"], 30.0)
        assert system.is_even

    system.run(story)


def test_a_lone_node_that_starts_again_serves_everything_at_once() -> None:
    """Its own old entry is no other node."""
    system = System()
    system.groups.is_down = True

    async def story() -> None:
        system.start("a")
        await system.until(lambda: system.is_whole, 1.0)
        system.kill("a")
        system.start("a")
        assert await system.until(lambda: system.is_whole, 2.0) < 0.7

    system.run(story)


def test_two_that_start_at_once_share_everything() -> None:
    """At least one sees the other, and the group does the rest."""
    system = System()

    async def story() -> None:
        system.start("a")
        system.start("b")
        await system.until(lambda: system.is_whole, 2.0)
        await system.until(lambda: system.is_even, 10.0)

    system.run(story)


def test_a_node_that_joins_gets_its_share_by_planned_moves() -> None:
    """Each costs one Release and one claim; nothing is taken by force."""
    system = System()

    async def story() -> None:
        system.start("a")
        await system.until(lambda: system.is_whole, 1.0)
        system.start("b")
        await system.until(lambda: system.is_even, 10.0)
        assert (system.claims, system.releases) == (9, 3)
        system.start("c")
        await system.until(lambda: system.is_even, 10.0)
        assert (system.claims, system.releases) == (11, 5)
        await asyncio.sleep(30.0)
        assert (system.claims, system.releases) == (11, 5)

    system.run(story)


@pytest.mark.parametrize("is_grouped", [True, False])
def test_a_node_that_stops_hands_everything_over_before(*, is_grouped: bool) -> None:
    """Also without a group; and it is off the roll."""
    system = System()
    system.groups.is_down = not is_grouped

    async def story() -> None:
        system.start("a")
        await system.until(lambda: system.is_whole, 1.0)
        for name in ("b", "c"):
            system.start(name)
        if is_grouped:
            await system.until(lambda: system.is_even, 10.0)
        else:
            await asyncio.sleep(1.0)
        claims, releases, share = system.claims, system.releases, len(system.nodes["a"].serves)
        began = system.loop.now
        await system.stop("a")
        assert system.loop.now - began < 3.0
        await system.until(lambda: system.is_whole, 0.3)
        assert system.releases - releases == share
        assert system.claims - claims == share
        assert system.on_roll == ["b", "c"]

    system.run(story)


def test_the_last_node_stops_without_heirs() -> None:
    """Nobody is waited for."""
    system = System()

    async def story() -> None:
        system.start("a")
        await system.until(lambda: system.is_whole, 1.0)
        began = system.loop.now
        await system.stop("a")
        assert system.loop.now - began < 1.0
        assert system.releases == 6
        assert system.on_roll == []

    system.run(story)


@pytest.mark.parametrize("is_grouped", [True, False])
def test_a_node_that_dies_is_replaced_within_a_second(*, is_grouped: bool) -> None:
    """Its peers find out by themselves."""
    system = System()

    async def story() -> None:
        for name in ("a", "b", "c"):
            system.start(name)
        await system.until(lambda: system.is_even, 10.0)
        system.groups.is_down = not is_grouped
        system.kill("b")
        assert await system.until(lambda: system.is_whole, 2.0) < 1.0

    system.run(story)


def test_the_leader_erases_nodes_that_are_gone() -> None:
    """Not at once: one that is only cut off comes back."""
    system = System()

    async def story() -> None:
        system.put_on_roll(entry("dead", _DEAD))
        system.start("a")
        system.start("b")
        await system.until(lambda: system.is_even, 10.0)
        assert "dead" in system.on_roll
        await asyncio.sleep(45.0)
        assert system.on_roll == ["a", "b"]

    system.run(story)


def test_who_was_erased_writes_itself_down_again() -> None:
    """It lives, and says so."""
    system = System()

    async def story() -> None:
        node = system.start("a")
        await system.until(lambda: system.is_whole, 1.0)
        with system.loop.inside(node.process):
            await node.membership._plan.roll.erase([node.node.context.owner], 0)
        assert system.on_roll == []
        await system.until(lambda: system.on_roll == ["a"], 6.0)

    system.run(story)


def test_all_works_while_the_groups_coordinator_is_away() -> None:
    """Starts, crashes and stops; shares are not even, since nobody says what is whose."""
    system = System()
    system.groups.is_down = True

    async def story() -> None:
        for name in ("a", "b", "c"):
            system.start(name)
        await system.until(lambda: system.is_whole, 4.0)
        victim = max(system.shares, key=lambda name: len(system.shares[name]))
        system.kill(victim)
        await system.until(lambda: system.is_whole, 2.0)
        await system.stop(min(system.nodes))
        await system.until(lambda: system.is_whole, 1.0)
        system.groups.is_down = False
        system.start("d")
        await system.until(lambda: system.is_even, 10.0)

    system.run(story)


def test_a_group_that_other_programs_use_ends_a_start() -> None:
    """The error is told, not swallowed."""
    system = System()
    system.groups.reserve(GROUP)

    async def story() -> None:
        node = system.start("a")
        assert node.task is not None
        await asyncio.wait_for(node.task, 2.0)
        assert any(isinstance(each, GroupRefused) for each in _flat(node.errors))

    system.run(story)


def _flat(errors: list[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in errors:
        inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        found += _flat(list(inner)) if inner else [error]
    return found


def test_claims_by_a_node_that_is_new_on_the_roll_end_nobody() -> None:
    """Who stood still may lose several partitions before it has read who came meanwhile."""
    system = System()

    async def story() -> None:
        node = system.start("a")
        await system.until(lambda: system.is_whole, 1.0)
        newer = entry("n", b"n" * 16)
        await Roll(system.log, "shop").write(newer, 0)
        for partition in range(5):
            node.membership.taken(TopicPartition(TOPIC, partition), _claim(newer.node_id))
        await asyncio.sleep(2.0)
        assert node.errors == []

    system.run(story)


def test_claims_from_outside_end_a_node_that_meets_them_again_and_again() -> None:
    """Not the first two times, however many partitions they take."""
    system = System()

    async def story() -> None:
        node = system.start("a")
        await system.until(lambda: system.is_whole, 1.0)
        for times in range(3):
            assert node.errors == [], f"after {times} times"
            for partition in range(6):
                node.membership.taken(TopicPartition(TOPIC, partition), _claim(b"o" * 16))
            await asyncio.sleep(1.0)
        assert any(isinstance(each, Fenced) for each in _flat(node.errors))

    system.run(story)


def _claim(owner: bytes) -> ClaimBody:
    return ClaimBody("shop", owner, "n", "assigned")


def test_a_node_without_the_log_says_so_and_others_serve_in_its_place() -> None:
    """Back, it asks for its share again: a planned move."""
    system = System()

    async def story() -> None:
        for name in ("a", "b"):
            system.start(name)
        await system.until(lambda: system.is_even, 10.0)
        cut = system.nodes["a"]
        cut.log.is_cut = True
        await system.until(lambda: len(system.shares["b"]) == 6, 3.0)
        assert _standing(system.nodes["b"], "a") == Standing.UNFIT
        assert cut.membership.not_ready() == [], "it forwards what comes to it"
        await system.until(lambda: system.is_whole, 5.0)
        cut.log.is_cut = False
        await system.until(lambda: system.is_even, 8.0)

    system.run(story)


def test_all_nodes_without_the_log_stay_where_they_are() -> None:
    """There is nobody who could take over."""
    system = System()

    async def story() -> None:
        for name in ("a", "b"):
            system.start(name)
        await system.until(lambda: system.is_even, 10.0)
        shares = system.shares
        for node in system.nodes.values():
            node.log.is_cut = True
        await asyncio.sleep(5.0)
        for node in system.nodes.values():
            node.log.is_cut = False
        await system.until(lambda: system.is_even, 8.0)
        assert system.shares == shares

    system.run(story)


def test_two_that_cannot_reach_each_other_find_an_end() -> None:
    """The others reach both; who is assigned gets its share, and then nobody claims any more."""
    system = System()

    async def story() -> None:
        for name in ("a", "b"):
            system.start(name)
        await system.until(lambda: system.is_even, 10.0)
        system.isolate("a", "b")
        await asyncio.sleep(20.0)
        claims = system.claims
        await asyncio.sleep(60.0)
        assert system.claims == claims
        assert system.is_even
        system.cut.clear()
        await asyncio.sleep(10.0)
        assert system.is_even

    system.run(story)


def test_a_joining_node_that_does_not_reach_an_owner_waits_for_it_a_while_only() -> None:
    """Then it claims what it was given; whoever else it reaches is asked."""
    system = System()

    async def story() -> None:
        for name in ("a", "b"):
            system.start(name)
        await system.until(lambda: system.is_even, 10.0)
        system.isolate("a", "c")
        system.start("c")
        await system.until(lambda: system.is_even, 25.0)
        await asyncio.sleep(10.0)
        claims = system.claims
        await asyncio.sleep(60.0)
        assert system.claims == claims
        assert system.is_even

    system.run(story)


def test_a_frozen_node_wakes_up_without_what_others_took() -> None:
    """It hears of their claims, whether or not it appends anything, and asks for its share."""
    system = System()

    async def story() -> None:
        for name in ("a", "b", "c"):
            system.start(name)
        await system.until(lambda: system.is_even, 10.0)
        frozen = system.nodes["b"]
        system.loop.freeze(frozen.process)
        await system.until(lambda: system.is_whole, 3.0)
        await asyncio.sleep(1.0)
        system.loop.thaw(frozen.process)
        await system.until(lambda: system.is_even, 5.0)
        claims = system.claims
        await asyncio.sleep(30.0)
        assert system.claims == claims

    system.run(story)


def test_an_owner_gives_a_partition_to_one_of_those_who_ask() -> None:
    """Two that were both told `released` would claim against each other."""
    system = System()
    system.groups.is_down = True

    async def story() -> None:
        system.start("a")
        await system.until(lambda: system.is_whole, 1.0)
        for name in ("b", "c"):
            system.start(name)
        await asyncio.sleep(0.5)
        for name in ("b", "c"):
            member = system.nodes[name]
            with system.loop.inside(member.process):
                member.membership._assigned(member.membership._places)
        with system.loop.inside(system.nodes["a"].process):
            system.nodes["a"].membership._unassigned()
        await system.until(lambda: system.is_whole and not system.nodes["a"].serves, 5.0)
        assert system.claims == 12

    system.run(story)


def test_an_entry_of_a_dead_process_that_is_written_late_displaces_nobody() -> None:
    """Who answers counts; and the live one writes itself down once more."""
    system = System()

    async def story() -> None:
        system.start("a")
        system.start("b")
        await system.until(lambda: system.is_even, 10.0)
        claims = system.claims
        system.put_on_roll(entry("b", _DEAD))
        await asyncio.sleep(12.0)
        assert list(system.nodes["a"].membership._members)[-1] != _DEAD
        assert system.claims == claims
        assert system.is_even

    system.run(story)
