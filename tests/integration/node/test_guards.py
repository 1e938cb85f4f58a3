"""What `spawn run` looks after beside its calls: its loop, its clock, its topics."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eventstore.kafka_log import KafkaAdmin, KafkaSettings
from eventstore.log import TopicSettings
from tests.integration.node.running import COUNTER, Client, Faulty, NodeProcess
from tests.integration.node.servers import NewNodes

FAILED, STUCK = 1, 70

BLOCKING = """
import time

@actor
class Blocker(Counter):
    @action.read
    def block(self, seconds: float) -> int:
        time.sleep(seconds)
        return 0
"""
AHEAD = """
from spawn.runtime.clock import SystemClock

true = SystemClock.time_us
SystemClock.time_us = lambda self: true(self) + 60_000_000
"""


async def refused(node: NodeProcess, code: str, *words: str) -> None:
    """The node ends with a code, and says that and the words."""
    assert await node.ended(30) == FAILED, node.text
    for word in (f"[{code}]", *words):
        assert word in node.text, (word, node.text)
    assert "Traceback" not in node.text


async def test_a_loop_that_hangs_is_named_and_ends_the_node(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes, tmp_path: Path
) -> None:
    """With the line, and with the exit code that is its own."""
    target = tmp_path / "blocking.py"
    target.write_text(COUNTER.read_text(encoding="utf-8") + BLOCKING)
    node = await new_nodes(tansu, postgres_dsn, target).start(NODE_STUCK="2s").serving()
    async with Client.open(node.url) as client:
        call = asyncio.create_task(client.invoke("Blocker/a", "block", 30))
        assert await node.ended(20) == STUCK, node.text
        try:
            await call
        except Faulty:
            pass
        else:
            raise AssertionError("nobody can have answered")
    assert "Blocker.block, action block of Blocker/a" in node.text
    assert "blocking.py:" in node.text
    assert "loop-stuck" in node.text


async def test_a_clock_that_is_far_off_refuses_the_start(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes, tmp_path: Path
) -> None:
    """Unless the limit is wider: then it is said and measured."""
    target = tmp_path / "ahead.py"
    target.write_text(COUNTER.read_text(encoding="utf-8") + AHEAD)
    nodes = new_nodes(tansu, postgres_dsn, target)
    await refused(nodes.start(), "clock-wrong", "60.0 s ahead of the database's", "NTP")
    node = await nodes.start(NODE_CLOCK_LIMIT="2m").serving()
    assert "60.0 s ahead of the database's" in node.text
    async with Client.open(node.url) as client:

        async def ahead() -> float:
            metrics = (await client.send("GET", "/metrics")).body.decode()
            [line] = [each for each in metrics.splitlines() if each.startswith("spawn_clock_ahead")]
            return float(line.split()[-1])

        assert 59 < await ahead() < 61
    assert await node.stop() == 0


async def test_a_topic_with_other_partitions_refuses_the_start(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """What it was made with stands in the schema topic."""
    nodes = new_nodes(tansu, postgres_dsn)
    node = await nodes.start().serving()
    assert await node.stop() == 0, node.text
    admin, topic = KafkaAdmin(KafkaSettings(servers=tansu)), f"spawn.{nodes.system}.Counter"
    await admin.delete([topic])
    await admin.create({topic: TopicSettings(partitions=5)})
    words = "has 5 partitions, it was made with 3"
    await refused(nodes.start(), "partitions-changed", topic, words)


async def test_topics_that_are_not_safe_refuse_the_start_if_that_is_asked_for(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """One broker keeps one copy."""
    nodes = new_nodes(tansu, postgres_dsn)
    await refused(nodes.start(KAFKA_UNSAFE_TOPICS="refuse"), "unsafe-topic", "1 of 3 copies")
