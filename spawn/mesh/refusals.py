"""Errors on their way between nodes (pure)."""

from __future__ import annotations

from spawn.core.told_errors import told_error
from spawn.errors import Rejected, SpawnError
from spawn.mesh.wire import Refusal

__all__ = ["error_of", "refusal_of"]


def refusal_of(request_id: int, error: SpawnError, time_us: int) -> Refusal:
    """Return what a request's sender is told."""
    return Refusal(
        request_id,
        error.code,
        error.message,
        error.at,
        error.hint,
        error.retryable,
        isinstance(error, Rejected),
        time_us,
    )


def error_of(refusal: Refusal) -> SpawnError:
    """Return the error that a peer told."""
    return told_error(
        refusal.code,
        refusal.text,
        at=refusal.at,
        hint=refusal.hint,
        retryable=refusal.retryable,
        rejected=refusal.rejected,
    )
