"""Spawn: event-sourced actors on a Kafka-compatible log.

What a program with actors needs is exported here: the base class and its decorators, `System` for
typed references, and the errors that callers catch (`spawn.errors` has the whole tree). Everything
else is private. `import spawn` loads no client of a server.
"""

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
