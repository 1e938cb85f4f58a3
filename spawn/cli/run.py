"""`spawn run TARGET`."""

from __future__ import annotations

import socket
from typing import Annotated

from cyclopts import Parameter

from spawn.cli import console
from spawn.cli.common_flags import ConfigFile
from spawn.cli.settings_flags import SettingsFlags
from spawn.cli.sources import node_settings
from spawn.config import Settings
from spawn.errors import PortTaken

__all__ = ["run"]


def run(
    target: Annotated[str, Parameter(help="A Python file, or module:system.")],
    /,
    *,
    create: Annotated[
        bool,
        Parameter(
            help="Create missing topics and tables (see `spawn init`).", negative="--no-create"
        ),
    ] = True,
    config: ConfigFile = None,
    flags: Annotated[SettingsFlags, Parameter(name="*")] = SettingsFlags(),  # noqa: B008 - frozen
) -> None:
    """Run TARGET's actors on given servers until SIGINT or SIGTERM.

    Without any in a folder where `spawn dev` runs, it joins that one's system.
    """
    settings = node_settings(flags, config)
    from spawn.logs import configure_logs, spoken

    is_json = configure_logs(
        settings.log.level, settings.log.format, colour=console.colours_words()
    )
    from spawn.connections import unprotected

    say = spoken("spawn.node") if is_json else console.note
    open_ones = [f"{each.text}; {each.mend}" for each in unprotected(settings)]
    for warning in (*settings.warnings, *open_ones):
        if is_json:
            say(f"warning: {warning}")
        else:
            console.warning(warning)
    from spawn.node import RunOptions, serve, with_system_of
    from spawn.runtime.event_loop import run_serving
    from spawn.sdk.target import load_target

    loaded = load_target(target)
    settings = with_system_of(loaded, settings)
    types = ", ".join(sorted(behavior.type for behavior in loaded.behaviors))
    joins_dev = settings.source("kafka.bootstrap_servers").kind == "development"
    mode = (
        "development mode, beside the `spawn dev` of this folder"
        if joins_dev
        else ("production mode")
    )
    say(f"{mode}: system {settings.system}, {types} from {target}")
    options = RunOptions(
        create=create,
        say=say,
        on_serving=lambda told: say(f"serving at {told.url}"),
    )
    run_serving(serve(settings, loaded, options, _free_listener(settings) if joins_dev else None))


def _free_listener(settings: Settings) -> socket.socket | None:
    """Return a socket on any port where nobody chose one and `spawn dev` has the default."""
    from spawn.api.server import reserve

    http = settings.http
    if settings.source("http.port").kind != "default":
        return None
    try:
        return reserve(http.host, http.port)
    except PortTaken:
        return reserve(http.host, 0)
