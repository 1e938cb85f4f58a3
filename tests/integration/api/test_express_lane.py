"""What the express lane does by itself: order, bounds, back-pressure, stop, clients that leave."""

from __future__ import annotations

import asyncio

from spawn.api.connection import Connection
from spawn.core.ingress import Call
from tests.integration.api.raw_requests import CALL_LINE, counts, echo, post, raw, settled
from tests.integration.api.wire import Served, serving


async def test_a_call_is_served_whatever_comes_behind_it() -> None:
    """aiohttp drops it when the same packet goes on with what is no HTTP; here it is a call."""
    async with serving() as served:
        served.wire.send(post(b"5") + b"6" + b"\r\n\r\n")
        assert (await served.wire.reply()).body == b"5\n"
        assert (await served.wire.reply()).status == 400
        assert await served.wire.closed()


def connection_of(served: Served) -> Connection:
    """Return the server's end of the first connection."""
    connections = served.server._connections
    assert connections is not None
    first = connections.connections[0]
    assert isinstance(first, Connection)
    return first


async def test_calls_take_the_express_lane_also_between_other_requests() -> None:
    """What aiohttp served before, keeps no later call from it."""
    async with serving() as served:
        wire, connection = served.wire, connection_of(served)
        for expected in (1, 2, 3):
            for _ in range(2):
                wire.send(post())
                await wire.reply()
                wire.send(post(b"5", b"Idempotency-Key: other"))
                await wire.reply()
            wire.send(raw(b"GET /v1/actors/Counter/a HTTP/1.1", b"Host: h"))
            await wire.reply()
            assert connection._request_count == expected
        # Not plain, but whole, and with an empty line at its end.
        wire.send(raw(CALL_LINE, b"Host: h", b"Transfer-Encoding: chunked") + b"0\r\n\r\n")
        await wire.reply()
        wire.send(post())
        await wire.reply()
        assert connection._request_count == 4


async def test_a_call_in_two_packets_takes_the_express_lane() -> None:
    """Many clients send head and body separately."""
    async with serving() as served:
        for cut in (-1, 10, 60):
            served.wire.send(post(b"12")[:cut])
            await settled()
            served.wire.send(post(b"12")[cut:])
            assert (await served.wire.reply()).status == 200
        assert connection_of(served)._request_count == 0


async def test_an_error_of_the_commit_is_answered_as_by_aiohttp() -> None:
    """Errors that come with the answer, not with the call."""
    answers = []
    for express in (True, False):
        async with serving(express=express) as served:
            served.ingress.gate = asyncio.Event()
            served.ingress.error = KeyError("nobody foresaw it")
            served.wire.send(post())
            await served.ingress.arrived.wait()
            served.ingress.gate.set()
            answers.append(await served.wire.reply())
    express_answer, other = answers
    assert (express_answer.status, express_answer.body) == (500, other.body)


async def test_what_follows_a_call_waits_for_it_and_is_bounded() -> None:
    """A client that pipelines without end is held back; nothing is lost or overtakes."""
    count = 12_000
    async with serving() as served:
        gate = served.ingress.gate = asyncio.Event()
        for number in range(count):
            served.wire.send(echo(b"%d" % number))
        await served.ingress.arrived.wait()
        await settled()
        assert len(served.ingress.calls) == 1
        assert len(connection_of(served)._held) < 400_000
        served.ingress.gate = None
        gate.set()
        for number in range(count):
            assert (await served.wire.reply()).body == b"%d\n" % number
        assert [call.payload for call in served.ingress.calls] == [b"%d" % n for n in range(count)]
        assert connection_of(served)._request_count == 0


async def test_a_client_that_does_not_read_gets_no_further_call_started() -> None:
    """Its answers would fill the memory."""
    count = 40
    body = b"x" * 1_000_000
    async with serving() as served:
        for _ in range(count):
            served.wire.send(echo(body))
        while not connection_of(served)._paused:
            await asyncio.sleep(0)
        started = len(served.ingress.calls)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(served.ingress.calls) == started < count
        for _ in range(count):
            assert (await served.wire.reply()).body == body + b"\n"
        assert connection_of(served)._request_count == 0


async def test_a_call_that_takes_long_keeps_its_connection() -> None:
    """The keep-alive timer is for connections on which nothing happens."""
    async with serving() as served:
        connection, served.ingress.gate = connection_of(served), asyncio.Event()
        served.wire.send(post())
        await served.ingress.arrived.wait()
        connection._next_keepalive_close_time = 0.0
        connection._process_keepalive()
        served.ingress.gate.set()
        assert (await served.wire.reply()).status == 200
        connection._next_keepalive_close_time = 0.0
        connection._process_keepalive()
        assert await served.wire.closed()


async def test_stopping_drops_what_was_pipelined_behind_the_last_answer() -> None:
    """The answer says that the connection closes: what is behind it was not executed."""
    async with serving() as served:
        gate = served.ingress.gate = asyncio.Event()
        served.wire.send(post() + post())
        await served.ingress.arrived.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(served.server.stop(grace_s=1.0))
            await settled()
            gate.set()
            reply = await served.wire.reply()
        assert reply.headers["connection"] == "close"
        assert await served.wire.closed()
        assert len(served.ingress.calls) == 1


async def test_a_client_that_leaves_drops_only_what_was_not_started() -> None:
    """The call goes on, the one behind it never was one, and nothing is left open."""
    async with serving() as served:
        gate = served.ingress.gate = asyncio.Event()
        async with served.connect() as wire:
            wire.send(post() + post())
            await served.ingress.arrived.wait()
        async with served.connect() as wire:
            wire.send(post(b"12")[:-1])
            await settled()
        await settled()
        gate.set()
        while not served.ingress.finished:
            await asyncio.sleep(0)
        await settled()
        assert [call.payload for call in served.ingress.calls] == [b"5"]
        assert counts(served) == {("invoke", 200): 1, ("invoke", 400): 1}


async def test_the_caller_is_recorded_in_both_lanes() -> None:
    """By its address."""
    async with serving() as served:
        served.wire.send(post() + post(b"5", b"X: \xc3\xbc"))
        await served.wire.reply()
        await served.wire.reply()
        first, second = served.ingress.calls
        assert first == second == Call("Counter", "a", "add", b"5", 60.0, caller="http 127.0.0.1")
