"""kill -9: of one node under load, and of all of them at once."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tests.faults.cases.case import Case
from tests.faults.figures import Measure
from tests.faults.stage import KEY_GAP_S, Stage

__all__ = ["KILL_ALL", "KILL_ONE"]

_LOOKED_AT_S: Final = 3.0
_DOWN_S: Final = 0.5
_DICE_S: Final = 0.7
"""So long at most before a kill: it comes anywhere between two flushes and appends."""


async def _kill_one(stage: Stage) -> None:
    for _ in stage.repeat(3):
        node, own, others = await stage.shares()
        await asyncio.sleep(stage.dice.uniform(0, _DICE_S))
        stage.fault(f"kill -9 {node.name}")
        at = await node.kill()
        alone = not others
        if alone:
            await stage.cluster.start(node.name)
        await stage.serves_again(at, own)
        await asyncio.sleep(max(0.0, at + _LOOKED_AT_S - time.monotonic()))
        if alone:
            stage.watch("out of service", Measure.GAP, at, None)
        else:
            stage.watch("its partitions serve again", Measure.GAP, at, 1.0, own)
            stage.watch("p99 of the other partitions", Measure.P99, at, 100.0, others, lead_s=0)
            stage.watch("no key unserved", Measure.KEY_GAP, at, KEY_GAP_S)
            await stage.cluster.start(node.name)


async def _kill_all(stage: Stage) -> None:
    for _ in stage.repeat(2):
        await stage.shares()
        names = [node.name for node in stage.cluster.running]
        await asyncio.sleep(stage.dice.uniform(0, _DICE_S))
        stage.fault("kill -9 of all nodes")
        await asyncio.gather(*(node.kill() for node in stage.cluster.running))
        await asyncio.sleep(_DOWN_S)
        started = stage.fault("start of all nodes")
        await stage.cluster.start(*names)
        await stage.serves_again(started)
        await asyncio.sleep(0.2)
        stage.watch("serving after the start", Measure.BACK, started, 5.0, lead_s=0)


KILL_ONE: Final = Case(name="kill-one", about="kill -9 of a node", play=_kill_one, is_short=True)
KILL_ALL: Final = Case(name="kill-all", about="kill -9 of all nodes, started again", play=_kill_all)
