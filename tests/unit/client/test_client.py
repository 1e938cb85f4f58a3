"""What `spawn.Client` tells of calls whose answer does not come, and of what it can't send."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from examples.counter import Counter
from spawn.client.client import Client
from spawn.client.fleet import Address, Fleet
from spawn.errors import (
    BodyMismatch,
    InvalidHeader,
    InvalidId,
    NodeUnreachable,
    OutcomeUnknown,
    SpawnError,
    Unavailable,
    UnknownType,
)

TYPES = b'{"types":[{"type":"Counter","topic":"t","partitions":4}]}'


class Wire:
    """A server of few words: it tells its types, and does to a call what the test says."""

    def __init__(self) -> None:
        self.types = TYPES
        self.content_type = "application/json"
        self.reply: bytes | None = None
        """None: the connection is closed."""
        self.silent = False
        self.calls = 0
        self.called = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.partition(b":")[2]))
                body: bytes | None = self.types
                if not head.startswith((b"GET /v1/types", b"GET /v1/owners")):
                    self.calls += 1
                    self.called.set()
                    if self.silent:
                        await asyncio.sleep(60)
                    body = self.reply
                if body is None:
                    break
                kind = self.content_type
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                )
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A server that listens."""
    wire = Wire()
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    wire.url = f"http://{host}:{port}"
    yield wire
    server.close()


# --- outcomes -------------------------------------------------------------------------------------


async def test_a_connection_lost_after_sending_leaves_the_outcome_unknown(wire: Wire) -> None:
    """The call may have been executed: it must not be told that it was not."""
    async with Client(wire.url) as client:
        with pytest.raises(OutcomeUnknown):
            await client.actor(Counter, "a").add.options(timeout_s=0.5)(1)
        with pytest.raises(OutcomeUnknown):
            await client.call("Counter", "a", "add", 1, timeout_s=0.5)
        with pytest.raises(OutcomeUnknown):
            await client.delete(Counter, "a", timeout_s=0.5)
        with pytest.raises(NodeUnreachable):  # a read leaves nothing behind
            await client.actor(Counter, "a").total.options(timeout_s=0.5)()
    assert wire.calls > 4


async def test_a_call_that_was_sent_once_is_unknown_though_its_node_is_gone_later(
    wire: Wire,
) -> None:
    """What comes after the lost copy says nothing of it."""
    async with Client(wire.url) as client:
        calling = asyncio.ensure_future(client.actor(Counter, "a").add.options(timeout_s=1)(1))
        await wire.called.wait()
        nobody = "http://127.0.0.1:1"
        client._transport._fleet = Fleet([Address(nobody, nobody)])  # type: ignore[union-attr]
        with pytest.raises(OutcomeUnknown):
            await calling


async def test_closing_tells_calls_that_were_sent_that_their_outcome_is_unknown(
    wire: Wire,
) -> None:
    """By reference, by name and deletions alike; reads and what waits may be made again."""
    wire.silent = True
    client = Client(wire.url, connections_max=4)
    await client.__aenter__()
    calls = [
        asyncio.ensure_future(each)
        for each in (
            client.actor(Counter, "a").add(1),
            client.call("Counter", "a", "add", 1),
            client.delete("Counter", "a"),
            client.actor(Counter, "a").total(),
        )
    ]
    while wire.calls < len(calls):
        await asyncio.sleep(0.01)
    waiting = asyncio.ensure_future(client.call("Counter", "a", "add", 1))
    await asyncio.sleep(0.05)
    late = client.actor(Counter, "a").add(1)  # closed before its first step
    await client.close()
    told = [
        type(each) for each in await asyncio.gather(*calls, waiting, late, return_exceptions=True)
    ]
    assert told == [OutcomeUnknown] * 3 + [Unavailable] * 3


async def test_who_gives_up_a_call_by_name_gives_up_its_repetitions(wire: Wire) -> None:
    """Its task ends with it."""
    async with Client(wire.url) as client:
        calling = asyncio.ensure_future(client.call("Counter", "a", "add", 1))
        await wire.called.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await asyncio.sleep(0)
        assert not client._in_flight


# --- what is no node ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "types", [b"<html>", b"{}", b'{"types":[{"type":"Counter","topic":"t","partitions":0}]}']
)
async def test_types_that_no_node_tells_are_no_node(wire: Wire, types: bytes) -> None:
    """Whatever answers there, the caller gets a SpawnError."""
    wire.types = types
    async with Client(wire.url) as client:
        with pytest.raises(NodeUnreachable, match="no node answers at"):
            await client.call("Counter", "a", "add", 1, timeout_s=0.3)
    assert not wire.calls


