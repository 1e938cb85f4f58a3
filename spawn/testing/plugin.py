"""Fixtures for pytest, found by its entry point `spawn`; no other plugin is needed.

What they give is loaded when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

if TYPE_CHECKING:
    from spawn.sdk.actor import Actor
    from spawn.sdk.system import System
    from spawn.testing.kit import Kit
    from spawn.testing.memory_node import MemoryNode
    from spawn.testing.virtual_clock import VirtualClock

__all__ = ["KitMaker", "NodeMaker", "spawn_clock", "spawn_kit", "spawn_node"]

S = TypeVar("S")
E = TypeVar("E")


class KitMaker(Protocol):
    """The type of the fixture `spawn_kit`."""

    def __call__(self, actor_type: type[Actor[S, E]], actor_id: str | None = None, /) -> Kit[S, E]:
        """Return a kit on the test's clock."""
        ...


class NodeMaker(Protocol):
    """The type of the fixture `spawn_node`."""

    def __call__(self, system: System, /) -> MemoryNode:
        """Return a node on the test's clock, to be entered by `async with`."""
        ...


@pytest.fixture
def spawn_clock() -> VirtualClock:
    """The clock of all kits and nodes of one test."""
    from spawn.testing.virtual_clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def spawn_kit(spawn_clock: VirtualClock) -> Iterator[KitMaker]:
    """Makes kits on the test's clock; fails a test that wrote a command down and never ran it."""
    from spawn.testing.kit import Kit

    made: list[Kit[Any, Any]] = []

    def make(actor_type: type[Actor[S, E]], actor_id: str | None = None, /) -> Kit[S, E]:
        kit = Kit(actor_type, actor_id, clock=spawn_clock)
        made.append(kit)
        return kit

    yield make
    for kit in made:
        kit.require_all_run()


@pytest.fixture
def spawn_node(spawn_clock: VirtualClock) -> Iterator[NodeMaker]:
    """Makes nodes in memory on the test's clock, for `async with`; fails if one never ran."""
    from spawn.testing.memory_node import MemoryNode

    made: list[MemoryNode] = []

    def make(system: System, /) -> MemoryNode:
        node = MemoryNode(system, clock=spawn_clock)
        made.append(node)
        return node

    yield make
    if any(not node.entered for node in made):
        pytest.fail("a node was made and never ran: write `async with spawn_node(system)`", False)
