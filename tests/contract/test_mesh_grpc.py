"""The mesh over gRPC on loopback: the contract, TLS, bad peers, and peers that stop."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest

from spawn.errors import InvalidSettings, PortTaken, TooManyWaiting
from spawn.mesh.conversation import OPEN_S, SILENCE_S
from spawn.mesh.grpc_mesh import GrpcMesh
from spawn.mesh.grpc_tls import MeshTls
from spawn.mesh.link import WAITING_BYTES_MAX, Ending, Mesh
from spawn.mesh.wire import (
    FRAME_BYTES_MAX,
    LEAST_VERSION,
    VERSION,
    Bye,
    Hello,
    Message,
    Opinion,
    Ping,
    Pong,
    Reply,
    decode_frame,
    encode_frame,
)
from tests.contract.mesh_contract import MIB, MeshContract, Pair, World, hello, invoke
from tests.services.certificates import Authority
from tests.services.keeper import KeptProcess
from tests.services.mesh_receiver import KeepingReceiver, until
from tests.services.ports import free_port


class GrpcWorld:
    """Nodes of one process on loopback."""

    def __init__(
        self, stack: AsyncExitStack, tls: MeshTls | None, now: Callable[[], float]
    ) -> None:
        self._stack, self._tls, self._now = stack, tls, now
        self._proxies: dict[str, Proxy] = {}

    async def node(
        self,
        name: str,
        receiver: KeepingReceiver,
        *,
        system: str = "shop",
        version: int = VERSION,
        least: int = LEAST_VERSION,
        tls: MeshTls | None = None,
    ) -> GrpcMesh:
        proxy = await self._stack.enter_async_context(Proxy().running())
        mesh = GrpcMesh(
            system=system,
            node=name,
            release="0.1.0",
            receiver=receiver,
            now=self._now,
            endpoint=proxy.endpoint,
            tls=tls or self._tls,
        )
        mesh.hello = hello(name, proxy.endpoint, system, version, least)
        await self._stack.enter_async_context(mesh.running())
        proxy.target = mesh.port
        self._proxies[proxy.endpoint] = proxy
        return mesh

    def proxy(self, mesh: Mesh) -> Proxy:
        """Return what stands before a node."""
        return self._proxies[mesh.hello.endpoint]

    async def kill(self, mesh: Mesh) -> None:
        # From outside there is no difference to the end of a process.
        await self.proxy(mesh).kill()

    def vacant(self) -> str:
        return f"127.0.0.1:{free_port()}"


class Proxy:
    """A TCP proxy before a node: it can end like a process, or keep all to itself."""

    def __init__(self) -> None:
        self.target = 0
        self.endpoint = ""
        self.is_cut = False
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        """Listen until the end."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            await self.kill()

    async def kill(self) -> None:
        """Reset all connections and listen no more."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers += (writer, to_writer)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._copy(reader, to_writer))
            tasks.create_task(self._copy(to_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(64 * 1024):
                if not self.is_cut:
                    writer.write(chunk)
                    await writer.drain()
        except OSError:
            pass
        writer.transport.abort()


@asynccontextmanager
async def grpc_world(
    tls: MeshTls | None = None, now: Callable[[], float] = time.monotonic
) -> AsyncIterator[GrpcWorld]:
    """Make one."""
    async with AsyncExitStack() as stack:
        yield GrpcWorld(stack, tls, now)


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


# --- peers that stop --------------------------------------------------------------------------


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[tuple[KeptProcess, str]]:
    """A node's mesh in a process of its own, and its endpoint."""
    port = free_port()
    process = KeptProcess(
        [sys.executable, "-m", "tests.services.mesh_peer", str(port)],
        log=tmp_path / "peer.log",
        folder=Path.cwd(),
        environment=os.environ,
    )
    try:
        yield process, f"127.0.0.1:{port}"
    finally:
        process.kill()


async def opened_to(mesh: Mesh, receiver: KeepingReceiver, endpoint: str) -> None:
    """Open a link to a process that is starting; earlier ends are forgotten."""
    while not receiver.links:
        link = mesh.open(endpoint)
        while not receiver.links and link.ended is None:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
    receiver.ends.clear()


