"""The network is cut: between node and broker, node and node, node and database; one-way too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from tests.faults.cases.case import Case
from tests.faults.figures import Measure
from tests.faults.stage import KEY_GAP_S, Stage

__all__ = ["CUT_BROKER", "CUT_NODES", "CUT_POSTGRES"]

_CUT_S: Final = 6.0
_AFTER_S: Final = 2.0
_DIRECTIONS: Final = (
    ("both ways", True, True),
    ("requests only", True, False),
    ("answers only", False, True),
)


async def _cut_for(
    stage: Stage, name: str, cut: Callable[[], None], heal: Callable[[], None]
) -> None:
    at = stage.fault(name)
    cut()
    await asyncio.sleep(_CUT_S)
    stage.fault(f"healed: {name}")
    heal()
    await asyncio.sleep(_AFTER_S)
    limit = KEY_GAP_S if len(stage.cluster.running) > 1 else None
    stage.watch(f"no key unserved, {name.partition(':')[0]}", Measure.KEY_GAP, at, limit)
    await stage.calm()


async def _cut_broker(stage: Stage) -> None:
    for name, toward, back in _DIRECTIONS[: 1 if stage.options.is_short else 3]:
        for _ in stage.repeat(1):
            node, _, _ = await stage.shares()
            who = node.name
            await _cut_for(
                stage,
                f"{name}: {who} and broker",
                partial(stage.servers.kafka_gates[who].cut, who, toward=toward, back=back),
                stage.servers.kafka_gates[who].heal,
            )
    if not stage.options.is_short:
        node, _, _ = await stage.shares()
        for _ in range(5):
            stage.fault(f"connections of {node.name} and broker break")
            stage.servers.kafka_gates[node.name].reset(node.name)
            await asyncio.sleep(0.5)
        await stage.calm()


def _each(steps: Sequence[Callable[[], None]]) -> None:
    for step in steps:
        step()


async def _cut_nodes(stage: Stage) -> None:
    for name, toward, back in _DIRECTIONS:
        for _ in stage.repeat(1):
            node, _, _ = await stage.shares()
            gate, others = node.mesh_gate, [each.name for each in stage.others(node)]
            assert gate is not None
            away = [each.mesh_gate for each in stage.others(node) if each.mesh_gate is not None]

            # Who calls is on the other end: what goes toward this node's gate comes to it.
            cuts = [partial(gate.cut, *others, toward=toward, back=back)]
            cuts += [partial(each.cut, node.name, toward=back, back=toward) for each in away]
            heals = [each.heal for each in (gate, *away)]
            what = f"{name}: {node.name} and the other nodes"
            await _cut_for(stage, what, partial(_each, cuts), partial(_each, heals))
    node, _, _ = await stage.shares()
    other = stage.others(node)[0]
    ends = [(node, other.name), (other, node.name)]

    def cut_two() -> None:
        for end, name in ends:
            assert end.mesh_gate is not None
            end.mesh_gate.cut(name)

    def heal_two() -> None:
        for end, _ in ends:
            assert end.mesh_gate is not None
            end.mesh_gate.heal()

    await _cut_for(stage, f"two of them: {node.name} and {other.name}", cut_two, heal_two)


async def _cut_postgres(stage: Stage) -> None:
    for name, toward, back in _DIRECTIONS:
        node, _, _ = await stage.shares()
        who = node.name
        await _cut_for(
            stage,
            f"{name}: {who} and PostgreSQL",
            partial(stage.servers.postgres_gates[who].cut, who, toward=toward, back=back),
            stage.servers.postgres_gates[who].heal,
        )


CUT_BROKER: Final = Case(
    name="cut-broker",
    about="a node and the broker cut off for 6 s, both ways, one way, and by resets",
    play=_cut_broker,
    gated=True,
    is_short=True,
)
CUT_NODES: Final = Case(
    name="cut-nodes",
    about="a node and all others cut off for 6 s, both ways and one way; and two of three",
    play=_cut_nodes,
    gated=True,
)
CUT_POSTGRES: Final = Case(
    name="cut-postgres",
    about="a node and the database cut off for 6 s, both ways and one way",
    play=_cut_postgres,
    gated=True,
)
