"""Clients that hold connections: too many, too slow, silent, or taking nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from spawn.api import HttpLimits
from tests.integration.api.wire import Served, connect, serving

ADD = "/v1/actors/Counter/a/add"
HEAD = b"POST /v1/actors/Counter/a/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
OTHER_HEAD = b"GET /v1/actors/Counter/a HTTP/1.1\r\nHost: localhost\r\n"
SHORT = HttpLimits(head_s=0.1, body_s=0.2, body_bytes_per_s=10**9)


@pytest.fixture(params=[True, False], ids=["express", "aiohttp"])
def express(request: pytest.FixtureRequest) -> bool:
    """In turn with and without the express lane."""
    found: bool = request.param
    return found


@pytest.mark.parametrize("begun", [HEAD, OTHER_HEAD, b"POST /"])
async def test_a_head_that_does_not_end_is_answered_408(express: bool, begun: bytes) -> None:
    """Also one that goes on byte by byte: its time runs from its first byte."""
    async with serving(SHORT, express=express) as served:
        wire = served.wire
        wire.send(begun)
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            drip = tasks.create_task(_drip(served))
            reply = await wire.reply()
            drip.cancel()
        assert (reply.status, reply.json()["code"]) == (408, "request-too-slow")
        assert (reply.json()["at"], reply.headers["connection"]) == ("head", "close")
        try:
            assert await wire.closed()
        except ConnectionResetError:
            pass  # a byte was on its way


async def _drip(served: Served) -> None:
    while True:
        await asyncio.sleep(0.03)
        served.wire.send(b"X")


async def test_a_body_that_does_not_end_is_answered_408(express: bool) -> None:
    """Nothing is run; the head that came in time is no excuse."""
    async with serving(SHORT, express=express) as served:
        served.wire.send(HEAD + b"\r\n12")
        async with asyncio.timeout(5):
            reply = await served.wire.reply()
        assert (reply.status, reply.json()["at"]) == (408, "body")
        assert reply.headers["connection"] == "close"
        assert not served.ingress.calls


async def test_a_body_without_a_length_has_its_time_too(express: bool) -> None:
    """Chunks are aiohttp's matter, the limit is the same."""
    async with serving(SHORT, express=express) as served:
        served.wire.send(
            b"POST /v1/actors/Counter/a/add HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
            b"\r\n1\r\n5\r\n"
        )
        async with asyncio.timeout(5):
            assert (await served.wire.reply()).status == 408


async def test_a_large_body_has_the_time_of_its_size(express: bool) -> None:
    """Five seconds here: a hundred times the least time."""
    limits = HttpLimits(head_s=0.05, body_s=0.05, body_bytes_per_s=1)
    async with serving(limits, express=express) as served:
        served.wire.send(HEAD + b"\r\n12")
        await asyncio.sleep(0.25)
        served.wire.send(b"345")
        assert (await served.wire.reply()).body == b"12345\n"
        # And the time of a head that begins then is its own again.
        served.wire.send(b"P")
        async with asyncio.timeout(3):
            assert (await served.wire.reply()).status == 408


async def test_what_comes_in_time_is_served_on_and_on(express: bool) -> None:
    """No time of an earlier request ends a later one, nor the pause between them."""
    async with serving(SHORT, express=express) as served:
        for n in range(1, 4):
            served.wire.send(HEAD)
            await asyncio.sleep(0.05)
            served.wire.send(b"\r\n    ")
            await asyncio.sleep(0.1)
            served.wire.send(b"1")
            assert (await served.wire.reply()).body == f"{n}\n".encode()
            await asyncio.sleep(0.15)
        served.wire.send(b"\r\n")
        await asyncio.sleep(0.15)
        assert (await served.wire.ask("POST", ADD, b"1")).body == b"4\n"


async def test_who_waits_for_an_outcome_or_follows_is_not_late(express: bool) -> None:
    """All limits pass meanwhile, that of idle connections included."""
    limits = HttpLimits(head_s=0.05, body_s=0.05, keep_alive_s=0.1, body_bytes_per_s=10**9)
    async with serving(limits, express=express) as served:
        served.ingress.gate = asyncio.Event()
        served.wire.request("POST", ADD, b"5")
        async with served.connect() as following:
            following.send(b"GET /v1/actors/Counter/a/events?follow HTTP/1.1\r\nHost: h\r\n\r\n")
            await following.reader.readuntil(b": following\n\n")
            await asyncio.sleep(0.4)
            assert not following.reader.at_eof()
            served.ingress.gate.set()
            assert (await served.wire.reply()).body == b"5\n"


async def test_an_idle_connection_is_closed(express: bool) -> None:
    """One without any request, and one after its last."""
    async with serving(HttpLimits(keep_alive_s=0.2), express=express) as served:
        assert (await served.wire.ask("POST", ADD, b"1")).status == 200
        async with asyncio.timeout(5), served.connect() as silent:
            assert await silent.closed()
            assert await served.wire.closed()


@asynccontextmanager
async def full(express: bool) -> AsyncIterator[Served]:
    """Serve with as many connections open as may be: one."""
    async with serving(HttpLimits(connections_max=1), express=express) as served:
        assert (await served.wire.ask("POST", ADD, b"1")).body == b"1\n"
        yield served


async def test_a_connection_over_the_cap_is_told_so(express: bool) -> None:
    """503 with Retry-After; those that are there go on, and one that ends makes room."""
    async with full(express) as served:
        async with served.connect() as other:
            reply = await other.ask("POST", ADD, b"1")
            assert (reply.status, reply.json()["code"]) == (503, "too-many-waiting")
            assert (reply.headers["retry-after"], reply.headers["connection"]) == ("1", "close")
            assert await other.closed()
        assert (await served.wire.ask("POST", ADD, b"1")).body == b"2\n"
        served.wire.writer.close()
        async with asyncio.timeout(5):
            while True:
                async with served.connect() as other:
                    if (await other.ask("POST", ADD, b"1")).status == 200:
                        break
        assert served.ingress.totals == {"a": 3}


async def test_a_silent_connection_over_the_cap_is_closed(express: bool) -> None:
    """After a moment: it holds nothing up."""
    async with asyncio.timeout(5):
        async with full(express) as served, connect(served.server.port) as silent:
            assert await silent.closed()


async def test_a_client_that_takes_nothing_is_cut_off(express: bool) -> None:
    """Its answers fill the buffers; then it has the time that streams have."""
    async with serving(HttpLimits(stalled_s=0.2), express=express) as served:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", served.server.port))
            connections = served.server._connections
            assert connections is not None
            body = b"7" * 1_000_000
            head = b"POST /v1/actors/Echo/a/echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
            async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
                flood = tasks.create_task(_flood(sock, (head % len(body) + body) * 20))
                while len(connections.connections) < 2 or not served.ingress.calls:
                    await asyncio.sleep(0.01)
                while len(connections.connections) > 1:
                    await asyncio.sleep(0.01)
                flood.cancel()


async def _flood(sock: socket.socket, data: bytes) -> None:
    try:
        await asyncio.get_running_loop().sock_sendall(sock, data)
    except ConnectionError:
        pass
