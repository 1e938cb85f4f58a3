"""A flag for each setting, made from `spawn.config`, so that none can be forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from spawn.cli.help_page import SETTINGS_GROUP
from spawn.cli.settings_reference import explanations, first_sentence, shown_default
from spawn.config import SETTINGS, Setting, connection_keys

__all__ = ["ADDRESSES", "AddressFlags", "DevFlags", "GivenFlags", "SettingsFlags"]

ADDRESSES: Final = ("kafka.bootstrap_servers", "postgres.dsn", "nats.url")
"""Servers that `spawn dev` starts itself."""


class GivenFlags:
    """What a command line gives; each value is the text as it stands there, of a switch True."""

    def by_key(self) -> Mapping[str, str | None]:
        """Return the given values by the keys of the settings."""
        return {key: getattr(self, _attribute(key), None) for key in SETTINGS}


def _attribute(key: str) -> str:
    return key.replace(".", "_")


def _flag(setting: Setting, group: str) -> tuple[str, Any, Any]:
    default = shown_default(setting)
    help_text = f"{first_sentence(explanations()[setting.key])} ({setting.variable}"
    help_text += f", default {default})." if default else ")."
    if isinstance(setting.default, bool):
        switch = Parameter(name=setting.flag, help=help_text, negative="", group=group)
        return _attribute(setting.key), Annotated[bool | None, switch], field(default=None)
    parameter = Parameter(
        name=setting.flag, help=help_text, metavar=_value_name(setting), group=group
    )
    annotation = Annotated[str | None, parameter]
    return _attribute(setting.key), annotation, field(default=None)


def _value_name(setting: Setting) -> str:
    if setting.attribute.endswith("_s"):
        return "DURATION"
    if setting.attribute.endswith("_bytes"):
        return "SIZE"
    return "NUMBER" if isinstance(setting.default, int) else "TEXT"


def _flags(name: str, keys: list[str], group: str = "Options") -> Any:
    members = [_flag(SETTINGS[key], group) for key in keys if SETTINGS[key].flag]
    return make_dataclass(
        name,
        members,
        bases=(GivenFlags,),
        frozen=True,
        kw_only=True,
        # Else it counts as a builtin, which cyclopts does not look into.
        namespace={"__module__": __name__},
    )


if TYPE_CHECKING:
    SettingsFlags = GivenFlags
    DevFlags = GivenFlags
    AddressFlags = GivenFlags
else:
    SettingsFlags = _flags("SettingsFlags", list(SETTINGS), SETTINGS_GROUP)
    _own = [key for key in SETTINGS if key not in connection_keys()]
    DevFlags = _flags("DevFlags", _own, SETTINGS_GROUP)
    AddressFlags = _flags("AddressFlags", ["system", *ADDRESSES[:2]])
