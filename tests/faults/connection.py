"""One HTTP/1.1 connection of the load: one request at a time, answers by callback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final, NamedTuple, cast

__all__ = ["Answer", "Connection", "request"]

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_REVISION: Final = re.compile(rb"\r\nspawn-revision: *(\d+)", re.IGNORECASE)
_OFFSET: Final = re.compile(rb"\r\nspawn-position: *[^@\r]+@(\d+)", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_STATUS_AT: Final = slice(9, 12)


class Answer(NamedTuple):
    """What the load needs of an answer."""

    status: int
    revision: int
    offset: int
    """-1: the answer told none."""
    body: bytes


def request(path: str, body: str, timeout_ms: int, key: str = "") -> bytes:
    """Return a call as it goes over the wire."""
    more = f"Idempotency-Key: {key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Spawn-Timeout: {timeout_ms}\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode("ascii")


class Connection(asyncio.Protocol):
    """Takes the next request once the last one is answered, from within the callback too."""

    __slots__ = ("_on_answer", "_on_free", "_on_lost", "_received", "_transport", "is_last")

    def __init__(
        self, on_free: Callable[[Connection], None], on_lost: Callable[[Connection], None]
    ) -> None:
        """`on_free` is told that it may be used again, `on_lost` that it may not."""
        self._on_free, self._on_lost = on_free, on_lost
        self._on_answer: Callable[[Answer | None], None] | None = None
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self.is_last = False
        """The node closes it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, content: bytes, on_answer: Callable[[Answer | None], None]) -> None:
        """Send a request; `on_answer` is called once, with None when the connection is lost."""
        assert self._transport is not None
        assert self._on_answer is None
        self._on_answer = on_answer
        self._transport.write(content)

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        head_end = received.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(received, 0, head_end) if head_end >= 4 else None
        if length is None or len(received) < head_end + int(length[1]):
            self._received = received
            return
        self._received = b""
        revision = _REVISION.search(received, 0, head_end)
        offset = _OFFSET.search(received, 0, head_end)
        answer = Answer(
            int(received[_STATUS_AT]),
            int(revision[1]) if revision else -1,
            int(offset[1]) if offset else -1,
            received[head_end:],
        )
        self.is_last = _CLOSE.search(received, 0, head_end) is not None
        on_answer, self._on_answer = self._on_answer, None
        if self.is_last:
            self.close()
        else:
            self._on_free(self)
        if on_answer is not None:
            on_answer(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(self)
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            on_answer(None)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()
