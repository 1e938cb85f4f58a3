"""From an error that another process told back to the exception that it was (pure)."""

from __future__ import annotations

from typing import Final

from spawn import errors
from spawn.errors import Rejected, SpawnError, Unavailable

__all__ = ["RECORDED", "told_error"]

RECORDED: Final = frozenset(
    ("action-failed", "key-reused", "reply-gone", "request-settled", "request-too-old")
)
"""Codes, beside user code's own, that a record or the session stands behind: final also when
another copy of the request was sent."""

_KINDS: Final[dict[str, type[SpawnError]]] = {
    kind.code: kind
    for name in errors.__all__
    if (kind := getattr(errors, name)) is not Rejected and isinstance(kind.code, str)
}


def told_error(
    code: str, text: str, *, at: str = "", hint: str = "", retryable: bool, rejected: bool
) -> SpawnError:
    """Return the error with a code; one of a newer release keeps its code and its `retryable`."""
    if rejected:
        return Rejected(code, text, at=at, hint=hint)
    kind = _KINDS.get(code)
    if kind is not None:
        return kind(text, at=at, hint=hint)
    error = (Unavailable if retryable else SpawnError)(text, at=at, hint=hint)
    error.code = code
    return error
