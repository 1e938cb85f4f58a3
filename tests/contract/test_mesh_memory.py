"""The mesh in memory: the contract, and the faults that it plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from spawn.mesh.link import Ending, Mesh, Receiver
from spawn.mesh.memory_mesh import Delivery, MemoryMesh, MemoryNetwork
from spawn.mesh.wire import LEAST_VERSION, VERSION, Opinion, Ping, Pong
from tests.contract.mesh_contract import MeshContract, World, hello
from tests.services.mesh_receiver import KeepingReceiver, until


class MemoryWorld:
    """Nodes of one network in memory, on the loop's clock."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.network = MemoryNetwork(loop.call_later, loop.time)

    async def node(
        self,
        name: str,
        receiver: Receiver,
        *,
        system: str = "shop",
        version: int = VERSION,
        least: int = LEAST_VERSION,
    ) -> MemoryMesh:
        return self.network.join(hello(name, name, system, version, least), receiver)

    async def kill(self, mesh: Mesh) -> None:
        self.network.kill(mesh.hello.endpoint)

    def vacant(self) -> str:
        return "nobody"


@asynccontextmanager
async def memory_world() -> AsyncIterator[MemoryWorld]:
    """Make one."""
    yield MemoryWorld()


class TestMemoryMesh(MeshContract):
    """The contract."""

    @pytest.fixture
    def world(self) -> AbstractAsyncContextManager[World]:
        """A network without faults."""
        return memory_world()


class Fates:
    """Decides what a test says."""

    def __init__(self) -> None:
        self.cut: set[tuple[str, str]] = set()
        self.delays: list[tuple[float, ...]] = []
        """Of the next frames; later ones arrive at once."""

    def __call__(self, delivery: Delivery) -> tuple[float, ...]:
        if (delivery.source, delivery.target) in self.cut:
            return ()
        return self.delays.pop(0) if delivery.what == "frame" and self.delays else (0.0,)


async def test_frames_are_lost_repeated_and_overtaken() -> None:
    """As the callback says."""
    async with memory_world() as w:
        fates = w.network.fate = Fates()
        a, b = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a)
        await w.node("b", b)
        link = mesh.open("b")
        await until(lambda: a.links)
        fates.delays = [(0.05,), (), (0.0, 0.01), (0.02,)]
        for n in range(4):
            link.post(Opinion("x", str(n)))
            await asyncio.sleep(0.001)
        await until(lambda: len(b.messages) == 4)
        assert [m.evidence for m in b.messages if isinstance(m, Opinion)] == ["2", "2", "3", "0"]


async def test_a_way_that_is_cut_is_half_open() -> None:
    """Neither end is told; after the cut the one that has gone on is."""
    async with memory_world() as w:
        fates = w.network.fate = Fates()
        a, b = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a)
        await w.node("b", b)
        link = mesh.open("b")
        await until(lambda: a.links)
        fates.cut = {("b", "a")}
        link.post(Ping(1))
        link.post(Opinion("x", "y"))
        await until(lambda: b.messages)
        w.network.kill("b")
        await asyncio.sleep(0.01)
        assert a.messages == []
        assert a.ends == []
        fates.cut = set()
        link.post(Ping(2))
        await until(lambda: a.ends)
        assert a.ends[0][1].ending is Ending.RESET


async def test_opening_over_a_cut_way_times_out() -> None:
    """Nothing has left."""
    async with memory_world() as w:
        fates = w.network.fate = Fates()
        fates.cut = {("b", "a")}
        a = KeepingReceiver()
        mesh = await w.node("a", a)
        await w.node("b", KeepingReceiver())
        mesh.open("b").post(Ping(1))
        await until(lambda: a.ends)
        assert a.ends[0][1].ending is Ending.TIMED_OUT
        assert a.ends[0][1].unsent == [Ping(1)]


async def test_connections_break_when_told() -> None:
    """Both ends know, and a new link opens."""
    async with memory_world() as w:
        a, b = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a)
        await w.node("b", b)
        mesh.open("b")
        await until(lambda: a.links)
        w.network.reset("b", "a")
        assert [end.ending for _, end in a.ends + b.ends] == [Ending.RESET] * 2
        mesh.open("b").post(Ping(3))
        await until(lambda: a.messages == [Pong(3)])


async def test_a_node_started_again_is_another() -> None:
    """The links of the one before it are gone."""
    async with memory_world() as w:
        a = KeepingReceiver()
        mesh = await w.node("a", a)
        await w.node("b", KeepingReceiver())
        link = mesh.open("b")
        await until(lambda: a.links)
        again = await w.node("b", KeepingReceiver())
        await until(lambda: link.ended)
        mesh.open("b")
        await until(lambda: again.counts.opened == 1)
        await again.close()
        await until(lambda: len(a.ends) == 2)
        assert a.ends[1][1].ending is Ending.CLOSED
