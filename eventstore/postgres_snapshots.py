"""Snapshot store in PostgreSQL (14 or later), through asyncpg.

Every call takes one connection, and every step on it has a time limit of ours, since asyncpg waits
for ever on a socket whose other side is silent. Whatever goes wrong, the connection is thrown away
without a word to the server (`terminate`, never `close`), which rolls back; after a silence so are
the idle ones, and the next call makes a new one: nothing has to be restarted when the database is
back.

A flush holds no lock while it waits for its slices: it stages them in temporary tables, then locks
the partition's checkpoint row, judges it again and merges, all within one transaction. So an owner
that stops in mid-flush (SIGSTOP, a paused machine) never holds up the next one for long: what it
holds is let go by the server's own time limits.

Not for use behind a proxy that pools by transaction: temporary tables and prepared statements
belong to a session.

Over 400 lines: a third of it is SQL, which stands beside its only caller.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from eventstore.door import Door
from eventstore.errors import (
    SnapshotError,
    SnapshotSchemaMismatch,
    SnapshotsNotAdmitted,
    SnapshotsUnavailable,
)
from eventstore.log import TopicPartition
from eventstore.migrations import (
    LEDGER,
    Applied,
    Migration,
    migrations,
    next_migration,
    pending,
)
from eventstore.postgres_admission import not_admitted
from eventstore.rows import (
    NO_STATE,
    ActorListing,
    ActorName,
    ActorRow,
    Checkpoint,
    FlushSlice,
    HistoryRow,
    KeyRow,
    Loaded,
    flush_applies,
    flush_stands,
)
from eventstore.snapshots import SnapshotStore

__all__ = ["PostgresSnapshots"]

_LONG_S: Final = 600.0
"""Limit of a migration and of a discard, which may touch every row there is."""
_MERGE_ROWS_PER_S: Final = 5_000
"""A merge may take this much longer than one command: a twentieth of the speed seen."""
_FLUSH_TURN_S: Final = 60.0
"""How long a flush waits for other flushes of this process."""
_IDLE_IN_FLUSH_S: Final = 60
"""Between two slices; a process that stops there keeps nothing but dead rows from being removed."""
_MIGRATION_LOCK: Final = 0x53_50_41_57_4E
"""Advisory lock of the database ("SPAWN"), held while a migration runs."""

_AWAY: Final = (
    OSError,  # also TimeoutError and ssl.SSLError
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # starting up, shutting down, statement_timeout
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,  # deadlock, serialization: nothing of it took effect
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or demoted under us
    asyncpg.TargetServerAttributeNotMatched,  # likewise, when connecting
    # A server's goodbye to an idle session confuses asyncpg until the socket is closed too.
    asyncpg.InternalClientError,
)
"""What passes by itself. Anything else is a mistake in here or in the set-up."""

_NO_TABLES: Final = (
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
)

_SETTINGS: Final = {
    # Each of our joins goes from few given rows into an index of tables that may be huge. A plan
    # kept from when a table was small, or from statistics that are not there yet, never gets to
    # read all of it.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # A flush of some 100,000 small rows stays in memory.
    "work_mem": "32MB",
    "temp_buffers": "32MB",
    "idle_in_transaction_session_timeout": f"{_IDLE_IN_FLUSH_S}s",
    # A client that vanished without a word gives its locks back soon (no effect on Unix sockets).
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",
}
"""Of our sessions. Set by statement: proxies refuse unknown start-up parameters."""

_SET: Final = """
select set_config(name, value, false) from unnest($1::text[], $2::text[]) as setting (name, value)
"""

# Where a flush stages its rows: columns in the order of the port's tuples, text ids as bytea.
_STAGE: Final = """
create temporary table spawn_actors (
    type text collate "C", id bytea, revision bigint, record_offset bigint, deleted boolean,
    state bytea, fingerprint bytea, version integer, checksum bigint
) on commit delete rows;
create temporary table spawn_history (
    type text collate "C", id bytea, revision bigint, record_offset bigint, state bytea,
    fingerprint bytea
) on commit delete rows;
create temporary table spawn_keys (
    type text collate "C", id bytea, key bytea, payload bytea, record_offset bigint, time_us bigint
) on commit delete rows;
create temporary table spawn_dropped_keys (
    type text collate "C", id bytea, key bytea
) on commit delete rows;
"""

# In the order of their keys, so that pages are touched once; `distinct on` keeps the newest.
_MERGE_ACTORS: Final = """
insert into spawn.actors as kept (
    partition_id, type, id, revision, record_offset, deleted, state, fingerprint, version, checksum)
