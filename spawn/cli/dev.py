"""`spawn dev TARGET`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from spawn.cli import console
from spawn.cli.common_flags import ConfigFile
from spawn.cli.settings_flags import ADDRESSES, DevFlags
from spawn.config import load_settings

__all__ = ["dev"]


def dev(
    target: Annotated[str, Parameter(help="A Python file, or module:system.")],
    /,
    *,
    data: Annotated[
        Path, Parameter(help="Folder for the servers' data, and for dev.json.", metavar="FOLDER")
    ] = Path(".spawn"),
    config: ConfigFile = None,
    flags: Annotated[DevFlags, Parameter(name="*")] = DevFlags(),  # noqa: B008 - frozen
) -> None:
    """Run TARGET's actors with a broker, a database and NATS of their own, until Ctrl-C."""
    settings = load_settings(flags=flags.by_key(), config=config)
    for warning in settings.warnings:
        console.warning(warning)
    for key in ADDRESSES:
        source = settings.source(key)
        if source.kind != "default":
            console.note(f"{source.name} is not used: spawn dev starts servers of its own")
    from spawn.dev.command import develop
    from spawn.runtime.event_loop import run_serving

    given = (flags.by_key(), config)
    run_serving(develop(target, settings, given, data, console.note))
