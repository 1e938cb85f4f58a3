"""Wall clocks of nodes jump by an hour, forth and back, while their other clocks run on."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.faults.cases.case import Case
from tests.faults.clock import Clock, missing
from tests.faults.figures import Measure
from tests.faults.stage import Stage

__all__ = ["CLOCKS"]

_HOUR_S: Final = 3600.0
_EACH_S: Final = 3.0


async def _play(stage: Stage) -> None:
    nodes = [node.name for node in stage.cluster.running]
    clocks = {name: Clock(stage.folder / f"{name}.clock") for name in nodes}
    at = stage.fault("clocks begin to jump")
    for jump in (_HOUR_S, 0.0, -_HOUR_S, 0.0, 90.0):
        name = stage.dice.choice(nodes)
        stage.fault(f"clock of {name} at {jump:+g} s")
        clocks[name].set(jump)
        await asyncio.sleep(_EACH_S)
    for name in nodes:
        clocks[name].set(stage.dice.uniform(-_HOUR_S, _HOUR_S))
    stage.fault("clocks of all nodes anywhere")
    await asyncio.sleep(_EACH_S)
    stage.watch("failed while clocks jump", Measure.FAILED, at, 0)
    stage.watch("longest gap while clocks jump", Measure.GAP, at, None)
    # A successor whose clock is an hour behind the log's time.
    node, own, _ = await stage.shares()
    stage.fault(f"kill -9 of {node.name}, its successors' clocks an hour back")
    for name in nodes:
        clocks[name].set(-_HOUR_S)
    killed = await node.kill()
    if not stage.cluster.running:
        await stage.cluster.start(node.name)
    await stage.serves_again(killed, own)
    stage.watch("its partitions serve again", Measure.GAP, killed, None, own)
    for clock in clocks.values():
        clock.set(0.0)


CLOCKS: Final = Case(
    name="clocks", about="wall clocks of nodes jump by an hour", play=_play, preload=True,
    missing=missing,
)  # fmt: skip
