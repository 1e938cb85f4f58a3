"""`spawn events TYPE/ID`: reads log and database, needs no node and wakes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from spawn.cli import console, render
from spawn.cli.node_client import DEV_FOLDER
from spawn.cli.render import EventLine
from spawn.cli.settings_flags import AddressFlags
from spawn.cli.subjects import Subject, parse_subject
from spawn.config import Settings, load_settings
from spawn.errors import LogUnreachable, PartitionStopped

if TYPE_CHECKING:
    from spawn.query.inspection import HistoryLine

__all__ = ["events"]


def events(
    actor: Annotated[str, Parameter(name="TYPE/ID", help="The actor: its type and its id.")],
    /,
    *,
    state: Annotated[
        bool, Parameter(help="Also show the state after each record.", negative="")
    ] = False,
    utc: Annotated[
        bool, Parameter(help="Times in UTC instead of this machine's zone.", negative="")
    ] = False,
    json: Annotated[
        bool, Parameter(help="One line of JSON for each record, oldest first.", negative="")
    ] = False,
    config: Annotated[
        Path | None,
        Parameter(help="File with settings, instead of ./spawn.toml.", metavar="FILE"),
    ] = None,
    flags: Annotated[AddressFlags, Parameter(name="*")] = AddressFlags(),  # noqa: B008 - frozen
) -> None:
    """Show an actor's history from the log: who did what when, and the events that came of it."""
    subject = parse_subject(actor)
    settings = _settings(flags, config)
    lines = asyncio.run(read_events(settings, subject))
    if json:
        for line in lines:
            console.data(render.event_json(line, with_state=state))
    elif lines:
        from spawn.runtime.clock import SystemClock

        zone = UTC if utc else None
        now_us = SystemClock().time_us()
        console.data(render.event_table(lines, with_state=state, zone=zone, now_us=now_us))
        if state and all(line.state is None for line in lines):
            console.note(
                f"states of {subject.type} are not shown: its events are folded by its own code, "
                "which this command does not load"
            )
    else:
        console.note(f"{subject} was never written in system {settings.system}")


async def read_events(settings: Settings, subject: Subject) -> Sequence[EventLine]:
    """Return an actor's records, oldest first.

    Raises: UnknownType, LogUnreachable, PartitionStopped.
    """
    from eventstore.errors import EventStoreError, LogUnavailable
    from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
    from eventstore.postgres_snapshots import PostgresSnapshots
    from spawn.query.inspection import LogReader

    servers = settings.kafka.bootstrap_servers
    kafka = KafkaSettings(servers=servers)
    log = KafkaLog(kafka)
    dsn = settings.postgres.dsn.reveal()
    store = PostgresSnapshots(dsn, settings.system) if dsn else None
    at = settings.source("kafka.bootstrap_servers").name
    try:
        reader = LogReader(log, KafkaAdmin(kafka), store, settings.system)
        history = await reader.history(subject.type, subject.id)
    except LogUnavailable as error:
        raise LogUnreachable(f"no broker answered at {servers}: {error}", at=at) from error
    except EventStoreError as error:
        raise PartitionStopped(str(error), at=at) from error
    finally:
        await log.close()
        if store is not None:
            await store.close()
    return [_line(line) for line in history]


def _line(line: HistoryLine) -> EventLine:
    return EventLine(
        revision=line.revision,
        time_us=line.time_us,
        action=line.action,
        caller=line.caller,
        outcome=line.outcome,
        events=line.events,
        offset=line.position.offset,
        state=line.state,
        refusal=line.refusal,
    )


def _settings(flags: AddressFlags, config: Path | None) -> Settings:
    """Return where to read: flags and environment, else a running `spawn dev` here, else the file.

    Never a mixture of the first two: a system of the one in the log of the other is nobody's.
    """
    given = load_settings(flags=flags.by_key(), config=config)
    required = ("kafka.bootstrap_servers",)
    if given.source("kafka.bootstrap_servers").kind in ("flag", "environment"):
        return given
    from spawn.dev import dev_file

    running = dev_file.read(DEV_FOLDER)
    if running is None:
        return load_settings(flags=flags.by_key(), config=config, required=required)
    development = {
        "system": running.system,
        "kafka.bootstrap_servers": running.kafka_bootstrap or "",
        "postgres.dsn": running.postgres_dsn or "",
    }
    return load_settings(
        flags=flags.by_key(), config=config, development=development, required=required
    )