select distinct on (id, type)
    $1::integer, type, id, revision, record_offset, deleted, state, fingerprint, version, checksum
from pg_temp.spawn_actors order by id, type, record_offset desc
on conflict (partition_id, id, type) do update set
    revision = excluded.revision, record_offset = excluded.record_offset,
    deleted = excluded.deleted, state = excluded.state, fingerprint = excluded.fingerprint,
    version = excluded.version, checksum = excluded.checksum
where kept.record_offset <= excluded.record_offset
"""
_MERGE_HISTORY: Final = """
insert into spawn.actor_history as kept (
    partition_id, type, id, revision, record_offset, state, fingerprint)
select distinct on (id, type, revision)
    $1::integer, type, id, revision, record_offset, state, fingerprint
from pg_temp.spawn_history order by id, type, revision, record_offset desc
on conflict (partition_id, id, type, revision) do update set
    record_offset = excluded.record_offset, state = excluded.state,
    fingerprint = excluded.fingerprint
where kept.record_offset <= excluded.record_offset
"""
# `offset 0` keeps the planner from turning the look-up of each row into a join over the whole
# partition, which it likes while it has no statistics. Nobody else moves these rows meanwhile.
_DROP_KEYS: Final = """
delete from spawn.actor_keys where ctid = any (array(
    select found.place from pg_temp.spawn_dropped_keys as dropped
    cross join lateral (
        select actor_keys.ctid as place from spawn.actor_keys
        where actor_keys.partition_id = $1 and actor_keys.type = dropped.type
            and actor_keys.id = dropped.id and actor_keys.key = dropped.key
        offset 0
    ) as found
))
"""
_MERGE_KEYS: Final = """
insert into spawn.actor_keys as kept (
    partition_id, type, id, key, payload, record_offset, time_us)
select distinct on (id, type, key) $1::integer, type, id, key, payload, record_offset, time_us
from pg_temp.spawn_keys order by id, type, key, record_offset desc
on conflict (partition_id, id, type, key) do update set
    payload = excluded.payload, record_offset = excluded.record_offset, time_us = excluded.time_us
where kept.record_offset <= excluded.record_offset
"""
_MERGES: Final = (
    ("spawn_actors", _MERGE_ACTORS),
    ("spawn_history", _MERGE_HISTORY),
    ("spawn_dropped_keys", _DROP_KEYS),  # before the keys that are written
    ("spawn_keys", _MERGE_KEYS),
)

_CHECKPOINT: Final = """
select record_offset, claim, epoch, log_id, fold from spawn.checkpoints
where system = $1 and topic = $2 and partition = $3 and record_offset is not null
"""
_GUARD: Final = """
select record_offset, log_id, claim from spawn.checkpoints
where system = $1 and topic = $2 and partition = $3
"""
# `for update` gives the row as the flush before us left it, if it made us wait. From here on the
# server ends the session soon if we fall silent.
_LOCK: Final = """
select partition_id, record_offset, log_id, claim,
    set_config('idle_in_transaction_session_timeout', $4, true),
    set_config('statement_timeout', $5, true)
