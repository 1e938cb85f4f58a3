"""PostgreSQL is killed and started again, and frozen."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.faults.cases.case import Case
from tests.faults.figures import Measure
from tests.faults.stage import Stage

__all__ = ["POSTGRES"]

_AWAY_S: Final = 4.0
_AFTER_S: Final = 2.0


async def _play(stage: Stage) -> None:
    store = stage.servers.store
    for _ in stage.repeat(1):
        await stage.shares()
        at = stage.fault("kill -9 of PostgreSQL")
        await store.kill("postgres")
        await asyncio.sleep(_AWAY_S)
        stage.watch("database killed, failed", Measure.FAILED, at, 0)
        await store.restart("postgres")
        await asyncio.sleep(_AFTER_S)
        await stage.calm()
        at = stage.fault("freeze of PostgreSQL")
        await store.freeze("postgres")
        await asyncio.sleep(_AWAY_S)
        stage.watch("database frozen, failed", Measure.FAILED, at, 0)
        stage.fault("PostgreSQL thaws")
        await store.thaw("postgres")
        await asyncio.sleep(_AFTER_S)
        # A node dies while nobody can load: its successor waits for the database.
        node, own, _ = await stage.shares()
        stage.fault(f"kill -9 of PostgreSQL and of {node.name}")
        await asyncio.gather(store.kill("postgres"), node.kill())
        await asyncio.sleep(_AWAY_S)
        back = stage.fault("PostgreSQL is back")
        await store.restart("postgres")
        await stage.cluster.start(node.name)
        await stage.serves_again(back, own)
        stage.watch("serving with the database", Measure.BACK, back, None, own, lead_s=0)


POSTGRES: Final = Case(
    name="postgres", about="PostgreSQL killed, frozen, and killed with a node", play=_play
)
