"""The broker goes away under load, in each of its ways, and comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.integration.faults.load import Load
from tests.integration.node.log_reading import append_again, count_records
from tests.integration.node.running import Client
from tests.integration.node.servers import NewNodes
from tests.services.apache_kafka import ApacheKafka

JOURNAL = Path(__file__).with_name("journal.py")
FROZEN_S = 5.0
SHORT_MS = 300


async def go_away(broker: ApacheKafka, how: str) -> None:
    """Take the broker away and bring it back."""
    if how == "frozen":
        broker.freeze()
        await asyncio.sleep(FROZEN_S)
        broker.thaw()
        return
    await asyncio.to_thread(broker.stop if how == "stopped" else broker.kill)
    await asyncio.to_thread(broker.start)


@pytest.mark.parametrize("how", ["stopped", "killed", "frozen"])
async def test_the_broker_goes_away_and_comes_back(
    apache_kafka: ApacheKafka, postgres_dsn: str, new_nodes: NewNodes, how: str
) -> None:
    """Who waits long is answered after it, who waits shortly is told what is known; all once."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn, JOURNAL)
    node = await nodes.start().serving()
    patient = Load(node.url, keys=False)
    hasty = Load(
        node.url, keys=False, callers=3, timeout_ms=SHORT_MS, first_number=1_000_000, seed=2
    )
    async with patient, hasty:
        await patient.progress(30)
        await go_away(apache_kafka, how)
        waited_s = await patient.progress(30)
        await hasty.progress(5)
    print(f"{how}: commits again {waited_s:.2f} s after the broker was back")
    await patient.check(node.url, hasty)
    assert set(patient.answers) == {"200"}, patient.answers
    assert set(hasty.answers) <= {"200", "504 outcome-unknown", "503 not-started"}, hasty.answers
    assert hasty.answers["504 outcome-unknown"] > 0, hasty.answers
    found = await count_records(apache_kafka.bootstrap, f"spawn.{nodes.system}.Journal")
    print(f"{how}: in the log {dict(found)}")
    assert not any(kind.startswith("loss") for kind in found), found
    async with Client.open(node.url) as client:
        assert (await client.send("GET", "/health/ready")).status == 200
    assert await node.stop() == 0


async def test_batches_that_are_stored_again_do_not_count(
    apache_kafka: ApacheKafka, postgres_dsn: str, new_nodes: NewNodes
) -> None:
    """Copies of everything land between the commits of a node under load, and in its next tail."""
    nodes = new_nodes(apache_kafka.bootstrap, postgres_dsn, JOURNAL)
    nodes.settings["SNAPSHOTS_FLUSH_INTERVAL"] = "1h"
    node = await nodes.start().serving()
    topic = f"spawn.{nodes.system}.Journal"
    copies = 0
    async with Load(node.url, keys=False) as load:
        for _ in range(2):
            await load.progress(30)
            copies += await append_again(apache_kafka.bootstrap, topic)
        await load.progress(30)
    assert set(load.answers) == {"200"}, load.answers
    await load.check(node.url)
    await node.kill()
    node = await nodes.start().serving()
    await load.check(node.url)
    found = await count_records(apache_kafka.bootstrap, topic)
    assert found["void Commit"] == copies > 0, found
