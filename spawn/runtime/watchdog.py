"""A thread that sees when the event loop stands still, says where, and ends a node that hangs.

Everything of a node happens in its event loop: calls, appends, answers to other nodes' pings. Code
that blocks it stops all of them, and the loop can't tell. So a thread looks at the loop's signs of
life (`beat`) a few times a second:

    over 250 ms     the line that blocks is named in the log, once a block, with actor and action
    over 1 s        it can't be prevented from here that others take the partitions over: pings and
                    heartbeats stop by themselves. When the loop runs again, every partition asks
                    the log with a Barrier whether it is still its own (`LoopBeat.listeners`).
    node.stuck      the process writes the stacks of its threads and ends with exit code 70, so that
                    its supervisor starts another one. Nothing acknowledged is lost by that.

No read rests on a lease from before a block: each judges it by the clock at its own turn, which
comes after the block (`Execution.read`, log protocol 6), and the lease is no longer than the
shortest block. So the node needs no telling in order not to lie; what is above is for others.

What counts for the end is time in which this thread ran and the loop did not. A process that is
frozen as a whole, suspended or starved is left alone; so is one at whose loop a debugger looks.
Code that holds the interpreter's lock without a break (a loop within C) stops this thread, too:
only a probe from outside sees that (`/health/live`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Final, NamedTuple

from spawn.core.actors import Actor
from spawn.core.commands import Command
from spawn.errors import LoopStuck
from spawn.runtime.beat import BLOCK_S, LoopBeat
from spawn.runtime.clock import stopwatch_s
from spawn.runtime.debugger import Debugger
from spawn.runtime.execution import Execution

__all__ = ["EXIT_STUCK", "Stand", "Watchdog", "find_stand"]

EXIT_STUCK: Final = 70
"""The process's exit code when it ends itself; `spawn.cli.exit_codes.STUCK`."""
_LOOK_S: Final = 0.2
"""Each look costs 50 to 80 us: 0.04 % of a core."""
_SILENCE_S: Final = 60.0
"""Between two lines about one place."""
_LAST_WORDS_S: Final = 3.0
"""Whoever should take the last words may be what everything waits for: a pipe that is full."""

_OURS: Final = str(Path(__file__).parents[1])
_LIBRARIES: Final = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_LOOP_FILES: Final = ("selectors.py", "asyncio/base_events.py", "asyncio/runners.py")
"""Innermost while a loop waits for something to do."""
_RUNNERS: Final[frozenset[CodeType]] = frozenset((
    Execution.start.__code__,
    Execution.run_read.__code__,
    Execution.run_async.__code__,
    Execution.read_async.__code__,
))  # fmt: skip
"""Functions that run user code, with `actor` and `command` among their variables."""

_logger = logging.getLogger("spawn.loop")


class Stand(NamedTuple):
    """Where a thread stands."""

    place: str
    """File, line and function of the innermost code that is neither Python's nor a package's, nor
    ours; of the innermost of all where there is none."""
    inside: str
    """The innermost of all, if it is another one."""
    actor: str
    """`Type/id` of the actor whose action runs, and the action; empty: none does."""
    action: str
    is_idle: bool
    """It is the loop itself, which waits."""
    is_debugged: bool
    """A debugger stands there."""


