"""Log and database for the commands that read them without a node."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from spawn.cli.node_client import DEV_FOLDER
from spawn.cli.settings_flags import GivenFlags
from spawn.config import Settings, load_settings
from spawn.errors import (
    InvalidSettings,
    LogUnreachable,
    PartitionStopped,
    StartRefused,
    StoreUnreachable,
)

if TYPE_CHECKING:
    from eventstore.log import EventLog, LogAdmin
    from eventstore.snapshots import SnapshotStore
    from spawn.dev.dev_file import DevFile

__all__ = ["Sources", "in_own_words", "node_settings", "opened", "reading_settings"]

_SERVERS: Final = ("kafka.bootstrap_servers", "postgres.dsn")


class Sources(NamedTuple):
    """Where to read."""

    log: EventLog
    admin: LogAdmin
    store: SnapshotStore | None
    """None: no database was named."""


def reading_settings(flags: GivenFlags, config: Path | None, *, need_log: bool = True) -> Settings:
    """Return where to read: flags and environment, else a running `spawn dev` here, else the file.

    Never a mixture of the first two: a system of the one in the log of the other is nobody's.
    Raises: InvalidSettings.
    """
    given = load_settings(flags=flags.by_key(), config=config)
    required = ("kafka.bootstrap_servers",) if need_log else ()
    if given.source("kafka.bootstrap_servers").kind in ("flag", "environment"):
        return given
    from spawn.dev import dev_file

    running = dev_file.read(DEV_FOLDER)
    if running is None:
        try:
            return load_settings(flags=flags.by_key(), config=config, required=required)
        except InvalidSettings as error:
            if need_log and given.source("kafka.bootstrap_servers").kind != "file":
                place = dev_file.dev_file_path(DEV_FOLDER)
                error.hint = (
                    f"no `spawn dev` runs in this folder ({place}): go where one runs, or "
                    f"{error.hint}"
                )
            raise
    return load_settings(
        flags=flags.by_key(),
        config=config,
        development=_servers_of(running),
        required=required,
    )


def node_settings(flags: GivenFlags, config: Path | None) -> Settings:
    """Return the settings of a node: where no server is named at all, a running `spawn dev`'s.

    A file's servers go before it, unlike for commands that read: a node writes. Raises:
    InvalidSettings.
    """
    from spawn.dev import dev_file

    running = dev_file.read(DEV_FOLDER)
    if running is not None:
        given = load_settings(flags=flags.by_key(), config=config)
        if all(given.source(key).kind == "default" for key in _SERVERS):
            return load_settings(
                flags=flags.by_key(),
                config=config,
                development={**_servers_of(running), "nats.url": running.nats_url or ""},
                required=_SERVERS,
            )
    return load_settings(flags=flags.by_key(), config=config, required=_SERVERS)


def _servers_of(running: DevFile) -> Mapping[str, str]:
    return {
        "system": running.system,
        "kafka.bootstrap_servers": running.kafka_bootstrap or "",
        "postgres.dsn": running.postgres_dsn or "",
    }


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Sources]:
    """Open log and database while the body runs, which raises errors for people.

    Raises: LogUnreachable, StoreUnreachable, PartitionStopped, StartRefused.
    """
    from eventstore.kafka_log import KafkaAdmin, KafkaLog
    from spawn.connections import check_files, snapshots, to_kafka

    check_files(settings)
    kafka = to_kafka(settings)
    log = KafkaLog(kafka)
    store = snapshots(settings) if settings.postgres.dsn else None
    try:
        with in_own_words(settings):
            yield Sources(log, KafkaAdmin(kafka), store)
    finally:
        await log.close()
        if store is not None:
            await store.close()


@contextlib.contextmanager
def in_own_words(settings: Settings) -> Iterator[None]:
    """Tell what log and store raise as the errors that people meet."""
    from eventstore.errors import (
        EventStoreError,
        LogNotAdmitted,
        LogUnavailable,
        SnapshotError,
        SnapshotsNotAdmitted,
    )
    from spawn.connections import database_refusal, log_refusal
    from spawn.core.fold import LossDetected

    servers = settings.kafka.bootstrap_servers
    log, database = (
        settings.source(key).name for key in ("kafka.bootstrap_servers", "postgres.dsn")
    )
    try:
        yield
    except BaseExceptionGroup as group:
        # The tasks of one look at many partitions: the first failure tells enough.
        first = _first(group)
        if not isinstance(first, EventStoreError | LossDetected):
            raise
        with in_own_words(settings):
            raise first from group
    except LogNotAdmitted as error:
        raise log_refusal(settings, error) from error
    except SnapshotsNotAdmitted as error:
        raise database_refusal(settings, error) from error
    except LogUnavailable as error:
        raise LogUnreachable(
            f"no broker answered at {servers}: {error}",
            at=log,
            hint="`spawn doctor` checks name, port, protocol and topics one by one",
        ) from error
    except SnapshotError as error:
        kind = StoreUnreachable if _is_away(error) else StartRefused
        raise kind(
            f"the database can't be used: {error}",
            at=database,
            hint="`spawn doctor` checks it; without an address only the log is read",
        ) from error
    except (EventStoreError, LossDetected) as error:
        raise PartitionStopped(str(error), at=log) from error


def _is_away(error: Exception) -> bool:
    from eventstore.errors import SnapshotsUnavailable

    return isinstance(error, SnapshotsUnavailable)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
