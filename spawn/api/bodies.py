"""A request's body, whole and within its limit, or not at all.

aiohttp would unpack it, but takes a gzip stream that was cut off for one that ended.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestPayloadError

from spawn.errors import BodyTooLarge, InvalidHeader, InvalidRequest, RequestTooSlow

__all__ = ["read_body", "unpack"]

_MEMBERS_MAX: Final = 64
"""Of one gzip stream; writers make one, or one per file that was put together."""
_WINDOWS: Final = {"gzip": 31, "deflate": 15}
"""zlib's `wbits`."""
_RAW_DEFLATE: Final = -15


async def read_body(request: web.BaseRequest, limit: int, within_s: float) -> bytes:
    """Read the body, at most `limit` bytes packed and unpacked, within its time.

    Raises: BodyTooLarge, InvalidHeader, InvalidRequest, RequestTooSlow.
    """
    body = await _read_packed(request, limit, within_s)
    if body and hdrs.CONTENT_ENCODING in request.headers:
        encoding = ", ".join(request.headers.getall(hdrs.CONTENT_ENCODING))
        return unpack(body, encoding.strip().lower(), limit)
    return body


def unpack(packed: bytes, encoding: str, limit: int) -> bytes:
    """Return what a body's encoding holds. Raises: BodyTooLarge, InvalidHeader, InvalidRequest."""
    if encoding in ("", "identity"):
        return packed
    window = _WINDOWS.get(encoding)
    if window is None:
        raise InvalidHeader(
            f"Content-Encoding must be gzip or deflate, got {encoding[:40]!r}",
            at="header Content-Encoding",
            hint="or send the body as it is, without the header",
        )
    if encoding == "deflate" and packed[0] & 0xF != 8:
        window = _RAW_DEFLATE  # many clients send no zlib header, though it belongs there
    parts: list[bytes] = []
    left, members = limit, 0
    while packed:
        stream = zlib.decompressobj(window)
        try:
            part = stream.decompress(packed, left + 1)
        except zlib.error as error:
            # The numbers in front of it are zlib's own.
            reason = str(error).rpartition(": ")[2]
            raise _broken(f"its {encoding} stream is damaged ({reason})") from error
        left -= len(part)
        if left < 0:
            raise _too_large(limit)
        if not stream.eof:
            raise _broken(f"its {encoding} stream is cut off")
        parts.append(part)
        packed, members = stream.unused_data, members + 1
        if packed and (encoding != "gzip" or members == _MEMBERS_MAX):
            raise _broken(f"more bytes follow the end of its {encoding} stream")
    return b"".join(parts)


def _broken(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"the body did not arrive whole: {reason}",
        at="body",
        hint="nothing was executed; send it again",
    )


async def _read_packed(request: web.BaseRequest, limit: int, within_s: float) -> bytes:
    """Read the body as it came."""
    content = request.content
    try:
        if content.is_eof():
            # The usual case: all of it came with the headers (or there is none), so no task
            # switch is needed.
            if content.total_bytes > limit:
                raise _too_large(limit)
            return content.read_nowait()
        # A length that is too large is answered before the body is sent (Expect) or read.
        if (request.content_length or 0) > limit:
            raise _too_large(limit)
        if hdrs.EXPECT in request.headers:
            await _continue(request)
        async with asyncio.timeout(within_s):
            return await request.read()
    except TimeoutError:
        raise RequestTooSlow.of("body") from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(limit) from None
    except (RequestPayloadError, ConnectionError) as error:
        # The client left or sent bytes that are no chunk; who left never sees this answer.
        raise InvalidRequest(f"the body did not arrive whole: {error}") from error


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body has more than {limit:,} bytes",
        hint="the limit is http.body_limit (SPAWN_HTTP_BODY_LIMIT) of the node",
    )


async def _continue(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send its body. Raises: InvalidHeader."""
    expectation = request.headers[hdrs.EXPECT]
    if expectation.lower() != "100-continue":
        raise InvalidHeader(
            f"Expect must be 100-continue, got {expectation[:40]!r}", at="header Expect"
        )
    if request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It is no part of the answer that follows.
        request.writer.output_size = 0
