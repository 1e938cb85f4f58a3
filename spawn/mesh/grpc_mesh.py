"""The mesh over gRPC: one bidirectional stream a link, a gRPC message a frame, no protobuf.

A gRPC message costs about 0.1 ms of CPU time at each end in Python, whatever is in it, so what
waits shares one: while a write is under way the outbox fills. `write` returns when HTTP/2's windows
have room, so a peer that reads slowly fills our outbox, which has a bound, and nothing else: each
link has a stream and two tasks of its own, and no frame is read before the one before it is dealt
with.

A link has a connection of its own. Connections that never greet are closed, and so are those that
gRPC itself finds at fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import grpc
import grpc.aio

from spawn.errors import InvalidSettings, PortTaken
from spawn.mesh.conversation import TICK_S, Conversation
from spawn.mesh.grpc_tls import MeshTls
from spawn.mesh.link import Ending, Link, MeshCounts, Receiver
from spawn.mesh.wire import FRAME_BYTES_MAX, LEAST_VERSION, VERSION, Hello

__all__ = ["LINKS_MAX", "GrpcMesh"]

LINKS_MAX: Final = 4_096
"""Links that peers may have opened to one node, those included that have not greeted: four times
the largest cluster that is planned for. One more is refused (`too-many-links`)."""

_SERVICE: Final = "spawn.Mesh"
_METHOD: Final = "Link"
_LINGER_S: Final = 0.5
"""For the last word to a peer, once a link has ended."""
_HANDSHAKE_MS: Final = 5_000
_IDLE_MS: Final = 10_000
"""Until a connection without a link is closed."""
_RECEIVE_BYTES_MAX: Final = 2 * FRAME_BYTES_MAX
"""A frame over its limit and under this one is refused with our own words, and counted; a larger
one by gRPC, unread: for the receiver the link just breaks, its sender is told."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _RECEIVE_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
)
_SERVER_OPTIONS: Final = (
    *_OPTIONS,
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
    ("grpc.max_connection_idle_ms", _IDLE_MS),
    ("grpc.max_concurrent_streams", 16),
)
_CHANNEL_OPTIONS: Final = (
    *_OPTIONS,
    # A connection for each link, so that one that ends takes no other along.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class _Stream(Protocol):
    """Both ends of a gRPC stream: `grpc.aio`'s call and its servicer context."""

    async def read(self) -> Any: ...
    async def write(self, frame: bytes, /) -> None: ...


class GrpcMesh:
    """Implements `spawn.mesh.link.Mesh`."""

    def __init__(
        self,
        *,
        system: str,
        node: str,
        release: str,
        receiver: Receiver,
        now: Callable[[], float],
        host: str = "127.0.0.1",
        port: int = 0,
        endpoint: str = "",
        tls: MeshTls | None = None,
    ) -> None:
        """Prepare it. `endpoint` is where peers reach it, if not at `host` and `port`."""
        self._receiver, self._now, self._tls = receiver, now, tls
        self._host, self._endpoint = host, endpoint
        self.port = port
        """The one that it listens on, once it is running."""
        self.hello = Hello(VERSION, LEAST_VERSION, system, node, endpoint, release)
        self.counts = MeshCounts()
        self._pumps: set[_Pump] = set()
        self._accepted = 0
        self._is_leaving = False
        self._tasks: asyncio.TaskGroup | None = None
        self._server: grpc.aio.Server | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[GrpcMesh]:
        """Listen, and open and keep links, until the end; then take leave of all peers.

        Raises: PortTaken, InvalidSettings - the TLS files can't be used.
        """
        server = self._server = grpc.aio.server(options=list(_SERVER_OPTIONS))
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
            self._accept
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),)
        )
        port = self.port = self._listen(server)
        if not self._endpoint:
            self.hello = Hello(
                *(VERSION, LEAST_VERSION, self.hello.system, self.hello.node),
                *(_address(self._host, port), self.hello.release),
            )
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await server.start()
            ticking = tasks.create_task(self._tick(), name="mesh ticks")
            try:
                yield self
            finally:
                ticking.cancel()
                await self._leave(server)

    def open(self, endpoint: str) -> Link:
        assert self._tasks is not None, "the mesh is not running"
        pump = self._pump(endpoint)
        if self._is_leaving:
            pump.conversation.finish(Ending.REFUSED, "this node is stopping")
            self._pumps.discard(pump)
            return pump.conversation
        self._tasks.create_task(self._run_opened(pump), name=f"mesh link to {endpoint}")
        return pump.conversation

    # --- listening -------------------------------------------------------------------------------

    def _listen(self, server: grpc.aio.Server) -> int:
        address = _address(self._host, self.port)
        try:
            if self._tls is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, self._tls.server_credentials())
        except OSError as error:
            raise InvalidSettings(
                f"a TLS file of the mesh can't be read: {error}",
                at="mesh.tls_ca, mesh.tls_cert, mesh.tls_key",
            ) from error
        except RuntimeError as error:
            raise PortTaken(
                f"the mesh can't listen at {address}: {error}",
                at="mesh.port",
                hint="another process has the port, or the host has not that address",
            ) from error

    async def _accept(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Serve a stream that a peer opened. gRPC cancels it when the peer is gone."""
        assert self._tasks is not None
        pump = self._pump("")
        self._accepted += 1
        if self._accepted > LINKS_MAX:
            pump.conversation.refuse(
                "too-many-links", f"{LINKS_MAX} links lead to this node, as many as may"
            )
        # A task of ours: a bug in it ends the mesh, and is not told to gRPC's log alone.
        task = self._tasks.create_task(pump.run(context), name="mesh link accepted")
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            pump.conversation.finish(Ending.RESET, "the connection broke")
            task.cancel()
            raise
        finally:
            self._accepted -= 1
            self._pumps.discard(pump)

    # --- opening ---------------------------------------------------------------------------------

    async def _run_opened(self, pump: _Pump) -> None:
        endpoint = pump.conversation.endpoint
        try:
            channel = self._channel(endpoint)
        except (OSError, ValueError) as error:
            pump.conversation.finish(Ending.REFUSED, f"no link to {endpoint}: {error}")
            self._pumps.discard(pump)
            return
        try:
            call: Any = channel.stream_stream(f"/{_SERVICE}/{_METHOD}")()
            try:
                await pump.run(call)
            finally:
                call.cancel()
        finally:
            self._pumps.discard(pump)
            await channel.close()

    def _channel(self, endpoint: str) -> grpc.aio.Channel:
        options = list(_CHANNEL_OPTIONS)
        if self._tls is None:
            return grpc.aio.insecure_channel(endpoint, options=options)
        credentials = self._tls.channel_credentials()
        return grpc.aio.secure_channel(endpoint, credentials, options=options)

    # --- all links -------------------------------------------------------------------------------

    def _pump(self, endpoint: str) -> _Pump:
        pump = _Pump(self.hello, self._receiver, self.counts, self._now(), endpoint)
        self._pumps.add(pump)
        return pump

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._now()
            for pump in list(self._pumps):
                pump.conversation.tick(now)

    async def _leave(self, server: grpc.aio.Server) -> None:
        self._is_leaving = True
        for pump in list(self._pumps):
            pump.conversation.close()
        # Links that were closed say Bye; the server waits for those that peers opened.
        await server.stop(_LINGER_S)
        while self._pumps:
            for pump in list(self._pumps):
                pump.conversation.abort(Ending.CLOSED, "closed by this node")
            await asyncio.sleep(_LINGER_S / 50)


class _Pump:
    """Moves a conversation's frames over one stream."""

    def __init__(
        self, hello: Hello, receiver: Receiver, counts: MeshCounts, now: float, endpoint: str
    ) -> None:
        self._is_awake = asyncio.Event()
        self._is_over = asyncio.Event()
        self.conversation = Conversation(
            hello, receiver, counts, self._wake, now, endpoint=endpoint
        )

    def _wake(self) -> None:
        self._is_awake.set()
        if self.conversation.ended is not None:
            self._is_over.set()

    async def run(self, stream: _Stream) -> None:
        """Move frames until the conversation has ended and the last word is said."""
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(stream))
            writing = tasks.create_task(self._write(stream))
            self._is_awake.set()
            try:
                await self._is_over.wait()
                await asyncio.wait([writing], timeout=_LINGER_S)
                # Whoever is refused or left gets time to read why, before the stream breaks.
                if isinstance(stream, grpc.aio.StreamStreamCall) and not writing.cancelled():
                    await asyncio.wait([reading], timeout=_LINGER_S)
            finally:
                reading.cancel()
                writing.cancel()

    async def _read(self, stream: _Stream) -> None:
        conversation = self.conversation
        try:
            while True:
                frame = await stream.read()
                if frame is grpc.aio.EOF:
                    conversation.finish(*_why(stream, conversation))
                    return
                conversation.receive(frame)
        except _STREAM_ENDED as error:
            conversation.finish(*_why(error, conversation))

    async def _write(self, stream: _Stream) -> None:
        conversation = self.conversation
        try:
            while True:
                frame = conversation.cut()
                if frame is not None:
                    await stream.write(frame)
                elif conversation.ended is not None:
                    if isinstance(stream, grpc.aio.StreamStreamCall):
                        await stream.done_writing()
                    return
                else:
                    self._is_awake.clear()
                    await self._is_awake.wait()
        except _STREAM_ENDED:
            # The reader learns why, and ends the conversation.
            return


_STREAM_ENDED: Final = (
    grpc.RpcError,
    grpc.aio.AbortError,
    grpc.aio.UsageError,
    grpc.aio.InternalError,
    asyncio.InvalidStateError,
)


def _why(told: object, conversation: Conversation) -> tuple[Ending, str]:
    """Return what a stream's end says."""
    name = conversation.endpoint or "a peer"
    if not isinstance(told, grpc.aio.AioRpcError):
        return Ending.RESET, f"the connection with {name} broke"
    details = (told.details() or "")[:300]
    text = f"no link to {name}: {details}"
    match told.code():
        case grpc.StatusCode.UNAVAILABLE if conversation.peer is None:
            return Ending.REFUSED, text
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Ending.PROTOCOL, f"a frame between this node and {name} is too large: {details}"
        case grpc.StatusCode.UNIMPLEMENTED | grpc.StatusCode.UNKNOWN:
            return Ending.PROTOCOL, f"what answers at {name} is no node of Spawn: {details}"
    return Ending.RESET, f"the connection with {name} broke: {details}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
