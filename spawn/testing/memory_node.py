"""A node in memory, for tests of programs beside actors."""

from __future__ import annotations

import asyncio
import gc
from types import TracebackType
from typing import Final, NoReturn, Self

from eventstore.log import TopicSettings
from eventstore.memory_log import MemoryLog
from eventstore.memory_snapshots import MemorySnapshots
from spawn.core.behavior import Behavior
from spawn.core.commands import Command
from spawn.core.ids import topic_of
from spawn.core.ingress import Awaiter
from spawn.errors import InvalidTarget, Unavailable
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.node import Node, NodePlan
from spawn.sdk.system import System
from spawn.testing.virtual_clock import VirtualClock

__all__ = ["MemoryNode"]

_BODY_BYTES_MAX: Final = 1024 * 1024
_GRACE_S: Final = 5.0
_NEVER_S: Final = 1e9
"""Between two flushes: a restart makes its own."""


class MemoryNode:
    """Runs a system in this event loop while the body runs, with nothing outside the process.

        async with MemoryNode(system) as node:
            assert await system.actor(Counter, "a").add(5) == 5

    It is the node of production over a log and a store in memory. The time that actors see stands
    still until `node.clock` is moved; deadlines of calls are real.
    """

    def __init__(self, system: System, *, clock: VirtualClock | None = None) -> None:
        """Raises: InvalidTarget - the system names no actors."""
        if not system.behaviors:
            raise InvalidTarget(
                "the system has no actors yet",
                hint='name them where it is made: System("shop", actors=[Counter])',
            )
        self.system = system
        self.clock = clock or VirtualClock()
        self._log = MemoryLog()
        self._store = MemorySnapshots()
        self._node: Node | None = None
        self._task: asyncio.Task[None] | None = None
        self._end = asyncio.Event()
        self.entered = False

    async def __aenter__(self) -> Self:
        if self.entered:
            raise RuntimeError("this node ran already: make another one, or use restart()")
        self.entered = True
        await self._log.create({topic: TopicSettings(partitions=1) for topic in self._topics()})
        await self._start()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def restart(self) -> None:
        """Stop the node and start it again: every state comes from its snapshot or its events."""
        if self._node is None:
            raise RuntimeError("the node does not run: write `async with MemoryNode(system)`")
        await self._node.drain(_GRACE_S)
        await self._stop()
        await self._start()

    async def _start(self) -> None:
        self._end = asyncio.Event()
        self._node = node = Node(
            NodePlan(
                system=self._name,
                endpoint="",
                behaviors=self.system.behaviors,
                topics=dict.fromkeys(self._topics(), 1),
                log=self._log,
                store=self._store,
                settings=RuntimeSettings(flush_interval_s=_NEVER_S),
                body_bytes_max=_BODY_BYTES_MAX,
                say=lambda _text: None,
                clock=self.clock,
            )
        )
        # A task of its own: a fixture is entered and left by different tasks.
        self._task = asyncio.get_running_loop().create_task(self._run(node, self._end))
        serving = asyncio.get_running_loop().create_task(node.serving.wait())
        await asyncio.wait((self._task, serving), return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        if self._task.done():
            await self._stop()

    async def _stop(self) -> None:
        """Raises: what the node ended with."""
        task, self._task, self._node = self._task, None, None
        self.system.bind(_Ended(self._name))
        self._end.set()
        if task is not None:
            await task

    async def _run(self, node: Node, end: asyncio.Event) -> None:
        collected, thresholds = gc.isenabled(), gc.get_threshold()
        try:
            async with node.running() as dispatcher:
                self.system.bind(dispatcher)
                await end.wait()
        finally:
            # A node has the process to itself, a test has not.
            gc.unfreeze()
            gc.set_threshold(*thresholds)
            if not collected:
                gc.disable()

    @property
    def _name(self) -> str:
        return self.system.name or "test"

    def _topics(self) -> set[str]:
        return {
            topic_of(self._name, behavior.settings.topic or behavior.type)
            for behavior in self.system.behaviors
        }


class _Ended:
    """Where a system's references lead when its node in memory has ended."""

    def __init__(self, name: str) -> None:
        self._name = name

    def now(self) -> float:
        self._refuse()

    def new_waiter(self) -> Awaiter:
        self._refuse()

    def submit(self, command: Command) -> None:
        self._refuse()

    def refer(self, behavior: Behavior) -> bool:
        return False

    def _refuse(self) -> NoReturn:
        raise Unavailable(
            f"the node in memory of system {self._name} has ended",
            hint="call actors within `async with MemoryNode(system)`",
        )
