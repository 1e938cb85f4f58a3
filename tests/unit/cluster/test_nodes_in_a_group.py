"""Assignor and group together: nodes that come, go and crash share all partitions."""

import asyncio
import contextlib
from collections.abc import Mapping

from eventstore.group import GroupGeneration
from eventstore.memory_group import MemoryGroups
from spawn.cluster.assignor import lead
from spawn.cluster.members import (
    Member,
    decode_assignment,
    encode_member,
    held_ranges,
)

_TOPICS = {"spawn.shop.Cart": 12, "spawn.shop.Order": 12}


class _Node:
    """Takes over at once what it is given, with the next epoch."""

    def __init__(self, groups: MemoryGroups, number: int, epochs: dict[tuple[str, int], int]):
        self.number = number
        self.epochs = epochs
        self.held: dict[str, dict[int, int]] = {}
        self.member_id = ""
        self.problems: list[str] = []
        self.losses: list[str] = []
        self.member = groups.member("spawn.shop", self)
        self.task = asyncio.get_running_loop().create_task(self.member.run())

    def metadata(self) -> bytes:
        return encode_member(
            Member(
                node_id=bytes([self.number]) * 16,
                mesh="",
                http="",
                release="0.2.0",
                protocol=1,
                protocol_min=1,
                topics=_TOPICS,
                held={topic: held_ranges(each) for topic, each in self.held.items()},
            )
        )

    def assign(self, members: Mapping[str, bytes]) -> Mapping[str, bytes]:
        led = lead(members)
        self.problems += led.problems
        return led.assignments

    def began(self, generation: GroupGeneration) -> None:
        self.member_id = generation.member_id
        assignment = decode_assignment(generation.assignment, _TOPICS)
        before, self.held = self.held, {}
        for topic, partitions in assignment.items():
            mine = self.held[topic] = {}
            for partition in partitions:
                if partition not in before.get(topic, {}):
                    at = (topic, partition)
                    self.epochs[at] = self.epochs.get(at, 0) + 1
                mine[partition] = self.epochs[topic, partition]

    def lost(self, reason: str) -> None:
        self.losses.append(reason)

    @property
    def places(self) -> set[tuple[str, int]]:
        return {(topic, partition) for topic, each in self.held.items() for partition in each}


async def _settle(*nodes: _Node) -> None:
    """Wait until all partitions are shared evenly."""
    everything = sum(_TOPICS.values())
    async with asyncio.timeout(5):
        while True:
            shares = [len(node.places) for node in nodes]
            if sum(shares) == everything and max(shares) - min(shares) <= 1:
                break
            await asyncio.sleep(0.005)
    assert set().union(*(node.places for node in nodes)) == {
        (topic, partition) for topic, count in _TOPICS.items() for partition in range(count)
    }


async def test_nodes_that_come_and_go_share_everything_with_few_moves() -> None:
    """A claim for each partition that has to move, and none besides."""
    groups, epochs = MemoryGroups(session_timeout_s=0.5), dict[tuple[str, int], int]()
    a = _Node(groups, 1, epochs)
    await _settle(a)
    assert sum(epochs.values()) == 24
    b = _Node(groups, 2, epochs)
    await _settle(a, b)
    assert sum(epochs.values()) == 24 + 12
    c = _Node(groups, 3, epochs)
    await _settle(a, b, c)
    assert sum(epochs.values()) == 24 + 12 + 8
    await b.member.leave()
    await _settle(a, c)
    assert sum(epochs.values()) == 24 + 12 + 8 + 8
    a.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await a.task
    groups.expire("spawn.shop", a.member_id)
    await _settle(c)
    assert sum(epochs.values()) == 24 + 12 + 8 + 8 + 12
    await c.member.leave()
    assert a.problems == b.problems == c.problems == []
    assert a.losses == b.losses == c.losses == []
