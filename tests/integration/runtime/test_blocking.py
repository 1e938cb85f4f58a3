"""Actions that block: in threads, by their own word or because they were seen to."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest

from spawn import Actor, NotStarted, OutcomeUnknown, action
from spawn.core.ingress import Call
from spawn.errors import ActionFailed, Draining
from spawn.runtime.threads import Threads
from tests.integration.runtime.programs import Program

GATE = threading.Event()
RAN_IN: list[str] = []
MARK: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="none")


@pytest.fixture(autouse=True)
def gate() -> None:
    """Begin with a closed gate."""
    GATE.clear()
    RAN_IN.clear()


@dataclass(frozen=True)
class Total:
    """A state."""

    total: int = 0


@dataclass(frozen=True)
class Added:
    """An event."""

    n: int


class Stopwatch:
    """What `nap` takes, whatever the machine is busy with."""

    seconds = 0.0

    @classmethod
    def read(cls) -> float:
        """Return the time."""
        return cls.seconds


class Slow(Actor[Total, Added]):
    """An actor whose code waits."""

    @action(blocking=True)
    def add(self, n: int) -> int:
        """Wait at the gate, then change something."""
        RAN_IN.append(threading.current_thread().name)
        GATE.wait(10)
        self.emit(Added(n))
        return self.state.total

    @action
    def add_at_once(self, n: int) -> int:
        """Change something."""
        self.emit(Added(n))
        return self.state.total

    @action
    def nap(self, seconds: float) -> str:
        """Block the event loop, without saying so, by the stopwatch."""
        Stopwatch.seconds += seconds
        self.emit(Added(1))
        return threading.current_thread().name

    @action.read
    def look(self, seconds: float) -> str:
        """Block the event loop in a read, by the stopwatch."""
        Stopwatch.seconds += seconds
        return threading.current_thread().name

    @action.read(blocking=True)
    def mark(self) -> tuple[str, str]:
        """Tell the thread, and the caller's context variable."""
        return threading.current_thread().name, MARK.get()

    @action
    async def doze(self, seconds: float) -> int:
        """Block the event loop in the midst of an async action."""
        await asyncio.sleep(0)
        time.sleep(seconds)
        with contextlib.suppress(ValueError):
            await self._failing()
        self.emit(Added(1))
        return self.state.total

    async def _failing(self) -> None:
        await asyncio.sleep(0)
        raise ValueError

    @action.read
    async def gaze(self, seconds: float) -> int:
        """Block the event loop in an async read."""
        await asyncio.sleep(0)
        time.sleep(seconds)
        return self.state.total

    @action
    async def wait(self) -> None:
        """Wait until it is cancelled, and tell."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            RAN_IN.append("cancelled")
            raise

    @action
    async def cancel(self) -> None:
        """Cancel its own task."""
        _cancel_this()
        await asyncio.sleep(0)

    @action
    async def cancel_and_reply(self) -> int:
        """Cancel its own task, and end."""
        _cancel_this()
        return 5

    @action.read
    async def peek_cancelled(self) -> int:
        """Cancel its own task in a read."""
        _cancel_this()
        await asyncio.sleep(0)
        return 5

    @action(blocking=True)
    def fail(self) -> None:
        """Raise what a future does not take."""
        raise StopIteration

    @action(blocking=True)
    def call(self) -> None:
        """Call an actor from a thread."""
        other: Any = PROGRAM.system.actor(Slow, "b")
        other.add_at_once(1)

    @staticmethod
    def evolve(state: Total, event: Added) -> Total:
        """Fold."""
        return replace(state, total=state.total + event.n)


PROGRAM = Program(Slow)


async def until_started(count: int) -> None:
    """Wait until so many actions are in threads."""
    async with asyncio.timeout(5):
        while len(RAN_IN) < count:
            await asyncio.sleep(0.005)


async def test_the_node_goes_on_while_an_action_blocks() -> None:
    """Other actors are served; the next command of the same one waits, and runs on its state."""
    program = Program(Slow)
    async with program.node():
        slow, other = program.system.actor(Slow, "a"), program.system.actor(Slow, "b")
        first = asyncio.ensure_future(slow.add(5))
        await until_started(1)
        second = asyncio.ensure_future(slow.add_at_once(1))
        assert await other.add_at_once(2) == 2
        assert not second.done()
        GATE.set()
        assert (await first, await second) == (5, 6)
    assert RAN_IN == ["spawn-action-1"]


async def test_several_actors_block_at_once_up_to_the_number_of_threads() -> None:
    """One more waits for a thread; past its deadline it is not started at all."""
    program = Program(Slow, threads=2)
    async with program.node():
        running = [asyncio.ensure_future(program.system.actor(Slow, i).add(1)) for i in "ab"]
        await until_started(2)
        with pytest.raises(NotStarted):
            await program.system.actor(Slow, "c").add.options(timeout_s=0.05)(1)
        GATE.set()
        assert await asyncio.gather(*running) == [1, 1]
        assert (await program.system.actor(Slow, "c").get_state()) == Total(0)
    assert len(RAN_IN) == 2


async def test_a_deadline_is_told_while_the_action_blocks() -> None:
    """It may still take effect, and does."""
    program = Program(Slow)
    async with program.node():
        with pytest.raises(OutcomeUnknown):
            await program.system.actor(Slow, "a").add.options(timeout_s=0.05)(5)
        GATE.set()
        assert await program.system.actor(Slow, "a").add_at_once(1) == 6


async def test_reads_get_threads_and_context_variables_too() -> None:
    """The context is that of the call."""
    program = Program(Slow)
    async with program.node():
        await program.system.actor(Slow, "a").add_at_once(1)  # a lease: the read runs now
        MARK.set("here")
        thread, mark = await program.system.actor(Slow, "a").mark()
        assert thread.startswith("spawn-action-")
        assert mark == "here"


async def test_whatever_a_thread_raises_is_told() -> None:
    """As of any action."""
    program = Program(Slow)
    async with program.node():
        with pytest.raises(ActionFailed, match=r"Slow.fail of Slow/a raised StopIteration"):
            await program.system.actor(Slow, "a").fail()


async def test_a_thread_can_not_call_actors() -> None:
    """Calls belong to the event loop; the error says what to write."""
    async with PROGRAM.node():
        with pytest.raises(ActionFailed, match="only code in the event loop calls actors"):
            await PROGRAM.system.actor(Slow, "a").call()


async def test_an_action_that_holds_the_loop_is_named_and_gets_a_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, with its file and line; from then on the loop is free."""
    program = Program(Slow)
    program.stopwatch = Stopwatch.read
    async with program.node():
        slow = program.system.actor(Slow, "a")
        assert await slow.nap(0.06) == "MainThread"
        line = Slow.nap.function.__code__.co_firstlineno
        (record,) = [r for r in caplog.records if "held the event loop" in r.message]
        assert record.message.startswith("Slow.nap held the event loop for ")
        assert f"(test_blocking.py:{line})" in record.message
        assert "write @action(blocking=True) above it" in record.message
        assert (await slow.nap(0.06)).startswith("spawn-action-")
        assert (await slow.get_state()).total == 2
        assert await slow.look(0.06) == "MainThread"
        assert (await slow.look(0)).startswith("spawn-action-")
    assert len([r for r in caplog.records if "held the event loop" in r.message]) == 2


