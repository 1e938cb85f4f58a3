"""The mesh over gRPC on loopback: the contract, and peers at fault."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest

from spawn.errors import NodeUnreachable, PortTaken
from spawn.mesh.conversation import OPEN_S
from spawn.mesh.grpc_mesh import GrpcMesh
from spawn.mesh.link import Ending
from spawn.mesh.peers import Peers
from spawn.mesh.wire import (
    FRAME_BYTES_MAX,
    LEAST_VERSION,
    VERSION,
    Bye,
    Hello,
    Message,
    Ping,
    Pong,
    decode_frame,
    encode_frame,
)
from tests.contract.grpc_world import grpc_world
from tests.contract.mesh_contract import MIB, MeshContract, Pair, World, invoke
from tests.services.mesh_receiver import KeepingReceiver, until


class TestGrpcMesh(MeshContract):
    """The contract."""

    @pytest.fixture
    def world(self) -> AbstractAsyncContextManager[World]:
        """Plain connections."""
        return grpc_world()


# --- peers that are at fault ------------------------------------------------------------------


class RawPeer:
    """A gRPC client that sends what a test says."""

    def __init__(self, mesh: GrpcMesh) -> None:
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{mesh.port}", options=options)
        self._call: Any = self._channel.stream_stream("/spawn.Mesh/Link")()

    async def send(self, *frames: bytes) -> None:
        """Send frames."""
        for frame in frames:
            await self._call.write(frame)

    async def read(self) -> list[Message]:
        """Return the next frame's messages; none: the stream has ended in order."""
        frame = await self._call.read()
        return [] if frame is grpc.aio.EOF else decode_frame(frame)

    async def close(self) -> None:
        """End the connection."""
        self._call.cancel()
        await self._channel.close()


GREETING = encode_frame([Hello(VERSION, LEAST_VERSION, "shop", "raw", "127.0.0.1:1", "0.1.0")])


@pytest.mark.parametrize(
    ("frames", "reason", "text"),
    [
        ([b"\xc1"], "unreadable", "can't be read"),
        ([encode_frame([Ping(1)])], "no-hello", "did not greet"),
        ([encode_frame([])], "no-hello", "did not greet"),
        ([GREETING, b"not a frame"], "unreadable", "can't be read"),
        ([GREETING, msgspec.msgpack.encode([[63, 1]])], "unknown-kind", "kind 63"),
        ([GREETING, encode_frame([Pong(1)] * 1001)], "over-limit", "1001 messages"),
        ([GREETING, bytes(FRAME_BYTES_MAX + 1)], "over-limit", f"{FRAME_BYTES_MAX + 1} bytes"),
    ],
)
async def test_bad_input_is_refused(frames: list[bytes], reason: str, text: str) -> None:
    """With the reason; the stream ends, it is counted, and a good link does not notice."""
    async with grpc_world() as w:
        pair = await Pair(w).start()
        mesh = pair.mesh_b
        assert isinstance(mesh, GrpcMesh)
        raw = RawPeer(mesh)
        await raw.send(*frames)
        said = await raw.read()
        if frames[0] is GREETING:
            assert said == [mesh.hello]
            said = await raw.read()
        (bye,) = said
        assert isinstance(bye, Bye)
        assert bye.reason == reason
        assert text in bye.text
        assert await raw.read() == []
        assert mesh.counts.refusals == {reason: 1}
        assert mesh.counts.endings == {"protocol": 1}
        await raw.close()
        pair.link.post(Ping(1))
        await until(lambda: pair.a.messages == [Pong(1)])


async def test_a_frame_far_over_the_limit_is_not_even_read() -> None:
    """gRPC ends the stream."""
    async with grpc_world() as w:
        pair = await Pair(w).start()
        mesh = pair.mesh_b
        assert isinstance(mesh, GrpcMesh)
        raw = RawPeer(mesh)
        await raw.send(GREETING)
        assert await raw.read() == [mesh.hello]
        # The write may be cut short, or go into buffers.
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await raw.send(bytes(32 * MIB))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await raw.read()
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await until(lambda: sum(mesh.counts.endings.values()) == 1)
        await raw.close()
        pair.link.post(Ping(1))
        await until(lambda: pair.a.messages == [Pong(1)])


async def test_who_does_not_greet_is_left() -> None:
    """A connection costs memory."""
    async with grpc_world() as w:
        mesh = await w.node("a", KeepingReceiver())
        raw = RawPeer(mesh)
        await raw.send()
        began = time.monotonic()
        assert await raw.read() == []
        assert OPEN_S / 2 < time.monotonic() - began < OPEN_S + 2
        assert mesh.counts.endings == {"timed-out": 1}
        await raw.close()


