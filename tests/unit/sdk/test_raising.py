"""Whatever user code raises: the state stays, the caller is told, nothing else ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest

from eventstore.records import Outcome
from spawn.core.decision import Decision
from spawn.errors import ActionFailed, BodyMismatch, Rejected
from spawn.sdk.actions import action
from spawn.sdk.behavior import ClassBehavior
from tests.unit.sdk.notes import Note, Notes
from tests.unit.sdk.one_run import command, read, run, run_async


class Speechless(Exception):
    """Its text can't be made."""

    def __str__(self) -> str:
        raise ValueError("no text")


def _recurse(n: int) -> int:
    return _recurse(n + 1) + 1


def _raise(error: BaseException) -> Callable[[], None]:
    def throw() -> None:
        raise error

    return throw


THROW: list[Callable[[], object]] = []


class Wild(Notes):
    """Raises what it is told to, plain and async, in actions and reads."""

    @action
    def plain(self) -> None:
        """Raise after a change."""
        self.state = Note("changed")
        THROW[0]()

    @action
    async def later(self) -> None:
        """Raise after a change and a wait."""
        self.state = Note("changed")
        await asyncio.sleep(0)
        THROW[0]()

    @action.read
    def look_plain(self) -> None:
        """Raise in a read."""
        THROW[0]()

    @action.read
    async def look_later(self) -> None:
        """Raise in an async read."""
        await asyncio.sleep(0)
        THROW[0]()


@pytest.mark.parametrize(
    ("throw", "text"),
    [
        (_raise(SystemExit(3)), "SystemExit: 3"),
        (_raise(GeneratorExit()), "GeneratorExit"),
        (_raise(asyncio.CancelledError("mine")), "CancelledError: mine"),
        (_raise(BaseExceptionGroup("all", [SystemExit(1)])), "BaseExceptionGroup: all (1 sub-exc"),
        (_raise(Speechless()), "Speechless: (its text can't be made: ValueError)"),
        (_raise(ValueError("half \ud800 a character")), "ValueError: half ? a character"),
        (_raise(StopIteration()), "StopIteration"),
        (lambda: _recurse(0), "RecursionError: maximum recursion depth exceeded"),
        (_raise(ValueError("x" * 5000)), "ValueError: xxxx"),
    ],
)
async def test_it_fails_the_action_and_no_more(throw: Callable[[], object], text: str) -> None:
    """The text has actor, action and cause."""
    THROW[:] = [throw]
    decision = run(Wild, "plain")
    later = await run_async(Wild, "later")
    for each, name in ((decision, "plain"), (later, "later")):
        assert (each.outcome, each.state, each.replaced) == (Outcome.FAILED, Note(), None)
        assert each.refusal is not None
        expected = text if not (name == "later" and "StopIteration" in text) else "RuntimeError"
        assert each.refusal.message.startswith(f"Wild.{name} of Wild/a raised {expected}")
        assert len(each.refusal.message) < 1100
        each.refusal.message.encode()
    with pytest.raises(ActionFailed, match=r"Wild.look_plain of Wild/a raised "):
        read(Wild, "look_plain")
    with pytest.raises(ActionFailed, match=r"Wild.look_later of Wild/a raised "):
        await read(Wild, "look_later")


def test_ctrl_c_is_told_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """It is for the node, which says where it was."""
    THROW[:] = [_raise(KeyboardInterrupt())]
    # A shell's background processes ignore it, and so would this one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(Wild, "plain")
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Wild.plain of Wild/a raised KeyboardInterrupt" in caplog.text


async def test_where_signals_are_taken_in_one_place_user_code_has_raised_it_itself() -> None:
    """As in a node: one action must not end it. In a thread it is never Ctrl-C."""
    THROW[:] = [_raise(KeyboardInterrupt())]
    decision = await asyncio.to_thread(run, Wild, "plain")
    assert decision.outcome is Outcome.FAILED
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    try:
        if sys.gettrace() is None:
            assert run(Wild, "plain").outcome is Outcome.FAILED
            assert (await run_async(Wild, "later")).outcome is Outcome.FAILED
            with pytest.raises(ActionFailed, match="raised KeyboardInterrupt"):
                read(Wild, "look_plain")
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def test_the_end_of_the_task_is_no_error_of_the_action() -> None:
    """The partition ends: the command runs elsewhere."""
    behavior = ClassBehavior(Wild)
    running = behavior.run("wait", "a", Note(), 1, 0, command(behavior, "wait"))
    assert not isinstance(running, Decision)

    async def wait() -> None:
        await running

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()


def test_a_refusal_is_text_whatever_was_put_into_it() -> None:
    """Its record and its answer hold nothing else."""

    class Strange(Wild):
        @action
        def refuse(self) -> None:
            raise Rejected(cast("str", 5), cast("str", Speechless()))

        @action.read
        def look(self) -> None:  # type: ignore[override]
            raise Rejected("half", "\ud800")

    decision = run(Strange, "refuse")
    assert decision.refusal == ("5", "(its text can't be made: ValueError)")
    with pytest.raises(Rejected, match=r"^\?$"):
        read(Strange, "look")


_BIG: Any = 1 << 63


class Numbers(Notes):
    """Takes numbers in all kinds of places."""

    @action
    def one(self, n: int) -> None:
        """Take one."""

    @action
    def many(self, ns: list[dict[str, int]], more: tuple[int, ...] = ()) -> None:
        """Take several."""

    @action
    def real(self, x: float) -> None:
        """Take a float."""


@pytest.mark.parametrize(
    ("name", "payload", "text"),
    [
        ("one", b"9223372036854775808", "`n` must be an integer of at most 64 bits, got 92233720"),
        ("one", b"-9223372036854775809", "`n` must be an integer of at most 64 bits, got -9223372"),
        ("many", b'{"ns":[{},{"a":1},{"a":99999999999999999999}]}', "`ns[2].a` must be an int"),
        ("many", b'{"ns":[],"more":[1,99999999999999999999]}', "`more[1]` must be an int"),
    ],
)
def test_an_integer_over_64_bits_is_the_callers_mistake(
    name: str, payload: bytes, text: str
) -> None:
    """The field is named, before the action runs."""
    with pytest.raises(BodyMismatch) as caught:
        ClassBehavior(Numbers).decode_arguments(name, payload)
    assert text in str(caught.value)


def test_what_64_bits_hold_passes() -> None:
    """The longest ones, and long numbers that are no integers."""
    behavior = ClassBehavior(Numbers)
    assert behavior.decode_arguments("one", b"9223372036854775807") == (2**63 - 1,)
    assert behavior.decode_arguments("one", b"-9223372036854775808") == (-(2**63),)
    assert behavior.decode_arguments("real", b"99999999999999999999") == (1e20,)
    parameters = behavior.plans["one"].parameters
    with pytest.raises(BodyMismatch, match="`n` must be an integer of at most 64 bits"):
        parameters.bind((_BIG,), {})


def test_a_text_without_end_is_cut_in_record_and_answer() -> None:
    """Of a failure at 1,000 characters, of a refusal at 10,000."""
    THROW[:] = [_raise(ValueError("x" * 10_000_000))]
    failed = run(Wild, "plain").refusal
    assert failed is not None
    assert len(failed.message) < 1_100
    THROW[:] = [_raise(Rejected("code", "x" * 10_000_000))]
    refused = run(Wild, "plain").refusal
    assert refused is not None
    assert len(refused.message) == 10_000
    with pytest.raises(Rejected) as caught:
        read(Wild, "look_plain")
    assert len(str(caught.value)) == 10_000
