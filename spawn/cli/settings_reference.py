"""What the settings mean, read from the docstrings of `spawn.config.settings` (style rule 19)."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from spawn import config
from spawn.config import SETTINGS, Setting, settings

__all__ = ["explanations", "first_sentence", "settings_page", "shown_default", "shown_value"]

_INTRODUCTION: Final = """\
# Settings

Made from the docstrings of `spawn/config/settings.py` by `spawn.cli.settings_reference`; a test
keeps it current.

A setting has one name for all sources: the key `http.port` is the flag `--http-port` of
`spawn run`, `spawn dev` and `spawn init`, the variable `SPAWN_HTTP_PORT`, and in the file
`spawn.toml`

```toml
system = "shop"

[http]
port = 9001
```

A flag wins over the environment, the environment over the file, the file over the default. The file
is `spawn.toml` in the current folder, or the one that `--config` names. An empty variable counts as
not set. Durations are written `250ms`, `5s`, `2m`, `1h` or in plain seconds, sizes `64KiB`, `1MiB`,
`2GiB` or in plain bytes.

All settings are checked before anything starts, and all problems are told at once, each with the
flag, the variable, or the line of the file that it comes from. An unknown key in the file is an
error, an unknown variable `SPAWN_...` a warning, both with the nearest right name. Passwords in
addresses are never shown or logged. `spawn dev` starts servers of its own and does not look at the
addresses of others.

`SPAWN_URL` and `SPAWN_HTTP_CA` are no settings of a node: they are the node that `spawn invoke` and
`spawn state` call, and the file with the authority whose certificate they trust there.
"""


@cache
def explanations() -> Mapping[str, str]:
    """Return each setting's docstring by key, and each group's by name."""
    found: dict[str, str] = {}
    classes = {
        node.name: node
        for node in ast.parse(inspect.getsource(settings)).body
        if isinstance(node, ast.ClassDef)
    }
    for setting in SETTINGS.values():
        owner = (
            type(getattr(config.Settings(), setting.group)) if setting.group else config.Settings
        )
        found[setting.group] = inspect.getdoc(owner) or ""
        found[setting.key] = _docstring_below(classes[owner.__name__], setting.attribute)
    return found


def shown_default(setting: Setting) -> str:
    """Return a default as one would write it; empty: there is none."""
    return shown_value(setting, setting.default)


def shown_value(setting: Setting, value: Any) -> str:
    """Return a setting's value as one would write it, without passwords; empty: there is none."""
    if value is None:
        return "auto"
    if setting.attribute.endswith("_bytes"):
        return config.shown_size(value)
    if setting.attribute.endswith("_s"):
        return f"{value:g}s"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value)


def settings_page() -> str:
    """Return docs/reference/settings.md."""
    texts = explanations()
    parts = [_INTRODUCTION]
    group = None
    for setting in SETTINGS.values():
        if setting.group != group:
            group = setting.group
            title = (
                f"`[{group}]`: {texts[group][0].lower()}{texts[group][1:-1]}" if group else "System"
            )
            parts.append(f"## {title}\n")
        default = shown_default(setting)
        parts.append(
            f"### `{setting.key}`\n\n{texts[setting.key]}\n\n"
            + (f"`{setting.flag}`, " if setting.flag else "")
            + f"`{setting.variable}`; "
            + (f"default `{default}`\n" if default else "no default\n")
        )
    return "\n".join(parts)


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop."""
    return re.split(r"\.(?=\s|$)", " ".join(text.split()))[0]


def _docstring_below(owner: ast.ClassDef, attribute: str) -> str:
    """Return the string that stands below a field; Python itself keeps none."""
    body: list[Any] = owner.body
    for field, below in itertools.pairwise(body):
        named = isinstance(field, ast.AnnAssign) and ast.unparse(field.target) == attribute
        if named and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            return inspect.cleandoc(str(below.value.value))
    return ""


if __name__ == "__main__":
    print(settings_page(), end="")
