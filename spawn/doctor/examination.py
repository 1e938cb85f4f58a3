"""All checks, in the order in which one depends on the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from eventstore.kafka_log import KafkaAdmin, KafkaLog
from spawn.config import Settings
from spawn.connections import check_files, to_kafka, unprotected
from spawn.doctor.broker import examine_log
from spawn.doctor.check import Check, failed, ok, warning
from spawn.doctor.database import examine_database
from spawn.doctor.machine import examine_machine
from spawn.errors import InvalidSettings

__all__ = ["examine"]

_ADMIN_S = 10.0
_NATS_S = 5.0


async def examine(
    settings: Settings | InvalidSettings,
    *,
    data: Path,
    time_us: Callable[[], int],
    writes: bool = False,
) -> AsyncIterator[Check]:
    """Check everything; with settings that are wrong only what does not need them.

    `writes` also appends to a scratch topic, which it makes.
    """
    usable = None if isinstance(settings, InvalidSettings) else settings
    if isinstance(settings, InvalidSettings):
        hint = settings.hint or "correct them where they come from; `spawn config` shows the rest"
        place = f" ({settings.at})" if settings.at else ""
        yield failed("settings", settings.message.replace("\n ", ";") + place, hint)
    else:
        for text in settings.warnings:
            yield warning("settings", text, "correct the name, or unset it")
        named = [name for _, name in settings.sources.values()]
        yield ok("settings", f"system {settings.system}; " + (", ".join(named) or "all defaults"))
    for check in examine_machine(usable, data):
        yield check
    if usable is None:
        return
    for open_one in unprotected(usable):
        yield warning(f"{open_one.key.partition('.')[0]} without TLS", open_one.text, open_one.mend)
    try:
        check_files(usable)
    except InvalidSettings as error:
        yield failed("files", f"{error.message} ({error.at})".replace("\n ", ";"), error.hint)
        return
    if not usable.kafka.bootstrap_servers:
        yield failed(
            "log",
            "no address is set",
            "set SPAWN_KAFKA_BOOTSTRAP_SERVERS; for a local try: spawn dev",
        )
    else:
        address = to_kafka(usable, admin_timeout_s=_ADMIN_S)
        log = KafkaLog(address)
        try:
            async for check in examine_log(
                usable, log, KafkaAdmin(address), time_us, writes=writes
            ):
                yield check
        finally:
            await log.close()
    async for check in examine_database(usable, time_us):
        yield check
    if usable.nats.url:
        from spawn.nats_client import nats_problem

        problem, mend = await nats_problem(usable, _NATS_S)
        yield failed("nats", problem, mend) if problem else ok("nats", f"{usable.nats.url} answers")