async def test_an_async_action_that_holds_the_loop_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With what to write; it can't be moved to a thread."""
    program = Program(Slow)
    async with program.node():
        slow = program.system.actor(Slow, "a")
        assert await slow.doze(0.06) == 1
        assert await slow.doze(0.06) == 2
        assert await slow.doze(0) == 3
        assert await slow.gaze(0.06) == 3
    lines = [r.message for r in caplog.records if "held the event loop" in r.message]
    assert [line.partition(" held")[0] for line in lines] == ["Slow.doze", "Slow.gaze"]
    assert "write await asyncio.to_thread(...) around what blocks" in lines[0]


async def test_an_async_action_is_cancelled_with_its_partition() -> None:
    """However it is watched."""
    program = Program(Slow)
    async with program.node() as node:
        node.invoke(Call("Slow", "a", "wait", b"", 5.0)).cancel()
        await asyncio.sleep(0.05)
    assert RAN_IN == ["cancelled"]


def _cancel_this() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def test_an_action_that_cancels_its_own_task_fails_and_its_actor_goes_on() -> None:
    """The partition does not end: nobody else would ever run the actor's next command."""
    program = Program(Slow)
    async with program.node() as node, asyncio.timeout(20):
        for _ in range(2):
            with pytest.raises(ActionFailed, match=r"Slow.cancel of Slow/a cancelled its own task"):
                await node.invoke(Call("Slow", "a", "cancel", b"", 5.0))
            with pytest.raises(ActionFailed, match=r"Slow.peek_cancelled of Slow/a cancelled its"):
                await node.invoke(Call("Slow", "a", "peek_cancelled", b"", 5.0))
            answer = await node.invoke(Call("Slow", "a", "cancel_and_reply", b"", 5.0))
            assert answer.reply == b"5"


async def test_one_pause_is_forgiven_and_the_second_is_not() -> None:
    """A process that stood still looks like an action that blocked."""
    program = Program(Slow)
    program.stopwatch = Stopwatch.read
    async with program.node():
        slow = program.system.actor(Slow, "a")
        await slow.nap(0.06)
        for _ in range(100):
            assert (await slow.nap(0)).startswith("spawn-action-")
        assert await slow.nap(0.06) == "MainThread"
        for _ in range(101):
            assert (await slow.nap(0)).startswith("spawn-action-")


async def test_a_stop_waits_for_what_blocks_and_no_longer_than_its_grace() -> None:
    """In time: it counts. Too late: its decision is dropped and nothing hangs."""
    program = Program(Slow)
    async with program.node(drain_s=5.0) as node:
        done = node.invoke(Call("Slow", "a", "add", b"5", 5.0))
        await until_started(1)
        asyncio.get_running_loop().call_later(0.05, GATE.set)
    assert (await done).reply == b"5"
    GATE.clear()
    started = time.monotonic()
    async with program.node(drain_s=0.05) as node:
        lost = node.invoke(Call("Slow", "a", "add", b"7", 5.0))
        await until_started(2)
    assert time.monotonic() - started < 4
    with pytest.raises(Draining):
        await lost
    GATE.set()
    async with program.node():
        assert await program.system.actor(Slow, "a").get_state() == Total(5)


async def test_threads_end_and_survive_a_closed_loop() -> None:
    """Idle ones at once; a busy one when it is done, whoever waits for it then."""
    threads = Threads(2)
    assert await threads.submit(lambda: 5) == 5
    given_up = threads.submit(GATE.wait)
    given_up.cancel()
    threads.close()
    GATE.set()
    assert Threads().size >= 5