async def test_a_killed_process_is_noticed_at_once(peer: tuple[KeptProcess, str]) -> None:
    """Its host resets the connection."""
    process, endpoint = peer
    async with grpc_world() as w:
        a = KeepingReceiver()
        mesh = await w.node("a", a)
        await opened_to(mesh, a, endpoint)
        a.links[0].post(invoke(1))
        await until(lambda: a.messages)
        killed = time.monotonic()
        await asyncio.to_thread(process.kill)
        await until(lambda: a.ends)
        assert time.monotonic() - killed < 0.5
        assert a.ends[0][1].ending is Ending.RESET
        link = mesh.open(endpoint)
        link.post(invoke(2))
        await until(lambda: len(a.ends) == 2)
        assert a.ends[1][1].ending is Ending.REFUSED
        assert a.ends[1][1].unsent == [invoke(2)]


async def test_a_frozen_process_blocks_nobody(peer: tuple[KeptProcess, str]) -> None:
    """What waits for it is bounded; when it thaws all that was sent arrives."""
    process, endpoint = peer
    async with grpc_world() as w:
        a, b = KeepingReceiver(), KeepingReceiver()
        mesh, other = await w.node("a", a), await w.node("b", b)
        await opened_to(mesh, a, endpoint)
        frozen = a.links[0]
        process.send_signal(signal.SIGSTOP)
        posted = 0

        async def fill() -> None:
            nonlocal posted
            while posted * MIB < 4 * WAITING_BYTES_MAX:
                frozen.post(invoke(posted, b"x" * MIB))
                posted += 1
                await asyncio.sleep(0.002)

        with pytest.raises(TooManyWaiting, match="wait for node"):
            await fill()
        assert posted * MIB <= WAITING_BYTES_MAX + 16 * MIB
        link = mesh.open(other.hello.endpoint)
        for n in range(20):
            began = time.monotonic()
            link.post(Ping(n + 1))
            await a.has(Pong(n + 1))
            assert time.monotonic() - began < 0.5
        process.send_signal(signal.SIGCONT)
        await until(lambda: sum(isinstance(m, Reply) for m in a.messages) == posted, 20)
        assert not a.ends


async def test_a_frozen_process_is_left_after_a_while(peer: tuple[KeptProcess, str]) -> None:
    """By the link itself; what had not left is told."""
    process, endpoint = peer
    # A clock four times as fast.
    async with grpc_world(now=lambda: 4 * time.monotonic()) as w:
        a = KeepingReceiver()
        mesh = await w.node("a", a)
        await opened_to(mesh, a, endpoint)
        process.send_signal(signal.SIGSTOP)
        sent = [invoke(n, b"x" * MIB) for n in range(16)]
        for message in sent:
            a.links[0].post(message)
        began = time.monotonic()
        await until(lambda: a.ends)
        assert time.monotonic() - began < SILENCE_S / 4 + 2
        ended = a.ends[0][1]
        assert ended.ending is Ending.TIMED_OUT
        assert 0 < len(ended.unsent) < len(sent)
        assert ended.unsent == sent[-len(ended.unsent) :]


async def test_a_half_open_connection_is_left() -> None:
    """The peer lives and hears nothing: both ends give up."""
    async with grpc_world(now=lambda: 4 * time.monotonic()) as w:
        pair = await Pair(w).start()
        w.proxy(pair.mesh_b).is_cut = True
        pair.link.post(invoke(1))
        await until(lambda: pair.a.ends and pair.b.ends)
        assert {end.ending for _, end in pair.a.ends + pair.b.ends} == {Ending.TIMED_OUT}
        assert pair.a.ends[0][1].unsent == []
        assert pair.b.messages == []


async def test_a_quiet_link_stays() -> None:
    """Its two ends ask each other for life signs, which nobody above sees."""
    async with grpc_world(now=lambda: 4 * time.monotonic()) as w:
        pair = await Pair(w).start()
        await asyncio.sleep(1.5 * SILENCE_S / 4)
        assert pair.a.ends == pair.b.ends == []
        assert pair.a.messages == pair.b.messages == []
        assert pair.link.traffic == 0


# --- TLS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs certificates of nodes."""
    if not Authority.can_be_made():
        pytest.skip("openssl is not here")
    return Authority(tmp_path_factory.mktemp("mesh"))


def tls_of(authority: Authority, name: str, hosts: str = "IP:127.0.0.1") -> MeshTls:
    """Return a node's files."""
    pair = authority.sign(name, hosts=hosts)
    return MeshTls(ca=str(authority.cert), cert=str(pair.cert), key=str(pair.key))