@pytest.mark.parametrize("kind", ["application/json", "text/html"])
async def test_a_reply_that_is_no_json_is_no_nodes(wire: Wire, kind: str) -> None:
    """A page with status 200 is of something else."""
    wire.reply = b"<html>"
    async with Client(wire.url) as client:
        await client._ask_types(client._transport, "Counter", 1e9)  # type: ignore[arg-type]
        wire.content_type = kind
        for read in (
            client.actor(Counter, "a").total.options(timeout_s=0.3)(),
            client.call("Other", "a", "total", timeout_s=0.3),
        ):
            with pytest.raises(SpawnError, match="no node answers at"):
                await read


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_s", [float("inf"), float("nan"), None, "5", -1, 0, True])
async def test_every_call_refuses_what_is_no_timeout(wire: Wire, timeout_s: Any) -> None:
    """One check for references, `call` and `delete`; nothing is sent."""
    async with Client(wire.url) as client:
        with pytest.raises(ValueError, match="timeout_s is a number of seconds above 0"):
            await client.call("Counter", "a", "add", 1, timeout_s=timeout_s)
        with pytest.raises(ValueError, match="timeout_s is a number of seconds above 0"):
            await client.delete("Counter", "a", timeout_s=timeout_s)
        if timeout_s is not None:
            with pytest.raises(ValueError, match="timeout_s is a number of seconds above 0"):
                client.actor(Counter, "a").add.options(timeout_s=timeout_s)
    assert not wire.calls


async def test_odd_arguments_are_refused_with_errors_of_spawn(wire: Wire) -> None:
    """Nothing of aiohttp or msgspec comes through."""
    async with Client(wire.url) as client:
        counter = client.actor(Counter, "a")
        with pytest.raises(InvalidHeader, match="visible ASCII"):
            await client.call("Counter", "a", "add", 1, idempotency_key="a\nb")
        with pytest.raises(InvalidHeader, match="visible ASCII"):
            await counter.add.options(idempotency_key="a\nb")(1)
        odd_keys: list[Any] = ["", b"k"]
        for key in odd_keys:
            with pytest.raises(ValueError, match="an idempotency key"):
                await client.call("Counter", "a", "add", 1, idempotency_key=key)
            with pytest.raises(ValueError, match="an idempotency key"):
                await client.delete("Counter", "a", idempotency_key=key)
        with pytest.raises(BodyMismatch, match="has no JSON"):
            await client.call("Counter", "a", "add", "\ud800")
        with pytest.raises(BodyMismatch, match="has no JSON"):
            await client.call("Counter", "a", "add", object())
        with pytest.raises(InvalidId):
            await client.delete("Counter", "\ud800")
        with pytest.raises(UnknownType):
            await client.call("\ud800", "a", "add", timeout_s=0.1)
        with pytest.raises(UnknownType):
            await client.call(5, "a", "add", timeout_s=0.1)  # type: ignore[arg-type]
    assert not wire.calls


@pytest.mark.parametrize(
    "url",
    [
        *("http://h:99999", "http://h:abc", "http://h:0", "h:9001", "ftp://h", "http://", ""),
        *("http://[::1", "http://h:1/?a", "http://h/#a", "http://h x:1", "http://h\n"),
    ],
)
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    """With what an address looks like, and without a password that stands in it."""
    with pytest.raises(ValueError, match="a node's address is http://host:port, got") as caught:
        Client(url.replace("h:", "user:secret@h:"))
    assert "secret" not in str(caught.value)


def test_what_is_no_text_is_refused_at_once() -> None:
    """The constructor says what it takes."""
    with pytest.raises(TypeError, match="a node's address is a str, got int"):
        Client(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a token is a str"):
        Client("http://h", token=b"x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a token has visible ASCII characters only"):
        Client("http://h", token="a\nb")
    with pytest.raises(ValueError, match="exclude each other"):
        Client("http://user:pw@h", token="t")


async def test_a_password_in_the_address_is_in_no_error() -> None:
    """It is masked wherever the address is shown."""
    client = Client("http://user:secret@127.0.0.1:1")
    assert "secret" not in client.url
    with pytest.raises(Unavailable) as unopened:
        await client.actor(Counter, "a").add(1)
    async with client:
        with pytest.raises(NodeUnreachable) as caught:
            await client.actor(Counter, "a").add.options(timeout_s=0.2)(1)
    for error in (unopened.value, caught.value):
        assert "secret" not in f"{error} {error.hint} {error.at}"
        assert "127.0.0.1:1" in str(error)


# --- where it may be used -------------------------------------------------------------------------


async def test_a_client_that_is_not_open_says_so(wire: Wire) -> None:
    """Before it was opened and after it was closed, by reference and by name."""
    client = Client(wire.url)
    for _ in range(2):
        with pytest.raises(Unavailable, match="is not open"):
            await client.actor(Counter, "a").add(1)
        with pytest.raises(Unavailable, match="is not open"):
            await client.call("Counter", "a", "add", 1)
        async with client:
            pass


async def test_a_second_event_loop_is_told_that_it_is_one(wire: Wire) -> None:
    """A future of another loop would never be done, or fail somewhere inside."""
    errors: list[str] = []

    def use(call: Callable[[], Any]) -> None:
        async def run() -> None:
            await call()

        try:
            asyncio.run(run())
        except RuntimeError as error:
            errors.append(str(error))

    async with Client(wire.url) as client:
        for call in (
            lambda: client.actor(Counter, "a").add(1),
            lambda: client.call("Counter", "a", "add", 1),
            lambda: client.delete("Counter", "a"),
        ):
            thread = threading.Thread(target=use, args=(call,))
            thread.start()
            await asyncio.to_thread(thread.join)
    assert len(errors) == 3
    assert all("was opened in another event loop" in each for each in errors)
