"""Requests that a parser takes and a node must not, and what is left of those before them."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from tests.integration.api.raw_requests import CALL_LINE, post, raw, settled
from tests.integration.api.wire import Served, serving

PATH = b"/v1/actors/Counter/a/add"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br"])
async def test_a_packed_body_that_is_cut_off_is_not_executed(
    served: Served, encoding: bytes, chunked: bool
) -> None:
    """What is there is the beginning of another value."""
    whole = gzip.compress(b"[" + b",".join(b"%d" % n for n in range(100)) + b"]")
    for body in (whole[:-9], whole[:-8], whole[:-3], b"nonsense"):
        fields = [b"Host: h", b"Content-Encoding: " + encoding]
        if chunked:
            data = raw(CALL_LINE, *fields, b"Transfer-Encoding: chunked")
            data += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            data = raw(CALL_LINE, *fields, b"Content-Length: %d" % len(body), body=body)
        async with served.connect() as wire:
            wire.send(data)
            reply = await wire.reply()
            assert reply.status == 400
            told = reply.json()
            code = "invalid-header" if encoding == b"br" else "invalid-request"
            assert told["code"] == code
            assert code == "invalid-header" or "did not arrive whole" in told["detail"]
    assert not served.ingress.calls


async def test_a_packed_body_is_unpacked(served: Served) -> None:
    """By both lanes' routes."""
    served.wire.send(post(gzip.compress(b"12"), b"Content-Encoding: gzip"))
    assert (await served.wire.reply()).status == 200
    assert served.ingress.calls[0].payload == b"12"


@pytest.mark.parametrize("path", ["/v1/actors/Counter/a/add?n=5", "/v1/actors/Counter/a/add?5"])
async def test_a_query_of_an_action_is_refused(served: Served, path: str) -> None:
    """An argument there would be lost without a word."""
    reply = await served.wire.ask("POST", path, b"1")
    assert (reply.status, reply.json()["code"]) == (400, "invalid-query")
    assert (await served.wire.ask("GET", "/v1/actors/Counter/a?n=5")).status == 400
    assert (await served.wire.ask("DELETE", "/v1/actors/Counter/a?n=5")).status == 400
    assert (await served.wire.ask("POST", "/v1/batch?n=5", b"[]")).status == 400
    assert (await served.wire.ask("GET", "/health/live?n=5")).status == 200
    assert not served.ingress.calls


@pytest.mark.parametrize(
    "data",
    [
        raw(b"POST " + PATH + b" HTTP/0.9", b"Host: h", b"Content-Length: 1", body=b"5"),
        raw(b"POST " + PATH + b" HTTP/2.0", b"Host: h", b"Content-Length: 1", body=b"5"),
        raw(
            CALL_LINE, b"Host: h", b"Transfer-Encoding: gzip, chunked", body=b"1\r\n5\r\n0\r\n\r\n"
        ),
        raw(
            *(CALL_LINE, b"Host: h", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
            body=b"1\r\n5\r\n0\r\n\r\n",
        ),
    ],
)
async def test_what_may_mean_something_else_is_refused(served: Served, data: bytes) -> None:
    """Other versions and codings of transfer; the connection ends."""
    served.wire.send(data)
    reply = await served.wire.reply()
    assert (reply.status, reply.json()["code"]) == (400, "invalid-request")
    assert await served.wire.closed()
    assert not served.ingress.calls


@pytest.mark.parametrize("authority", [b"evil.com", b"evil.com:80", b"h@evil.com", b"evil.com?x"])
async def test_a_foreign_name_in_the_request_line_is_refused(
    served: Served, authority: bytes
) -> None:
    """It counts more than `Host`."""
    target = b"http://" + authority + PATH
    served.wire.send(post(target=target))
    reply = await served.wire.reply()
    assert (reply.status, reply.json()["code"]) == (403, "foreign-host")
    served.wire.send(post(target=b"http://h:9001" + PATH))
    assert (await served.wire.reply()).status == 200
    assert len(served.ingress.calls) == 1


@pytest.mark.parametrize("plain", [True, False])
async def test_a_call_before_garbage_in_the_same_packet_is_answered(
    served: Served, plain: bool
) -> None:
    """Once, and then the garbage is refused."""
    call = post(b"5", *(() if plain else (b"X: \xc3\xbc",)))
    served.wire.send(call * 2 + b"nonsense\r\n\r\n" * 3)
    assert (await served.wire.reply()).body == b"5\n"
    assert (await served.wire.reply()).body == b"10\n"
    assert (await served.wire.reply()).status == 400
    assert await served.wire.closed()
    assert len(served.ingress.calls) == 2


async def test_chunks_that_break_later_are_refused_at_once(served: Served) -> None:
    """Not when the time for the body has passed."""
    served.wire.send(raw(CALL_LINE, b"Host: h", b"Transfer-Encoding: chunked"))
    await settled()
    served.wire.send(b"zz\r\n")
    async with asyncio.timeout(5):
        assert (await served.wire.reply()).json()["code"] == "invalid-request"
    assert not served.ingress.calls


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("plain", [True, False])
async def test_what_was_executed_is_answered_though_the_client_sends_no_more(
    served: Served, plain: bool, together: bool
) -> None:
    """`printf ... | nc -N` closes its half before the answer is there."""
    gate = served.ingress.gate = asyncio.Event()
    call = post(b"5", *(() if plain else (b"X: \xc3\xbc",)))
    served.wire.send(call * 3)
    if not together:
        await served.ingress.arrived.wait()
    served.wire.writer.write_eof()
    await served.ingress.arrived.wait()
    await settled()
    gate.set()
    answers = (await served.wire.reader.read()).split(b"HTTP/1.1 ")[1:]
    assert len(answers) == len(served.ingress.calls) >= 1
    assert all(answer.startswith(b"200") for answer in answers)


async def test_a_call_whose_body_can_not_come_any_more_is_dropped(served: Served) -> None:
    """The client closed its half within it."""
    for fields in ((), (b"X: \xc3\xbc",)):
        async with served.connect() as wire:
            wire.send(post(b"12345", *fields)[:-2])
            await settled()
            wire.writer.write_eof()
            async with asyncio.timeout(5):
                await wire.reader.read()
    assert not served.ingress.calls


async def test_an_idle_connection_ends_with_its_client() -> None:
    """Also one that was used."""
    async with serving() as served:
        for used in (False, True):
            async with served.connect() as wire:
                if used:
                    assert json.loads((await wire.ask("GET", "/v1/types")).body)
                    await wire.ask("POST", PATH.decode(), b"5")
                wire.writer.write_eof()
                async with asyncio.timeout(5):
                    assert await wire.closed()
