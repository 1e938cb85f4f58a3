"""Three brokers of which one is killed, frozen, or restarted, and all in turn."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.faults.cases.case import Case
from tests.faults.figures import Measure
from tests.faults.stage import Stage

__all__ = ["BROKER_FREEZE", "BROKER_KILL", "BROKER_ROLL"]

_DOWN_S: Final = 6.0
_FROZEN_S: Final = 12.0
_SYNCED_S: Final = 3.0
"""A broker that is back copies what it missed; the next one goes when it has."""


async def _kill(stage: Stage) -> None:
    for _ in stage.repeat(1):
        await stage.shares()
        broker = stage.dice.choice(stage.servers.brokers)
        at = stage.fault(f"kill -9 of broker {broker.bootstrap}")
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(_DOWN_S)
        await stage.serves_again(at + _DOWN_S)
        stage.watch("longest gap, broker killed", Measure.GAP, at, None)
        at = stage.fault("the broker starts")
        await asyncio.to_thread(broker.start)
        await asyncio.sleep(_SYNCED_S)
        await stage.calm()
        stage.watch("longest gap, broker back", Measure.GAP, at, None)


async def _freeze(stage: Stage) -> None:
    for _ in stage.repeat(1):
        await stage.shares()
        broker = stage.dice.choice(stage.servers.brokers)
        at = stage.fault(f"freeze of broker {broker.bootstrap} for {_FROZEN_S:g} s")
        broker.freeze()
        await asyncio.sleep(_FROZEN_S)
        stage.fault("the broker thaws")
        broker.thaw()
        await stage.serves_again(at + _FROZEN_S)
        await asyncio.sleep(_SYNCED_S)
        await stage.calm()
        stage.watch("longest gap, broker frozen", Measure.GAP, at, None)


async def _roll(stage: Stage) -> None:
    await stage.shares()
    for broker in stage.servers.brokers:
        at = stage.fault(f"restart of broker {broker.bootstrap}")
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        await asyncio.sleep(_SYNCED_S)
        await stage.calm()
        stage.watch("longest gap, broker restarted", Measure.GAP, at, None)


BROKER_KILL: Final = Case(
    name="broker-kill", about="kill -9 of one broker of three", play=_kill, brokers=3
)
BROKER_FREEZE: Final = Case(
    name="broker-freeze", about="one broker of three frozen for 12 s", play=_freeze, brokers=3
)
BROKER_ROLL: Final = Case(
    name="broker-roll", about="three brokers restarted in turn", play=_roll, brokers=3
)
