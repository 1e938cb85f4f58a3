"""The database: reached, new enough, ours, writable, and with a right clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from eventstore.errors import (
    SnapshotError,
    SnapshotSchemaMismatch,
    SnapshotsNotAdmitted,
    SnapshotsUnavailable,
)
from eventstore.migrations import migrations, next_migration
from eventstore.postgres_probe import DatabaseFacts, ask_database
from spawn.config import Settings
from spawn.connections import mend_of_database, postgres_password
from spawn.doctor.check import Check, failed, ok, warning

__all__ = ["CLOCK_MAX_US", "examine_database", "judge_database"]

_VERSION_MIN: Final = 140_000
CLOCK_MAX_US: Final = 1_000_000
"""How far clocks may be apart unsaid. Nobody decides by them who may write; people read them."""
_TIMEOUT_S: Final = 5.0


async def examine_database(settings: Settings, time_us: Callable[[], int]) -> AsyncIterator[Check]:
    """Check the snapshot store."""
    dsn, source = settings.postgres.dsn, settings.source("postgres.dsn").name
    if not dsn:
        yield failed(
            "database", "no address is set", "set SPAWN_POSTGRES_DSN; for a local try: spawn dev"
        )
        return
    before = time_us()
    try:
        facts = await ask_database(dsn.reveal(), _TIMEOUT_S, postgres_password(settings))
    except SnapshotsNotAdmitted as error:
        yield failed("database", f"{dsn} ({source}): {error}", mend_of_database(error.concerns)[1])
        return
    except SnapshotsUnavailable as error:
        yield failed(
            "database",
            f"{dsn} ({source}): {error}",
            "check host and port, that PostgreSQL runs, and that a firewall lets us through",
        )
        return
    except (SnapshotError, ValueError) as error:
        yield failed(
            "database", f"{dsn} ({source}): {error}", "check user, password and database name"
        )
        return
    after = time_us()
    yield ok("database", f"{dsn} answers in {(after - before) / 1000:.0f} ms")
    limit_us = int(settings.node.clock_limit_s * 1e6)
    for check in judge_database(facts, (before + after) // 2, limit_us):
        yield check


def judge_database(
    facts: DatabaseFacts, time_us: int, clock_limit_us: int = 5_000_000
) -> list[Check]:
    """Return what to think of the answers; `time_us` is our clock at that moment (pure)."""
    return [
        _version(facts),
        _tables(facts),
        _rights(facts),
        _connections(facts),
        _clock(facts.time_us - time_us, clock_limit_us),
    ]


def _version(facts: DatabaseFacts) -> Check:
    if facts.version < _VERSION_MIN:
        return failed(
            "database version",
            f"PostgreSQL {facts.version_text}",
            "Spawn needs PostgreSQL 14 or later",
        )
    return ok("database version", f"PostgreSQL {facts.version_text}")


def _tables(facts: DatabaseFacts) -> Check:
    known = migrations()
    try:
        following = next_migration(known, facts.migrations or {})
    except SnapshotSchemaMismatch as error:
        return failed("tables", str(error), "run the version of Spawn that made them, or later")
    if facts.migrations is None:
        text = "not made yet"
    elif following is not None:
        text = f"{following.name} and later are missing"
    elif newer := sorted(facts.migrations.keys() - {migration.name for migration in known}):
        return ok("tables", f"of a newer release, beside which this one works ({newer[-1]})")
    else:
        return ok("tables", f"current ({known[-1].name})")
    return warning("tables", text, "`spawn init TARGET` makes them; `spawn run` does so too")


def _rights(facts: DatabaseFacts) -> Check:
    if facts.is_standby:
        return failed("rights", "the server is a standby, read-only", "name the primary")
    missing = []
    if facts.migrations is None and not facts.may_create:
        missing.append("CREATE on the database")
    if not facts.may_stage:
        missing.append("TEMPORARY on the database")
    if not facts.may_write:
        missing.append("SELECT, INSERT, UPDATE, DELETE on all tables in schema spawn")
    if missing:
        return failed("rights", f"the user lacks {', '.join(missing)}", "GRANT them to the user")
    return ok("rights", "the user may do all that is needed")


def _connections(facts: DatabaseFacts) -> Check:
    text = f"{facts.connections} of {facts.connections_max} in use; each node takes at most 4"
    if facts.connections > 0.9 * facts.connections_max:
        return warning("connections", text, "raise max_connections of the server")
    return ok("connections", text)


def _clock(ahead_us: int, limit_us: int) -> Check:
    text = f"the database's is {abs(ahead_us) / 1e6:.3f} s {'ahead' if ahead_us > 0 else 'behind'}"
    if abs(ahead_us) > limit_us:
        text += f"; above {limit_us / 1e6:g} s (node.clock_limit) no node starts"
        return failed("clock", text, "set both by NTP (chrony, systemd-timesyncd)")
    if abs(ahead_us) > CLOCK_MAX_US:
        return warning("clock", text, "set both by NTP (chrony, systemd-timesyncd)")
    return ok("clock", text)
