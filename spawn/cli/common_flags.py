"""Flags that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

__all__ = ["Authority", "ConfigFile"]

ConfigFile = Annotated[
    Path | None, Parameter(help="File with settings, instead of ./spawn.toml.", metavar="FILE")
]
Authority = Annotated[
    str | None,
    Parameter(
        help="File with the authority to trust over https; also SPAWN_HTTP_CA.", metavar="FILE"
    ),
]
