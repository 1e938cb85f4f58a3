"""A request's body as it came, within its limit."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestPayloadError

from spawn.errors import BodyTooLarge, InvalidHeader, InvalidRequest, RequestTooSlow

__all__ = ["read_body"]


async def read_body(request: web.BaseRequest, limit: int, within_s: float) -> bytes:
    """Read the body, at most `limit` bytes, within its time.

    Raises: BodyTooLarge, InvalidHeader, InvalidRequest, RequestTooSlow.
    """
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
