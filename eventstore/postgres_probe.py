"""What a PostgreSQL database says of itself: for diagnosis only; it changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import asyncpg

from eventstore.errors import SnapshotError, SnapshotsUnavailable
from eventstore.migrations import LEDGER, Applied
from eventstore.postgres_admission import not_admitted

__all__ = ["DatabaseFacts", "ask_database"]

_FACTS = """
select current_setting('server_version_num')::integer, current_setting('server_version'),
    (extract(epoch from clock_timestamp()) * 1000000)::bigint, pg_is_in_recovery(),
    has_database_privilege(current_database(), 'CREATE'),
    has_database_privilege(current_database(), 'TEMPORARY'),
    to_regclass('spawn.migrations') is not null,
    current_setting('max_connections')::integer,
    (select count(*) from pg_stat_activity where backend_type = 'client backend')::integer
"""
_MAY_WRITE = """
select coalesce(bool_and(has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE')), true)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'spawn' and c.relkind = 'r'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """The answers."""

    version: int
    """As in server_version_num: 180006."""
    version_text: str
    time_us: int
    """The server's clock when it answered, microseconds since 1970 UTC."""
    is_standby: bool
    may_create: bool
    """Make our schema, which the first migration does."""
    may_stage: bool
    """Make temporary tables, which every flush does."""
    may_write: bool
    """Read and change our tables, where they are."""
    migrations: Mapping[str, Applied] | None
    """The ledger, by name; None: there is none yet."""
    connections_max: int
    connections: int


async def ask_database(
    dsn: str, timeout_s: float, password: Callable[[], str] | None = None
) -> DatabaseFacts:
    """Connect, ask, and leave.

    Raises: SnapshotsNotAdmitted (login or TLS), SnapshotsUnavailable (nobody answers),
    SnapshotError (it does not let us ask).
    """
    try:
        async with asyncio.timeout(timeout_s):
            connection = await asyncpg.connect(
                dsn, password=None if password is None else password(), timeout=timeout_s
            )
            try:
                [row] = await connection.fetch(_FACTS)
                ledger, may_write = None, True
                if row[6]:
                    found = await connection.fetch(LEDGER)
                    ledger = {name: Applied(checksum, beside) for name, checksum, beside in found}
                    may_write = await connection.fetchval(_MAY_WRITE)
            finally:
                connection.terminate()
    except TimeoutError as error:
        raise SnapshotsUnavailable(f"no answer within {timeout_s:g} s") from error
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError) as error:
        if (refusal := not_admitted(error, "it")) is not None:
            raise refusal from error
        raise SnapshotsUnavailable(str(error)) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if (refusal := not_admitted(error, "it")) is not None:
            raise refusal from error
        raise SnapshotError(str(error)) from error
    return DatabaseFacts(
        version=row[0],
        version_text=row[1],
        time_us=row[2],
        is_standby=row[3],
        may_create=row[4],
        may_stage=row[5],
        may_write=may_write,
        migrations=ledger,
        connections_max=row[7],
        connections=row[8],
    )
