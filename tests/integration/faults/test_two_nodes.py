"""Two nodes started by mistake on one system: one serves, the other ends and says who serves."""

from __future__ import annotations

import time
from pathlib import Path

from tests.integration.faults.load import Load
from tests.integration.node.running import NodeProcess, until
from tests.integration.node.servers import NewNodes
from tests.services.apache_kafka import ApacheKafka

JOURNAL = Path(__file__).with_name("journal.py")
FENCED = 3


async def one_ends(*nodes: NodeProcess) -> tuple[NodeProcess, NodeProcess]:
    """Wait until one of two nodes has ended as it should; return loser and winner."""
    await until(lambda: any(node.returncode is not None for node in nodes), 30, "an end")
    loser, winner = sorted(nodes, key=lambda node: node.returncode is None)
    assert await loser.ended() == FENCED, loser.text
    assert winner.returncode is None, winner.text
    assert winner.url in loser.text
    assert "[fenced]" in loser.text
    assert "Traceback" not in loser.text
    return loser, winner


async def test_a_second_node_started_under_load_takes_over(
    apache_kafka: ApacheKafka, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """The first is fenced: it ends with 3, its callers get `fenced` and the other's address."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn, JOURNAL)
    first = await nodes.start().serving()
    urls = [first.url]
    async with Load(*urls, keys=False, callers=16) as load:
        await load.progress(50)
        second = nodes.start()
        load.urls = [first.url, second.url]
        loser, winner = await one_ends(first, second)
        assert (loser, winner) == (first, second)
        await load.progress(50)
    await load.check(second.url)
    assert load.answers["503 fenced"] > 0, load.summary()
    assert second.url in load.details["fenced"]
    assert second.returncode is None


async def test_two_nodes_started_at_the_same_moment(
    apache_kafka: ApacheKafka, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """Exactly one remains, on a new log and on one that is there; nothing is lost or doubled."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn, JOURNAL)
    pair = (nodes.start(), nodes.start())
    async with Load(*(node.url for node in pair)) as load:
        for _ in range(3):
            _, winner = await one_ends(*pair)
            await load.progress(20)
            await winner.serving()
            await winner.kill()
            pair = (nodes.start(), nodes.start())
            load.urls = [node.url for node in pair]
        _, winner = await one_ends(*pair)
        await load.progress(20)
    await load.check(winner.url)


async def test_an_idle_node_notices_that_another_has_taken_over(
    apache_kafka: ApacheKafka, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """Nobody calls the first one, and yet it ends within seconds."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn, JOURNAL)
    first = await nodes.start().serving()
    second = await nodes.start().serving()
    began = time.monotonic()
    assert await first.ended(5) == FENCED
    print(f"an idle node noticed {time.monotonic() - began:.2f} s after the other one served")
    assert second.url in first.text
    assert second.returncode is None
