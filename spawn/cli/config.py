"""`spawn config`: the effective settings, and where each came from."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from spawn.cli import console, render
from spawn.cli.common_flags import ConfigFile
from spawn.cli.settings_flags import SettingsFlags
from spawn.cli.settings_reference import shown_value
from spawn.config import SETTINGS, load_settings

__all__ = ["config"]


def config(
    *,
    json: Annotated[
        bool, Parameter(help="One line of JSON for each setting.", negative="")
    ] = False,
    config: ConfigFile = None,
    flags: Annotated[SettingsFlags, Parameter(name="*")] = SettingsFlags(),  # noqa: B008 - frozen
) -> None:
    """Show every setting as `spawn run` takes it here, and where it came from; no passwords."""
    settings = load_settings(flags=flags.by_key(), config=config)
    for warning in settings.warnings:
        console.warning(warning)
    rows = [["setting", "value", "from"]]
    for key, setting in SETTINGS.items():
        group = getattr(settings, setting.group) if setting.group else settings
        value = shown_value(setting, getattr(group, setting.attribute))
        kind, name = settings.source(key)
        if json:
            fields = {"key": key, "value": value, "source": kind, "from": name}
            console.data(render.json_line(fields))
        rows.append([key, value or "-", "default" if kind == "default" else name])
    if not json:
        console.data("\n".join(render.table(rows)))
