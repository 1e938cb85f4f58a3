"""What a link between two nodes costs: requests to an echo in another process, and its answers.

    .venv/bin/python -m bench.parts.mesh [--rounds N] [--seconds S] [--loop asyncio]

The production adapter over gRPC beside plain TCP streams that carry the same frames of the same
conversations, in turns. No actors, no log: what is added to a call that another node owns, and the
ceiling of such calls. Open loops show latency at a rate, closed ones the ceiling; CPU is that of
both processes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.load import closed_loop, open_loop
from spawn.errors import SpawnError
from spawn.mesh.conversation import Conversation
from spawn.mesh.grpc_mesh import GrpcMesh
from spawn.mesh.link import Ended, Ending, Link, MeshCounts
from spawn.mesh.wire import LEAST_VERSION, VERSION, Hello, Invoke, Message, Numbered, Reply
from spawn.runtime.event_loop import run_serving

_ROOT: Final = Path(__file__).parents[2]
_KINDS: Final = ("grpc", "tcp")
_RATES: Final = (100, 1_000, 10_000)
_CALLERS: Final = (1, 16, 64, 512)
_SESSION: Final = bytes(16)
_HEAD_BYTES: Final = 4
_OPEN_S: Final = 10.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class _Echo:
    """Answers each request at once, as an owner whose actor costs nothing would."""

    def opened(self, link: Link) -> None:
        """Nothing to do."""

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        """Answer."""
        for message in messages:
            if isinstance(message, Invoke):
                link.post(Reply(message.id, b'{"total":12}', 5, 77, 1_700_000_000_000_000))

    def ended(self, link: Link, ended: Ended) -> None:
        """Nothing to do."""


class _Caller:
    """Sends requests and sets their futures."""

    def __init__(self) -> None:
        self.link: Link
        self._is_open = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._loop = asyncio.get_running_loop()

    def call(self, number: int) -> asyncio.Future[Any]:
        """Send one."""
        link = self.link
        request_id = link.new_id()
        waiter = self._waiting[request_id] = self._loop.create_future()
        actor = b"counter-%06d" % (number % 1000)
        numbered = Numbered(_SESSION, request_id, request_id, 1_700_000_000_000_000)
        try:
            link.post(
                Invoke(
                    *(request_id, "spawn.bench.Counter", number % 8, "Counter", actor, "add"),
                    *(b"5", 60_000, numbered, "", "http 127.0.0.1"),
                )
            )
        except SpawnError as error:
            del self._waiting[request_id]
            waiter.set_exception(error)
        return waiter

    async def opened_in_time(self) -> None:
        """Wait until requests can be sent. Raises: TimeoutError."""
        async with asyncio.timeout(_OPEN_S):
            await self._is_open.wait()

    def opened(self, link: Link) -> None:
        """Begin."""
        self._is_open.set()

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        """Set what was waited for."""
        for message in messages:
            if isinstance(message, Reply):
                self._waiting.pop(message.id).set_result(message)

    def ended(self, link: Link, ended: Ended) -> None:
        """Fail: nothing ends while it is measured."""
        for waiter in self._waiting.values():
            waiter.set_exception(RuntimeError(ended.text))


class _TcpStream(asyncio.Protocol):
    """A conversation over TCP: frames behind their lengths."""

    def __init__(self, greeting: Hello, receiver: Any, counts: MeshCounts, endpoint: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._buffer = bytearray()
        self._is_paused = self._is_due = False
        self.conversation = Conversation(
            greeting, receiver, counts, self._wake, self._loop.time(), endpoint=endpoint
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._wake()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _HEAD_BYTES:
            end = at + _HEAD_BYTES + int.from_bytes(buffer[at : at + _HEAD_BYTES])
            if len(buffer) < end:
                break
            self.conversation.receive(bytes(buffer[at + _HEAD_BYTES : end]))
            at = end
        del buffer[:at]

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.conversation.finish(Ending.RESET, "the connection broke")

    def _wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_due = False
        while self._transport is not None and not self._is_paused:
            frame = self.conversation.cut()
            if frame is None:
                return
            self._transport.write(len(frame).to_bytes(_HEAD_BYTES) + frame)


def _greeting(name: str, endpoint: str) -> Hello:
    return Hello(VERSION, LEAST_VERSION, "bench", name, endpoint, "0.1.0")


async def _serve(kind: str) -> None:
    if kind == "grpc":
        mesh = _grpc_mesh("echo", _Echo())
        async with mesh.running():
            print(mesh.port, flush=True)
            await asyncio.Event().wait()
    counts = MeshCounts()
    server = await asyncio.get_running_loop().create_server(
        lambda: _TcpStream(_greeting("echo", "echo:1"), _Echo(), counts, ""), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _grpc_mesh(name: str, receiver: Any) -> GrpcMesh:
    return GrpcMesh(
        system="bench", node=name, release="0.1.0", receiver=receiver, now=time.monotonic
    )


class _Connected(NamedTuple):
    caller: _Caller
    counts: MeshCounts
    echo_cpu_s: Callable[[], float]


@asynccontextmanager
async def _connected(kind: str, loop: str) -> AsyncIterator[_Connected]:
    """Start the echo and open a link to it."""
    command = [sys.executable, "-m", "bench.parts.mesh", "--serve", kind, "--loop", loop]
    child = await asyncio.to_thread(
        subprocess.Popen, command, cwd=_ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        port = int(await asyncio.to_thread(child.stdout.readline))
        caller = _Caller()
        cpu = _cpu_of(child.pid)
        if kind == "grpc":
            mesh = _grpc_mesh("caller", caller)
            async with mesh.running():
                caller.link = mesh.open(f"127.0.0.1:{port}")
                await caller.opened_in_time()
                yield _Connected(caller, mesh.counts, cpu)
        else:
            counts = MeshCounts()
            stream = _TcpStream(_greeting("caller", "caller:1"), caller, counts, "echo:1")
            caller.link = stream.conversation
            await asyncio.get_running_loop().create_connection(lambda: stream, "127.0.0.1", port)
            await caller.opened_in_time()
            yield _Connected(caller, counts, cpu)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _cpu_of(pid: int) -> Callable[[], float]:
    def read() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    return read


class _Point(NamedTuple):
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Per request, both processes."""
    per_frame: float


