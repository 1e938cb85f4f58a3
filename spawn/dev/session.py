"""The node of a `spawn dev` over time: exchanged when its code changes, started again when it ends.

One node serves, the next one waits for its turn with all imports done. Both are given the same
listening socket, so calls made while they change places wait in its queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NamedTuple

import msgspec

from spawn.dev.errors import StackError
from spawn.dev.node_child import Failure, Order, Served
from spawn.dev.node_process import NodeCrashed, NodeProcess, TargetFailed
from spawn.dev.watching import FileWatch, target_files
from spawn.errors import StartRefused

__all__ = ["Session", "Shown"]

_RESTARTS_MAX: Final = 5
"""Restarts in a row, of nodes that end within `_STEADY_S`, before it gives up."""
_STEADY_S: Final = 10.0
_RESTART_WAIT_S: Final = 0.5
_CRASHES_MAX: Final = 3
"""Nodes in a row that end without a word before they serve; then it is the target's fault."""
_LOADING_S: Final = 5.0
"""A target that takes longer to be loaded is named: perhaps it never ends."""


class Shown(NamedTuple):
    """A node that has just begun to serve."""

    served: Served
    url: str
    pid: int
    records: int
    """Read behind the checkpoints."""


class Session:
    """Serves one target; `begin` once, then `keep` until it is cancelled, then `stop`."""

    def __init__(
        self,
        order: Order,
        listener: socket.socket,
        *,
        stop_grace_s: float,
        say: Callable[[str], None],
        on_serving: Callable[[Shown], None],
    ) -> None:
        """`on_serving` is called each time another node begins to serve."""
        self._order = order
        self._listener = listener
        self._stop_grace_s = stop_grace_s
        self._say = say
        self._on_serving = on_serving
        self._node: NodeProcess | None = None
        self._next: NodeProcess | None = None
        self._started: list[NodeProcess] = []
        self._watch = FileWatch(target_files(order.target))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let no node outlive the body."""
        try:
            yield
        finally:
            for node in self._started:
                node.kill()
            for node in self._started:
                await node.ended()

    async def begin(self) -> None:
        """Serve the target. Raises: StartRefused."""
        try:
            await self._exchange()
        except TargetFailed as failed:
            raise _refused(failed.failure) from failed
        # The log is the same from here on.
        self._order = msgspec.structs.replace(self._order, discard_stale_snapshots=False)

    async def keep(self) -> None:
        """Reload and restart it for ever. Raises: StackError - it ends again and again."""
        restarts, last_end = 0, float("-inf")
        while True:
            if self._next is None or not self._next.runs:
                self._next = await self._start_node()
            node = self._node
            changed = await self._next_change(node)
            if changed or node is None:
                await self._reload(changed)
                continue
            how = await node.ended()
            restarts = restarts + 1 if time.monotonic() - last_end < _STEADY_S else 0
            last_end = time.monotonic()
            if (failure := await node.failure()) is not None:
                self._tell(failure)
            if restarts > _RESTARTS_MAX:
                raise StackError(
                    f"node {node.pid} {how}, as the {_RESTARTS_MAX} before it",
                    at="spawn dev",
                    hint="the lines above say why",
                )
            if restarts:
                await asyncio.sleep(_RESTART_WAIT_S)
            await self._restart(node.pid, how)

    async def stop(self) -> None:
        """Stop the node that serves in order."""
        if self._node is not None:
            await self._node.stop(self._stop_grace_s)

    async def _next_change(self, node: NodeProcess | None) -> str:
        """Wait until files change (return which) or the node ends (return nothing)."""
        async with asyncio.TaskGroup() as tasks:
            changes = tasks.create_task(self._watch.changed())
            waits: list[asyncio.Task[Any]] = [changes]
            if node is not None:
                waits.append(tasks.create_task(node.ended()))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        return "" if changes.cancelled() else ", ".join(changes.result())

    async def _reload(self, changed: str) -> None:
        began = time.monotonic()
        try:
            shown = await self._exchange()
        except TargetFailed as failed:
            self._tell(failed.failure)
            state = "the code before goes on" if self._node else "nothing serves until it is mended"
            self._say(f"{changed} changed and can't be served: {state}")
        else:
            self._say(
                f"{changed} changed: node {shown.pid} serves it, states kept, "
                f"{time.monotonic() - began:.1f} s"
            )

    async def _restart(self, pid: int, how: str) -> None:
        began = time.monotonic()
        self._node = None
        try:
            shown = await self._exchange()
        except TargetFailed as failed:
            self._tell(failed.failure)
            self._say(f"node {pid} {how} and can't be started again: it waits for a change")
        else:
            self._say(
                f"node {pid} {how}; started again as {shown.pid}, {shown.records} "
                f"{'record' if shown.records == 1 else 'records'} read, "
                f"{time.monotonic() - began:.1f} s"
            )

    async def _exchange(self) -> Shown:
        """Have the next node serve; one that ends without a word is taken for an accident.

        Raises: TargetFailed - it can't. The one that serves goes on, unless it was stopped already.
        """
        crashes = 0
        while True:
            try:
                return await self._exchange_once()
            except NodeCrashed as crashed:
                crashes += 1
                if crashes == _CRASHES_MAX:
                    failure = Failure(code="start-refused", message=str(crashed), at="", hint="")
                    raise TargetFailed(failure, ()) from crashed
                self._say(f"{crashed}: another one is started")
                await asyncio.sleep(_RESTART_WAIT_S)

    async def _exchange_once(self) -> Shown:
        """Prepare the next node, stop the one that serves, let the next one serve.

        Raises: TargetFailed, NodeCrashed.
        """
        try:
            node, served = await self._prepare_next()
            before, self._node = self._node, None
            if before is not None:
                await before.stop(self._stop_grace_s)
            report = await node.serve()
        except TargetFailed as failed:
            self._watch.watch(failed.files or self._watch.files)
            raise
        self._node = node
        self._watch.watch(node.files)
        shown = Shown(served, report.serving, node.pid, report.records)
        self._on_serving(shown)
        return shown

    async def _prepare_next(self) -> tuple[NodeProcess, Served]:
        """Return a node that has loaded the target as it is now: what changes begins anew.

        Raises: TargetFailed, NodeCrashed.
        """
        while True:
            node, self._next = self._next, None
            if node is None or not node.runs:
                node = await self._start_node()
            outcome = await self._prepare(node)
            if isinstance(outcome, Served):
                return node, outcome
            node.kill()
            if isinstance(outcome, Exception):
                raise outcome
            self._say(f"{outcome} changed while it was loaded: it is loaded again")

    async def _prepare(self, node: NodeProcess) -> Served | TargetFailed | NodeCrashed | str:
        """Let a node load the target; return what came of it, or which files changed before."""

        async def prepare() -> Served | TargetFailed | NodeCrashed:
            try:
                return await node.prepare(self._order)
            except (TargetFailed, NodeCrashed) as failed:
                return failed

        async def tell() -> None:
            await asyncio.sleep(_LOADING_S)
            self._say(f"still loading {self._order.target}: a change of it begins anew")

        async with asyncio.TaskGroup() as tasks:
            preparing = tasks.create_task(prepare())
            changing = tasks.create_task(self._watch.changed())
            watching = tasks.create_task(self._lose_node())
            telling = tasks.create_task(tell())
            await asyncio.wait((preparing, changing), return_when=asyncio.FIRST_COMPLETED)
            for task in (preparing, changing, watching, telling):
                task.cancel()
        return ", ".join(changing.result()) if preparing.cancelled() else preparing.result()

    async def _lose_node(self) -> None:
        """Say that the node that serves has ended while the next one is being prepared."""
        if (node := self._node) is not None:
            how = await node.ended()
            self._node = None
            self._say(f"node {node.pid} {how}: nothing serves until {self._order.target} is loaded")

    async def _start_node(self) -> NodeProcess:
        node = await NodeProcess.start(self._listener)
        self._started = [some for some in self._started if some.runs]
        self._started.append(node)
        return node

    def _tell(self, failure: Failure) -> None:
        self._say(f"error: {failure.message} [{failure.code}]")
        if failure.at:
            self._say(f"  at:   {failure.at}")
        if failure.hint:
            self._say(f"  hint: {failure.hint}")


def _refused(failure: Failure) -> StartRefused:
    error = StartRefused(failure.message, at=failure.at, hint=failure.hint)
    error.code = failure.code
    return error
