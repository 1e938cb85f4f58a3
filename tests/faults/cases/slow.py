"""Nodes that are too slow: starved of the processor, or held up by their own code."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

from tests.faults.cases.case import Case
from tests.faults.figures import Measure
from tests.faults.stage import KEY_GAP_S, Stage
from tests.services.keeper import KeptProcess

__all__ = ["BLOCK", "STARVE"]

_STARVED_S: Final = 8.0
_RUN_S, _STAND_S = 0.02, 0.2
"""A tenth of the time, in small pieces, as a container over its quota."""
_HOGS: Final = 6
_AFTER_S: Final = 2.0
_BLOCKED_S: Final = (0.4, 1.5, 4.0)


async def _starve(stage: Stage) -> None:
    node, _, _ = await stage.shares()
    at = stage.fault(f"{node.name} runs a tenth of the time")
    while time.monotonic() < at + _STARVED_S:
        node.freeze()
        await asyncio.sleep(_STAND_S)
        node.thaw()
        await asyncio.sleep(_RUN_S)
    stage.fault(f"{node.name} runs again")
    await asyncio.sleep(_AFTER_S)
    stage.watch("no key unserved, a node starved", Measure.KEY_GAP, at, KEY_GAP_S)
    await stage.shares()
    at = stage.fault(f"{_HOGS} busy processes beside all")
    hogs = [_hog(stage.folder) for _ in range(_HOGS)]
    try:
        await asyncio.sleep(_STARVED_S)
    finally:
        for hog in hogs:
            await asyncio.to_thread(hog.kill)
    stage.fault("the busy processes are gone")
    await asyncio.sleep(_AFTER_S)
    stage.watch("longest gap, all starved", Measure.GAP, at, None)
    await stage.calm()


def _hog(folder: Path) -> KeptProcess:
    return KeptProcess([sys.executable, "-c", "while True: pass"], log=folder / "hogs.log")


async def _block(stage: Stage) -> None:
    """From its second run on an action that blocked gets a thread: so each node blocks once."""
    for seconds, node in zip(_BLOCKED_S, list(stage.cluster.running), strict=False):
        found = await stage.cluster.balanced()
        await stage.calm()
        own = [place for place, name in found.items() if name == node.name]
        actor = stage.actors[own[0]][0]
        at = stage.fault(f"an action blocks {node.name} for {seconds:g} s")
        await _call(node.http_port, f"/v1/actors/Ledger/{actor}/block", str(seconds))
        await asyncio.sleep(seconds + _AFTER_S)
        stage.watch(
            f"longest gap, {seconds:g} s blocked",
            Measure.GAP,
            at,
            None,
            own,
        )
        alone = len(stage.cluster.running) == 1
        stage.watch("no key unserved", Measure.KEY_GAP, at, None if alone else KEY_GAP_S)
    await stage.calm()


async def _call(port: int, path: str, body: str) -> None:
    """Send a call and don't wait for its answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write((head + body).encode("ascii"))
    await writer.drain()


STARVE: Final = Case(
    name="starve", about="a node gets a tenth of a processor; then all share two with six hogs",
    play=_starve,
)  # fmt: skip
BLOCK: Final = Case(
    name="block", about="an action holds up its node's event loop for 0.4, 1.5 and 4 s", play=_block
)
