"""What every mesh holds: the contract suite.

Not collected by itself: each implementation's test module inherits `MeshContract` and gives it a
fixture `world`.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from spawn.errors import BodyTooLarge, NodeUnreachable, TooManyWaiting
from spawn.mesh.link import WAITING_MAX, Ending, Link, Mesh, Receiver
from spawn.mesh.wire import (
    FRAME_BYTES_MAX,
    LEAST_VERSION,
    VERSION,
    Hello,
    Invoke,
    Opinion,
    Ping,
    Pong,
    Reply,
)
from tests.services.mesh_receiver import KeepingReceiver, until

MIB = 1024 * 1024


def invoke(number: int, payload: bytes = b"5") -> Invoke:
    """Return a request."""
    return Invoke(number, "spawn.shop.Counter", 3, "Counter", b"a", "add", payload, 1000)


class World(Protocol):
    """A network with nodes on it."""

    async def node(
        self,
        name: str,
        receiver: Receiver,
        *,
        system: str = "shop",
        version: int = VERSION,
        least: int = LEAST_VERSION,
    ) -> Mesh:
        """Start a node."""
        ...

    async def kill(self, mesh: Mesh) -> None:
        """End a node's process without a word."""
        ...

    def vacant(self) -> str:
        """Return an endpoint where nobody listens."""
        ...


