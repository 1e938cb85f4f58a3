"""The last lines of a child's log, for the errors that show them."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["last_lines", "with_last_lines"]

_BYTES_MAX = 8192
_LINES_MAX = 15
"""What fits on a screen beside the error itself."""


def last_lines(log: Path) -> list[str]:
    """Return the last lines of a log, at most 15 and 8 KiB; none when there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _BYTES_MAX))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-_LINES_MAX:]


def with_last_lines(message: str, log: Path) -> str:
    """Return the message, followed by the log's last lines if there are any."""
    lines = last_lines(log)
    if not lines:
        return f"{message}; its log is empty"
    return "\n    ".join([f"{message}; the last lines of its log:", *lines])
