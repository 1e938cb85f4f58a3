"""Each way out on a real broker and PostgreSQL, with a node that serves again after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaPartition

from eventstore.log import LogRecord, TopicPartition
from eventstore.records import StoredRecord
from spawn.core.ids import partition_of
from tests.integration.node.commands import spawn
from tests.integration.node.running import COUNTER, Client, NodeProcess, Nodes, until
from tests.integration.node.servers import NewNodes
from tests.integration.repair.breaking import (
    CUT_SHORT,
    commits,
    discard,
    garble,
    put,
    records,
    rewrite,
    topic,
)
from tests.services.apache_kafka import ApacheKafka

_STOPPED_S = 20.0


async def add(node: NodeProcess, actor: str, *numbers: int) -> None:
    """Add numbers to a counter."""
    async with Client.open(node.url) as client:
        for number in numbers:
            reply = await client.invoke(f"Counter/{actor}", "add", number)
            assert reply.status == 200, reply.body


async def total(node: NodeProcess, actor: str) -> int:
    """Return a counter's total."""
    async with Client.open(node.url) as client:
        reply = await client.invoke(f"Counter/{actor}", "total")
        assert reply.status == 200, reply.body
        return int(reply.json)


async def says(node: NodeProcess, text: str) -> None:
    """Wait until the node has said it."""
    await until(lambda: text in node.text, _STOPPED_S, text)


