"""Earlier states of an actor, folded by the node from its records."""

from __future__ import annotations

import pytest

from spawn.errors import NotStarted, UnknownRevision
from tests.integration.runtime.running import Cluster, add


async def test_every_state_there_was_can_be_asked_for() -> None:
    """With its own position; also of what is no longer in memory, and many reads long."""
    cluster = Cluster()
    async with cluster.node() as node:
        for number in range(1_200):
            await add(node, number % 7)
    async with cluster.node() as node:
        for revision in (1, 2, 499, 500, 501, 1_199, 1_200):
            found = await node.state("List", "a", 5.0, revision)
            assert found.revision == revision
            assert found.state == str([n % 7 for n in range(revision)]).encode()
            assert found.position is not None
            assert found.position.offset == revision
        first = await node.state("List", "a", 5.0, 0)
        assert (first.state, first.revision, first.position) == (b"[]", 0, None)


async def test_a_revision_that_is_to_come_is_told() -> None:
    """Also of an actor that was never written."""
    async with Cluster().node() as node:
        await add(node, 1)
        with pytest.raises(UnknownRevision, match="no revision 2 yet, it is at 1"):
            await node.state("List", "a", 5.0, 2)
        with pytest.raises(UnknownRevision, match="it is at 0"):
            await node.state("List", "new", 5.0, 1)


async def test_a_deletion_and_a_life_after_it_are_told_apart() -> None:
    """The state after the deletion is the initial one; a later state knows nothing of before."""
    async with Cluster().node() as node:
        await add(node, 1)
        await node.delete("List", "a", 5.0)
        await add(node, 2)
        await add(node, 3)
        states = [(await node.state("List", "a", 5.0, revision)).state for revision in range(1, 5)]
        assert states == [b"[1]", b"[]", b"[2]", b"[2, 3]"]


async def test_a_long_history_is_read_until_the_deadline() -> None:
    """Then it is told."""
    async with Cluster().node() as node:
        for number in range(50):
            await add(node, number)
        with pytest.raises(NotStarted, match="was not read before the deadline"):
            await node.state("List", "a", 0.0, 2)
