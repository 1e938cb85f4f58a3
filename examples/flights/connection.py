"""A lean HTTP/1.1 client: one keep-alive connection, one request at a time.

The client shares two cores with node, broker and database, so its own cost counts: this one takes
40 us of CPU a request on uvloop, aiohttp's client 300 (measured with 128 connections). Pipelining
would cost the order: what is sent behind a request that is refused for the moment overtakes it.

It reads what Spawn's nodes send: answers with a Content-Length.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple, cast

__all__ = ["Answer", "Connection", "request_bytes"]

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Answer(NamedTuple):
    """An answer of a node."""

    status: int
    body: bytes


def request_bytes(method: str, path: str, body: bytes = b"") -> bytes:
    """Return a request as it goes over the wire."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    """Sends `request` once connected, and after each answer what `on_answer` returns for it.

    `stopped` is done when `on_answer` returned nothing; it holds the exception when `on_answer`
    raised one, and a ConnectionError when the connection was lost: the node may or may not have
    seen the request then.
    """

    def __init__(self, request: bytes, on_answer: Callable[[Answer], bytes | None]) -> None:
        self.stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._on_answer = on_answer
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            answer = self._take_answer()
            request = self._on_answer(answer) if answer else b""
        except Exception as error:  # noqa: BLE001 - whoever awaits `stopped` gets it
            self._stop(error)
            return
        if request is None:
            self._stop(None)
        elif request:
            self._transport.write(request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop(ConnectionResetError("the node closed the connection"))

    def close(self) -> None:
        """Close at once, whatever is on its way."""
        self._transport.abort()

    def _take_answer(self) -> Answer | None:
        """Return the answer when all of it is there. Raises: ConnectionError - it can't be read."""
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        length = _CONTENT_LENGTH.search(self._received, 0, head_end)
        if length is None:
            raise ConnectionAbortedError("an answer without Content-Length")
        body = self._received[head_end + 4 :]
        if len(body) < int(length[1]):
            return None
        status = int(self._received[9:12])
        self._received = b""
        return Answer(status, body)

    def _stop(self, error: Exception | None) -> None:
        if not self.stopped.done():
            if error is None:
                self.stopped.set_result(None)
            else:
                self.stopped.set_exception(error)