class WaysOut:
    """The suite; each broker's class gives `nodes`."""

    async def test_an_unreadable_record_is_skipped(self, nodes: Nodes) -> None:
        """The list names it; unconfirmed nothing changes; skipped, the node serves all again."""
        at = TopicPartition(topic(nodes), 0)
        node = await nodes.start().serving()
        await add(node, "a", 5, 2)
        await add(node, "b", 1)
        await node.stop()
        where = await put(nodes, at, CUT_SHORT)
        broken = nodes.start()
        await says(broken, "partition-stopped")
        await broken.kill()

        listed = await spawn(nodes, "repair", "--json")
        assert listed.code == 1, listed.err
        [finding] = listed.lines
        assert (finding["kind"], finding["position"]) == ("stopped", f"{at}@{where}")
        command = f"spawn repair skip {at}@{where}"
        assert [way["command"] for way in finding["ways"]] == [None, command]

        before = len(await records(nodes, at))
        asked = await spawn(nodes, "repair", "skip", f"{at}@{where}")
        assert (asked.code, len(await records(nodes, at))) == (6, before)
        assert "[not-confirmed]" in asked.err
        assert "loses" in asked.out

        done = await spawn(nodes, "repair", "skip", f"Counter/0@{where}", "--yes")
        assert done.code == 0, done.err
        assert len(await records(nodes, at)) == before + 1
        again = await spawn(nodes, "repair", "skip", f"{at}@{where}", "--yes")
        assert (again.code, "nothing to do" in again.out) == (0, True), again.err
        assert len(await records(nodes, at)) == before + 1

        node = await nodes.start().serving()
        assert (await total(node, "a"), await total(node, "b")) == (7, 1)
        await add(node, "a", 1)
        assert (await spawn(nodes, "repair")).code == 0

    async def test_a_garbled_record_among_good_ones_costs_that_record_alone(
        self, nodes: Nodes
    ) -> None:
        """What stands behind it counts; its actor is parked, and set back by hand."""
        at = TopicPartition(topic(nodes), 0)
        node = await nodes.start().serving()
        await add(node, "a", 5, 2, 4)
        await add(node, "b", 1, 1)
        await node.stop()
        second = (await commits(nodes, at))[1][0].offset
        await rewrite(nodes, at, garble(second, lambda value: value[:40]))
        await discard(nodes, at)
        done = await spawn(nodes, "repair", "skip", f"{at}@{second}", "--yes", "--json")
        assert done.code == 0, done.err
        assert done.lines[-1]["applied"] is True

        node = await nodes.start().serving()
        assert await total(node, "b") == 2
        async with Client.open(node.url) as client:
            reply = await client.invoke("Counter/a", "total")
            assert (reply.status, reply.code) == (500, "actor-parked")
        await node.stop()
        [finding] = (await spawn(nodes, "repair", "--json")).lines
        assert (finding["kind"], finding["actor"]) == ("parked", "Counter/a")

        vain = await spawn(nodes, "repair", "unpark", "Counter/a", "--yes")
        assert (vain.code, "[actor-parked]" in vain.err) == (1, True)
        gone = await spawn(nodes, "repair", "unpark", "Counter/a", "--to", "9", "--yes")
        assert (gone.code, "[unknown-revision]" in gone.err) == (4, True)
        arguments = ("repair", "unpark", "Counter/a", "--to", "1", "--target", str(COUNTER))
        set_back = await spawn(nodes, *arguments, "--yes")
        assert set_back.code == 0, set_back.err
        twice = await spawn(nodes, *arguments, "--yes")
        assert (twice.code, "nothing to do" in twice.out) == (0, True)
        node = await nodes.start().serving()
        assert await total(node, "a") == 5
        await add(node, "a", 3)
        assert await total(node, "a") == 8
        assert (await spawn(nodes, "repair")).code == 0
        history = await spawn(nodes, "events", "Counter/a", "--json")
        assert [line["revision"] for line in history.lines] == [4, 5], history.err

    async def test_an_unreadable_body_parks_its_actor_until_it_begins_anew(
        self, nodes: Nodes
    ) -> None:
        """By a running node too: it loses the partition for a moment, and serves on."""
        nodes.settings["KAFKA_PARTITIONS"] = 2
        name = next(f"x{n}" for n in range(99) if partition_of(f"x{n}".encode(), 2) == 1)
        at = TopicPartition(topic(nodes), 1)
        node = await nodes.start().serving()
        await add(node, name, 5, 2)
        await add(node, f"{name}-other", 3)
        await node.stop()
        first = (await commits(nodes, at))[0][0].offset

        def body(value: bytes) -> bytes:
            return value[:-30] + b"\xff" * 30

        await rewrite(nodes, at, garble(first, body), 2)
        await discard(nodes, at)
        node = await nodes.start().serving()
        async with Client.open(node.url) as client:
            assert (await client.invoke(f"Counter/{name}", "add", 1)).code == "actor-parked"
        [finding] = (await spawn(nodes, "repair", "--json")).lines
        assert (finding["kind"], finding["actor"]) == ("parked", f"Counter/{name}")
        done = await spawn(nodes, "repair", "unpark", f"Counter/{name}", "--delete", "--yes")
        assert done.code == 0, done.err
        async with Client.open(node.url) as client:
            # The first call may still be told from memory; it makes the node look.
            reply = await client.invoke(f"Counter/{name}", "add", 4)
            if reply.status != 200:
                assert reply.code == "actor-parked", reply.body
                await asyncio.sleep(1.5)
                reply = await client.invoke(f"Counter/{name}", "add", 4)
            assert (reply.status, reply.json) == (200, 4), reply.body
        assert await total(node, f"{name}-other") == 3
        assert (await spawn(nodes, "repair")).code == 0

    async def test_a_hole_in_the_log_is_a_loss_that_is_accepted(self, nodes: Nodes) -> None:
        """All behind it is void; the database takes flushes of the new log."""
        at = TopicPartition(topic(nodes), 0)
        node = await nodes.start().serving()
        await add(node, "a", 1, 2, 3, 4)
        await node.stop()
        hole = (await commits(nodes, at))[2][0].offset

        def without(old: Sequence[StoredRecord]) -> Sequence[LogRecord]:
            return [LogRecord(each.key, each.value) for each in old if each.offset != hole]

        await rewrite(nodes, at, without)
        await discard(nodes, at)
        [finding] = (await spawn(nodes, "repair", "--json")).lines
        assert (finding["kind"], finding["position"]) == ("lost", f"{at}@{hole}")
        refused = await spawn(nodes, "repair", "skip", f"{at}@{hole}", "--yes")
        assert (refused.code, "[repair-refused]" in refused.err) == (1, True)
        assert (await spawn(nodes, "repair", "accept-loss", str(at))).code == 6
        done = await spawn(nodes, "repair", "accept-loss", str(at), "--yes")
        assert done.code == 0, done.err
        again = await spawn(nodes, "repair", "accept-loss", str(at), "--yes")
        assert (again.code, "nothing to do" in again.out) == (0, True)
        node = await nodes.start().serving()
        assert await total(node, "a") == 3
        await add(node, "a", 10)
        await node.stop()
        node = await nodes.start().serving()
        assert await total(node, "a") == 13
        assert (await spawn(nodes, "repair")).code == 0

    async def test_a_topic_made_anew_gets_the_states_back_from_the_database(
        self, nodes: Nodes
    ) -> None:
        """The log is the truth again: the snapshots may go after that."""
        at = TopicPartition(topic(nodes), 0)
        node = await nodes.start().serving()
        await add(node, "a", 5, 2)
        await add(node, "b", 1)
        async with Client.open(node.url) as client:
            assert (await client.send("DELETE", "/v1/actors/Counter/b")).status < 300
        await node.stop()
        await rewrite(nodes, at, lambda old: [])
        broken = nodes.start()
        assert await broken.ended() == 1
        assert "foreign-log" in broken.text
        [finding] = (await spawn(nodes, "repair", "--json")).lines
        assert (finding["kind"], finding["position"]) == ("lost", f"{at}@0")
        done = await spawn(nodes, "repair", "accept-loss", f"{at}", "--yes")
        assert done.code == 0, done.err
        assert (await spawn(nodes, "repair")).code == 0
        node = await nodes.start().serving()
        assert (await total(node, "a"), await total(node, "b")) == (7, 0)
        await add(node, "a", 1)
        await add(node, "b", 1)
        await node.stop()
        await discard(nodes, at)
        node = await nodes.start().serving()
        assert (await total(node, "a"), await total(node, "b")) == (8, 1)
        actors = await spawn(nodes, "actors", "Counter", "--json")
        assert {line["id"]: line["revision"] for line in actors.lines} == {"a": 3, "b": 3}

    async def test_a_type_and_a_system_are_dropped_and_nothing_else(self, nodes: Nodes) -> None:
        """Not a system whose name begins alike."""
        other = f"{nodes.system}2"
        for system in (nodes.system, other):
            node = await nodes.start(SYSTEM=system).serving()
            await add(node, "a", 5)
            # The embedded broker never forgets a node that left before its first join had ended.
            await says(node, "of the group:")
            await node.stop()
        assert (await spawn(nodes, "repair", "drop-type", "Counter")).code == 6
        wrong = await spawn(nodes, "repair", "drop-type", "Conter", "--yes")
        assert (wrong.code, "did you mean `Counter`" in wrong.err) == (4, True), wrong.err
        done = await spawn(nodes, "repair", "drop-type", "Counter", "--yes")
        assert done.code == 0, done.err
        assert (await spawn(nodes, "repair", "drop-type", "Counter", "--yes")).code == 4
        node = await nodes.start().serving()
        assert await total(node, "a") == 0
        await says(node, "of the group:")
        await node.stop()
        wrong = await spawn(nodes, "repair", "drop-system", other, "--yes")
        assert wrong.code == 2
        done = await spawn(nodes, "repair", "drop-system", nodes.system, "--yes")
        assert done.code == 0, done.err
        gone = await spawn(nodes, "repair", "drop-system", nodes.system, "--yes")
        assert gone.code == 4
        assert not (await spawn(nodes, "partitions", "--json")).out
        node = await nodes.start(SYSTEM=other).serving()
        assert await total(node, "a") == 5
        await node.stop()


