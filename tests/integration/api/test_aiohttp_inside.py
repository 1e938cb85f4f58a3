"""What `spawn.api.connection` uses of aiohttp's inside: a release that changes it fails here."""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections import deque

from aiohttp import web

from spawn.api import connection
from spawn.api.connection import Connection
from tests.integration.api.raw_requests import post, raw, settled
from tests.integration.api.wire import Served, serving

HANDLER = {
    "_buffer_paused",
    "_current_request",
    "_keepalive_timeout",
    "_loop",
    "_messages",
    "_next_keepalive_close_time",
    "_pause_transport_reading",
    "_paused",
    "_process_keepalive",
    "_reading_paused",
    "_request_count",
    "_request_in_progress",
    "_resume_transport_reading",
    "_upgraded",
    "_waiter",
}
SERVER = {"_connections", "_kwargs", "_loop"}


def used_by(cls: type) -> set[str]:
    """Return the private names that a class's code reads of itself and does not define."""
    tree = ast.parse(inspect.getsource(cls))
    names = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (
            (isinstance(node.value, ast.Name) and node.value.id == "self")
            or isinstance(node.value, ast.Call)  # super()
        )
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
    }
    base = cls.__mro__[1]
    own = {name for name in vars(cls) if not hasattr(base, name)}
    own |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and not hasattr(base, node.attr)
        and base is web.Server
        and node.attr not in SERVER
    }
    return names - own


def test_every_private_name_that_is_used_is_named_here() -> None:
    """Else the tests below say nothing of it."""
    assert used_by(Connection) == HANDLER
    assert used_by(connection.ConnectionFactory) == SERVER


async def test_the_names_are_there_with_their_meaning() -> None:
    """Of an idle connection, and of the server that has it."""
    async with serving() as served:
        inside, server = _first(served), served.server._connections
        assert server is not None
        for name in HANDLER:
            assert hasattr(web.RequestHandler, name), name
            assert hasattr(inside, name), name
        assert set(server._connections) == {inside}
        assert "keepalive_timeout" in server._kwargs
        assert server._loop is inside._loop is asyncio.get_running_loop()
        assert isinstance(inside._messages, deque)
        assert not inside._messages
        assert inside._waiter is not None
        assert not inside._waiter.done()
        flags = ("_paused", "_upgraded", "_reading_paused", "_buffer_paused")
        assert [getattr(inside, name) for name in flags] == [False] * 4
        assert (inside._request_count, inside._request_in_progress) == (0, False)
        assert inside._keepalive_timeout == 75.0
        due = inside._next_keepalive_close_time - inside._loop.time()
        assert 0 < due <= inside._keepalive_timeout


async def test_a_request_is_counted_and_in_progress_until_it_is_answered() -> None:
    """`_waiter` is there exactly while none is."""
    async with serving(express=False) as served:
        inside = _first(served)
        served.ingress.gate = asyncio.Event()
        served.wire.send(post())
        await served.ingress.arrived.wait()
        assert (inside._request_count, inside._request_in_progress) == (1, True)
        assert inside._waiter is None
        served.wire.send(raw(b"GET /health/live HTTP/1.1", b"Host: h"))
        while not inside._messages:
            await asyncio.sleep(0)
        current = inside._current_request
        assert current is not None
        assert current.content.is_eof()
        message, payload = inside._messages[0]
        assert (inside._request_count, payload.is_eof()) == (2, True)
        assert isinstance(message.path, str)  # type: ignore[union-attr]
        served.ingress.gate.set()
        await served.wire.reply()
        await served.wire.reply()
        await settled()
        assert not inside._request_in_progress
        assert inside._waiter is not None


async def test_reading_and_writing_are_paused_and_resumed() -> None:
    """By the transport alone; the flags are aiohttp's own."""
    async with serving() as served:
        inside = _first(served)
        transport = inside.transport
        assert transport is not None
        inside._pause_transport_reading()
        assert not transport.is_reading()
        inside._resume_transport_reading()
        assert transport.is_reading()
        for pause, resume, flag in (
            ("_pause_reading_for_buffer", "_resume_reading_for_buffer", "_buffer_paused"),
            ("pause_writing", "resume_writing", "_paused"),
        ):
            getattr(inside, pause)()
            assert getattr(inside, flag) is True
            getattr(inside, resume)()
            assert getattr(inside, flag) is False


async def test_a_connection_that_is_due_is_closed_by_process_keepalive() -> None:
    """Not before."""
    async with serving() as served:
        inside = _first(served)
        inside._process_keepalive()
        assert inside.transport is not None
        inside._next_keepalive_close_time = inside._loop.time()
        inside._process_keepalive()
        assert await served.wire.closed()


def _first(served: Served) -> Connection:
    connections = served.server._connections
    assert connections is not None
    (first,) = connections.connections
    assert isinstance(first, Connection)
    return first
