"""Errors as HTTP answers: RFC 9457 problem bodies, and the one table of statuses (pure)."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from spawn.errors import BodyMismatch, BodyTooLarge, InvalidJson, Rejected, SpawnError

__all__ = ["CONTENT_TYPE", "RETRY_AFTER_S", "STATUSES", "Kind", "Problem", "problem_of"]

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1
"""What `Retry-After` says with 429 and 503: takeovers, drains and full mailboxes pass in about
that time, and less is not expressible."""


class Kind(NamedTuple):
    """What a code is over HTTP."""

    status: int
    title: str


STATUSES: Final = {
    "bad-call": Kind(400, "The call can't be served"),
    "invalid-request": Kind(400, "Not a valid HTTP request"),
    "invalid-json": Kind(400, "The body is not JSON"),
    "invalid-id": Kind(400, "Invalid actor id"),
    "invalid-header": Kind(400, "Invalid header"),
    "invalid-query": Kind(400, "Invalid query"),
    "unauthorized": Kind(401, "No valid token"),
    "foreign-host": Kind(403, "Foreign host"),
    "foreign-origin": Kind(403, "Foreign origin"),
    "unknown-type": Kind(404, "Unknown actor type"),
    "unknown-action": Kind(404, "Unknown action"),
    "unknown-revision": Kind(404, "Unknown revision"),
    "unknown-path": Kind(404, "Unknown path"),
    "method-not-allowed": Kind(405, "Method not allowed"),
    "rejected": Kind(409, "Rejected"),
    "reply-gone": Kind(410, "Executed before, the reply is no longer stored"),
    "request-settled": Kind(410, "The session no longer waits for this request"),
    "request-too-old": Kind(410, "Issued too long ago, the outcome is unknown"),
    "request-too-slow": Kind(408, "The request did not come in time"),
    "too-large": Kind(413, "Too large"),
    "body-mismatch": Kind(422, "The body does not fit the action"),
    "key-reused": Kind(422, "The idempotency key was used for something else"),
    "mailbox-full": Kind(429, "The actor's mailbox is full"),
    "too-many-keys": Kind(429, "The actor can't remember one more idempotency key"),
    "action-failed": Kind(500, "The action failed"),
    "actor-parked": Kind(500, "The actor can't be read"),
    "partition-stopped": Kind(500, "The partition is stopped"),
    "partitions-changed": Kind(500, "The topic's partitions were changed"),
    "foreign-log": Kind(500, "The log is another system's"),
    "internal": Kind(500, "Internal error"),
    "unavailable": Kind(503, "Unavailable"),
    "not-started": Kind(503, "Not started before the deadline"),
    "too-many-sessions": Kind(503, "Too many sessions"),
    "too-many-waiting": Kind(503, "Too many calls are waiting"),
    "draining": Kind(503, "The node is stopping"),
    "too-slow": Kind(503, "Too slow to follow"),
    "fenced": Kind(503, "Another node owns the partition"),
    "log-unreachable": Kind(503, "The event log does not answer"),
    "store-unreachable": Kind(503, "The snapshot store does not answer"),
    "newer-code-needed": Kind(503, "Newer code is needed to read the actor"),
    "outcome-unknown": Kind(504, "The outcome is unknown"),
}
"""Status and title by code. `rejected` stands for every code of user code's own (409). A code that
is not here is 500, by the rule that whatever is not known to be the caller's to mend is ours.

The 410s are no 5xx, on which clients and proxies try again: sent again, each stays as it is.
"""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An RFC 9457 body; `code`, `retryable`, `at` and `hint` are ours."""

    type: str
    """Relative URI of the error's page: `/errors/` and our code; user codes: `/errors/rejected`."""
    title: str
    status: int
    detail: str
    """One sentence with the names and values concerned."""
    code: str
    """Stable. With `rejected` it is the code that user code chose, else one of `STATUSES`."""
    retryable: bool
    at: str
    hint: str
    rejected: bool = False
    """Only there when true: user code refused, so `code` is the user's and never clashes."""
    error_id: str = ""
    """Only with `internal`: the node's log has the traceback under it."""


def problem_of(error: SpawnError, request_line: str) -> Problem:
    """Return the problem that an error is to the caller of `request_line` (method and path)."""
    ours = "rejected" if isinstance(error, Rejected) else error.code
    status, title = STATUSES.get(ours, STATUSES["internal"])
    return Problem(
        type=f"/errors/{ours}",
        title=title,
        status=status,
        detail=error.message,
        code=error.code,
        retryable=error.retryable,
        at=_place(error, request_line),
        hint=error.hint,
        rejected=isinstance(error, Rejected),
    )


def _place(error: SpawnError, request_line: str) -> str:
    """Return where it happened: what the error says itself, or the request and the part of it."""
    if error.at.startswith("header "):
        return f"{request_line}, {error.at}"
    if error.at:
        return error.at
    if isinstance(error, BodyMismatch | BodyTooLarge | InvalidJson):
        return f"{request_line}, body"
    return request_line
