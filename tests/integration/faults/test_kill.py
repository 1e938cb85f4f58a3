"""kill -9 of the node at random points under load: every acknowledged commit is there, once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.integration.faults.load import Load
from tests.integration.node.running import Nodes
from tests.integration.node.servers import NewNodes
from tests.services.apache_kafka import ApacheKafka
from tests.services.ports import free_port

JOURNAL = Path(__file__).with_name("journal.py")
SEED = 20130101
FLUSH_INTERVAL = "300ms"


async def kill_and_restart(nodes: Nodes, seed: int, rounds: int) -> None:
    """Kill and restart a node under load; then check everything that callers saw."""
    nodes.settings["SNAPSHOTS_FLUSH_INTERVAL"] = FLUSH_INTERVAL
    dice = random.Random(seed)
    port = free_port()
    node = await nodes.start(HTTP_PORT=port).serving()
    print(f"seed {seed}")
    async with Load(node.url, seed=seed) as load:
        for number in range(rounds):
            await load.progress()
            await asyncio.sleep(dice.uniform(0, 0.7))
            before = load.done
            await node.kill()
            node = nodes.start(HTTP_PORT=port)
            waited_s = await load.progress(1)
            print(f"round {number}: killed after {before} commits, serving {waited_s:.2f} s later")
            assert waited_s < 20
    await load.check(node.url)
    assert await node.stop() == 0


@pytest.mark.parametrize("seed", [SEED])
async def test_kill_on_apache_kafka(
    apache_kafka: ApacheKafka, postgres_dsn: str, new_nodes: NewNodes, seed: int
) -> None:
    """Callers that repeat with their keys get each command done once, whenever the node dies."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn, JOURNAL)
    await kill_and_restart(nodes, seed, rounds=5)


async def test_kill_on_the_embedded_broker(
    tansu: str, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """The same on Tansu, which keeps its log while it lives."""
    await kill_and_restart(new_nodes(tansu, postgres_dsn, JOURNAL), SEED + 1, rounds=3)
