"""A PostgreSQL server for snapshot tests, and the stores that a test opened on it."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from eventstore.errors import SnapshotsUnavailable
from eventstore.postgres_snapshots import PostgresSnapshots
from eventstore.snapshots import SnapshotStore
from spawn.dev.stack import EmbeddedStack
from tests.contract.snapshots_contract import Slices, checkpoint, new_place

_databases = itertools.count()


@contextlib.asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[EmbeddedStack]:
    """Run a server of its own, with its data in `folder`."""
    async with EmbeddedStack(folder, kafka=False, nats=False) as stack:
        yield stack


async def sql(dsn: str, *statements: str) -> None:
    """Run statements, each in its own transaction."""
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        connection.terminate()


async def new_database(stack: EmbeddedStack) -> str:
    """Make an empty database and return its DSN."""
    name = f"empty{next(_databases)}"
    await sql(stack.postgres_dsn, f"create database {name}")
    return stack.postgres_dsn.replace("/postgres?", f"/{name}?")


class Stores:
    """Opens stores on one database and closes them all."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._opened: list[PostgresSnapshots] = []

    def __call__(self, system: str) -> PostgresSnapshots:
        return self.open(system)

    def open(self, system: str = "demo", *, command_s: float = 10.0) -> PostgresSnapshots:
        store = PostgresSnapshots(self.dsn, system, connect_s=5, command_s=command_s)
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


async def call_each(store: SnapshotStore) -> None:
    """Call everything that answers; each must say that the database is not to be had."""
    at, name = new_place(), ("Counter", "a")
    for call in (
        store.ping(),
        store.migrate(),
        store.checkpoint(at),
        store.load(at, [name]),
        store.flush(at, checkpoint(1), 0, Slices()),
        store.actors(at, limit=1),
        store.history_before(at, name, 1),
        store.discard(at),
    ):
        with pytest.raises(SnapshotsUnavailable) as raised:
            await call
        assert raised.value.__cause__ is not None
