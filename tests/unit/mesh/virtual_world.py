"""Nodes on a network in memory, in time that a test moves."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from spawn.mesh.memory_mesh import MemoryMesh, MemoryNetwork
from spawn.mesh.peers import Peers
from spawn.mesh.wire import LEAST_VERSION, VERSION, Hello
from tests.services.mesh_receiver import KeepingReceiver

__all__ = ["Clock", "Node", "World"]


class Clock:
    """Virtual time and its timers, in order."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        """Return the time."""
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Have something called."""
        heapq.heappush(self._timers, (self.now_s + delay_s, next(self._numbers), callback))

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now_s + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now_s, _, callback = heapq.heappop(self._timers)
            callback()
        self.now_s = end


class Node:
    """A node of a test."""

    def __init__(self, world: World, name: str, system: str = "shop") -> None:
        self.told: Any = KeepingReceiver()
        self.peers = Peers(self.told, world.clock.now, lambda: 1.0)
        greeting = Hello(VERSION, LEAST_VERSION, system, f"{name}-{world.draw()}", name, "0.1.0")
        self.mesh: MemoryMesh = world.network.join(greeting, self.peers)
        self.peers.use(self.mesh)


class World:
    """Nodes in virtual time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock.call_later, self.clock.now)
        self._drawn = itertools.count()

    def draw(self) -> int:
        """Return a number never drawn before."""
        return next(self._drawn)

    def node(self, name: str, system: str = "shop") -> Node:
        """Start a node."""
        return Node(self, name, system)
