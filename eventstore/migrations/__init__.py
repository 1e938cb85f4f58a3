"""Numbered SQL files that make the tables of the snapshot store, and what may follow on what.

`0001_name.sql` and so on run in this order, each once, each in a transaction of its own, with the
schema `spawn` there and no search path of ours. A file that was released never changes: its
checksum stands in each database's ledger, and a later file mends it. No file here opens or ends a
transaction, or uses a statement that can't run in one.

Nodes of one release back work on beside those that ran a file. So a file only adds: a table, an
index, a column with a default; and says so in its first line, by the oldest file whose release may
go on:

    -- compatible with 0003: adds a column that releases before write by its default

That number stands in the ledger too, where a release finds it that does not have the file. A file
without that line can't be worked beside: releases that do not have it refuse the database.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from eventstore.errors import SnapshotSchemaMismatch

__all__ = ["LEDGER", "Applied", "Migration", "migrations", "next_migration", "pending"]

LEDGER: Final = """
select name, checksum, (to_jsonb(line) ->> 'compatible_with')::integer
from spawn.migrations as line
"""
"""The lines of a ledger as (name, *Applied); those of the first builds of 0.1 lack the last."""

_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_COMPATIBLE: Final = re.compile(r"-- compatible with (\d{4})\b")


class Migration(NamedTuple):
    """One file."""

    name: str
    sql: str
    checksum: str
    """SHA-256 of the file, in hexadecimal digits."""
    compatible_with: int
    """The number of the oldest file whose release may work on after this one ran."""


class Applied(NamedTuple):
    """One line of a database's ledger: a file that ran."""

    checksum: str
    compatible_with: int | None
    """As in `Migration`; None: unknown, so only releases that have the file may work."""


def migrations(folder: Traversable | None = None) -> Sequence[Migration]:
    """Read all migrations, in order; they must be numbered from 1 without a gap."""
    files: Iterable[Traversable] = (folder or resources.files(__name__)).iterdir()
    found = sorted(
        (_read(file) for file in files if file.name.endswith(".sql")),
        key=lambda migration: migration.name,
    )
    for number, migration in enumerate(found, 1):
        match = _NAME.fullmatch(migration.name)
        if match is None or int(match[1]) != number:
            raise ValueError(f"migration {migration.name}: expected {number:04}_<name>.sql")
        if not 0 < migration.compatible_with <= number:
            raise ValueError(
                f"migration {migration.name} is compatible with {migration.compatible_with:04}, "
                "which is none before it"
            )
    return found


def next_migration(known: Sequence[Migration], applied: Mapping[str, Applied]) -> Migration | None:
    """Return the migration to run next, or None if the database is up to date, or ahead of us.

    `applied` is the database's ledger, by name.

    Raises:
        SnapshotSchemaMismatch: the ledger does not fit the files.
    """
    ours = {migration.name for migration in known}
    foreign = sorted(applied.keys() - ours)
    if unfit := [name for name in foreign if not _is_beside(applied[name], len(known))]:
        raise SnapshotSchemaMismatch(
            f"the database has migrations that this version of Spawn does not know and can't work "
            f"beside ({', '.join(unfit)}): a newer version made its tables, run that one"
        )
    for index, migration in enumerate(known):
        ran = applied.get(migration.name)
        if ran is None:
            if later := [m.name for m in known[index:] if m.name in applied] + foreign:
                raise SnapshotSchemaMismatch(
                    f"migration {migration.name} is missing in the database, though {later[0]}"
                    " ran: the tables were made by something else than Spawn"
                )
            return migration
        if ran.checksum != migration.checksum:
            raise SnapshotSchemaMismatch(
                f"migration {migration.name} ran with another text than this version of Spawn has:"
                " one of both was changed after its release"
            )
    return None


def pending(known: Sequence[Migration], applied: Mapping[str, Applied]) -> Sequence[str]:
    """Return the names of those that have not run. Raises: SnapshotSchemaMismatch."""
    following = next_migration(known, applied)
    names = [migration.name for migration in known]
    return names[names.index(following.name) :] if following is not None else []


def _is_beside(applied: Applied, known: int) -> bool:
    """Tell whether a release with that many files may work on after another one ran."""
    return applied.compatible_with is not None and applied.compatible_with <= known


def _read(file: Traversable) -> Migration:
    text = file.read_bytes()
    sql = text.decode("utf-8")
    name = _NAME.fullmatch(file.name)
    beside = _COMPATIBLE.match(sql) or name
    compatible_with = int(beside[1]) if beside is not None else 0
    return Migration(file.name, sql, hashlib.sha256(text).hexdigest(), compatible_with)
