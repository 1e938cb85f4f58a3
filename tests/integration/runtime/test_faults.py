"""What a node does when its log or its store misbehaves; nothing acknowledged is lost."""

from __future__ import annotations

import asyncio

import pytest

from eventstore.codec import ClaimBody, encode_claim_body
from eventstore.log import LogRecord, TopicSettings
from eventstore.memory_log import Fault
from eventstore.records import NO_CLAIM, Claim, Commit, decode_prefix, encode_claim
from spawn.errors import (
    ActorParked,
    Fenced,
    ForeignLog,
    KeyReused,
    MailboxFull,
    NotStarted,
    OutcomeUnknown,
    PartitionStopped,
    Rejected,
    StoreUnreachable,
    UnknownAction,
    UnknownType,
)
from spawn.runtime.node import Node
from spawn.runtime.placement import Everything
from tests.integration.runtime.running import (
    AT,
    TOPIC,
    Cluster,
    Retaking,
    add,
    call,
    flushed,
    numbers,
    submit,
)
from tests.unit.core.harness import Lists


def commits(cluster: Cluster) -> list[Commit]:
    found = [decode_prefix(record.value) for record in cluster.log.records(AT)]
    return [record for record in found if isinstance(record, Commit)]


async def test_a_command_is_answered_from_its_committed_record() -> None:
    """The reply comes with the revision and the place of the record."""
    cluster = Cluster()
    async with cluster.node() as node:
        answer = await node.invoke(call("add", b"7"))
        assert (answer.reply, answer.revision, str(answer.position)) == (b"1", 1, f"{TOPIC}/0@1")
        state = await node.state("List", "a", 5.0)
        assert (state.state, state.revision) == (b"[7]", 1)


async def test_a_restart_finds_everything_that_was_acknowledged() -> None:
    """A node that ends without any ceremony loses nothing: the log has it."""
    cluster = Cluster()
    async with cluster.node() as node:
        for number in range(20):
            await add(node, number, actor=f"a{number % 3}")
    async with cluster.node() as node:
        assert await numbers(node, "a0") == [0, 3, 6, 9, 12, 15, 18]
        assert await add(node, 20, "a2") == 7


async def test_a_restart_after_a_flush_reads_only_the_tail() -> None:
    """Snapshot and tail together are the state; the flush is made by a planned stop."""
    cluster = Cluster(flush_interval_s=0.05)
    async with cluster.node() as node:
        for number in range(5):
            await add(node, number)
        while node.statistics().partitions[0].checkpoint < 6:
            await asyncio.sleep(0.01)
        await add(node, 5)
    async with cluster.node() as node:
        assert await numbers(node) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("fault", list(Fault))
async def test_each_command_takes_effect_once_whatever_befalls_its_append(fault: Fault) -> None:
    """Lost, late, doubled or unacknowledged: the caller is answered, the effect there once."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.fail(AT, fault)
        replies = await asyncio.gather(add(node, 2), add(node, 3), add(node, 4))
        assert list(replies) == [2, 3, 4]
        while cluster.log.late(AT):
            cluster.log.land(AT)
        assert await add(node, 5) == 5
        assert await numbers(node) == [1, 2, 3, 4, 5]
    async with cluster.node() as node:
        assert await numbers(node) == [1, 2, 3, 4, 5]


async def test_several_unknown_outcomes_in_a_row_are_overcome() -> None:
    """Even the claims of the recovery may be lost, late or unacknowledged."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.fail(AT, Fault.LATE, Fault.UNACKNOWLEDGED, Fault.LATE, Fault.LOST)
        waiting = add(node, 2)
        assert await waiting == 2
        while cluster.log.late(AT):
            cluster.log.land(AT)
        assert await add(node, 3) == 3
        assert await numbers(node) == [1, 2, 3]


async def test_a_deadline_while_the_log_is_frozen_is_an_unknown_outcome() -> None:
    """What was sent may land; what was not started is told so."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.freeze(AT)
        with pytest.raises(OutcomeUnknown, match="may have"):
            await add(node, 2, timeout_s=0.1)
        cluster.log.thaw(AT)
        assert await add(node, 3) == 3
        assert await numbers(node) == [1, 2, 3]


async def test_a_command_past_its_deadline_is_never_started() -> None:
    """A deadline in the past refuses the command before user code sees it."""
    cluster = Cluster()
    async with cluster.node() as node:
        with pytest.raises(NotStarted):
            await add(node, 1, timeout_s=-1)
        assert await numbers(node) == []


async def test_a_second_node_fences_the_first_which_ends_and_names_it() -> None:
    """Two nodes on one system: the later one owns it, the first ends with the other's address."""
    cluster = Cluster(partitions=2)

    async def two_nodes() -> None:
        async with cluster.node() as first:
            await add(first, 1)
            async with cluster.node() as second:
                assert await add(second, 2) == 2
                await add(first, 3)

    with pytest.raises(Fenced, match=r"http://node owns spawn.test.List/"):
        await two_nodes()
    async with cluster.node() as node:
        assert await numbers(node) == [1, 2]


