"""`spawn doctor`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from spawn.cli import console, exit_codes, render
from spawn.cli.common_flags import ConfigFile
from spawn.cli.node_client import DEV_FOLDER
from spawn.cli.settings_flags import SettingsFlags
from spawn.cli.sources import reading_settings
from spawn.config import Settings
from spawn.errors import InvalidSettings

__all__ = ["doctor"]


def doctor(
    *,
    write: Annotated[
        bool,
        Parameter(
            help="Also append to a scratch topic, which is made: does the broker keep its word?",
            negative="",
        ),
    ] = False,
    json: Annotated[bool, Parameter(help="One line of JSON for each check.", negative="")] = False,
    config: ConfigFile = None,
    flags: Annotated[SettingsFlags, Parameter(name="*")] = SettingsFlags(),  # noqa: B008 - frozen
) -> int:
    """Check broker, topics, database, clock and this machine; say how to mend what is wrong."""
    settings: Settings | InvalidSettings
    try:
        settings = reading_settings(flags, config, need_log=False)
    except InvalidSettings as error:
        settings = error
    failures = asyncio.run(_show(settings, as_json=json, writes=write))
    return exit_codes.FAILED if failures else exit_codes.DONE


async def _show(settings: Settings | InvalidSettings, *, as_json: bool, writes: bool) -> int:
    from spawn.doctor import examine
    from spawn.runtime.clock import SystemClock

    counts = {"ok": 0, "warning": 0, "failed": 0}
    async for check in examine(
        settings, data=DEV_FOLDER, time_us=SystemClock().time_us, writes=writes
    ):
        counts[check.status] += 1
        if as_json:
            console.data(render.json_line(check._asdict()))
        else:
            console.data(render.check(*check, colour=console.colours_data()))
    if not as_json:
        console.note(f"{counts['ok']} ok, {counts['warning']} warnings, {counts['failed']} failed")
    return counts["failed"]
