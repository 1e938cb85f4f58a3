"""Connections: kept alive, pipelined, given up, given a socket, stopped."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from spawn.api import HttpServer
from spawn.errors import InvalidSettings, PortTaken
from tests.integration.api.fake_ingress import FakeIngress
from tests.integration.api.wire import Served, connect

ADD = "/v1/actors/Counter/a/add"


async def test_one_connection_serves_many_requests(served: Served) -> None:
    """Keep-alive, also after problems."""
    for n in range(1, 20):
        assert (await served.wire.ask("POST", ADD, b"1")).body == b"%d\n" % n
        assert (await served.wire.ask("GET", "/nothing")).status == 404


async def test_http_1_0_and_connection_close_are_honoured(served: Served) -> None:
    """A client may ask for the end."""
    reply = await served.wire.ask("POST", ADD, b"1", {"Connection": "close"})
    assert (reply.body, reply.headers["connection"]) == (b"1\n", "close")
    assert await served.wire.closed()
    async with served.connect() as wire:
        wire.send(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert (await wire.reply()).status == 200
        assert await wire.closed()


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    """Three requests in one write."""
    for n in (1, 10, 100):
        served.wire.request("POST", ADD, str(n).encode())
    assert [(await served.wire.reply()).body for _ in range(3)] == [b"1\n", b"11\n", b"111\n"]


async def test_expect_100_continue_is_answered(served: Served) -> None:
    """curl waits for it with larger bodies."""
    wire = served.wire
    wire.send(f"POST {ADD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n".encode())
    wire.send(b"Expect: 100-continue\r\n\r\n")
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"5")
    reply = await wire.reply()
    assert (reply.status, reply.body) == (200, b"5\n")
    assert (await wire.ask("POST", ADD, b"1")).body == b"6\n"


async def test_an_unknown_expectation_is_refused(served: Served) -> None:
    """Nobody can wait for what never comes."""
    served.wire.send(
        b"POST /v1/actors/Counter/a/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Expect: tea\r\n\r\n"
    )
    reply = await served.wire.reply()
    assert (reply.status, reply.json()["code"]) == (400, "invalid-header")


async def test_a_client_that_leaves_cancels_nothing(served: Served) -> None:
    """Its command may be on the way into the log: it goes on to its end."""
    served.ingress.gate = asyncio.Event()
    async with served.connect() as wire:
        wire.request("POST", ADD, b"5")
        await served.ingress.arrived.wait()
    assert (await served.wire.ask("GET", "/health/live")).status == 200
    served.ingress.gate.set()
    while not served.ingress.finished:
        await asyncio.sleep(0)
    assert served.ingress.totals == {"a": 5}


async def test_a_client_that_dies_in_its_body_runs_nothing_and_fills_no_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a body is no call."""
    with caplog.at_level(logging.WARNING):
        async with served.connect() as wire:
            head = f"POST {ADD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
            wire.send(f"{head}5".encode())
            await wire.writer.drain()
            await asyncio.sleep(0.02)
        assert (await served.wire.ask("GET", "/health/live")).status == 200
        await asyncio.sleep(0.02)
    assert not served.ingress.calls
    assert not caplog.records


async def test_a_socket_that_is_given_is_served() -> None:
    """A supervisor holds it across restarts; what came before the start is answered after it."""
    held = socket.create_server(("127.0.0.1", 0))
    port = held.getsockname()[1]
    async with connect(port) as early:
        early.request("POST", ADD, b"3")
        server = HttpServer(FakeIngress(), new_error_id=lambda: "e", port=1)
        await server.start(held.dup())
        assert server.port == port
        assert (await early.reply()).body == b"3\n"
        await server.stop(grace_s=1.0)
        async with connect(port) as late:
            late.request("POST", ADD, b"4")
            second = HttpServer(FakeIngress(), new_error_id=lambda: "e")
            await second.start(held)
            assert (await late.reply()).body == b"4\n"
            await second.stop(grace_s=1.0)


async def test_a_taken_port_is_named() -> None:
    """PortTaken with the port, and how to find who has it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = HttpServer(FakeIngress(), new_error_id=lambda: "e", port=port)
        with pytest.raises(PortTaken) as caught:
            await server.start()
    assert caught.value.message == f"port {port} on 127.0.0.1 is in use"
    assert str(port) in caught.value.hint
    assert server.addresses == []
    await server.stop(grace_s=0)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_of_another_machine_is_named(host: str) -> None:
    """InvalidSettings with the setting to mend."""
    server = HttpServer(FakeIngress(), new_error_id=lambda: "e", host=host, port=0)
    with pytest.raises(InvalidSettings) as caught:
        await server.start()
    assert host in caught.value.message
    assert "SPAWN_HTTP_HOST" in caught.value.at


async def test_stopping_answers_what_is_under_way_and_takes_nothing_new() -> None:
    """The caller that waits gets its reply, and is told to close."""
    ingress = FakeIngress()
    ingress.gate = asyncio.Event()
    server = HttpServer(ingress, new_error_id=lambda: "e", port=0)
    await server.start()
    port = server.port
    async with connect(port) as idle, connect(port) as busy:
        assert (await idle.ask("GET", "/health/live")).status == 200
        busy.request("POST", ADD, b"5")
        await ingress.arrived.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.stop(grace_s=1.0))
            assert await idle.closed()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            ingress.gate.set()
            reply = await busy.reply()
        assert (reply.body, reply.headers["connection"]) == (b"5\n", "close")
        assert await busy.closed()


async def test_stopping_waits_for_a_body_that_is_still_being_sent() -> None:
    """A slow sender inside the grace is no lost call."""
    server = HttpServer(FakeIngress(), new_error_id=lambda: "e", port=0)
    await server.start()
    async with connect(server.port) as wire:
        wire.send(f"POST {ADD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n1".encode())
        await asyncio.sleep(0.02)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.stop(grace_s=1.0))
            await asyncio.sleep(0.02)
            wire.send(b"2")
            assert (await wire.reply()).body == b"12\n"


async def test_stopping_cuts_off_what_outlasts_the_grace() -> None:
    """The wait is given up, and the stop ends in about its grace."""
    ingress = FakeIngress()
    ingress.gate = asyncio.Event()
    server = HttpServer(ingress, new_error_id=lambda: "e", port=0)
    await server.start()
    async with connect(server.port) as wire:
        wire.request("POST", ADD, b"5")
        await ingress.arrived.wait()
        async with asyncio.timeout(1.0):
            await server.stop(grace_s=0.05)
        assert await wire.closed()
    assert not ingress.finished