class Watchdog:
    """Watches one event loop; make it and begin to watch inside that loop."""

    def __init__(
        self,
        beat: LoopBeat,
        debugger: Debugger,
        *,
        stuck_s: float = 0.0,
        end: Callable[[str], None] | None = None,
    ) -> None:
        """`stuck_s`: how long a loop may hang until the process ends; 0: for ever.

        `end` takes the last words and ends the process.
        """
        self._beat = beat
        self._debugger = debugger
        self._stuck_s = stuck_s
        self._end = end or _end_process
        self._over = threading.Event()
        self._told: dict[str, float] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the loop of this thread while the body runs."""
        watched = threading.get_ident()
        thread = threading.Thread(
            target=self._watch, args=(watched,), name="spawn watchdog", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(2 * _LOOK_S)  # it may hang in a log that nobody reads

    def _watch(self, watched: int) -> None:
        beat, now = self._beat, stopwatch_s()
        count, ran_s, is_told = beat.count, 0.0, False
        while not self._over.wait(_LOOK_S):
            before, now = now, stopwatch_s()
            if beat.count != count or not count:
                count, ran_s, is_told = beat.count, 0.0, False
                continue
            # No more than a look and a bit: the rest of the time this thread did not run either.
            ran_s += min(now - before, 2 * _LOOK_S)
            if (blocked_s := now - beat.at_s) < BLOCK_S:
                continue
            is_stuck = 0 < self._stuck_s <= ran_s
            if is_told and not is_stuck:
                continue
            stand = find_stand(watched)
            if stand is None or self._is_debugged(stand):
                ran_s = 0.0
            elif is_stuck:
                self._end(self._last_words(stand, ran_s))
                ran_s = 0.0
            elif not (stand.is_idle and now - before > 2 * _LOOK_S):  # else all of us stood still
                is_told = True
                self._tell(stand, blocked_s, is_alone=now - before > 2 * _LOOK_S)

    def _is_debugged(self, stand: Stand) -> bool:
        return stand.is_debugged or self._beat.is_debugged or self._debugger.is_attached

    def _tell(self, stand: Stand, seconds: float, *, is_alone: bool) -> None:
        """Name the place in the log, in a thread of its own: a log may be what blocks."""
        self._beat.named += 1
        now = stopwatch_s()
        if now - self._told.get(stand.place, -_SILENCE_S) < _SILENCE_S:
            return
        self._told[stand.place] = now
        fields = {"actor": stand.actor, "action": stand.action} if stand.actor else {}
        text = f"the event loop has been blocked for {seconds * 1000:.0f} ms at {describe(stand)}"
        text += ": all calls and other nodes wait; put code that blocks into @action(blocking=True)"
        if is_alone:
            text += ", or the whole process stood still: frozen, starved, or held by C code"
        _in_a_thread(lambda: _logger.warning("%s", text, extra=fields))

    def _last_words(self, stand: Stand, seconds: float) -> str:
        return (
            f"the event loop hangs for {seconds:.0f} s at {describe(stand)}, longer than "
            f"node.stuck ({self._stuck_s:g} s): this node ends itself, so that it can be started "
            "again; nothing acknowledged is lost"
        )


def describe(stand: Stand) -> str:
    """Return where a thread stands, in words."""
    text = stand.place
    if stand.inside:
        text += f" (inside {stand.inside})"
    return f"{text}, action {stand.action} of {stand.actor}" if stand.actor else text


def find_stand(thread: int) -> Stand | None:
    """Return where another thread stands at this moment; None: there is none (any more)."""
    innermost = sys._current_frames().get(thread)  # noqa: SLF001 - there is no other way
    if innermost is None:
        return None
    own: FrameType | None = None
    actor = action = ""
    is_debugged = False
    frame: FrameType | None = innermost
    while frame is not None:
        file = frame.f_code.co_filename
        if file.endswith(_LOOP_FILES[1:]) and frame is not innermost:
            break  # what is further out started the loop
        if own is None and not _is_foreign(file):
            own = frame
        if not actor and frame.f_code in _RUNNERS:
            actor, action = _running(frame)
        is_debugged = is_debugged or Debugger.is_of_one(file)
        frame = frame.f_back
    place, inside = _place(own or innermost), _place(innermost)
    return Stand(
        place,
        inside if inside != place else "",
        actor,
        action,
        innermost.f_code.co_filename.endswith(_LOOP_FILES),
        is_debugged,
    )


def _is_foreign(file: str) -> bool:
    return (
        file.startswith((_OURS, "<frozen", *_LIBRARIES))
        or "/site-packages/" in file
        or "/eventstore/" in file
    )


def _running(frame: FrameType) -> tuple[str, str]:
    variables: Mapping[str, object] = frame.f_locals
    actor, command = variables.get("actor"), variables.get("command")
    if isinstance(actor, Actor) and isinstance(command, Command):
        return actor.name, command.action or "a read of the state"
    return "", ""


def _place(frame: FrameType) -> str:
    code = frame.f_code
    file = code.co_filename
    with contextlib.suppress(ValueError, OSError):
        file = str(Path(file).relative_to(Path.cwd()))
    return f"{file}:{frame.f_lineno} {code.co_qualname}"


def _in_a_thread(work: Callable[[], object], wait_s: float = 0.0) -> None:
    thread = threading.Thread(target=work, name="spawn watchdog's words", daemon=True)
    thread.start()
    if wait_s:
        thread.join(wait_s)


def _end_process(text: str) -> None:
    """Write the reason and all stacks, and leave without any cleaning up: the loop can't do it."""

    def say() -> None:
        _logger.critical("%s [%s]", text, LoopStuck.code)
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)

    _in_a_thread(say, _LAST_WORDS_S)
    os._exit(EXIT_STUCK)
