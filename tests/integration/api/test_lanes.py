"""The express lane against aiohttp: the same bytes are answered with the same bytes."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spawn.api import HttpLimits
from spawn.api.heads import parse_head
from tests.integration.api.raw_requests import CALL_LINE, counts, echo, post, raw, settled
from tests.integration.api.wire import Wire, serving

LIMITS = HttpLimits(body_bytes_max=1000)
LAST = b"GET /health/live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
"""Ends the connection, so that a test sees when everything was answered."""
QUIET_S = 0.05
"""After so long without a byte nothing more is expected: the request was never whole."""
_DATE = re.compile(rb"\r\nDate: [^\r]+")

Chunks = Sequence[bytes]


READABLE = [
    post(),
    post(b"7", b"Connection: keep-alive", b"Accept: */*"),
    post(b"1", b"Idempotency-Key: order-7"),
    post(b"1", b"idempotency-key: order-7", b"spawn-timeout: 2000"),
    post(b"1", target=b"/v1/actors/Counter/a%2Fb%20%C3%BC/add"),
    post(b"1", target=b"/v1/actors/Counter/%00/add?trace=1/2"),
    post(b"1", target=b"/v1/actors/Counter/../add"),
    raw(b"POST /v1/actors/Counter/a/total HTTP/1.1", b"Host: h"),
    echo(b"POST /v1/actors/Counter/a/add HTTP/1.1\r\nHost: h\r\n\r\n"),
    echo(bytes(range(256))),
    echo(b"x" * 1000),
    # Refused by the node, or by us.
    post(b"1", target=b"/v1/actors/Counter/a/ad"),
    post(b"1", target=b"/v1/actors/counter/a/add"),
    post(b"1", target=b"/v1/actors/Counter//add"),
    post(b"1", target=b"/v1/actors/Counter/%zz/add"),
    post(b"1", target=b"/v1/actors/Counter/" + b"x" * 300 + b"/add"),
    post(b"not JSON"),
    post(b"1", target=b"/v1/actors/Counter/a"),
    post(b"1", target=b"/v1/actors/Counter/a/add/more"),
    post(b"1", b"Spawn-Timeout: 5s"),
    post(b"1", b"Spawn-Timeout: 0", b"Idempotency-Key: two words"),
    post(b"1", b"Idempotency-Key: a", b"Idempotency-Key: b"),
    post(b"1", b"Idempotency-Key: " + b"x" * 256),
    echo(b"x" * 1001),
    # Not for the express lane.
    raw(b"GET /v1/actors/Counter/a HTTP/1.1", b"Host: h"),
    raw(b"GET /v1/actors/Counter/a/add HTTP/1.1", b"Host: h"),
    raw(b"GET /v1/actors/Counter/a/add HTTP/1.1", b"Host: h", b"Content-Length: 2", body=b"12"),
    raw(b"DELETE /v1/actors/Counter/a/add HTTP/1.1", b"Host: h"),
    raw(b"HEAD /v1/actors/Counter/a HTTP/1.1", b"Host: h"),
    raw(b"POST http://h/v1/actors/Counter/a/add HTTP/1.1", b"Host: h", b"Content-Length: 1") + b"3",
    raw(CALL_LINE, b"Host: h", b"Transfer-Encoding: chunked", body=b"1\r\n5\r\n0\r\n\r\n"),
    raw(CALL_LINE, b"Host: h", b"X-Tab:\tx", b"X: ", b"X:  y ", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"X-Utf-8: \xc3\xbc", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"Upgrade: h2c", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"Content-Length: 01", body=b"5"),
    b"\r\n" + post(),
]
"""Requests after which the connection goes on."""
BROKEN = [
    raw(CALL_LINE, b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"Host: h", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"Content-Length: 1", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"Content-Length: 1", b"content-length: 2", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"Content-Length: +1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"Content-Length: 1 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"Content-Length: " + b"9" * 40, body=b"5"),
    raw(CALL_LINE, b"Host: h", b"Content-Length:", body=b"5"),
    raw(
        CALL_LINE,
        b"Host: h",
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
        body=b"0\r\n\r\n",
    ),
    raw(CALL_LINE, b"Host: h", b"Bad : x", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"X: a", b" folded", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"X: \0", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"X: a\nY: b", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"X: a\rY: b", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"X: " + b"x" * 9000, b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", *[b"X-%d: x" % number for number in range(200)]),
    raw(b"POST /v1/actors/Counter/\0/add HTTP/1.1", b"Host: h", b"Content-Length: 1", body=b"5"),
    raw(b"POST /v1/actors/Counter/\xc3\xbc/add HTTP/1.1", b"Host: h"),
    raw(b"POST /v1/actors/Counter/" + b"x" * 9000 + b"/add HTTP/1.1", b"Host: h"),
    raw(b"POST /v1/actors/Counter/a/add HTTP/1.2", b"Host: h"),
    raw(b"POST /v1/actors/Counter/a/add", b"Host: h"),
    raw(b"post /v1/actors/Counter/a/add HTTP/1.1", b"Host: h"),
    raw(b"POST  /v1/actors/Counter/a/add HTTP/1.1", b"Host: h"),
    raw(b"POST /v1/actors/Counter/a/add HTTP/1.0", b"Content-Length: 1", body=b"5"),
    raw(CALL_LINE, b"Host: h", b"Expect: tea", b"Content-Length: 1", body=b"5"),
    post(b"5", b"Connection: close"),
    post(b"5", b"Connection: upgrade", b"Upgrade: websocket"),
    post(b"5", b"Sec-WebSocket-Key1: x"),
    post(b"5")[:-1],
    post(b"5")[:40],
    echo(b"x" * 900)[:500],
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]
"""Requests after which it ends, or waits for more."""


async def exchange(wire: Wire, chunks: Chunks, wanted: bytes | None) -> bytes:
    """Send chunks one by one; return everything that came back.

    Until the server closes; where it does not, until nothing more comes or `wanted` is there.
    """
    for chunk in chunks:
        wire.send(chunk)
        await settled()
    came = b""
    while True:
        try:
            async with asyncio.timeout(1.0 if wanted else QUIET_S):
                more = await wire.reader.read(1 << 20)
        except TimeoutError:
            break
        except ConnectionResetError:
            # It closed with bytes of ours unread.
            break
        came += more
        if not more or (wanted is not None and _undated(came) == wanted and not wire_ends(came)):
            break
    return _undated(came)


def wire_ends(came: bytes) -> bool:
    """Return whether the server said that it closes; its end must be seen, too, then."""
    return b"\r\nConnection: close\r\n" in came


def _undated(came: bytes) -> bytes:
    return _DATE.sub(b"", came)


async def compare(*cases: Chunks) -> None:
    """Send each case's chunks over connections of both lanes; compare answers, calls and counts."""
    async with AsyncExitStack() as stack:
        slow = await stack.enter_async_context(serving(LIMITS, express=False))
        fast = await stack.enter_async_context(serving(LIMITS))
        for chunks in cases:
            async with slow.connect() as wire:
                wanted = await exchange(wire, chunks, None)
            async with fast.connect() as wire:
                assert await exchange(wire, chunks, wanted) == wanted, chunks
            assert fast.ingress.calls == slow.ingress.calls, chunks
        await settled()
        assert counts(fast) == counts(slow)