class Pair:
    """Two nodes and a link between them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.a, self.b = KeepingReceiver(), KeepingReceiver()
        self.mesh_a: Mesh
        self.mesh_b: Mesh
        self.link: Link

    async def start(self) -> Pair:
        """Open the link from a to b."""
        self.mesh_a = await self._world.node("a", self.a)
        self.mesh_b = await self._world.node("b", self.b)
        self.link = self.mesh_a.open(self.mesh_b.hello.endpoint)
        await until(lambda: self.a.links and self.b.links)
        return self


class MeshContract:
    """The suite."""

    @pytest.fixture
    def world(self) -> AbstractAsyncContextManager[World]:
        """A world to be entered by the test."""
        raise NotImplementedError

    async def test_messages_arrive_in_order(
        self, world: AbstractAsyncContextManager[World]
    ) -> None:
        """Both ways, those from before the link was open too, and an answer finds its way back."""
        async with world as w:
            a, b = KeepingReceiver(), KeepingReceiver()
            mesh_a, mesh_b = await w.node("a", a), await w.node("b", b)
            link = mesh_a.open(mesh_b.hello.endpoint)
            sent = [invoke(link.new_id(), b"%d" % n) for n in range(3000)]
            for message in sent:
                link.post(message)
            await until(lambda: len(a.messages) == len(sent))
            assert b.messages == sent
            assert a.messages == [Reply(m.id, m.payload, 1, 0, 0) for m in sent]
            assert link.peer == mesh_b.hello
            assert b.links[0].peer == mesh_a.hello
            assert b.links[0].endpoint == mesh_a.hello.endpoint

    async def test_messages_of_one_turn_share_a_frame(
        self, world: AbstractAsyncContextManager[World]
    ) -> None:
        """A frame costs much more than a message in it."""
        async with world as w:
            pair = await Pair(w).start()
            sent = [Opinion("x", str(n)) for n in range(100)]
            for message in sent:
                pair.link.post(message)
            await until(lambda: len(pair.b.messages) == 100)
            assert pair.b.frames == [sent]

    async def test_large_messages_pass(self, world: AbstractAsyncContextManager[World]) -> None:
        """The largest one too; what no frame holds is refused."""
        async with world as w:
            pair = await Pair(w).start()
            sizes = [7 * MIB, 10, MIB, MIB, FRAME_BYTES_MAX - 100]
            for n, size in enumerate(sizes):
                pair.link.post(Reply(n, b"x" * size, 1, 1, 1))
            with pytest.raises(BodyTooLarge):
                pair.link.post(Reply(9, b"x" * FRAME_BYTES_MAX, 1, 1, 1))
            await until(lambda: len(pair.b.messages) == len(sizes))
            assert [len(m.reply) for m in pair.b.messages if isinstance(m, Reply)] == sizes

    async def test_pings_are_answered_by_the_link(
        self, world: AbstractAsyncContextManager[World]
    ) -> None:
        """Whoever is above need not know."""
        async with world as w:
            pair = await Pair(w).start()
            pair.link.post(Ping(7))
            await until(lambda: pair.a.messages == [Pong(7)])
            assert pair.b.messages == []

    async def test_nobody_listens(self, world: AbstractAsyncContextManager[World]) -> None:
        """Refused at once; nothing that was posted has left."""
        async with world as w:
            a = KeepingReceiver()
            mesh = await w.node("a", a)
            link = mesh.open(w.vacant())
            sent = [invoke(1), invoke(2)]
            for message in sent:
                link.post(message)
            await until(lambda: a.ends)
            ((told, ended),) = a.ends
            assert told is link
            assert (ended.ending, ended.reason) == (Ending.REFUSED, "refused")
            assert ended.unsent == sent
            assert link.ended == ended
            assert a.links == []

    async def test_what_is_posted_after_the_end_is_refused(
        self, world: AbstractAsyncContextManager[World]
    ) -> None:
        """Requests; answers have nobody to go to."""
        async with world as w:
            pair = await Pair(w).start()
            pair.link.close()
            await until(lambda: pair.a.ends and pair.b.ends)
            with pytest.raises(NodeUnreachable, match="has ended"):
                pair.link.post(invoke(1))
            pair.link.post(Reply(1, b"5", 1, 1, 1))

    async def test_closing_sends_what_waits(
        self, world: AbstractAsyncContextManager[World]
    ) -> None:
        """Then both ends know that it was closed in order."""
        async with world as w:
            pair = await Pair(w).start()
            sent = [Opinion("x", str(n)) for n in range(2500)]
            for message in sent:
                pair.link.post(message)
            pair.link.close()
            await until(lambda: pair.a.ends and pair.b.ends)
            assert pair.b.messages == sent
            for receiver in (pair.a, pair.b):
                ((_, ended),) = receiver.ends
                assert ended.ending is Ending.CLOSED
                assert ended.unsent == []

    async def test_aborting_is_at_once(self, world: AbstractAsyncContextManager[World]) -> None:
        """What was posted and has not left is told; the peer sees the link break."""
        async with world as w:
            pair = await Pair(w).start()
            pair.link.post(invoke(1))
            pair.link.abort(Ending.TIMED_OUT, "no answer to pings")
            ((_, ended),) = pair.a.ends
            assert ended == (Ending.TIMED_OUT, "timed-out", "no answer to pings", [invoke(1)])
            await until(lambda: pair.b.ends)
            ((_, ended),) = pair.b.ends
            assert ended.ending is Ending.RESET
            assert pair.b.messages == []

    async def test_a_killed_peer_is_noticed(
        self, world: AbstractAsyncContextManager[World]
    ) -> None:
        """What has left may have been received."""
        async with world as w:
            pair = await Pair(w).start()
            pair.link.post(invoke(1))
            await until(lambda: pair.a.messages)
            await w.kill(pair.mesh_b)
            await until(lambda: pair.a.ends, 2.0)
            ((_, ended),) = pair.a.ends
            assert ended.ending is Ending.RESET
            assert ended.unsent == []
            again = pair.mesh_a.open(pair.mesh_b.hello.endpoint)
            await until(lambda: again.ended, 2.0)
            assert again.ended is not None
            assert again.ended.ending is Ending.REFUSED

    async def test_another_system_is_refused(
        self, world: AbstractAsyncContextManager[World]
    ) -> None:
        """With the reason, counted by who refuses; other links are not disturbed."""
        async with world as w:
            pair = await Pair(w).start()
            other = KeepingReceiver()
            mesh = await w.node("c", other, system="shop2")
            link = mesh.open(pair.mesh_b.hello.endpoint)
            link.post(invoke(1))
            await until(lambda: other.ends)
            ((_, ended),) = other.ends
            assert (ended.ending, ended.reason) == (Ending.DENIED, "system")
            assert "'shop2'" in ended.text
            assert ended.unsent == [invoke(1)]
            assert pair.mesh_b.counts.refusals == {"system": 1}
            pair.link.post(Ping(1))
            await until(lambda: pair.a.messages == [Pong(1)])
            assert pair.b.messages == []
            assert pair.b.ends == []
            assert len(pair.b.links) == 1

    async def test_versions(self, world: AbstractAsyncContextManager[World]) -> None:
        """One apart is understood; more is not, told at the end that notices."""
        async with world as w:
            pair = await Pair(w).start()
            newer = KeepingReceiver()
            mesh = await w.node("c", newer, version=VERSION + 1, least=VERSION)
            link = mesh.open(pair.mesh_b.hello.endpoint)
            link.post(Ping(1))
            await until(lambda: newer.messages == [Pong(1)])
            for name, version, least in (("d", VERSION + 2, VERSION + 1), ("e", 0, 0)):
                foreign = KeepingReceiver()
                mesh = await w.node(name, foreign, version=version, least=least)
                mesh.open(pair.mesh_b.hello.endpoint)
                await foreign.has_ends()
                ((_, ended),) = foreign.ends
                assert (ended.ending, ended.reason) == (Ending.DENIED, "version")
                assert f"mesh protocol {least} to {version}" in ended.text
            assert pair.mesh_b.counts.refusals == {"version": 2}

    async def test_a_node_does_not_talk_to_itself(
        self, world: AbstractAsyncContextManager[World]
    ) -> None:
        """A route that leads back is an old one."""
        async with world as w:
            a = KeepingReceiver()
            mesh = await w.node("a", a)
            mesh.open(mesh.hello.endpoint)
            await until(lambda: a.ends)
            ((_, ended),) = a.ends
            assert ended.reason == "itself"
            assert a.links == []

    async def test_what_waits_is_bounded(self, world: AbstractAsyncContextManager[World]) -> None:
        """By messages; one more is refused, and what waits still goes."""
        async with world as w:
            a, b = KeepingReceiver(), KeepingReceiver()
            mesh_a, mesh_b = await w.node("a", a), await w.node("b", b)
            link = mesh_a.open(mesh_b.hello.endpoint)
            for n in range(WAITING_MAX):
                link.post(Opinion("x", str(n)))
            with pytest.raises(TooManyWaiting, match=f"{WAITING_MAX} messages"):
                link.post(Opinion("x", "one more"))
            link.post(Pong(1))
            assert mesh_a.counts.overflows == 1
            await until(lambda: sum(map(len, b.frames)) == WAITING_MAX + 1)

    async def test_many_links_at_once(self, world: AbstractAsyncContextManager[World]) -> None:
        """Both ways between all, each on its own."""
        async with world as w:
            receivers = [KeepingReceiver() for _ in range(5)]
            meshes = [await w.node(f"n{n}", receiver) for n, receiver in enumerate(receivers)]
            for mesh in meshes:
                for other in meshes:
                    if other is not mesh:
                        mesh.open(other.hello.endpoint).post(Ping(5))
            await until(lambda: all(len(r.messages) == 4 for r in receivers))
            assert all(len(r.links) == 8 for r in receivers)
            await asyncio.sleep(0)


def hello(name: str, endpoint: str, system: str, version: int, least: int) -> Hello:
    """Return what a node of a test says of itself."""
    return Hello(version, least, system, name, endpoint, "0.1.0")
