"""Spawn: event-sourced actors on a Kafka-compatible log.

What a program with actors needs is exported here: the base class and its decorators, `System` for
typed references, and the errors that callers catch (`spawn.errors` has the whole tree). Everything
else is private. `import spawn` loads no client of a server, and each name when it is first used:
`spawn --help` needs none of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spawn.client.client import Client
    from spawn.errors import (
        ActionFailed,
        BodyMismatch,
        CallError,
        InvalidTarget,
        MailboxFull,
        NotStarted,
        OutcomeUnknown,
        Rejected,
        SpawnError,
        Unavailable,
    )
    from spawn.sdk.actions import action
    from spawn.sdk.actor import Actor
    from spawn.sdk.settings import actor
    from spawn.sdk.system import System

__all__ = [
    "ActionFailed",
    "Actor",
    "BodyMismatch",
    "CallError",
    "Client",
    "InvalidTarget",
    "MailboxFull",
    "NotStarted",
    "OutcomeUnknown",
    "Rejected",
    "SpawnError",
    "System",
    "Unavailable",
    "action",
    "actor",
]

__version__ = "0.1.0"

_HOMES = {
    "Actor": "spawn.sdk.actor",
    "Client": "spawn.client.client",
    "System": "spawn.sdk.system",
    "action": "spawn.sdk.actions",
    "actor": "spawn.sdk.settings",
}
"""Where a name comes from that is no error."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "spawn.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
