"""The kit: given, when, then, on the code that runs in production."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from examples.counter import Added, Counter, Total
from spawn.errors import (
    ActionFailed,
    BodyMismatch,
    CallError,
    InvalidId,
    InvalidTarget,
    KeyReused,
    Rejected,
    StartRefused,
)
from spawn.sdk.actor import Actor
from spawn.testing import Kit, Outcome, VirtualClock
from tests.unit.testing.diary import (
    Box,
    Cleared,
    Diary,
    Page,
    Registry,
    Sum,
    Waiting,
    Wrote,
    told,
)

_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_given_when_then() -> None:
    """The line that the documentation begins with."""
    out = await Kit(Counter).given(Added(2)).when(Counter.add, 5)
    assert out.events == [Added(5)]
    assert out.reply == 7
    assert out.state == Total(7)
    assert out == Outcome([Added(5)], 7, Total(7), 2, False)


def test_a_test_without_async_says_now() -> None:
    """Plain and async actions run in an event loop of their own."""
    kit = Kit(Diary)
    assert kit.when(Diary.write, "one").now().reply == 2
    assert kit.when(Diary.write_slowly, "two").now().reply == "two"
    assert kit.when(Diary.count).now().reply == 3


async def test_a_kit_remembers() -> None:
    """Commands follow each other as they do to one actor."""
    kit = Kit(Counter)
    assert (kit.state, kit.revision, kit.events) == (Total(0), 0, [])
    await kit.when(Counter.add, 1)
    await kit.when(Counter.add, n=2)
    assert (kit.state, kit.revision, kit.events) == (Total(3), 2, [Added(1), Added(2)])
    read = await kit.when(Counter.total)
    assert read == Outcome([], 3, Total(3), 2, False)


async def test_an_async_action_runs_in_the_loop_of_the_test() -> None:
    """What it awaits may be the test's."""
    Waiting.gates.append(asyncio.Event())
    asyncio.get_running_loop().call_soon(Waiting.gates[-1].set)
    out = await Kit(Waiting).when(Waiting.put, 3)
    assert (out.reply, out.state) == (3, Sum(3))


def test_a_blocking_action_gets_its_thread() -> None:
    """And no thread is left of it."""
    out = Kit(Diary).given(Cleared()).when(Diary.thread).now()
    assert out.reply.startswith("spawn-action-")
    assert out.state == Page((out.reply,))
    for thread in threading.enumerate():
        if thread.name.startswith("spawn-action-"):
            thread.join(5)
            assert not thread.is_alive()


async def test_a_rejection_is_raised_as_to_any_caller() -> None:
    """With code and text; nothing changed, and the kit goes on."""
    kit = Kit(Counter).given(Added(2))
    with pytest.raises(Rejected, match="cannot add -1") as refused:
        await kit.when(Counter.add, -1)
    assert refused.value.code == "negative"
    assert (kit.state, kit.revision, kit.events) == (Total(2), 1, [Added(2)])
    assert (await kit.when(Counter.add, 1)).state == Total(3)


async def test_a_failure_is_raised_with_what_the_action_raised() -> None:
    """So that a report, or a debugger, shows the line in the action."""
    kit = Kit(Diary).given(Wrote("x"))
    with pytest.raises(ActionFailed, match="ZeroDivisionError: no fire") as failed:
        await kit.when(Diary.burn)
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert kit.state == Page(("x",))


async def test_a_wrong_argument_is_refused_as_in_production() -> None:
    """The action does not run."""
    with pytest.raises(BodyMismatch, match=r"Counter\.add: `n` must be an integer, got \"five\""):
        await Kit(Counter).when(Counter.add, "five")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Counter\.add: missing a required argument: 'n'"):
        await Kit(Counter).when(Counter.add)  # type: ignore[call-arg]


async def test_state_style() -> None:
    """No events: the state is the event."""
    out = await Kit(Box).given_state(Sum(2)).when(Box.put, 5)
    assert out == Outcome([], 7, Sum(7), 2, False)
    assert (await Kit(Box).when(Box.put, 5)).state == Sum(5)


async def test_an_event_sourced_actor_may_be_given_a_state() -> None:
    """For a long past that does not matter."""
    out = await Kit(Counter).given_state(Total(1_000)).given(Added(1)).when(Counter.add, 5)
    assert (out.reply, out.revision) == (1_006, 3)


async def test_the_clock_stands_still_until_it_is_moved() -> None:
    """`self.time` is the kit's time, in records and reads."""
    kit = Kit(Diary).given(Wrote("x")).at(_NOON)
    await kit.when(Diary.write, "first")
    kit.clock.advance(90)
    out = await kit.when(Diary.write, "second")
    assert out.events == [Wrote("second", _NOON + timedelta(seconds=90))]
    assert (await kit.when(Diary.last)).reply == _NOON + timedelta(seconds=90)


