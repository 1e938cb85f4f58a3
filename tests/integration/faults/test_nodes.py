"""Two and three nodes of one system share its partitions; they come, go and die under load."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

from tests.integration.faults.load import Load
from tests.integration.node.running import Client, NodeProcess
from tests.integration.node.servers import NewNodes
from tests.services.apache_kafka import ApacheKafka

JOURNAL = Path(__file__).with_name("journal.py")
PARTITIONS = 6
SHARED_S = 20.0


async def owned(node: NodeProcess) -> set[str]:
    """Return the partitions that a node serves, as its metrics say."""
    async with Client.open(node.url) as client:
        reply = await client.send("GET", "/metrics", timeout_ms=5000)
    return set(re.findall(r"spawn_partition_serving(\{.*?\}) 1", reply.body.decode()))


async def shared(*nodes: NodeProcess) -> None:
    """Wait until every partition is served by one node, and each node serves some."""

    async def look() -> bool:
        shares = [await owned(node) for node in nodes]
        return (
            sum(map(len, shares)) == PARTITIONS == len(set().union(*shares))
            and max(map(len, shares)) - min(map(len, shares)) <= 1
        )

    async with asyncio.timeout(SHARED_S):
        while not await look():
            await asyncio.sleep(0.1)


async def test_nodes_that_join_and_leave_under_load_fail_no_call(
    apache_kafka: ApacheKafka, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """A join and a planned stop: every call is answered 200."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn, JOURNAL)
    nodes.settings["KAFKA_PARTITIONS"] = PARTITIONS
    first = await nodes.start().serving()
    async with Load(first.url, keys=False, callers=16, actors=12) as load:
        await load.progress(50)
        second = await nodes.start().serving()
        await shared(first, second)
        load.urls = [second.url]
        await load.progress(50)
        assert await first.stop() == 0
        await load.progress(50)
    await load.check(second.url)
    assert set(load.answers) == {"200"}, load.summary()
    assert "Traceback" not in first.text + second.text


async def test_a_killed_node_is_replaced_in_a_moment(
    apache_kafka: ApacheKafka, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """Its partitions are served by the others, and it comes back with a new life."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn, JOURNAL)
    nodes.settings["KAFKA_PARTITIONS"] = PARTITIONS
    three = [await nodes.start().serving() for _ in range(3)]
    await shared(*three)
    async with Load(*(node.url for node in three[1:]), callers=16, actors=12) as load:
        await load.progress(50)
        await three[0].kill()
        waited = await load.progress(200)
        print(f"200 commands took {waited:.2f} s after the kill")
        again = await nodes.start().serving()
        await shared(again, *three[1:])
    await load.check(again.url)


async def test_a_frozen_node_is_replaced_and_serves_nothing_old(
    apache_kafka: ApacheKafka, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """What it acknowledged stands, what it does late is void, and its reads are not stale."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn, JOURNAL)
    nodes.settings["KAFKA_PARTITIONS"] = PARTITIONS
    three = [await nodes.start().serving() for _ in range(3)]
    await shared(*three)
    async with Load(*(node.url for node in three), callers=16, actors=12, timeout_ms=2000) as load:
        await load.progress(50)
        three[0].send_signal(signal.SIGSTOP)
        load.urls = [node.url for node in three[1:]]
        await load.progress(200)
        three[0].send_signal(signal.SIGCONT)
        load.urls = [node.url for node in three]
        await load.progress(200)
        await shared(*three)
    await load.check(three[0].url)
