"""Nodes that come and go as they should: planned stops, joins, and both all the time."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tests.faults.cases.case import Case
from tests.faults.cluster import Cluster
from tests.faults.figures import Measure
from tests.faults.stage import KEY_GAP_S, Stage

__all__ = ["CHURN", "FIRST_START", "STOP_AND_JOIN"]

_FIRST_START_S: Final = 20.0
_AFTER_S: Final = 1.0
_STEP_S: Final = 2.0
_CHURN_S: Final = 40.0


async def _first_start(stage: Stage) -> None:
    """A new system, again and again: nobody has topics, tables, or a group yet."""
    count = stage.options.nodes
    for run in stage.repeat(4):
        other = Cluster(
            stage.servers,
            stage.folder / f"start-{run}",
            f"{stage.cluster.system}-{run}",
            stage.options.partitions,
        )
        (stage.folder / f"start-{run}").mkdir()
        try:
            stage.fault(f"first start of {count} nodes at once")
            await other.start(*(f"s{number}" for number in range(count)))
            await other.balanced(_FIRST_START_S)
        finally:
            await asyncio.to_thread(other.close)


async def _stop_and_join(stage: Stage) -> None:
    for _ in stage.repeat(2):
        node, _, others = await stage.shares()
        at = stage.fault(f"SIGTERM {node.name}")
        code = await node.stop()
        if code != 0:
            raise RuntimeError(f"{node.name} ended with {code} when it was stopped")
        if not others:
            await stage.cluster.start(node.name)
            await stage.serves_again(time.monotonic())
            stage.watch("out of service", Measure.GAP, at, None)
            continue
        await asyncio.sleep(_AFTER_S)
        stage.watch("planned stop, failed", Measure.FAILED, at, 0)
        stage.watch("planned stop, longest gap", Measure.GAP, at, 0.150)
        at = stage.fault(f"{node.name} joins")
        await stage.cluster.start(node.name)
        await stage.cluster.balanced()
        await asyncio.sleep(_AFTER_S)
        stage.watch("join, failed", Measure.FAILED, at, 0)
        stage.watch("join, longest gap", Measure.GAP, at, None)


async def _churn(stage: Stage) -> None:
    """Every 2 s one of two places more is taken or left; each third leaving is a kill."""
    places = ["n8", "n9"]
    at = stage.fault("churn begins")
    ends = at + (_CHURN_S / 4 if stage.options.is_short else _CHURN_S)
    step = 0
    while time.monotonic() < ends:
        name = places[step % len(places)]
        step += 1
        known = stage.cluster.nodes.get(name)
        if known is None or not known.is_running:
            stage.fault(f"{name} joins")
            await stage.cluster.start(name)
            stage.load.call(stage.cluster.ports())
        elif step % 3 == 0:
            stage.fault(f"kill -9 {name}")
            await known.kill()
        else:
            stage.fault(f"SIGTERM {name}")
            await known.stop()
        await asyncio.sleep(_STEP_S)
    stage.watch("no key unserved", Measure.KEY_GAP, at, KEY_GAP_S)
    for name in places:
        node = stage.cluster.nodes[name]
        if node.is_running:
            await node.stop()


STOP_AND_JOIN: Final = Case(
    name="stop-and-join",
    about="a planned stop, then the node joins again",
    play=_stop_and_join,
    is_short=True,
)
FIRST_START: Final = Case(
    name="first-start", about="all nodes of a new system start at once", play=_first_start
)
CHURN: Final = Case(
    name="churn", about="a node joins or leaves every 2 s, each third by kill -9", play=_churn
)
