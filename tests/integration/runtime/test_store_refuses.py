"""A real database that says no under a running node: it is as if it were away, until mended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from eventstore.postgres_snapshots import PostgresSnapshots
from spawn.errors import StoreUnreachable
from spawn.runtime.dispatcher import NodeDispatcher
from tests.contract.snapshots_postgres import postgres, sql
from tests.integration.runtime.running import Cluster, add, numbers

pytestmark = pytest.mark.asyncio(loop_scope="module")

_BROKEN = {
    "the tables are dropped": ("drop schema spawn cascade", "select 1"),
    "a column is gone": (
        "alter table spawn.actors rename column deleted to other",
        "alter table spawn.actors rename column other to deleted",
    ),
    "a row is refused": (
        "alter table spawn.actors add constraint never check (false) not valid",
        "alter table spawn.actors drop constraint never",
    ),
    "a column has another type": (
        """alter table spawn.checkpoints rename column epoch to kept;
        alter table spawn.checkpoints add column epoch uuid""",
        """alter table spawn.checkpoints drop column epoch;
        alter table spawn.checkpoints rename column kept to epoch""",
    ),
}
_LOADS_FAIL = ("the tables are dropped", "a column is gone")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dsn(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A server for the tests of this file."""
    async with postgres(tmp_path_factory.mktemp("store")) as stack:
        yield stack.postgres_dsn


def residents(node: NodeDispatcher) -> Any:
    return node._served["List"].workers[0].machine.residents


@pytest.mark.parametrize("how", _BROKEN)
async def test_whatever_the_database_refuses_the_node_goes_on(
    dsn: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Actors in memory go on, others are told so; what was not flushed is once it is mended."""
    await sql(dsn, "drop schema if exists spawn cascade")
    broken, mended = _BROKEN[how]
    store = PostgresSnapshots(dsn, "test")
    await store.migrate()
    cluster = Cluster(flush_interval_s=0.05)
    cluster.store = store  # type: ignore[assignment]
    async with cluster.node() as node:
        await add(node, 1)
        await add(node, 1, "away")
        await clean(node)
        assert residents(node).evict(residents(node).tables["List"].actors[b"away"])
        with caplog.at_level(logging.WARNING, "spawn.partition"):
            await sql(dsn, broken)
            assert await add(node, 2) == 2
            while node.statistics().store_failures < 2:
                await asyncio.sleep(0.01)
        assert any("not flushed" in record.getMessage() for record in caplog.records)
        if how in _LOADS_FAIL:
            with pytest.raises(StoreUnreachable, match="can't be loaded"):
                await add(node, 2, "away")
        assert await add(node, 3) == 3
        assert await numbers(node) == [1, 2, 3]
        await sql(dsn, mended)
        await store.migrate()
        assert await add(node, 2, "away") == 2
        await clean(node)
        assert node.statistics().ready
    async with cluster.node() as node:
        assert await numbers(node) == [1, 2, 3]
        assert await numbers(node, "away") == [1, 2]
    await store.close()


async def clean(node: NodeDispatcher) -> None:
    """Wait until everything is flushed."""
    async with asyncio.timeout(20):
        while (of := node.statistics().partitions[0]).checkpoint < of.position or of.dirty:
            await asyncio.sleep(0.02)
