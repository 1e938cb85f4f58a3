"""Heads of plain requests: the part of HTTP/1.1 that needs no judgement (pure).

What is read here, every parser reads in the same way: one space where one belongs, visible ASCII,
no field twice, and a body of `Content-Length` bytes or none. Nothing else is a head here: aiohttp's
parser judges it, so nothing that it refuses is ever served.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

__all__ = [
    "HEAD_BYTES_MAX",
    "Head",
    "are_requests",
    "heads_apart",
    "is_begun_call",
    "parse_head",
]

HEAD_BYTES_MAX: Final = 8190
"""What aiohttp allows the request line and each field; here it is the bound of all of it."""
_FIELDS_MAX: Final = 64
_BODY_DIGITS_MAX: Final = 15

_HEADS_APART_MAX: Final = 1_000
"""Of one read of the event loop; bodies may hold empty lines without number."""

_CALL: Final = b"POST /v1/actors/"
_END: Final = b"\r\n\r\n"

# No character can be taken by two parts, so what does not match fails in linear time. Possessive
# quantifiers would say so, but CPython 3.11.2 matches wrongly with them.
_LINE: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[0-9A-Za-z\-._~!$&'()*+,;=:@%/?]*) HTTP/1\.1\r\n"
)
_BLOCK: Final = re.compile(rb"(?:[0-9A-Za-z!#$%&'*+\-.^_`|~]+: ?[!-~][ -~]*(?<! )\r\n)+\r\n")
_FIELD: Final = re.compile(r"([^:]+): ?([^\r]+)\r\n")
_VISIBLE_LINES: Final = re.compile(rb"[ -~\r\n]*")

_JUDGED: Final = (
    hdrs.TRANSFER_ENCODING,
    hdrs.CONTENT_ENCODING,
    hdrs.EXPECT,
    hdrs.UPGRADE,
    "Proxy-Connection",
    hdrs.SEC_WEBSOCKET_KEY1,
)
"""Fields that change how a body, the connection or what follows is read: aiohttp's business."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """Request line and fields of one request."""

    method: str
    target: str
    headers: CIMultiDictProxy[str]
    body_bytes: int
    block: bytes
    """The fields as they came, with the empty line behind them."""
    end: int
    """Where the body begins."""


def parse_head(data: bytes | bytearray, at: int = 0, known: Head | None = None) -> Head | None:
    """Return the head that begins at `at`; None where it is incomplete or not plain.

    `known` is an earlier head of the connection: clients mostly repeat all their fields.
    """
    line = _LINE.match(data, at, at + HEAD_BYTES_MAX)
    if line is None:
        return None
    begin = line.end()
    if known is not None and data.startswith(known.block, begin):
        headers, body_bytes, block = known.headers, known.body_bytes, known.block
    else:
        found = _BLOCK.match(data, begin, at + HEAD_BYTES_MAX)
        fields = found and _parse_fields(str(found[0], "ascii"))
        if not found or not fields:
            return None
        headers, body_bytes = fields
        block = bytes(found[0])
    end = begin + len(block)
    if end > at + HEAD_BYTES_MAX:
        return None
    return Head(str(line[1], "ascii"), str(line[2], "ascii"), headers, body_bytes, block, end)


def is_begun_call(data: bytes | bytearray) -> bool:
    """Return whether this is the beginning of a call's head that may still become a plain one."""
    return (
        len(data) < HEAD_BYTES_MAX
        and data[: len(_CALL)] == _CALL[: len(data)]
        and data.find(_END) < 0
        and _VISIBLE_LINES.fullmatch(data) is not None
    )


def are_requests(data: bytes, known: Head | None) -> bool:
    """Return whether the data are whole plain requests, up to the last byte."""
    at = 0
    while at < len(data):
        head = parse_head(data, at, known)
        if head is None:
            return False
        at = head.end + head.body_bytes
    return at == len(data)


def heads_apart(data: bytes) -> list[bytes]:
    """Cut bytes behind each empty line, so that no part ends more than one head."""
    if data.find(_END) in (-1, len(data) - len(_END)):
        return [data]
    parts = data.split(_END, _HEADS_APART_MAX)
    last = parts.pop()
    return [part + _END for part in parts] + ([last] if last else [])


def _parse_fields(block: str) -> tuple[CIMultiDictProxy[str], int] | None:
    """Return the fields and the body's length; None where something has to be judged."""
    pairs = _FIELD.findall(block)
    if len(pairs) > _FIELDS_MAX or len({name.lower() for name, _ in pairs}) < len(pairs):
        return None
    headers = CIMultiDict(pairs)
    if hdrs.HOST not in headers or any(name in headers for name in _JUDGED):
        return None
    if headers.get(hdrs.CONNECTION, "keep-alive").lower() != "keep-alive":
        return None
    length = headers.get(hdrs.CONTENT_LENGTH, "0")
    if not length.isdecimal() or len(length) > _BODY_DIGITS_MAX:
        return None
    return CIMultiDictProxy(headers), int(length)
