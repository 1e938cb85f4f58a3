"""What a client makes of answers that are no node's (a real HTTP server on loopback)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from spawn.client.client import Client
from spawn.client.fleet import Address, Fleet
from spawn.client.transport import Request, Transport, open_session
from spawn.errors import NodeUnreachable, NotStarted, OutcomeUnknown, SpawnError
from spawn.runtime.clock import random_id


class Proxy:
    """Answers everything with one status, in words of its own."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 502
        self.silent = False

    async def handle(self, _request: web.BaseRequest) -> web.StreamResponse:
        """Answer."""
        if self.silent:
            await asyncio.sleep(60)
        return web.Response(status=self.status, text="<html>Bad Gateway</html>")


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy that serves."""
    proxy = Proxy()
    server = web.ServerRunner(
        web.Server(proxy.handle), handler_cancellation=True, shutdown_timeout=0.1
    )
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    proxy.url = f"http://127.0.0.1:{server.addresses[0][1]}"
    yield proxy
    await server.cleanup()


async def outcome_of(proxy: Proxy, *, is_read: bool) -> SpawnError:
    """Return the error of a call that ends at its deadline."""
    deadline = asyncio.get_running_loop().time() + 0.3
    async with open_session(4, True) as session:
        transport = Transport(session, Fleet([Address(proxy.url, proxy.url)]), random_id)
        request = Request("POST", "/v1/x", b"5", deadline, "Counter/a.add", "key", is_read=is_read)
        with pytest.raises(SpawnError) as caught:
            await transport.execute(request, None, None)
    return caught.value


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_behind_a_proxy_that_fails_the_outcome_is_unknown(proxy: Proxy, status: int) -> None:
    """It may have handed the call on before; of a read nothing is left behind."""
    proxy.status = status
    assert type(await outcome_of(proxy, is_read=False)) is OutcomeUnknown
    assert type(await outcome_of(proxy, is_read=True)) is NodeUnreachable


async def test_a_server_that_is_something_else_executed_nothing(proxy: Proxy) -> None:
    """Its 404 is no node's."""
    proxy.status = 404
    assert type(await outcome_of(proxy, is_read=False)) is NodeUnreachable


async def test_a_short_deadline_holds_beside_a_caller_that_asks_for_the_types(proxy: Proxy) -> None:
    """The one that asks may wait longer; nobody waits for it longer than was said."""
    proxy.silent = True
    async with Client(proxy.url) as client:
        asking = asyncio.ensure_future(client.call("Counter", "a", "add", 1, timeout_s=30))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2):
            with pytest.raises(NotStarted):
                await client.call("Counter", "a", "add", 1, timeout_s=0.2)
        asking.cancel()
