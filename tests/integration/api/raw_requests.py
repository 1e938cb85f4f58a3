"""Requests as bytes, and what tests of both lanes look at."""

from __future__ import annotations

import asyncio

from tests.integration.api.wire import Served

__all__ = ["CALL_LINE", "counts", "echo", "post", "raw", "settled"]

CALL_LINE = b"POST /v1/actors/Counter/a/add HTTP/1.1"


def post(body: bytes = b"5", *fields: bytes, target: bytes = b"/v1/actors/Counter/a/add") -> bytes:
    """Return a call in plain form."""
    lines = [b"POST " + target + b" HTTP/1.1", b"Host: h", *fields]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def echo(body: bytes, *fields: bytes) -> bytes:
    """Return a call that is answered with its body."""
    return post(body, *fields, target=b"/v1/actors/Echo/e/echo")


def raw(first: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """Return any request."""
    return b"\r\n".join((first, *fields)) + b"\r\n\r\n" + body


async def settled() -> None:
    """Let both ends of a connection do what they can do now."""
    for _ in range(6):
        await asyncio.sleep(0)


def counts(served: Served) -> dict[tuple[str, int], int]:
    """Return the answers by route and status; no request may be left open."""
    routes = served.server._routes
    assert routes.counts.in_progress == 0
    return dict(routes.counts.answered)