@pytest.mark.parametrize("request_bytes", READABLE)
async def test_a_request_is_answered_the_same(request_bytes: bytes) -> None:
    """Alone, between others in packets of their own, and repeated."""
    await compare(
        [request_bytes, LAST],
        [post(), request_bytes, post(), LAST],
        [request_bytes, request_bytes, post(), LAST],
    )


@pytest.mark.parametrize("request_bytes", BROKEN)
async def test_what_is_broken_is_answered_the_same(request_bytes: bytes) -> None:
    """As the first request and behind a call."""
    await compare([request_bytes], [post(), request_bytes], [request_bytes, LAST])


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"12", b"Idempotency-Key: k"),
        post(b"1", b"Spawn-Timeout: 5s"),
        raw(b"GET /v1/actors/Counter/a HTTP/1.1", b"Host: h"),
        post(b"1") + raw(b"GET /v1/actors/Counter/a HTTP/1.1", b"Host: h") + post(b"2"),
    ],
)
async def test_a_request_may_be_cut_anywhere(request_bytes: bytes) -> None:
    """Into two packets, or three."""
    cuts = range(1, len(request_bytes))
    await compare(
        *([request_bytes[:cut], request_bytes[cut:], post(), LAST] for cut in cuts),
        *([request_bytes[:cut], request_bytes[cut:] + post() + LAST] for cut in cuts),
        *(
            [request_bytes[: cut // 2], request_bytes[cut // 2 : cut], request_bytes[cut:], LAST]
            for cut in cuts[::5]
        ),
    )


@given(
    st.lists(st.sampled_from(READABLE), min_size=1, max_size=6),
    st.lists(st.integers(0, 6000), max_size=6),
)
@settings(max_examples=150, deadline=None)
def test_pipelines_are_answered_the_same(requests: list[bytes], cuts: list[int]) -> None:
    """Express and other requests in any order, in packets of any size."""
    whole = b"".join(requests) + LAST
    edges = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    asyncio.run(compare([whole[a:b] for a, b in itertools.pairwise(edges)]))


DAMAGED = post(b"12", b"Idempotency-Key: k", b"Accept: */*")


@given(
    st.integers(0, len(DAMAGED)),
    st.one_of(
        st.sampled_from(
            [b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b"\r\n\r\n", b"\xff", b","]
        ),
        st.binary(max_size=2),
    ),
    st.integers(0, 2),
)
@settings(max_examples=300, deadline=None)
def test_what_is_damaged_is_answered_the_same(at: int, new: bytes, gone: int) -> None:
    """No byte in no place makes the express lane serve what aiohttp refuses."""
    damaged = DAMAGED[:at] + new + DAMAGED[at + gone :]
    head = parse_head(damaged)
    # What is behind a whole request comes by itself; see the test below.
    end = head.end + head.body_bytes if head else len(damaged)
    asyncio.run(compare([part for part in (damaged[:end], damaged[end:], LAST) if part]))