async def test_nodes_with_certificates_talk(authority: Authority) -> None:
    """Each shows one of the authority that the other trusts."""
    async with grpc_world() as w:
        a, b = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a, tls=tls_of(authority, "a"))
        other = await w.node("b", b, tls=tls_of(authority, "b"))
        mesh.open(other.hello.endpoint).post(Ping(1))
        other.open(mesh.hello.endpoint).post(Ping(2))
        await until(lambda: a.messages == [Pong(1)] and b.messages == [Pong(2)])


async def test_a_changed_certificate_is_used(authority: Authority, tmp_path: Path) -> None:
    """Without a restart, at both ends; what is half written does no harm."""
    files = [tmp_path / name for name in ("ca", "cert", "key")]

    def write(name: str, days: int) -> None:
        pair = authority.sign(name, hosts="IP:127.0.0.1", days=days)
        for source, target in zip((authority.cert, pair.cert, pair.key), files, strict=True):
            shutil.copyfile(source, target)

    write("expired", -1)
    tls = MeshTls(ca=str(files[0]), cert=str(files[1]), key=str(files[2]))
    async with grpc_world() as w:
        a, b = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a, tls=tls_of(authority, "a"))
        other = await w.node("b", b, tls=tls)
        mesh.open(other.hello.endpoint)
        other.open(mesh.hello.endpoint)
        await until(lambda: a.ends and b.ends)
        files[1].write_text("half")
        mesh.open(other.hello.endpoint)
        await until(lambda: len(a.ends) == 2)
        write("renewed", 30)
        mesh.open(other.hello.endpoint)
        other.open(mesh.hello.endpoint)
        await until(lambda: len(a.links) == 2)


Stranger = Callable[[GrpcWorld, KeepingReceiver, Authority, Path], Awaitable[GrpcMesh]]


async def plain(w: GrpcWorld, r: KeepingReceiver, _: Authority, path: Path) -> GrpcMesh:
    """Return a node without TLS."""
    return await w.node("x", r)


async def foreign(w: GrpcWorld, r: KeepingReceiver, _: Authority, path: Path) -> GrpcMesh:
    """Return a node with a certificate of another authority, that trusts ours."""
    return await w.node("x", r, tls=tls_of(Authority(path, "other"), "x"))


async def misnamed(w: GrpcWorld, r: KeepingReceiver, ours: Authority, path: Path) -> GrpcMesh:
    """Return a node with a certificate for another host."""
    return await w.node("x", r, tls=tls_of(ours, "elsewhere", hosts="DNS:elsewhere.example"))


@pytest.mark.parametrize("stranger", [plain, foreign])
async def test_a_stranger_is_not_let_in(
    authority: Authority, tmp_path: Path, stranger: Stranger
) -> None:
    """Nor called."""
    async with grpc_world() as w:
        a, x = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a, tls=tls_of(authority, "a"))
        other = await stranger(w, x, authority, tmp_path)
        for caller, receiver, target in ((other, x, mesh), (mesh, a, other)):
            link = caller.open(target.hello.endpoint)
            link.post(Opinion("secret", ""))
            await receiver.has_ends()
            assert receiver.ends[0][1].ending in (Ending.REFUSED, Ending.TIMED_OUT, Ending.RESET)
            assert receiver.ends[0][1].unsent == [Opinion("secret", "")]
        assert a.links == x.links == []
        assert a.messages == x.messages == []


async def test_another_hosts_certificate_is_not_trusted(
    authority: Authority, tmp_path: Path
) -> None:
    """Who has one node's certificate can't pass for another node's host."""
    async with grpc_world() as w:
        a, x = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a, tls=tls_of(authority, "a"))
        other = await misnamed(w, x, authority, tmp_path)
        mesh.open(other.hello.endpoint).post(Ping(1))
        await until(lambda: a.ends)
        assert a.ends[0][1].ending is Ending.REFUSED
        assert a.ends[0][1].unsent == [Ping(1)]


async def test_missing_files_are_named(authority: Authority) -> None:
    """The node does not start."""
    pair = authority.sign("a", hosts="IP:127.0.0.1")
    async with grpc_world() as w:
        with pytest.raises(InvalidSettings, match=r"nothing\.pem"):
            await w.node(
                "a",
                KeepingReceiver(),
                tls=MeshTls(ca="nothing.pem", cert=str(pair.cert), key=str(pair.key)),
            )