async def test_what_is_no_node_is_told() -> None:
    """A gRPC server of another kind, and a server that speaks no gRPC."""

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    other = grpc.aio.server()
    port = other.add_insecure_port("127.0.0.1:0")
    await other.start()
    plain = await asyncio.start_server(garbage, "127.0.0.1", 0)
    async with grpc_world() as w:
        a = KeepingReceiver()
        mesh = await w.node("a", a)
        mesh.open(f"127.0.0.1:{port}").post(Ping(1))
        await until(lambda: a.ends)
        assert a.ends[0][1].ending is Ending.PROTOCOL
        assert "no node of Spawn" in a.ends[0][1].text
        mesh.open(f"127.0.0.1:{plain.sockets[0].getsockname()[1]}").post(Ping(1))
        await until(lambda: len(a.ends) == 2)
        assert a.ends[1][1].ending in (Ending.REFUSED, Ending.TIMED_OUT)
        assert a.ends[1][1].unsent == [Ping(1)]
        mesh.open("no.such.host.invalid:9101")
        mesh.open("no endpoint at all")
        await until(lambda: len(a.ends) == 4)
        assert {end.ending for _, end in a.ends[2:]} <= {Ending.REFUSED, Ending.TIMED_OUT}
    plain.close()
    await other.stop(0)


async def test_a_peer_that_reads_nothing_costs_bounded_memory() -> None:
    """Its answers are bounded: over the bound it is left. Others are served meanwhile."""
    async with grpc_world() as w:
        pair = await Pair(w).start()
        mesh = pair.mesh_b
        assert isinstance(mesh, GrpcMesh)
        raw = RawPeer(mesh)
        await raw.send(GREETING)
        for n in range(100):
            # Each is answered with as much.
            await raw.send(encode_frame([invoke(n, b"x" * MIB)]))
        await until(lambda: mesh.counts.endings)
        assert mesh.counts.endings == {"slow": 1}
        pair.link.post(Ping(1))
        await until(lambda: pair.a.messages == [Pong(1)])
        await raw.close()


async def test_the_port_is_taken() -> None:
    """The node does not start, and says which port."""
    async with grpc_world() as w:
        mesh = await w.node("a", KeepingReceiver())
        other = GrpcMesh(
            system="shop",
            node="b",
            release="0.1.0",
            receiver=KeepingReceiver(),
            now=time.monotonic,
            port=mesh.port,
        )
        with pytest.raises(PortTaken, match=str(mesh.port)):
            async with other.running():
                pass


async def test_a_bug_above_ends_the_mesh() -> None:
    """It is not swallowed by gRPC."""

    class Faulty(KeepingReceiver):
        def opened(self, link: object) -> None:
            raise ZeroDivisionError

    async with grpc_world() as w:
        good = await w.node("a", KeepingReceiver())
        mesh = GrpcMesh(system="shop", node="b", release="0", receiver=Faulty(), now=time.monotonic)

        async def run() -> None:
            async with mesh.running():
                good.open(mesh.hello.endpoint)
                await asyncio.sleep(5)

        with pytest.raises(ExceptionGroup) as error:
            await run()
        assert error.value.subgroup(ZeroDivisionError) is not None


async def test_a_node_that_stops_opens_nothing() -> None:
    """Whoever is above may still try."""
    a = KeepingReceiver()
    peers = Peers(a, time.monotonic, lambda: 0.5)
    mesh = GrpcMesh(system="shop", node="a", release="0", receiver=peers, now=time.monotonic)
    peers.use(mesh)
    async with mesh.running():
        pass
    with pytest.raises(NodeUnreachable, match="this node is stopping"):
        peers.link("127.0.0.1:1")


async def test_peers_over_grpc() -> None:
    """Links are shared, and those that end are opened again."""
    async with grpc_world() as w:
        told, b = KeepingReceiver(), KeepingReceiver()
        peers = Peers(told, time.monotonic, lambda: 0.5)
        mesh, other = await w.node("a", peers), await w.node("b", b)
        peers.use(mesh)
        peers.link(other.hello.endpoint).post(Ping(1))
        await told.has(Pong(1))
        b.links[0].post(Ping(2))
        await b.has(Pong(2))
        b.links[0].close()
        await told.has_ends()
        peers.link(other.hello.endpoint).post(Ping(3))
        await told.has(Pong(3))
        assert other.counts.opened == 2