from spawn.checkpoints where system = $1 and topic = $2 and partition = $3
for update
"""
# Only where there is no row yet: a conflict uses up a number of the 2^31 that the identity has.
_NEW_PLACE: Final = """
insert into spawn.checkpoints (system, topic, partition) values ($1, $2, $3)
on conflict (system, topic, partition) do nothing
"""
_WRITE_CHECKPOINT: Final = """
update spawn.checkpoints
set record_offset = $2, claim = $3, epoch = $4, log_id = $5, fold = $6 where partition_id = $1
"""
_DISCARD: Final = (
    "delete from spawn.actors where partition_id = $1",
    "delete from spawn.actor_history where partition_id = $1",
    "delete from spawn.actor_keys where partition_id = $1",
    """
    update spawn.checkpoints
    set record_offset = null, claim = null, epoch = null, log_id = null, fold = null
    where partition_id = $1
    """,
)

# One row per actor asked for, with X in each; one row of nulls besides X where none is asked for.
# `offset 0` as above: without it the partition was a filter behind a search in all of them.
_LOAD: Final = """
select coalesce(place.record_offset, 0), wanted.number,
    actors.revision, actors.record_offset, actors.deleted, actors.state, actors.fingerprint,
    actors.version, actors.checksum, keys.keys, keys.payloads, keys.offsets, keys.times
