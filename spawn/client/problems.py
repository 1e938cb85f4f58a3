"""What went wrong with a request: from a problem body back to its exception, or in words (pure)."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from spawn.core.told_errors import told_error
from spawn.errors import NodeUnreachable, SpawnError

__all__ = ["error_of_problem", "no_node", "reason_of"]


def error_of_problem(status: int, body: bytes) -> SpawnError:
    """Return the error that an answer with such a status tells.

    What is no problem of a node's is NodeUnreachable: it says nothing of the call's outcome.
    """
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
        code, detail = str(problem["code"]), str(problem["detail"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return NodeUnreachable(
            f"what answers there is no node of Spawn (status {status})",
            hint="check the address; a proxy in between must hand answers on as they are",
        )
    at, hint = str(problem.get("at", "")), str(problem.get("hint", ""))
    return told_error(
        code,
        detail,
        at=at,
        hint=hint,
        retryable=problem.get("retryable") is True,
        rejected=problem.get("rejected") is True,
    )


def no_node(url: str, reason: str, at: str = "") -> NodeUnreachable:
    """Return the error for an address where something else than a node answers."""
    return NodeUnreachable(
        f"no node answers at {url}, but something else ({reason})",
        at=at,
        hint="check the address; a proxy in between must hand answers on as they are",
    )


def reason_of(error: BaseException) -> str:
    """Return in a few words why a request got no answer."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno).lower()
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return str(error) or ("time-out" if isinstance(error, TimeoutError) else type(error).__name__)