async def test_a_node_fenced_elsewhere_takes_the_partition_again() -> None:
    """As long as its placement wants it here, a foreign claim is displaced."""
    cluster = Cluster(partitions=2)
    async with cluster.node(placement=Retaking()) as node:
        by_partition: dict[str, str] = {}
        for name in "abcdefgh":
            answer = await node.invoke(call("add", b"1", id=name))
            by_partition[str(answer.position).split("@")[0]] = name
        thief = Node(cluster.plan(Lists()))
        worker = next(w for w in thief._workers if w.at.partition == 1)
        stealing = asyncio.get_running_loop().create_task(
            worker.serve("steal", Everything().may_claim)
        )
        await worker.active.wait()
        name = by_partition[f"{TOPIC}/1"]
        answer = await node.invoke(call("add", b"2", id=name))
        assert answer.revision == 2
        stealing.cancel()
        await asyncio.wait([stealing])


async def test_refusals_reach_the_caller_and_leave_a_record() -> None:
    """User code's refusal carries the user's code, and stands in the log."""
    cluster = Cluster()
    async with cluster.node() as node:
        with pytest.raises(Rejected, match="never") as refused:
            await submit(node, "refuse")
        assert refused.value.code == "no"
        assert len(commits(cluster)) == 1


async def test_a_repeated_key_is_answered_from_the_first_record() -> None:
    """Same key, same payload: the first reply and its place, and no second effect."""
    cluster = Cluster()
    async with cluster.node() as node:
        first = await node.invoke(call("add", b"7", key="k"))
        await node.invoke(call("add", b"8"))
        again = await node.invoke(call("add", b"7", key="k"))
        assert again == first
        assert await numbers(node) == [7, 8]
        with pytest.raises(KeyReused):
            await node.invoke(call("add", b"9", key="k"))
        assert await numbers(node) == [7, 8]


@pytest.mark.parametrize("is_flushed", [True, False], ids=["snapshot", "tail"])
async def test_keys_survive_a_restart(*, is_flushed: bool) -> None:
    """A key is known after a restart, from the snapshot or from the tail."""
    cluster = Cluster(flush_interval_s=0.05 if is_flushed else 1000.0)
    async with cluster.node() as node:
        first = await node.invoke(call("add", b"7", key="k"))
        if is_flushed:
            await flushed(node)
    async with cluster.node() as node:
        assert await node.invoke(call("add", b"7", key="k")) == first
        assert await numbers(node) == [7]


async def test_with_the_store_away_actors_in_memory_go_on() -> None:
    """Others are refused for now; when it is back they load, and what changed is flushed."""
    cluster = Cluster(flush_interval_s=0.05)
    async with cluster.node() as node:
        await add(node, 1, "cold")
        await flushed(node)
    async with cluster.node() as node:
        await add(node, 1, "warm")
        cluster.store.go_down()
        assert await add(node, 2, "warm") == 2
        with pytest.raises(StoreUnreachable, match="List/cold"):
            await add(node, 2, "cold")
        cluster.store.come_up()
        assert await add(node, 2, "cold") == 2


async def test_a_store_put_back_to_an_older_copy_costs_nothing() -> None:
    """The stored checkpoint is older than what was relied on: the log is read again from there."""
    cluster = Cluster(flush_interval_s=0.05)
    async with cluster.node() as node:
        await add(node, 1, "a")
        await flushed(node)
        older = cluster.store.copy()
        await add(node, 2, "a")
        await add(node, 1, "b")
        await flushed(node)
        worker = next(iter(node._served.values())).workers[0]
        residents = worker.machine.residents
        for actor in list(residents.tables["List"].actors.values()):
            assert residents.evict(actor)
        cluster.store.put_back(older)
        assert await numbers(node, "a") == [1, 2]
        assert await numbers(node, "b") == [1]
        await add(node, 3, "a")
        await flushed(node)
    async with cluster.node() as node:
        assert await numbers(node, "a") == [1, 2, 3]
        assert await numbers(node, "b") == [1]


