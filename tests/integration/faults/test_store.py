"""PostgreSQL dies, freezes, and is put back to an older copy; the log has everything."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from spawn.dev import EmbeddedStack
from tests.integration.faults.load import Load
from tests.integration.node.running import Client
from tests.integration.node.servers import NewNodes

JOURNAL = Path(__file__).with_name("journal.py")
FLUSH_INTERVAL = "300ms"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStack]:
    """A PostgreSQL for this test alone."""
    async with EmbeddedStack(tmp_path / "store", kafka=False, nats=False) as stack:
        yield stack


async def stored_revision(dsn: str, actor_id: str) -> int:
    """Return the revision of an actor's row; 0: there is none."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        found = await connection.fetchval(
            "select revision from spawn.actors where id = $1", actor_id.encode()
        )
    finally:
        connection.terminate()
    return int(found or 0)


async def wait_stored(dsn: str, client: Client, actor_id: str, within_s: float = 15.0) -> None:
    """Wait until the store has the actor as it is."""
    revision = (await client.state(f"Journal/{actor_id}")).revision
    deadline = time.monotonic() + within_s
    while (stored := await stored_revision(dsn, actor_id)) != revision:
        assert time.monotonic() < deadline, f"stored is revision {stored}, not {revision}"
        await asyncio.sleep(0.1)


async def wait_passivated(client: Client, within_s: float = 15.0) -> None:
    """Wait until no actor is in memory; nobody may call one meanwhile."""
    deadline = time.monotonic() + within_s
    while True:
        page = (await client.send("GET", "/metrics")).body.decode()
        counts = re.findall(r"^spawn_actors\{.*\} ([0-9.e+]+)$", page, re.MULTILINE)
        assert counts, page
        if not any(map(float, counts)):
            return
        assert time.monotonic() < deadline, f"in memory: {counts}"
        await asyncio.sleep(0.1)


async def test_the_database_is_killed_and_comes_back(
    store: EmbeddedStack, tansu: str, new_nodes: NewNodes
) -> None:
    """Actors in memory go on, others are told so; afterwards all is loaded and flushed again."""
    nodes = new_nodes(tansu, store.postgres_dsn, JOURNAL)
    nodes.settings["SNAPSHOTS_FLUSH_INTERVAL"] = FLUSH_INTERVAL
    first = await nodes.start().serving()
    async with Client.open(first.url) as client:
        assert (await client.invoke("Journal/cold", "append", 1)).status == 200
    assert await first.stop() == 0
    node = await nodes.start().serving()
    async with Client.open(node.url) as client, Load(node.url, keys=False) as load:
        await load.progress(60)
        await store.kill("postgres")
        await load.progress(60)
        for _ in range(2):
            cold = await client.invoke("Journal/cold", "append", 2)
            assert (cold.status, cold.code) == (503, "store-unreachable"), cold
            assert "Journal/cold" in cold.json["detail"]
            assert cold.json["retryable"]
        assert (await client.state("Journal/cold")).code == "store-unreachable"
        await store.restart("postgres")
        cold = await client.invoke("Journal/cold", "append", 3)
        assert (cold.status, cold.json) == (200, 2), cold
        await load.progress(20)
    assert set(load.answers) == {"200"}, load.answers
    await load.check(node.url)
    async with Client.open(node.url) as client:
        assert (await client.state("Journal/cold")).json["state"] == {"numbers": [1, 3]}
        for actor_id in ("j0", "j4", "cold"):
            await wait_stored(store.postgres_dsn, client, actor_id)
    await node.kill()
    node = await nodes.start().serving()
    await load.check(node.url)


async def test_the_database_freezes_and_thaws(
    store: EmbeddedStack, tansu: str, new_nodes: NewNodes
) -> None:
    """Nobody in memory waits for it; who has to be loaded waits until its deadline or the thaw."""
    nodes = new_nodes(tansu, store.postgres_dsn, JOURNAL)
    nodes.settings["SNAPSHOTS_FLUSH_INTERVAL"] = FLUSH_INTERVAL
    first = await nodes.start().serving()
    async with Client.open(first.url) as client:
        assert (await client.invoke("Journal/cold", "append", 1)).status == 200
    assert await first.stop() == 0
    node = await nodes.start().serving()
    async with Client.open(node.url) as client, Load(node.url, keys=False) as load:
        await load.progress(60)
        await store.freeze("postgres")
        hasty = await client.invoke("Journal/cold", "append", 2, timeout_ms=500)
        assert (hasty.status, hasty.code) == (503, "not-started"), hasty
        async with asyncio.TaskGroup() as tasks:
            patient = tasks.create_task(client.invoke("Journal/cold", "append", 3))
            await load.progress(100)
            await asyncio.sleep(2)
            await store.thaw("postgres")
        assert (patient.result().status, patient.result().json) == (200, 2), patient.result()
        await load.progress(20)
    assert set(load.answers) == {"200"}, load.answers
    await load.check(node.url)
    async with Client.open(node.url) as client:
        assert (await client.state("Journal/cold")).json["state"] == {"numbers": [1, 3]}
        await wait_stored(store.postgres_dsn, client, "j0")
        await wait_stored(store.postgres_dsn, client, "cold")
    assert await node.stop() == 0


async def test_the_database_is_put_back_to_an_older_copy(
    store: EmbeddedStack, tansu: str, new_nodes: NewNodes
) -> None:
    """While the node runs, with actors that are only in the store, and between two runs."""
    nodes = new_nodes(tansu, store.postgres_dsn, JOURNAL)
    nodes.settings["SNAPSHOTS_FLUSH_INTERVAL"] = FLUSH_INTERVAL
    node = await nodes.start().serving()
    folder = store.endpoints.data_folder
    data, copy = folder / "pg", folder / "pg.copy"

    async def replace(source: Path, target: Path) -> None:
        await store.stop("postgres")
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", str(source), str(target)], check=True, timeout=30)
        await store.restart("postgres")

    async with Client.open(node.url) as client:
        async with Load(node.url, prefix="early") as early:
            await early.progress(60)
            await replace(data, copy)
            await early.progress(100)
        await wait_passivated(client)
        async with Load(node.url, prefix="j") as load:
            await load.progress(60)
            await replace(copy, data)
            await load.progress(60)
            # None of them is in memory, and the rows of all are old.
            await early.check(node.url)
        await load.check(node.url)
        for actor_id in ("early0", "early4", "j0", "j4"):
            await wait_stored(store.postgres_dsn, client, actor_id)
    await node.kill()
    await replace(copy, data)
    node = await nodes.start().serving()
    async with Load(node.url, prefix="late") as late:
        await early.check(node.url)
        await load.check(node.url)
        await late.progress(20)
    await late.check(node.url)
    assert await node.stop() == 0
