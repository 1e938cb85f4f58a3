"""Numbered SQL files that make the tables of the snapshot store, and what may follow on what.

`0001_name.sql` and so on run in this order, each once, each in a transaction of its own, with the
schema `spawn` there and no search path of ours. A file that was released never changes: its
checksum stands in each database's ledger, and a later file mends it. No file here opens or ends a
transaction, or uses a statement that can't run in one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from eventstore.errors import SnapshotSchemaMismatch

__all__ = ["Migration", "migrations", "next_migration"]

_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


class Migration(NamedTuple):
    """One file."""

    name: str
    sql: str
    checksum: str
    """SHA-256 of the file, in hexadecimal digits."""


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
    return found


def next_migration(known: Sequence[Migration], applied: Mapping[str, str]) -> Migration | None:
    """Return the migration to run next, or None if the database is up to date.

    `applied` is the database's ledger: name -> checksum.

    Raises:
        SnapshotSchemaMismatch: the ledger does not fit the files.
    """
    ours = {migration.name for migration in known}
    if foreign := sorted(applied.keys() - ours):
        raise SnapshotSchemaMismatch(
            f"the database has migrations that this version of Spawn does not know"
            f" ({', '.join(foreign)}): a newer version made its tables, run that one"
        )
    for index, migration in enumerate(known):
        checksum = applied.get(migration.name)
        if checksum is None:
            if later := [m.name for m in known[index:] if m.name in applied]:
                raise SnapshotSchemaMismatch(
                    f"migration {migration.name} is missing in the database, though {later[0]}"
                    " ran: the tables were made by something else than Spawn"
                )
            return migration
        if checksum != migration.checksum:
            raise SnapshotSchemaMismatch(
                f"migration {migration.name} ran with another text than this version of Spawn has:"
                " one of both was changed after its release"
            )
    return None


def _read(file: Traversable) -> Migration:
    text = file.read_bytes()
    return Migration(file.name, text.decode("utf-8"), hashlib.sha256(text).hexdigest())
