"""What a command's exit code says (pure)."""

from __future__ import annotations

from typing import Final

from spawn.errors import Rejected, SpawnError

__all__ = [
    "DONE",
    "FAILED",
    "FENCED",
    "INTERRUPTED",
    "NOT_CONFIRMED",
    "NOT_FOUND",
    "STUCK",
    "UNREACHABLE",
    "USAGE",
    "of",
]

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
"""The command line, a setting or the given JSON is wrong; nothing was tried."""
FENCED: Final = 3
NOT_FOUND: Final = 4
UNREACHABLE: Final = 5
NOT_CONFIRMED: Final = 6
"""A change was shown and not confirmed; nothing was done."""
STUCK: Final = 70
"""A node whose event loop hung ended itself (EX_SOFTWARE of sysexits): start it again."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells have it: 128 + SIGINT."""

_BY_CODE: Final = {
    "usage": USAGE,
    "invalid-settings": USAGE,
    "invalid-id": USAGE,
    "invalid-json": USAGE,
    "invalid-header": USAGE,
    "fenced": FENCED,
    "loop-stuck": STUCK,
    "unknown-type": NOT_FOUND,
    "unknown-action": NOT_FOUND,
    "unknown-revision": NOT_FOUND,
    "unknown-path": NOT_FOUND,
    "unknown-position": NOT_FOUND,
    "not-confirmed": NOT_CONFIRMED,
    "node-unreachable": UNREACHABLE,
    "node-untrusted": UNREACHABLE,
    "log-unreachable": UNREACHABLE,
    "store-unreachable": UNREACHABLE,
}


def of(error: SpawnError) -> int:
    """Return the exit code for an error. User code's own codes never change it."""
    return FAILED if isinstance(error, Rejected) else _BY_CODE.get(error.code, FAILED)
