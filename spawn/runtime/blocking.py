"""Which actions run in threads: those that say that they block, and those that were seen to.

A plain action runs inside the step that started it (design D5), so while it waits for something,
nothing else of the node goes on. Every such run is measured. One that held the event loop for too
long is named in the log, and runs in a thread from then on. One pause of the whole process
(suspended, starved, collecting garbage) looks the same, hence it may prove quick and come back,
once; the second time is final.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

from spawn.core.behavior import Behavior
from spawn.runtime.beat import LoopBeat
from spawn.runtime.clock import stopwatch_s
from spawn.runtime.debugger import Debugger
from spawn.runtime.threads import Threads

__all__ = ["HELD_S", "Blocking"]

HELD_S: Final = 0.05
"""A run that holds the event loop for longer blocks."""
_QUICK_S: Final = 0.005
_QUICK_RUNS: Final = 100
"""So many runs in a row that take less than `_QUICK_S`: the pause was not the action's."""

_logger = logging.getLogger("spawn.actor")


class Blocking:
    """The actions of a node that run in threads, and those threads."""

    def __init__(self, debugger: Debugger, threads: int | None = None) -> None:
        self.threads = Threads(threads)
        self.beat = LoopBeat()
        """The event loop's signs of life."""
        self._debugger = debugger
        self._inline: dict[str, set[str]] = {}
        self._quick: dict[tuple[str, str], int] = {}
        """Quick runs in a row, of actions that were seen to block once."""
        self._final: set[tuple[str, str]] = set()
        self.times_held = 0
        """Runs that held the event loop for too long."""
        self._named: set[tuple[str, str]] = set()
        """Async actions that were seen to block."""
        self._running: dict[tuple[str, bytes], asyncio.Future[Any]] = {}
        """By actor: its command that runs in a thread."""

    def inline(self, behavior: Behavior) -> set[str]:
        """Return the names of a type's actions that run in the loop's thread, shared and live."""
        found = self._inline.get(behavior.type)
        if found is None:
            found = self._inline[behavior.type] = {
                name
                for name, info in behavior.actions.items()
                if not (info.is_async or info.blocking)
            }
        return found

    def held(self, behavior: Behavior, action: str, seconds: float) -> None:
        """A run of a plain action held the loop for so long: from now on it gets a thread."""
        self.times_held += 1
        if self._debugger.is_attached:
            return  # somebody steps through it
        name = (behavior.type, action)
        if name in self._quick:
            self._final.add(name)
        else:
            info = behavior.actions[action]
            _logger.warning(
                "%s.%s held the event loop for %.0f ms (%s): it runs in a thread from now on; "
                "write @%s(blocking=True) above it, or make what it waits for async",
                *name, seconds * 1000, info.place, "action.read" if info.read_only else "action",
                extra={"type": behavior.type, "action": action},
            )  # fmt: skip
        self._quick[name] = 0
        self.inline(behavior).discard(action)

    def ran(self, behavior: Behavior, action: str, seconds: float) -> None:
        """A run in a thread took so long: perhaps the action needs none after all."""
        name = (behavior.type, action)
        quick = self._quick.get(name)
        if quick is None or name in self._final:
            return
        self._quick[name] = quick = quick + 1 if seconds < _QUICK_S else 0
        if quick >= _QUICK_RUNS:
            self.inline(behavior).add(action)

    async def watch(self, behavior: Behavior, action: str, running: Awaitable[Any]) -> Any:
        """Await an async action; name it, once, if it holds the event loop between two awaits."""
        return await _Watched(running, lambda held: self._held_async(behavior, action, held))

    def _held_async(self, behavior: Behavior, action: str, seconds: float) -> None:
        self.times_held += 1
        name = (behavior.type, action)
        if name in self._named or self._debugger.is_attached:
            return
        self._named.add(name)
        _logger.warning(
            "%s.%s held the event loop for %.0f ms (%s): everything else waited; write await "
            "asyncio.to_thread(...) around what blocks in it",
            *name, seconds * 1000, behavior.actions[action].place,
            extra={"type": behavior.type, "action": action},
        )  # fmt: skip

    async def run_alone(self, actor: tuple[str, bytes], function: Callable[[], Any]) -> Any:
        """Run an actor's command in a thread, after one that was given up but goes on."""
        while (before := self._running.get(actor)) is not None:
            await asyncio.wait((before,))
        ended = asyncio.get_running_loop().create_future()
        self._running[actor] = ended

        def end(_outcome: object) -> None:
            self._running.pop(actor, None)
            ended.set_result(None)

        outcome = self.threads.submit(function)
        outcome.add_done_callback(end)
        return await asyncio.shield(outcome)


class _Watched:
    """An awaitable that measures each stretch of another one between two of its awaits."""

    __slots__ = ("_running", "_tell")

    def __init__(self, running: Awaitable[Any], tell: Callable[[float], None]) -> None:
        self._running = running
        self._tell = tell

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._running.__await__()
        step: Callable[[], Any] = lambda: next(inner)  # noqa: E731 - the first of several
        while True:
            began = stopwatch_s()
            try:
                waited_for = step()
            except StopIteration as ended:
                return ended.value
            finally:
                if (held := stopwatch_s() - began) > HELD_S:
                    self._tell(held)
            try:
                sent = yield waited_for
            except GeneratorExit:
                close = getattr(inner, "close", None)
                if close is not None:
                    close()
                raise
            except BaseException as error:  # noqa: BLE001 - cancellation, for the inner one
                step = _throwing(inner, error)
            else:
                step = _sending(inner, sent)


def _sending(inner: Any, value: Any) -> Callable[[], Any]:
    return (lambda: next(inner)) if value is None else (lambda: inner.send(value))


def _throwing(inner: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: inner.throw(error)
