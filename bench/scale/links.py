"""What links between nodes cost that carry little: memory, idle CPU time, pings.

One process opens so many links to another; both run the mesh of production over gRPC, on loopback,
without TLS.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from spawn.mesh.grpc_mesh import LINKS_MAX, GrpcMesh
from spawn.mesh.link import Ended, Link
from spawn.mesh.wire import Message, Owner, OwnerNews, Ping
from spawn.runtime.event_loop import run_serving

__all__ = ["measure"]

_ROOT: Final = Path(__file__).parents[2]
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_IDLE_S: Final = 10.0
_PING_S: Final = 5.0
_GREETED_S: Final = 2.0
_AT_ONCE: Final = 5
_PAUSE_S: Final = 0.1


class _Quiet:
    """Takes whatever comes."""

    def opened(self, link: Link) -> None:
        """Nothing to do."""

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        """Nothing to do."""

    def ended(self, link: Link, ended: Ended) -> None:
        """Nothing to do."""


def _mesh(node: str) -> GrpcMesh:
    return GrpcMesh(system="bench", node=node, release="0", receiver=_Quiet(), now=time.monotonic)


async def _accept() -> None:
    async with _mesh("b").running() as mesh:
        print(mesh.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def _idle(pids: Sequence[int], seconds: float) -> list[float]:
    before, began = [_cpu_s(pid) for pid in pids], time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    return [(_cpu_s(pid) - was) / took for pid, was in zip(pids, before, strict=True)]


async def _open(mesh: GrpcMesh, port: int, count: int, pause_s: float) -> list[Link]:
    """Open links, some at a time, and return those that greeted."""
    links = []
    for number in range(count):
        links.append(mesh.open(f"127.0.0.1:{port}"))
        if pause_s and number % _AT_ONCE == 0:
            await asyncio.sleep(pause_s)
    await asyncio.sleep(_GREETED_S)
    return [link for link in links if link.peer is not None and link.ended is None]


async def _measure(count: int, child: int, port: int) -> None:
    pids = (os.getpid(), child)
    async with _mesh("a").running() as mesh:
        first = await _open(mesh, port, 1, 0.0)
        gc.collect()
        before = [(_resident(pid), _files(pid), _cpu_s(pid)) for pid in pids]
        links = first + await _open(mesh, port, count, _PAUSE_S)
        gc.collect()
        after = [(_resident(pid), _files(pid), _cpu_s(pid)) for pid in pids]
        opened = len(links) - 1
        print(f"{opened:,} links opened, {count - opened} failed, {_AT_ONCE} each {_PAUSE_S} s\n")
        print("| end | KiB a link | files a link | CPU ms to open one | idle CPU, us/s a link |")
        print("| --- | --- | --- | --- | --- |")
        idle = await _idle(pids, _IDLE_S)
        for end, old, new, used in zip(("opens", "accepts"), before, after, idle, strict=True):
            each = [(b - a) / opened for a, b in zip(old, new, strict=True)]
            print(
                f"| {end} | {each[0] / 1024:.0f} | {each[1]:.1f} | {each[2] * 1e3:.2f}"
                f" | {used / opened * 1e6:.0f} |"
            )
        for every_s in (0.02, 0.1):
            await _ping(links[:20], every_s, pids, idle)
        await _tell(links, pids)
        for link in links[1:]:
            link.close()
        await asyncio.sleep(_GREETED_S)
        burst = await _open(mesh, port, count, 0.0)
        print(f"\nopened all at once: {len(burst):,} of {count:,} greet in time")


async def _tell(links: Sequence[Link], pids: Sequence[int]) -> None:
    """Tell all peers of one change, as an owner does, a few times over."""
    news, rounds = OwnerNews([Owner("spawn.shop.Order", 1, 1, "10.1.2.3:7400")]), 5
    before = [_cpu_s(pid) for pid in pids]
    for _ in range(rounds):
        for link in links:
            link.post(news)
        await asyncio.sleep(1.0)
    each = [(_cpu_s(p) - was) / rounds / len(links) for p, was in zip(pids, before, strict=True)]
    print(f"one change told over all links: {each[0] * 1e6:.0f} us of CPU time a link,", end="")
    print(f" {each[1] * 1e6:.0f} us at the other end")


async def _ping(
    links: Sequence[Link], every_s: float, pids: Sequence[int], idle: Sequence[float]
) -> None:
    """Ping over few of many links, as an observer does: each ping a frame of its own."""
    sent, before, began = 0, [_cpu_s(pid) for pid in pids], time.monotonic()
    while time.monotonic() < began + _PING_S:
        for link in links:
            sent += 1
            link.post(Ping(sent))
        await asyncio.sleep(every_s)
    took = time.monotonic() - began
    ends = [
        (_cpu_s(pid) - was - quiet * took) / sent * 1e3
        for pid, was, quiet in zip(pids, before, idle, strict=True)
    ]
    print(f"\na ping and its answer: {ends[0]:.2f} ms of CPU time at who asks,", end="")
    print(f" {ends[1]:.2f} ms at who answers ({sent / took:,.0f}/s)")


def measure(nodes: int, _partitions: int, _rounds: int) -> None:
    """Print what so many links cost at both ends."""
    print(f"links: one node to {nodes:,} others, at most {LINKS_MAX:,} accepted\n")
    command = [sys.executable, "-c", "import bench.scale.links as l; l.accept()"]
    with subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        run_serving(_measure(nodes, child.pid, int(child.stdout.readline())))
        child.stdin.close()


def accept() -> None:
    """Be the other end."""
    run_serving(_accept())