def test_time_does_not_go_back() -> None:
    """A clock says so before a test wonders."""
    clock = VirtualClock()
    clock.move_to(_NOON)
    with pytest.raises(ValueError, match="time can't go back: it is 2026-03-01 12:00:00"):
        clock.move_to(_NOON - timedelta(seconds=1))
    with pytest.raises(ValueError, match="can't pass"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="no time zone"):
        clock.move_to(datetime(2027, 1, 1))  # noqa: DTZ001 - what is refused
    assert clock.now == _NOON


async def test_on_create_belongs_to_the_first_commit() -> None:
    """As in production; an actor with a past was created before."""
    out = await Kit(Diary, "ann").when(Diary.write, "hi")
    assert [event.line for event in out.events if isinstance(event, Wrote)] == [
        "diary of ann",
        "hi",
    ]
    assert out.revision == 1
    assert (await Kit(Diary).given(Cleared()).when(Diary.write, "hi")).reply == 1


async def test_on_activate_runs_once_for_each_time_in_memory() -> None:
    """Not for what is given, and again after a restart."""
    told.clear()
    kit = Kit(Diary).given(Wrote("x"), Wrote("y"))
    assert told == []
    await kit.when(Diary.write, "1")
    await kit.when(Diary.count)
    assert told == ["a@2"]
    kit.restart()
    await kit.when(Diary.count)
    assert told == ["a@2", "a@3"]
    await kit.actor("new").when(Diary.skip)
    assert told == ["a@2", "a@3", "new@0"]


@pytest.mark.parametrize("snapshot", [True, False])
async def test_a_restart_brings_everything_back(snapshot: bool) -> None:
    """From the snapshot or from the events: states, revisions, idempotency keys."""
    kit = Kit(Counter).given(Added(1))
    keyed = kit.options(idempotency_key="k")
    await keyed.when(Counter.add, 2)
    kit.restart(snapshot=snapshot)
    again = await keyed.when(Counter.add, 2)
    assert again == Outcome([], 3, Total(3), 2, False)
    kit.restart(snapshot=snapshot).restart(snapshot=not snapshot)
    assert (await kit.when(Counter.add, 4)).state == Total(7)
    assert kit.events == [Added(1), Added(2), Added(4)]


async def test_a_key_takes_effect_once() -> None:
    """The same reply, no second event; another payload is refused; a day later it is new."""
    kit = Kit(Counter).options(idempotency_key="order-7")
    assert (await kit.when(Counter.add, 2)).events == [Added(2)]
    assert await kit.when(Counter.add, 2) == Outcome([], 2, Total(2), 1, False)
    with pytest.raises(KeyReused):
        await kit.when(Counter.add, 3)
    kit.clock.advance(24 * 3600 + 1)
    assert (await kit.when(Counter.add, 2)).state == Total(4)


async def test_a_command_says_who_sent_it() -> None:
    """Caller and metadata come from the options, and stay with the kit that they made."""
    kit = Kit(Diary).given(Wrote("x"))
    signed = kit.options(caller="http 127.0.0.1", metadata={"trace": "7"})
    out = await signed.when(Diary.sign)
    assert out.events == [Wrote("http 127.0.0.1 {'trace': '7'}")]
    assert (await kit.when(Diary.sign)).reply == ""


async def test_a_command_has_a_deadline() -> None:
    """The caller's time-out from now, a minute unless the options say otherwise."""
    kit = Kit(Diary)
    assert abs((await kit.when(Diary.due)).reply - timedelta(seconds=60)) < timedelta(seconds=1)
    out = await kit.options(timeout_s=5).when(Diary.due)
    assert abs(out.reply - timedelta(seconds=5)) < timedelta(seconds=1)


async def test_actors_of_one_kit_share_memory_and_time() -> None:
    """Each has its own past."""
    ann = Kit(Diary, "ann").given(Wrote("x")).at(_NOON)
    bob = ann.actor("bob").given(Cleared())
    await bob.when(Diary.write, "hi")
    assert (bob.id, bob.state) == ("bob", Page(("hi",), _NOON))
    assert (ann.id, ann.state) == ("ann", Page(("x",)))
    assert ann.clock is bob.clock
    with pytest.raises(InvalidId, match="a reference names one"):
        ann.actor("")


async def test_a_named_type_has_its_one_actor() -> None:
    """Without an id; another id is refused."""
    assert (await Kit(Registry).when(Registry.put, 1)).reply == "Registry"
    with pytest.raises(CallError, match="there is none with id 'a'"):
        Kit(Registry, "a")