from spawn.checkpoints as place
left join unnest($4::text[], $5::bytea[]) with ordinality as wanted (type, id, number) on true
left join lateral (
    select * from spawn.actors
    where actors.partition_id = place.partition_id
        and actors.type = wanted.type and actors.id = wanted.id
    offset 0
) as actors on true
left join lateral (
    select array_agg(key) as keys, array_agg(payload) as payloads,
        array_agg(record_offset) as offsets, array_agg(time_us) as times
    from (
        select key, payload, record_offset, time_us from spawn.actor_keys
        where actor_keys.partition_id = place.partition_id
            and actor_keys.type = wanted.type and actor_keys.id = wanted.id
        order by record_offset, key
    ) as sorted
) as keys on true
where place.system = $1 and place.topic = $2 and place.partition = $3
"""
# One look into the primary key, however many rows there are; $6 is the type, or null for any.
_ACTORS: Final = """
select listed.type, listed.id, listed.revision, listed.record_offset, listed.deleted
from spawn.checkpoints as place
cross join lateral (
    select type, id, revision, record_offset, deleted from spawn.actors
    where actors.partition_id = place.partition_id and (actors.id, actors.type) > ($4, $5)
        and ($6::text is null or actors.type = $6)
    order by actors.id, actors.type limit $7
) as listed
where place.system = $1 and place.topic = $2 and place.partition = $3
order by listed.id, listed.type
"""
# Scans the partition's part of the key; rare, and nothing waits for it.
_UNUSABLE: Final = """
select listed.type, listed.id, listed.revision, listed.record_offset, listed.deleted
from spawn.checkpoints as place
cross join lateral (
    select type, id, revision, record_offset, deleted from spawn.actors
    where actors.partition_id = place.partition_id and (actors.id, actors.type) > ($4, $5)
        and actors.version = $6
    order by actors.id, actors.type limit $7
) as listed
where place.system = $1 and place.topic = $2 and place.partition = $3
order by listed.id, listed.type
"""
_RELABEL: Final = """
update spawn.checkpoints set log_id = $6
where system = $1 and topic = $2 and partition = $3 and record_offset = $4 and claim = $5
returning 1
"""
_TOPICS: Final = "select distinct topic from spawn.checkpoints where system = $1 order by topic"
# The partition's rows in one transaction, its row here last; it is locked first as everywhere.
_PLACES: Final = """
select partition from spawn.checkpoints where system = $1 and topic = $2 order by partition
"""
_FORGET: Final = "delete from spawn.checkpoints where partition_id = $1"
_HISTORY_BEFORE: Final = """
select nearest.revision, nearest.record_offset, nearest.state, nearest.fingerprint
from spawn.checkpoints as place
cross join lateral (
    select revision, record_offset, state, fingerprint from spawn.actor_history
    where actor_history.partition_id = place.partition_id
        and actor_history.type = $4 and actor_history.id = $5 and actor_history.revision <= $6
    order by revision desc limit 1
) as nearest
where place.system = $1 and place.topic = $2 and place.partition = $3
"""

_HAS_LEDGER: Final = "select to_regclass('spawn.migrations') is not null"
_NEW_LEDGER: Final = """
create schema if not exists spawn;
comment on schema spawn is 'Spawn: snapshots of actors, a cache of the event log';
create table spawn.migrations (
    name     text collate "C" primary key,
    checksum text not null, -- SHA-256 of the file
    applied  timestamptz not null default now(),
    compatible_with integer -- the oldest file whose release may work on beside it; null: none
);
"""
_MEND_LEDGER: Final = """
alter table spawn.migrations add column if not exists compatible_with integer
"""


class PostgresSnapshots(SnapshotStore):
    """Snapshots of one system; several systems may share a database.

    Connects when used, with at most `connections` connections (at least 2), of which flushes take
    at most half, so that loads always find one.
    """

    def __init__(
        self,
        dsn: str,
        system: str,
        *,
        connect_s: float = 5.0,
        command_s: float = 10.0,
        connections: int = 4,
        password: Callable[[], str] | None = None,
    ) -> None:
        """`dsn` is a libpq URI, socket folders included (`postgresql://user@/db?host=/folder`).

        `connect_s` bounds making a connection, `command_s` one statement, one slice, and the wait
        for a free connection; the merge of a flush gets a second more for each 5,000 rows.
        `password` is asked for each connection and goes before what `dsn` says.
        """
        self._system = system
        self._command_s = command_s
        self._pool = _Pool(dsn, password, f"spawn {system}", connect_s, command_s, connections)
        self._flush_turns = asyncio.Semaphore(connections // 2)

    async def ping(self) -> None:
        async with self._pool.session() as session:
            await session.fetch("select 1")

    async def time_us(self) -> int | None:
        async with self._pool.session() as session:
            [[time_us]] = await session.fetch(
                "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
            )
            return int(time_us)

    async def migrate(self) -> Sequence[str]:
        known = migrations()
        done: list[str] = []
        async with self._pool.session() as session:
            while (migration := await self._migrate_one(session, known)) is not None:
                done.append(migration.name)
        return done

    async def pending(self) -> Sequence[str]:
        async with self._pool.session() as session:
            has_ledger = (await session.fetch(_HAS_LEDGER))[0][0]
            return pending(migrations(), await _ledger(session) if has_ledger else {})

    async def _migrate_one(self, session: _Session, known: Sequence[Migration]) -> Migration | None:
        await session.execute(f"begin; set local statement_timeout = '{_LONG_S:.0f}s'")
        await session.fetch("select pg_advisory_xact_lock($1)", _MIGRATION_LOCK, within_s=_LONG_S)
        # Read after the lock was taken: another process may just have done all of it.
        if not (await session.fetch(_HAS_LEDGER))[0][0]:
            await session.execute(_NEW_LEDGER)
        migration = next_migration(known, await _ledger(session))
        if migration is not None:
            await session.execute(migration.sql, within_s=_LONG_S)
            await session.execute(_MEND_LEDGER)
            await session.fetch(
                "insert into spawn.migrations (name, checksum, compatible_with) "
                "values ($1, $2, $3)",
                migration.name,
                migration.checksum,
                migration.compatible_with,
            )
        await session.execute("commit")
        return migration

    async def checkpoint(self, at: TopicPartition) -> Checkpoint | None:
        async with self._pool.session() as session:
            rows = await session.fetch(_CHECKPOINT, self._system, *at)
        for offset, claim, epoch, log_id, fold in rows:
            return Checkpoint(offset=offset, claim=claim, epoch=epoch, log_id=log_id, fold=fold)
        return None

    async def load(self, at: TopicPartition, actors: Sequence[ActorName]) -> Loaded:
        async with self._pool.session() as session:
            rows = await session.fetch(
                _LOAD,
                self._system,
                *at,
                [name[0] for name in actors],
                [name[1].encode() for name in actors],
            )
        found: dict[ActorName, ActorRow] = {}
        keys: dict[ActorName, Sequence[KeyRow]] = {}
        for row in rows:
            _, number, revision, offset, deleted, state, fingerprint, version, checksum, *of = row
            if number is None:
                continue
            name: ActorName = actors[number - 1]
            if revision is not None:
                found[name] = ActorRow(
                    *name, revision, offset, deleted, state, fingerprint, version, checksum
                )
            if of[0] is not None:
                keys[name] = [KeyRow(*name, *key) for key in zip(*of, strict=True)]
        return Loaded(rows[0][0] if rows else 0, found, keys)

    async def flush(
        self,
        at: TopicPartition,
        checkpoint: Checkpoint,
        base: int,
        slices: AsyncIterable[FlushSlice],
    ) -> bool:
        async with self._flush_turn(), self._pool.session() as session:
            found = await session.fetch(_GUARD, self._system, *at)
            x, log_id, claim = found[0] if found else (None, None, None)
            if not flush_applies(checkpoint, base, x, log_id):
                return flush_stands(checkpoint, x, log_id, claim)
            await session.execute("begin")
            staged = await _stage(session, slices)
            merge_s = self._command_s + sum(staged.values()) / _MERGE_ROWS_PER_S
            partition_id, x, log_id, claim = await self._lock(session, at, merge_s)
            if not flush_applies(checkpoint, base, x, log_id):
                await session.execute("rollback")
                return flush_stands(checkpoint, x, log_id, claim)
            for table, statement in _MERGES:
                if staged[table]:
                    await session.fetch(statement, partition_id, within_s=merge_s)
            await session.fetch(
                _WRITE_CHECKPOINT,
                partition_id,
                checkpoint.offset,
                checkpoint.claim,
                checkpoint.epoch,
                checkpoint.log_id,
                checkpoint.fold,
            )
            await session.execute("commit")
            return True

    @contextlib.asynccontextmanager
    async def _flush_turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_FLUSH_TURN_S):
                await self._flush_turns.acquire()
        except TimeoutError as error:
            raise SnapshotsUnavailable(
                f"{self._pool.where}: other flushes took all of {_FLUSH_TURN_S:.0f} s"
            ) from error
        try:
            yield
        finally:
            self._flush_turns.release()

    async def _lock(self, session: _Session, at: TopicPartition, hold_s: float) -> Sequence[Any]:
        """Lock the partition's row in an open transaction; return its id, X, log id, claim.

        From here on the transaction may take `hold_s` per statement, and `command_s` between two.
        """
        limits = [f"{self._command_s * 1000:.0f}", f"{hold_s * 1000:.0f}"]
        rows = await session.fetch(_LOCK, self._system, *at, *limits)
        if not rows:
            await session.fetch(_NEW_PLACE, self._system, *at)
            rows = await session.fetch(_LOCK, self._system, *at, *limits)
        partition_id, offset, log_id, claim, *_ = rows[0]
        return partition_id, offset, log_id, claim

    async def actors(
        self,
        at: TopicPartition,
        *,
        actor_type: str | None = None,
        after: ActorName | None = None,
        limit: int,
    ) -> Sequence[ActorListing]:
        behind = ("", "") if after is None else after
        async with self._pool.session() as session:
            rows = await session.fetch(
                _ACTORS, self._system, *at, behind[1].encode(), behind[0], actor_type, limit
            )
        return [ActorListing(row[0], row[1].decode(), *row[2:]) for row in rows]

    async def history_before(
        self, at: TopicPartition, actor: ActorName, revision: int
    ) -> HistoryRow | None:
        async with self._pool.session() as session:
            rows = await session.fetch(
                _HISTORY_BEFORE, self._system, *at, actor[0], actor[1].encode(), revision
            )
        return HistoryRow(*actor, *rows[0]) if rows else None

    async def discard(self, at: TopicPartition) -> bool:
        async with self._pool.session() as session:
            await session.execute("begin")
            partition_id, offset, *_ = await self._lock(session, at, _LONG_S)
            for statement in _DISCARD:
                await session.fetch(statement, partition_id, within_s=_LONG_S)
            await session.execute("commit")
        return offset is not None

    async def unusable(
        self, at: TopicPartition, *, after: ActorName | None = None, limit: int
    ) -> Sequence[ActorListing]:
        behind = ("", "") if after is None else after
        async with self._pool.session() as session:
            await session.execute(f"begin; set local statement_timeout = '{_LONG_S:.0f}s'")
            rows = await session.fetch(
                _UNUSABLE,
                self._system,
                *at,
                behind[1].encode(),
                behind[0],
                NO_STATE,
                limit,
                within_s=_LONG_S,
            )
            await session.execute("commit")
        return [ActorListing(row[0], row[1].decode(), *row[2:]) for row in rows]

    async def relabel(self, at: TopicPartition, checkpoint: Checkpoint, log_id: bytes) -> bool:
        async with self._pool.session() as session:
            rows = await session.fetch(
                _RELABEL, self._system, *at, checkpoint.offset, checkpoint.claim, log_id
            )
        return bool(rows)

    async def topics(self) -> Sequence[str]:
        async with self._pool.session() as session:
            return [row[0] for row in await session.fetch(_TOPICS, self._system)]

    async def forget(self, topic: str) -> bool:
        async with self._pool.session() as session:
            places = await session.fetch(_PLACES, self._system, topic)
            for (partition,) in places:
                await session.execute("begin")
                at = TopicPartition(topic, partition)
                partition_id, *_ = await self._lock(session, at, _LONG_S)
                for statement in (*_DISCARD, _FORGET):
                    await session.fetch(statement, partition_id, within_s=_LONG_S)
                await session.execute("commit")
        return bool(places)

    async def close(self) -> None:
        self._pool.close()
        # The transports let go of their sockets in the loop's next turn.
        await asyncio.sleep(0)


async def _stage(session: _Session, slices: AsyncIterable[FlushSlice]) -> dict[str, int]:
    """Copy all slices into the temporary tables; return how many rows went into each."""
    staged = {table: 0 for table, _ in _MERGES}
    async for actors, history, keys, dropped in slices:
        pieces: tuple[Sequence[tuple[Any, ...]], ...] = (actors, history, dropped, keys)
        for table, rows in zip(staged, pieces, strict=True):
            if rows:
                await session.copy(table, ((row[0], row[1].encode(), *row[2:]) for row in rows))
                staged[table] += len(rows)
    return staged


class _Session:
    """A connection in the hands of one caller; its steps are bounded and raise our errors."""

    def __init__(self, connection: asyncpg.Connection, where: str, command_s: float) -> None:
        self._connection = connection
        self._where = where
        self._command_s = command_s

    async def fetch(
        self, statement: str, *arguments: object, within_s: float | None = None
    ) -> list[Any]:
        async with self._step(within_s):
            return await self._connection.fetch(statement, *arguments)

    async def execute(self, statements: str, within_s: float | None = None) -> None:
        async with self._step(within_s):
            await self._connection.execute(statements)

    async def copy(self, table: str, rows: Iterable[Sequence[object]]) -> None:
        """Encode and send rows, without a pause for others: keep them few."""
        async with self._step(None):
            await self._connection.copy_records_to_table(table, records=rows, schema_name="pg_temp")

    @property
    def open(self) -> bool:
        return not self._connection.is_closed()

    def terminate(self) -> None:
        self._connection.terminate()

    @contextlib.asynccontextmanager
    async def _step(self, within_s: float | None) -> AsyncIterator[None]:
        # Not asyncpg's own time-outs: while its buffer is full they do not fire, and on a dead
        # server they wait for the answer to a request to cancel.
        with _our_errors(self._where, self._connection):
            async with asyncio.timeout(self._command_s if within_s is None else within_s):
                yield


class _Pool:
    """A few connections, made when needed, never two callers on one.

    Not asyncpg's pool: that one asks a server that may be dead to reset or to close, and hands out
    the other dead connections one by one.
    """

    def __init__(
        self,
        dsn: str,
        password: Callable[[], str] | None,
        name: str,
        connect_s: float,
        command_s: float,
        size: int,
    ) -> None:
        if size < 2:
            raise ValueError(f"{size} connections: flushes and loads need one each")
        self._dsn = dsn
        self._password = password
        self._name = name
        self._door: Door[SnapshotsNotAdmitted] = Door()
        self._connect_s = connect_s
        self._command_s = command_s
        self.where = f"PostgreSQL at {_address(dsn)}"
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Session] = []
        self._busy: set[_Session] = set()
        self._closed = False

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[_Session]:
        """Lend a connection; it is thrown away if the caller leaves by an exception."""
        await self._take_slot()
        try:
            self._require_open()
            session = self._pop_idle() or await self._connect()
            self._busy.add(session)
            try:
                yield session
            except SnapshotsUnavailable:
                # The idle ones are as dead, most likely; else they cost little to make again.
                session.terminate()
                self._drop_idle()
                raise
            except BaseException:
                session.terminate()
                raise
            finally:
                self._busy.discard(session)
            if self._closed:
                session.terminate()
            else:
                self._idle.append(session)
        finally:
            self._slots.release()

    def close(self) -> None:
        self._closed = True
        self._drop_idle()
        for session in self._busy:
            session.terminate()

    def _require_open(self) -> None:
        if self._closed:
            raise SnapshotsUnavailable(f"{self.where}: closed by this process")

    async def _take_slot(self) -> None:
        try:
            async with asyncio.timeout(self._command_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise SnapshotsUnavailable(
                f"{self.where}: no connection got free within {self._command_s:g} s"
            ) from error

    def _pop_idle(self) -> _Session | None:
        while self._idle:
            session = self._idle.pop()
            if session.open:
                return session
            session.terminate()
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    async def _connect(self) -> _Session:
        loop = asyncio.get_running_loop()
        self._door.enter(loop.time())
        try:
            with _our_errors(self.where, None):
                async with asyncio.timeout(self._connect_s):
                    connection = await asyncpg.connect(
                        self._dsn,
                        password=None if self._password is None else self._password(),
                        timeout=self._connect_s,
                        server_settings={"application_name": self._name},
                        target_session_attrs=SessionAttribute.read_write,
                    )
        except SnapshotsNotAdmitted as error:
            self._door.refused(error, loop.time())
            raise
        self._door.opened()
        session = _Session(connection, self.where, self._command_s)
        settings = _SETTINGS | {"statement_timeout": f"{self._command_s * 1000:.0f}"}
        try:
            await session.fetch(_SET, list(settings), list(settings.values()))
            await session.execute(_STAGE)
        except BaseException:
            session.terminate()
            raise
        return session


async def _ledger(session: _Session) -> dict[str, Applied]:
    lines = await session.fetch(LEDGER)
    return {name: Applied(checksum, beside) for name, checksum, beside in lines}


@contextlib.contextmanager
def _our_errors(where: str, connection: asyncpg.Connection | None) -> Iterator[None]:
    """Turn asyncpg's errors into ours; `connection` is None while there is none yet."""
    try:
        yield
    except TimeoutError as error:
        raise SnapshotsUnavailable(f"{where} did not answer in time") from error
    except _AWAY as error:
        refusal = not_admitted(error, where) if connection is None else None
        if refusal is not None:
            raise refusal from error
        raise SnapshotsUnavailable(f"{where}: {error}") from error
    except _NO_TABLES as error:
        raise SnapshotSchemaMismatch(
            f"{where} lacks tables of this version of Spawn ({error}); `spawn init` makes them"
        ) from error
    except asyncpg.InterfaceError as error:
        # "connection is closed" has no class of its own.
        if connection is None or not connection.is_closed():
            raise SnapshotError(f"{where}: {error}") from error
        raise SnapshotsUnavailable(f"{where}: {error}") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise SnapshotError(f"{where} does not let us: {error}") from error
    except asyncpg.PostgresError as error:
        if connection is not None:
            raise SnapshotError(f"{where}: {type(error).__name__}: {error}") from error
        refusal = not_admitted(error, where)
        if refusal is not None:
            raise refusal from error
        raise SnapshotError(f"{where} does not let us in: {error}") from error


def _address(dsn: str) -> str:
    """Return where a DSN leads, without user and password."""
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2] or ",".join(parse_qs(parts.query).get("host", ["?"]))
    return f"{host}{parts.path}"
