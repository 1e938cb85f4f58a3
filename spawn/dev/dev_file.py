"""`.spawn/dev.json`: what a running `spawn dev` serves where, for commands of other terminals."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from spawn.dev.processes import is_same_process, start_token

__all__ = ["DevFile", "dev_file_path", "read", "remove", "write"]

_NAME = "dev.json"


class DevFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content; unknown members are ignored, so that an older command can read it."""

    system: str
    """Name of the actor system."""
    http_url: str
    started: str
    """When it was started, ISO 8601 with zone."""
    kafka_bootstrap: str | None = None
    postgres_dsn: str | None = None
    nats_url: str | None = None
    target: str | None = None
    """What it runs, as a command of the same folder would name it."""
    pids: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Process ids of the parts by name, for people to look at."""
    pid: int = msgspec.field(default_factory=os.getpid)
    """The process that wrote the file and removes it at its end."""
    pid_token: str = msgspec.field(default_factory=lambda: start_token(os.getpid()) or "")
    """Tells that process from a later one with the same pid."""


def dev_file_path(folder: Path) -> Path:
    """Return the file's path in a project's folder `.spawn`."""
    return folder / _NAME


def write(folder: Path, content: DevFile) -> Path:
    """Write the file, whole or not at all, readable by its owner only; return its path.

    Raises: OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Made with mode 0600.
    fd, name = tempfile.mkstemp(prefix=f"{_NAME}.", dir=folder)
    new = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        return new.rename(dev_file_path(folder))
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def read(folder: Path) -> DevFile | None:
    """Return what runs, or None: no such file, not readable as one, or its writer is gone."""
    try:
        content = msgspec.json.decode(dev_file_path(folder).read_bytes(), type=DevFile)
    except (OSError, msgspec.DecodeError):
        return None
    return content if is_same_process(content.pid, content.pid_token) else None


def remove(folder: Path) -> None:
    """Remove the file if this process wrote it or its writer is gone."""
    running = read(folder)
    if running is None or running.pid == os.getpid():
        with contextlib.suppress(OSError):
            dev_file_path(folder).unlink()
