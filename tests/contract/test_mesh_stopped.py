"""Peers that stop: killed, frozen, cut off, or only quiet."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from spawn.errors import TooManyWaiting
from spawn.mesh.conversation import SILENCE_S
from spawn.mesh.link import WAITING_BYTES_MAX, Ended, Ending, Link, Mesh
from spawn.mesh.observer import Observer
from spawn.mesh.peers import Peers
from spawn.mesh.wire import (
    Message,
    Ping,
    Pong,
    Reply,
)
from tests.contract.grpc_world import grpc_world
from tests.contract.mesh_contract import MIB, Pair, invoke
from tests.services.keeper import KeptProcess
from tests.services.mesh_receiver import KeepingReceiver, until
from tests.services.ports import free_port


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


# --- found by observers ------------------------------------------------------------------------


class Observing(KeepingReceiver):
    """A node that watches others."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.changes: list[tuple[float, str, bool]] = []
        self.peers = Peers(self, time.monotonic, lambda: 0.5)
        self.observer = Observer(name, self.peers, time.monotonic, self._note)

    def _note(self, node: str, gone: bool) -> None:
        self.changes.append((time.monotonic(), node, gone))

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        self.observer.received(link, messages)

    def ended(self, link: Link, ended: Ended) -> None:
        super().ended(link, ended)
        self.observer.ended(link, ended)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_two_observers_find_a_process_that_stops(
    peer: tuple[KeptProcess, str], number: signal.Signals
) -> None:
    """In time, on a busy machine too; one that thaws is reached again, and no other is accused."""
    process, endpoint = peer
    async with grpc_world() as w:
        one, two = Observing("a"), Observing("b")
        members = {"peer": endpoint}
        for name, node in (("a", one), ("b", two)):
            mesh = await w.node(name, node.peers)
            node.peers.use(mesh)
            members[name] = mesh.hello.endpoint
            probe = KeepingReceiver()
            await opened_to(await w.node(f"probe-{name}", probe), probe, endpoint)
        async with asyncio.TaskGroup() as tasks:
            running = []
            for node in (one, two):
                node.observer.set_members(members)
                running.append(tasks.create_task(node.observer.run()))
            await asyncio.sleep(1.0)
            assert one.changes == two.changes == []
            stopped = time.monotonic()
            process.send_signal(number)
            await until(lambda: one.changes and two.changes)
            for node in (one, two):
                ((at, name, gone),) = node.changes
                assert (name, gone) == ("peer", True)
                assert at - stopped < (0.3 if number is signal.SIGKILL else 1.0)
            if number is signal.SIGSTOP:
                process.send_signal(signal.SIGCONT)
                await until(lambda: len(one.changes) == len(two.changes) == 2)
            else:
                await asyncio.to_thread(process.wait, 10)
            for task in running:
                task.cancel()
