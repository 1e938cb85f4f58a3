"""What the owner of a stack is told: what runs where, and what has died."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ChildDied", "Endpoints"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """What runs where. A part that was not asked for has None."""

    kafka_bootstrap: str | None
    """`host:port` of the broker."""
    postgres_dsn: str | None
    """libpq URI; its host is the folder with the socket."""
    nats_url: str | None
    pids: Mapping[str, int]
    """Process ids of the running parts by name, and of `supervisor`."""
    logs: Mapping[str, Path]
    """Log files of the parts by name."""
    data_folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildDied:
    """A server that ended without being asked to, or the supervisor, with which all servers end."""

    name: str
    """Name of the part, or `supervisor`."""
    pid: int
    reason: str
    """How it ended, to follow its name in a sentence: `was ended by SIGKILL`."""
    log: Path
    last_lines: tuple[str, ...]
    """The last lines of its log."""
