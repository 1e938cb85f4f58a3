"""How a user's tests type-check, and to which types; checked by `test_types.py`, never run."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_type

from spawn.testing import Kit, MemoryNode, Outcome, VirtualClock
from spawn.testing.plugin import KitMaker, NodeMaker
from tests.typing.right_calls import Added, Counter, Note, Reset, Total, system


async def given_when_then() -> None:
    """Use a kit as in the documentation."""
    kit = Kit(Counter)
    assert_type(kit, Kit[Total, Added | Reset])
    out = await kit.given(Added(2), Reset()).when(Counter.add, 5)
    assert_type(out, Outcome[Total, Added | Reset, int])
    assert_type(out.reply, int)
    assert_type(out.state, Total)
    assert_type(out.events, list[Added | Reset])
    assert out.events == [Added(5)]
    assert_type((await kit.when(Counter.add, 5, by="me")).reply, int)
    assert_type((await kit.when(Counter.reset)).reply, None)
    assert_type((await kit.when(Counter.label, prefix="x")).reply, str)
    assert_type(kit.when(Counter.total).now().reply, int)
    assert_type(kit.events, Sequence[Added | Reset])
    assert_type(kit.state.total, int)


async def state_style() -> None:
    """Use a kit of a type without events."""
    out = await Kit(Note, "n").given_state(Total(1)).when(Note.write, 5)
    assert_type(out.state, Total)
    other = Kit(Note).options(caller="me", metadata={"a": "b"}, timeout_s=5).actor("b")
    assert_type(other.restart(snapshot=False).at(datetime(2026, 1, 1, tzinfo=UTC)).state, Total)
    other.clock.advance(timedelta(minutes=1).total_seconds())


async def fixtures(spawn_kit: KitMaker, spawn_node: NodeMaker, clock: VirtualClock) -> None:
    """Use what the plugin gives."""
    out = await spawn_kit(Counter).given(Added(2)).when(Counter.add, 5)
    assert_type(out.reply, int)
    async with spawn_node(system) as node:
        assert_type(node, MemoryNode)
        assert_type(await system.actor(Counter, "a").add(5), int)
    async with MemoryNode(system, clock=clock):
        pass