class TestTansu(WaysOut):
    """On the embedded broker."""

    @pytest.fixture
    def nodes(self, new_nodes: NewNodes, tansu: str, postgres_dsn: str) -> Nodes:
        """Nodes with one partition a type."""
        nodes = new_nodes(tansu, postgres_dsn)
        nodes.settings["KAFKA_PARTITIONS"] = 1
        return nodes


class TestApacheKafka(WaysOut):
    """On Apache Kafka, which also deletes records."""

    async def test_records_deleted_above_the_checkpoint_are_a_loss(self, nodes: Nodes) -> None:
        """The node says so; accepted, the states of the last flush are there again."""
        at = TopicPartition(topic(nodes), 0)
        node = await nodes.start().serving()
        await add(node, "a", 5, 2)
        await node.stop()
        end = await put(nodes, at, b"not ours") + 1
        kafka = AIOKafkaAdminClient(bootstrap_servers=nodes.kafka)
        await kafka.start()
        try:
            await kafka.delete_records({KafkaPartition(*at): RecordsToDelete(before_offset=end)})
        finally:
            await kafka.close()
        broken = nodes.start()
        await says(broken, "the records between them are gone")
        await broken.kill()
        [finding] = (await spawn(nodes, "repair", "--json")).lines
        assert (finding["kind"], finding["position"]) == ("lost", f"{at}@{end}")
        done = await spawn(nodes, "repair", "accept-loss", str(at), "--yes")
        assert done.code == 0, done.err
        assert (await spawn(nodes, "repair")).code == 0
        node = await nodes.start().serving()
        assert await total(node, "a") == 7
        await add(node, "a", 1)
        await node.stop()
        await discard(nodes, at)
        node = await nodes.start().serving()
        assert await total(node, "a") == 8

    @pytest.fixture
    def nodes(self, new_nodes: NewNodes, apache_kafka: ApacheKafka, postgres_dsn: str) -> Nodes:
        """Nodes with one partition a type."""
        nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn)
        nodes.settings["KAFKA_PARTITIONS"] = 1
        return nodes