async def _point(connected: _Connected, load: Callable[[], Any]) -> _Point:
    counts = connected.counts
    frames, messages = counts.frames_sent, counts.messages_sent
    cpu, echo_cpu, began = time.process_time(), connected.echo_cpu_s(), time.perf_counter()
    latencies = sorted(await load())
    took_s = time.perf_counter() - began
    used_s = time.process_time() - cpu + connected.echo_cpu_s() - echo_cpu
    count = len(latencies)
    return _Point(
        count / took_s,
        latencies[count // 2] * 1000,
        latencies[int(count * 0.99)] * 1000,
        used_s / count * 1e6,
        (counts.messages_sent - messages) / max(counts.frames_sent - frames, 1),
    )


async def _measure(rounds: int, seconds: float, loop: str) -> None:
    found: dict[tuple[str, str], list[_Point]] = {}
    for _ in range(rounds):
        for kind in _KINDS:
            async with _connected(kind, loop) as connected:
                call = connected.caller.call
                await closed_loop(call, 16, 0.3)
                for rate in _RATES:
                    point = await _point(connected, partial(open_loop, call, rate, seconds))
                    found.setdefault((f"open, {rate:,}/s", kind), []).append(point)
                for callers in _CALLERS:
                    point = await _point(connected, partial(closed_loop, call, callers, seconds))
                    found.setdefault((f"closed, {callers} callers", kind), []).append(point)
    print(f"medians of {rounds} rounds of {seconds:g} s; load average {os.getloadavg()[0]:.1f}")
    print(f"{'':24}{'':6}{'rate/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}{'a frame':>9}")
    for (load, kind), points in sorted(found.items(), key=lambda item: item[0][0], reverse=True):
        middle = _Point(*(statistics.median(values) for values in zip(*points, strict=True)))
        print(
            f"{load:24}{kind:6}{middle.rate:10,.0f}{middle.p50_ms:9.3f}{middle.p99_ms:9.2f}"
            f"{middle.cpu_us:9.1f}{middle.per_frame:9.1f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.parts.mesh", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--loop", choices=["serving", "asyncio"], default="serving")
    parser.add_argument("--serve", choices=_KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    run = run_serving if options.loop == "serving" else asyncio.run
    if options.serve:
        run(_serve(options.serve))
    else:
        run(_measure(options.rounds, options.seconds, options.loop))