async def test_snapshots_of_a_log_that_is_gone_are_refused_or_discarded() -> None:
    """A new and empty log never mixes with old snapshots."""
    cluster = Cluster(flush_interval_s=0.05)
    async with cluster.node() as node:
        await add(node, 1)
        await flushed(node)
    cluster.log.truncate(AT, 0)
    with pytest.raises(ForeignLog, match="belong to another log"):
        async with cluster.node():
            pass
    fresh = Cluster(discard_stale_snapshots=True)
    fresh.store = cluster.store
    async with fresh.node() as node:
        assert await numbers(node) == []
    assert fresh.said == [f"discarded the snapshots of {TOPIC}: its log is gone"]


async def test_a_topic_of_another_system_is_refused() -> None:
    """The first claim names the system that wrote the topic."""
    cluster = Cluster()
    await cluster.log.create({TOPIC: TopicSettings(partitions=1)})
    claim = Claim(bytes(15) + b"c", 1, NO_CLAIM, bytes(15) + b"l")
    body = encode_claim_body(ClaimBody("else", bytes(16), "http://there", "start"))
    cluster.log.put(AT, LogRecord(None, encode_claim(claim, body)))
    with pytest.raises(ForeignLog, match="was written by system 'else'"):
        async with cluster.node():
            pass


async def test_truncation_is_detected_not_silently_accepted() -> None:
    """The log gives less than it acknowledged: the partition stops with a clear error."""
    cluster = Cluster()
    async with cluster.node() as node:
        for number in range(5):
            await add(node, number)
        cluster.log.truncate(AT, 3)
        with pytest.raises((PartitionStopped, OutcomeUnknown)):
            await add(node, 9)
        with pytest.raises(PartitionStopped, match="offset"):
            await add(node, 10)
        assert not node.statistics().ready


async def test_an_unreadable_body_parks_its_actor_only() -> None:
    """The position is named; other actors of the partition go on."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1, "good")
        await add(node, 1, "bad")
        place = (await node.state("List", "bad", 5.0)).position
    assert place is not None
    record = cluster.log.records(AT)[place.offset]
    assert record.value is not None
    garbled = record._replace(value=record.value[:-30] + b"\xff" * 30)
    cluster.log._partitions[AT].records[place.offset] = garbled
    async with cluster.node() as node:
        assert await add(node, 2, "good") == 2
        with pytest.raises(ActorParked, match=rf"offset {place.offset}"):
            await add(node, 2, "bad")


async def test_an_unreadable_prefix_stops_the_partition() -> None:
    """It might have been valid, so no reader may pass over it."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
    cluster.log.put(AT, LogRecord(b"a", b"\xe5S\x09garbled"))
    async with cluster.node() as node:
        with pytest.raises(PartitionStopped, match="version 9"):
            await add(node, 2)
        assert any("partition-stopped" in text for text in cluster.said)


async def test_records_of_others_in_the_topic_are_passed_over() -> None:
    """A record without our prefix is void and counted."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 1)
        cluster.log.put(AT, LogRecord(b"x", b"hello"))
        assert await add(node, 2) == 2
        assert await numbers(node) == [1, 2]


async def test_a_full_mailbox_refuses_and_the_others_go_on() -> None:
    """While the log is frozen one actor's commands pile up to its bound, no further."""
    cluster = Cluster()
    async with cluster.node() as node:
        await add(node, 0)
        cluster.log.freeze(AT)
        waiting = [add(node, number) for number in range(1, 1_001)]
        with pytest.raises(MailboxFull):
            await add(node, 2_000)
        other = add(node, 5, "b")
        cluster.log.thaw(AT)
        assert (await asyncio.gather(*waiting))[-1] == 1_001
        assert await other == 1


async def test_unknown_names_are_told() -> None:
    """A wrong type or action is named; the edges add the nearest right one."""
    cluster = Cluster()
    async with cluster.node() as node:
        with pytest.raises(UnknownType, match="no actor type `Lisst`"):
            await node.invoke(call("add", type="Lisst"))
        with pytest.raises(UnknownAction, match="List has no action `ad`"):
            await node.invoke(call("ad"))


async def test_idle_actors_leave_memory_and_come_back() -> None:
    """Passivation lets clean actors go; the next command loads them again."""
    cluster = Cluster(flush_interval_s=0.05, actor_memory_bytes=0)
    async with cluster.node() as node:
        for number in range(50):
            await add(node, 1, f"a{number}")
        while node.statistics().partitions[0].actors > 5:
            await asyncio.sleep(0.05)
        assert await add(node, 2, "a7") == 2
