"""A network of nodes over gRPC on loopback, each behind a proxy that a test commands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from spawn.mesh.grpc_mesh import GrpcMesh
from spawn.mesh.grpc_tls import MeshTls
from spawn.mesh.link import Mesh, Receiver
from spawn.mesh.wire import (
    LEAST_VERSION,
    VERSION,
)
from tests.contract.mesh_contract import hello
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
        receiver: Receiver,
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
