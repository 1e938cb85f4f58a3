"""`spawn init TARGET`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from spawn.cli import console, render
from spawn.cli.common_flags import ConfigFile
from spawn.cli.settings_flags import SettingsFlags
from spawn.config import Settings, load_settings

if TYPE_CHECKING:
    from spawn.sdk.target import Target

__all__ = ["init"]


def init(
    target: Annotated[str, Parameter(help="A Python file, or module:system.")],
    /,
    *,
    json: Annotated[bool, Parameter(help="One line of JSON for each topic.", negative="")] = False,
    config: ConfigFile = None,
    flags: Annotated[SettingsFlags, Parameter(name="*")] = SettingsFlags(),  # noqa: B008 - frozen
) -> None:
    """Create the topics and tables that TARGET's actors need; what is there stays as it is."""
    settings = load_settings(
        flags=flags.by_key(), config=config, required=("kafka.bootstrap_servers", "postgres.dsn")
    )
    for warning in settings.warnings:
        console.warning(warning)
    from spawn.sdk.target import load_target

    for topic, partitions in asyncio.run(_prepared(settings, load_target(target))).items():
        if json:
            console.data(render.json_line({"topic": topic, "partitions": partitions}))
        else:
            console.note(f"topic {topic} with {partitions} partitions is there")


async def _prepared(settings: Settings, target: Target) -> Mapping[str, int]:
    from spawn.node import RunOptions, connected, prepare, with_system_of

    settings = with_system_of(target, settings)
    async with connected(settings) as adapters:
        return await prepare(settings, target, adapters, RunOptions(say=console.note))
