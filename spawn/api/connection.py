"""aiohttp's connection, with our answers where it has its own.

aiohttp answers what is no HTTP itself, in plain text or HTML and with a traceback in its log.
Callers get problem bodies instead, and scanners of ports fill no log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from aiohttp import web

from spawn.errors import InvalidRequest, SpawnError

__all__ = ["Connection", "ConnectionFactory"]

ErrorAnswer = Callable[[web.BaseRequest, SpawnError], web.StreamResponse]


class Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = ()

    @property
    def answering(self) -> bool:
        """Whether a request of this connection is being answered or about to be."""
        return self._request_in_progress or bool(self._messages)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that are no HTTP; the connection ends with it.

        aiohttp also calls this when a handler raises, which `routes` never does.
        """
        factory = cast(ConnectionFactory, self._manager)
        reason, hint = _said(message or "")
        error = InvalidRequest(
            f"this is no valid HTTP request: {reason}", at="request line or headers", hint=hint
        )
        response = factory.answer_error(request, error)
        response.force_close()
        return response


class ConnectionFactory(web.Server):
    """aiohttp's low-level server: no router, no middlewares, every request to one handler."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Any],
        answer_error: ErrorAnswer,
        **kwargs: Any,
    ) -> None:
        super().__init__(handler, **kwargs)
        self.answer_error = answer_error

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


_HINTS: Final = (
    ("Invalid char in url", "percent-encode the path: an `ü` is %C3%BC, a space %20"),
    ("Got more than", "the request line and each header field have at most 8,190 bytes"),
    ("HTTPS traffic", "use http:// here, no TLS"),
)
"""By what aiohttp's messages hold."""


def _said(message: str) -> tuple[str, str]:
    """Return what aiohttp's message says without its excerpt of the bytes, and a hint."""
    first = message.strip().split("\n")[0]
    reason = first.partition(": bytearray(")[0].strip(" :.")
    hint = next((hint for part, hint in _HINTS if part in reason), "")
    return reason[:100] or "it can't be read", hint
