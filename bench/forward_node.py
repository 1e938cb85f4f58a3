"""One of two nodes: `python -m bench.forward_node WORLD owner|other [ENDPOINT OF THE OWNER]`.

The owner serves every partition, the other one none, so that each call there is forwarded. Loads
are asked for by lines of JSON on standard input, and answered by lines on standard output.
"""

from __future__ import annotations

import asyncio
import cProfile
import io
import json
import logging
import os
import pstats
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from bench.load import closed_loop, open_loop
from bench.world import Counters, World, counter_id
from eventstore.log import TopicPartition
from spawn.api.server import HttpServer
from spawn.mesh.grpc_mesh import GrpcMesh
from spawn.routing.router import Router
from spawn.runtime.clock import SystemClock, random_id
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.event_loop import run_serving
from spawn.runtime.placement import Everything

__all__: list[str] = []

COUNTERS: Final = 1_000
_WARM_UP_S: Final = 1.0


class _Nothing(Everything):
    """The placement of a node that owns nothing."""

    def wants(self, at: TopicPartition) -> bool:
        return False


async def _run(world: World, role: str, owner_endpoint: str) -> None:
    routers: list[Router] = []

    def route(dispatcher: NodeDispatcher) -> Router:
        now = asyncio.get_running_loop().time
        router = Router(dispatcher, now, lambda: 0.5, SystemClock().time_us, random_id)
        router.hint = lambda _: owner_endpoint
        routers.append(router)
        return router

    placement = Everything() if role == "owner" else _Nothing()
    async with world.counters("forward", placement=placement, route=route) as counters:
        (router,) = routers
        mesh = GrpcMesh(
            system="forward",
            node=counters.node.context.owner.hex(),
            release="bench",
            receiver=router.peers,
            now=asyncio.get_running_loop().time,
        )
        async with mesh.running():
            router.use(mesh)
            server = HttpServer(counters.node.dispatcher, new_error_id=str, port=0)
            await server.start()
            _say({"mesh": mesh.hello.endpoint, "http": server.port, "pid": os.getpid()})
            await _answer(world, counters)
            await server.stop(0.1)


async def _answer(world: World, counters: Counters) -> None:
    """Run loads until standard input ends."""
    ids = [counter_id(n) for n in range(COUNTERS)]
    calls = {"add": counters.adding(ids), "total": counters.reading(ids)}
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        if "profile_s" in asked:
            _say({"profile": await _profiled(asyncio.sleep(asked["profile_s"]))})
            continue
        call, seconds = calls[asked["action"]], asked["seconds"]
        load: Callable[[], Any]
        if "rate" in asked:
            rate = asked["rate"]
            load = partial(open_loop, call, rate, seconds)
        else:
            callers = asked["callers"]
            await closed_loop(call, callers, min(_WARM_UP_S, seconds / 4))
            load = partial(closed_loop, call, callers, seconds)
        if "profile" in asked:
            _say({"profile": await _profiled(load())})
        else:
            _say(await world.measure_load(load))


async def _profiled(meanwhile: Awaitable[Any]) -> str:
    """Return where CPU time goes in a while (`python -m bench.parts.forward`)."""
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    await meanwhile
    profile.disable()
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(45)
    return text.getvalue()


def _say(value: Mapping[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def _main(arguments: Sequence[str]) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    world = World(**json.loads(arguments[0]))
    run_serving(_run(world, arguments[1], "".join(arguments[2:])))


if __name__ == "__main__":
    _main(sys.argv[1:])
