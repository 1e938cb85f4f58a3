"""A node in a process of its own, with a watchdog, whose actor blocks: the kind is argument 1."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from dataclasses import dataclass
from typing import Any

from spawn import Actor, action
from spawn.logs import configure_logs
from spawn.runtime.debugger import Debugger
from spawn.runtime.watchdog import Watchdog
from tests.integration.runtime.programs import Program


@dataclass(frozen=True)
class Total:
    """A state."""

    total: int = 0


@dataclass(frozen=True)
class Added:
    """An event."""

    n: int


class Sleeper(Actor[Total, Added]):
    """Blocks in every way."""

    @action
    def nap(self, seconds: float) -> int:
        """Block in a plain action."""
        time.sleep(seconds)  # the line of a nap
        self.emit(Added(1))
        return 1

    @action
    async def doze(self, seconds: float) -> int:
        """Block in an async action."""
        await asyncio.sleep(0)
        time.sleep(seconds)  # the line of a doze
        return 1

    @action.read
    def stare(self, seconds: float) -> int:
        """Block in a read, within the interpreter."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:  # the line of a stare
            pass
        return 1

    @action
    def stop(self) -> int:
        """Stand at a breakpoint."""
        breakpoint()  # noqa: T100 - this is what is tested
        return 1

    @staticmethod
    def evolve(state: Total, event: Added) -> Total:
        """Add it."""
        return Total(state.total + event.n)


async def main(kind: str, seconds: float, stuck_s: float) -> None:
    """Run a node, let its actor block once, tell what was counted."""
    program = Program(Sleeper)
    async with program.node() as node:
        beat = node._context.blocking.beat
        with Watchdog(beat, Debugger(), stuck_s=stuck_s).watching():
            await asyncio.sleep(0.5)
            if kind == "idle":
                print("idle", flush=True)
                await asyncio.sleep(seconds)
            else:
                arguments: list[Any] = [] if kind == "stop" else [seconds]
                await getattr(program.system.actor(Sleeper, "s"), kind)(*arguments)
            await asyncio.sleep(0.1)
            found = node.statistics()
        print(f"blocks {found.loop_blocks} longest {found.loop_block_max_s:.1f}", flush=True)


if __name__ == "__main__":
    configure_logs("info", "json")
    logging.getLogger("spawn.loop").info("begins")
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
