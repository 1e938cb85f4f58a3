"""Numbered requests on a node: one record per number, every copy gets the same answer."""

from __future__ import annotations

import asyncio
import time

import pytest

from eventstore.records import Commit, RequestNumber, decode_prefix
from spawn.errors import InvalidHeader, KeyReused, OutcomeUnknown, Rejected, ReplyGone
from spawn.runtime.clock import SystemClock
from tests.integration.runtime.running import AT, TOPIC, Cluster, call, numbers

SESSION = b"s" * 16


def number(n: int, low: int = 1) -> RequestNumber:
    return RequestNumber(SESSION, n, low, time.time_ns() // 1000)


def commits(cluster: Cluster) -> list[Commit]:
    found = [decode_prefix(record.value) for record in cluster.log.records(AT)]
    return [record for record in found if isinstance(record, Commit)]


async def test_copies_that_arrive_together_are_one_command() -> None:
    """All of them get the answer of the one record."""
    cluster = Cluster()
    async with cluster.node() as node:
        calls = [node.invoke(call("add", b"7", request=number(1))) for _ in range(3)]
        answers = await asyncio.gather(*calls)
        assert [str(answer.position) for answer in answers] == [f"{TOPIC}/0@1"] * 3
        assert await numbers(node, "a") == [7]
    assert len(commits(cluster)) == 1


async def test_a_later_copy_is_answered_from_the_record_also_on_another_node() -> None:
    """Reply, revision and position are the first copy's; nothing is written for it."""
    cluster = Cluster()
    async with cluster.node() as node:
        first = await node.invoke(call("add", b"7", request=number(1)))
        await node.invoke(call("add", b"8", request=number(2)))
        assert await node.invoke(call("add", b"7", request=number(1))) == first
    async with cluster.node() as node:
        assert await node.invoke(call("add", b"7", request=number(1))) == first
        assert await numbers(node, "a") == [7, 8]
    assert len(commits(cluster)) == 2


async def test_a_refusal_is_repeated_from_its_record() -> None:
    """A rejected command's record answers the copy with the same refusal."""
    cluster = Cluster()
    async with cluster.node() as node:
        for _ in range(2):
            with pytest.raises(Rejected, match="never"):
                await node.invoke(call("refuse", request=number(1)))
    assert len(commits(cluster)) == 1


async def test_a_number_used_for_another_actor_is_not_answered_with_a_foreign_reply() -> None:
    """A client that numbers wrongly learns that the number is taken; nothing is run."""
    cluster = Cluster()
    async with cluster.node() as node:
        await node.invoke(call("add", b"7", request=number(1)))
        with pytest.raises(ReplyGone):
            await node.invoke(call("add", b"7", id="b", request=number(1)))
        assert await numbers(node, "b") == []


async def test_the_first_copys_deadline_does_not_end_the_request() -> None:
    """The first copy gave up while the log stood still; the second one gets the outcome."""
    cluster = Cluster()
    async with cluster.node() as node:
        cluster.log.freeze(AT)
        first = node.invoke(call("add", b"7", request=number(1), timeout_s=0.05))
        copy = node.invoke(call("add", b"7", request=number(1), timeout_s=5.0))
        with pytest.raises(Exception, match="deadline"):
            await first
        cluster.log.thaw(AT)
        assert (await copy).reply == b"1"
        assert await numbers(node, "a") == [7]


async def test_a_key_that_was_used_for_something_else_is_refused_to_every_copy() -> None:
    """The copy is answered by its own record's outcome, not by that of the key's first record."""
    cluster = Cluster()
    async with cluster.node() as node:
        await node.invoke(call("add", b"7", key="k", request=number(1)))
        for _ in range(2):
            with pytest.raises(KeyReused):
                await node.invoke(call("add", b"8", key="k", request=number(2)))
        assert await numbers(node, "a") == [7]


async def test_a_copy_of_a_done_request_is_never_told_that_it_was_not_executed() -> None:
    """Its record can't be read in time: the outcome is unknown to this caller, no more."""
    cluster = Cluster()
    async with cluster.node() as node:
        await node.invoke(call("add", b"7", request=number(1)))
        cluster.log.freeze(AT)
        with pytest.raises(OutcomeUnknown):
            await node.invoke(call("add", b"7", request=number(1), timeout_s=0.05))
        cluster.log.thaw(AT)


class _ClockAhead(SystemClock):
    """A machine's clock that is five hours ahead."""

    def time_us(self) -> int:
        return super().time_us() + 5 * 3_600 * 1_000_000


async def test_a_node_with_a_wrong_clock_does_not_make_the_next_one_refuse() -> None:
    """Clients go by the partition's time, which that clock wrote; far beyond it is refused."""
    cluster = Cluster()
    async with cluster.node(clock=_ClockAhead()) as node:
        await node.invoke(call("add", b"7"))
    async with cluster.node() as node:
        told_us = node.log_time_us("List", "a")
        assert told_us > time.time_ns() // 1000 + 4 * 3_600 * 1_000_000
        await node.invoke(call("add", b"8", request=RequestNumber(SESSION, 1, 1, told_us)))
        far_us = told_us + 2 * 3_600 * 1_000_000
        with pytest.raises(InvalidHeader, match="over an hour ahead"):
            await node.invoke(call("add", b"9", request=RequestNumber(SESSION, 2, 1, far_us)))
        assert await numbers(node, "a") == [7, 8]
