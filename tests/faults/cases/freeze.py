"""SIGSTOP and SIGCONT: an owner that stands still, and wakes up as a zombie."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tests.faults.cases.case import Case
from tests.faults.figures import Measure
from tests.faults.stage import KEY_GAP_S, Stage

__all__ = ["FREEZE_LONG", "FREEZE_ONE"]

_AFTER_S: Final = 2.0
"""What a zombie does, it does at once: late answers, late appends."""
_NOTICED_S: Final = 3.0
"""Frozen for less, it may come back before anybody has taken over."""


async def _freeze(stage: Stage, seconds: float) -> None:
    node, own, others = await stage.shares()
    stage.fault(f"freeze {node.name} for {seconds:g} s")
    at = node.freeze()
    await asyncio.sleep(seconds)
    if others and seconds >= _NOTICED_S:
        stage.watch("served elsewhere", Measure.GAP, at, 2.0, own)
        stage.watch("no key unserved", Measure.KEY_GAP, at, KEY_GAP_S)
        stage.watch("p99 of the other partitions", Measure.P99, at, None, others, lead_s=0)
    stage.fault(f"thaw {node.name}")
    thawed = node.thaw()
    await stage.serves_again(thawed)
    await asyncio.sleep(max(0.0, thawed + _AFTER_S - time.monotonic()))
    if others:
        stage.watch("no key unserved after the thaw", Measure.KEY_GAP, thawed, KEY_GAP_S)


async def _freeze_one(stage: Stage) -> None:
    for seconds in (5.0,) if stage.options.is_short else (1.0, 2.0, 5.0, 8.0):
        for _ in stage.repeat(1):
            await _freeze(stage, seconds)


async def _freeze_long(stage: Stage) -> None:
    await _freeze(stage, 30.0)


FREEZE_ONE: Final = Case(
    name="freeze-one",
    about="SIGSTOP of a node, 1 to 8 s, and CONT",
    play=_freeze_one,
    is_short=True,
)
FREEZE_LONG: Final = Case(
    name="freeze-long", about="SIGSTOP of a node for 30 s, and CONT", play=_freeze_long
)
