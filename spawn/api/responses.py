"""Answers before they are bytes or aiohttp's: what both lanes send, made in one place (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.helpers import rfc822_formatted_time
from multidict import istr

from spawn.core.ids import Position

__all__ = [
    "JSON",
    "LINE_END",
    "OWNER",
    "TIME",
    "Response",
    "encode",
    "json_response",
    "reply_response",
    "to_aiohttp",
]

JSON: Final = "application/json"
LINE_END: Final = b"\n"
"""Behind every JSON body, so that a terminal's next line begins where it should."""
_REVISION: Final = istr("Spawn-Revision")
_POSITION: Final = istr("Spawn-Position")
TIME: Final = istr("Spawn-Time")
"""T of the actor's partition in us (log protocol 7): with every answer about an actor."""
OWNER: Final = istr("Spawn-Owner")
"""Where the owner of the actor's partition is reached, where that is another node."""
_SERVER: Final = "spawn"
"""Set, so that aiohttp does not name itself and its version there."""
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}

_END: Final = "\r\n"
_CLOSE: Final = "Connection: close\r\n\r\n"


class Response(msgspec.Struct, frozen=True, gc=False):
    """An answer; `Server`, `Content-Length` and `Date` are added when it is sent."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def json_response(
    status: int,
    value: object,
    content_type: str = JSON,
    headers: Iterable[tuple[str, str]] = (),
) -> Response:
    """Return an answer with a value as its body."""
    return Response(status, msgspec.json.encode(value) + LINE_END, content_type, tuple(headers))


def reply_response(
    body: bytes, revision: int, position: Position | None, time_us: int, owner: str = ""
) -> Response:
    """Return the answer to a call or a read that succeeded; `owner` is another node that owns."""
    headers: tuple[tuple[str, str], ...]
    if position is None:
        headers = ((_REVISION, str(revision)), (TIME, str(time_us)))
    else:
        topic, partition, offset = position
        headers = (
            (_REVISION, str(revision)),
            (_POSITION, f"{topic}/{partition}@{offset}"),
            (TIME, str(time_us)),
        )
    if owner:
        headers = (*headers, (OWNER, owner))
    return Response(200, body + LINE_END, JSON, headers)


def to_aiohttp(response: Response) -> web.Response:
    """Return an answer as aiohttp sends it."""
    headers: dict[str, str] = {hdrs.SERVER: _SERVER}
    if response.content_type:
        headers = {hdrs.CONTENT_TYPE: response.content_type, hdrs.SERVER: _SERVER}
    headers.update(response.headers)
    return web.Response(status=response.status, body=response.body, headers=headers)


def encode(response: Response, *, close: bool) -> bytes:
    """Return an answer as it goes over the wire, the same that aiohttp makes of it.

    The names and values of headers are ours: none holds a line break.
    """
    more = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
    head = (
        f"{_STATUS_LINES[response.status]}"
        f"Content-Type: {response.content_type}\r\nServer: {_SERVER}\r\n{more}"
        f"Content-Length: {len(response.body)}\r\nDate: {rfc822_formatted_time()}\r\n"
        f"{_CLOSE if close else _END}"
    )
    return head.encode() + response.body