async def test_a_deleted_actor_starts_again() -> None:
    """The outcome says that it is gone; the revision goes on."""
    kit = Kit(Diary).given(Wrote("x"))
    out = await kit.when(Diary.tear)
    assert out == Outcome([], None, Page(), 2, True)
    assert (kit.state, kit.events) == (Page(), [Wrote("x")])
    kit.restart()
    new = await kit.when(Diary.write, "hi")
    assert (new.state.lines, new.revision, new.deleted) == (("diary of a", "hi"), 3, False)


async def test_the_past_may_be_added_to() -> None:
    """What is given later comes after what was done; the actor leaves memory for it."""
    kit = Kit(Counter)
    await kit.when(Counter.add, 1)
    kit.given(Added(10))
    assert (await kit.when(Counter.add, 100)).state == Total(111)
    assert kit.events == [Added(1), Added(10), Added(100)]


# --- wrong use ---------------------------------------------------------------------------------


def test_an_event_of_another_type_is_refused() -> None:
    """The text names those that fit."""
    with pytest.raises(TypeError, match="Counter can't be given Cleared; its events are Added"):
        Kit(Counter).given(Cleared())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"given takes events, Cleared is a class: Cleared\(\)"):
        Kit(Diary).given(Cleared)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Box has no events, its state is set: write given_state"):
        Kit(Box).given(Wrote("x"))  # type: ignore[arg-type]


def test_a_state_of_another_type_is_refused() -> None:
    """The text names the type that fits."""
    with pytest.raises(TypeError, match=r"Box can't have Total\(total=1\) as its state: Sum"):
        Kit(Box).given_state(Total(1))  # type: ignore[arg-type]


def test_something_else_than_an_action_is_refused() -> None:
    """A name, or an action of another class."""
    kit = Kit(Counter)
    with pytest.raises(TypeError, match=r"e\.g\. when\(Counter\.\w+, \.\.\.\), not 'add'"):
        kit.when("add", 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Box\.put is no action of Counter; its actions are .*add"):
        kit.when(Box.put, 5)


def test_something_else_than_an_actor_type_is_refused() -> None:
    """An instance can't be made, so it is a class."""
    with pytest.raises(TypeError, match="Kit takes an actor class"):
        Kit(Total)  # type: ignore[arg-type]
    with pytest.raises(InvalidTarget):
        Kit(Actor)
    assert issubclass(InvalidTarget, StartRefused)


async def test_a_forgotten_await_is_noticed() -> None:
    """By a warning, and by the next thing that is asked of the kit."""
    kit = Kit(Counter)
    with pytest.warns(RuntimeWarning, match=r"kit\.when\(Counter\.add, 5\) was never run"):
        kit.when(Counter.add, 5)
    with pytest.raises(RuntimeError, match=r"kit\.when\(Counter\.add, 5\) was never run: write"):
        await kit.when(Counter.add, 1)
    with pytest.warns(RuntimeWarning):
        kit.when(Counter.add, n=5)
    with pytest.raises(RuntimeError, match=r"kit\.when\(Counter\.add, n=5\) was never run"):
        _ = kit.state


async def test_a_command_runs_once_and_alone() -> None:
    """A kit is no load generator."""
    kit = Kit(Counter)
    when = kit.when(Counter.add, 5)
    await when
    with pytest.raises(RuntimeError, match="ran already"):
        await when
    waiting = Kit(Waiting)
    Waiting.gates.append(asyncio.Event())
    first = asyncio.ensure_future(waiting.when(Waiting.put, 1))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="a kit runs one command at a time, a MemoryNode many"):
        await waiting.when(Waiting.put, 2)
    with pytest.raises(RuntimeError, match=r"kit\.when\(Waiting\.put, 1\) still runs"):
        waiting.restart()
    Waiting.gates[-1].set()
    assert (await first).state == Sum(1)


async def test_a_cancelled_command_leaves_a_kit_that_works() -> None:
    """As if the node had been stopped meanwhile: what was not committed did not happen."""
    kit = Kit(Waiting).given_state(Sum(10))
    Waiting.gates.append(asyncio.Event())
    running = asyncio.ensure_future(kit.when(Waiting.put, 1))
    for _ in range(20):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert kit.state == Sum(10)
    Waiting.gates[-1].set()
    assert (await kit.when(Waiting.put, 2)).state == Sum(12)


async def test_now_is_for_tests_that_are_not_async() -> None:
    """In a running loop the text says what to write."""
    when = Kit(Counter).when(Counter.add, 5)
    with pytest.raises(RuntimeError, match=r"write: await kit\.when\(Counter\.add, 5\)"):
        when.now()
    assert (await when).reply == 5


def test_a_loop_that_is_not_asyncios_is_told() -> None:
    """As with the trio backend of anyio."""
    when = Kit(Counter).when(Counter.add, 5)
    with pytest.raises(RuntimeError, match="needs an event loop of asyncio"):
        when.__await__()
    assert when.now().reply == 5
