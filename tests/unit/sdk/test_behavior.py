"""Running actions: what comes of what user code does."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast

import pytest

from eventstore.records import Outcome
from examples.counter import Added, Counter, Total
from spawn.core.behavior import Behavior
from spawn.core.decision import Decision, Refusal
from spawn.errors import ActionFailed, Rejected
from spawn.sdk.actions import action
from spawn.sdk.behavior import ClassBehavior
from tests.unit.sdk.notes import Note, Notes
from tests.unit.sdk.one_run import TIME_US, command, read, read_async, run, run_async


def test_the_class_is_a_behavior() -> None:
    """What core and runtime ask for is there."""
    behavior: Behavior = ClassBehavior(Counter)
    assert behavior.type == "Counter"
    assert [*behavior.actions] == ["add", "total", "get_state"]
    assert behavior.settings.idle_timeout_s == 300
    assert not behavior.has_on_activate


def test_an_action_that_emits_is_applied() -> None:
    """Its events are encoded, its state is the folded one, its reply is there as JSON too."""
    decision = run(Counter, "add", 5, state=Total(2))
    assert decision.outcome == Outcome.APPLIED
    assert decision.state == Total(7)
    assert (decision.reply, decision.reply_json) == (7, b"7")
    fingerprint = ClassBehavior(Counter).schemas[0].fingerprint
    assert [*decision.events] == [("Added", fingerprint, b"\x0a")]
    assert decision.replaced is None


def test_a_rejection_leaves_the_state_as_it_was() -> None:
    """With the user's code and text, also after an event was emitted."""

    class Strict(Counter):
        @action
        def add(self, n: int) -> int:
            self.emit(Added(n))
            raise Rejected("too-much", f"not {n}")

    decision = run(Strict, "add", 5, state=Total(2))
    assert decision == Decision(Outcome.REJECTED, Total(2), refusal=Refusal("too-much", "not 5"))


def test_any_other_exception_fails_the_action(caplog: pytest.LogCaptureFixture) -> None:
    """State unchanged; actor, action and cause told; the traceback logged once."""

    class Broken(Counter):
        @action
        def add(self, n: int) -> int:
            self.emit(Added(n))
            return n // 0

    decision = run(Broken, "add", 5, state=Total(2))
    text = "Broken.add of Broken/a raised ZeroDivisionError: integer division or modulo by zero"
    assert decision == Decision(Outcome.FAILED, Total(2), refusal=Refusal("action-failed", text))
    (logged,) = caplog.records
    assert (logged.name, logged.levelno, logged.getMessage()) == (
        "spawn.actor",
        logging.ERROR,
        text,
    )
    assert logged.exc_info is not None


def test_the_text_of_an_exception_is_bounded() -> None:
    """It goes into the record and to the caller."""

    class Loud(Counter):
        @action
        def add(self, n: int) -> int:
            raise ValueError("x" * 100_000)

    refusal = run(Loud, "add", 5).refusal
    assert refusal is not None
    assert len(refusal.message) < 1_100


def test_state_style_stores_the_new_state() -> None:
    """The change is the event."""
    decision = run(Notes, "write", "hello")
    assert decision.outcome == Outcome.APPLIED
    assert decision.state == Note("hello")
    assert decision.replaced == ClassBehavior(Notes).encode_state(Note("hello"))
    assert [*decision.events] == []


def test_an_action_that_changes_nothing_is_unchanged() -> None:
    """Its reply counts all the same."""
    state = Note("x")
    decision = run(Notes, "look", state=state)
    assert decision == Decision(Outcome.UNCHANGED, state, reply="x", reply_json=b'"x"')
    assert decision.state is state


def test_a_state_that_can_not_be_stored_fails_the_action() -> None:
    """The text names the field."""
    refusal = run(Notes, "spoil").refusal
    assert refusal is not None
    assert "Notes.spoil of Notes/a raised NotStorable: `Note.text` must be a str" in refusal.message


def test_an_evolve_that_makes_a_wrong_state_fails_the_action() -> None:
    """Before it is in the log, so that no flush meets it."""

    class Wrong(Counter):
        @staticmethod
        def evolve(state: Total, event: Added) -> Total:
            return replace(state, total=cast("int", "many"))

    class Forgetful(Counter):
        @staticmethod
        def evolve(state: Total, event: Added) -> Total:
            return None  # type: ignore[return-value]

    for cls, text in ((Wrong, "`Total.total` must be an int"), (Forgetful, "must be a Total")):
        decision = run(cls, "add", 5)
        assert decision.outcome == Outcome.FAILED
        assert decision.refusal is not None
        assert text in decision.refusal.message


def test_nothing_can_be_changed_after_the_action_has_ended() -> None:
    """E.g. by a task that it left behind."""
    kept: list[Counter] = []

    class Leaky(Counter):
        @action
        def do(self) -> None:
            kept.append(self)

    run(Leaky, "do")
    with pytest.raises(TypeError, match="Added can't be emitted: the action has ended"):
        kept[0].emit(Added(5))


def test_an_action_sees_what_it_was_called_with() -> None:
    """Id, revision, time, caller and metadata."""

    class Seeing(Notes):
        @action
        def do(self) -> tuple[str, int, datetime, str, dict[str, str]]:
            return self.id, self.revision, self.time, self.caller, dict(self.metadata)

    decision = run(Seeing, "do", revision=7, caller="http 127.0.0.1", metadata={"trace": "x"})
    at = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert decision.reply == ("a", 7, at, "http 127.0.0.1", {"trace": "x"})
    assert run(Seeing, "do").reply == ("a", 1, at, "", {})


async def test_async_actions_decide_later() -> None:
    """With the same rules."""
    decision = await run_async(Notes, "write_later", "x")
    assert (decision.outcome, decision.state, decision.reply) == (
        Outcome.APPLIED, Note("x"), "x"
    )  # fmt: skip


async def test_cancelling_an_async_action_gets_out() -> None:
    """It is no outcome of the action's."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run_async(Notes, "wait"))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()


async def test_async_actions_reject_and_fail_like_plain_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """State unchanged either way."""

    class Later(Notes):
        @action
        async def refuse(self) -> None:
            raise Rejected("no")

        @action
        async def fail(self) -> None:
            raise KeyError("x")

    rejected, failed = await run_async(Later, "refuse"), await run_async(Later, "fail")
    assert (rejected.outcome, rejected.refusal) == (Outcome.REJECTED, Refusal("no", "no"))
    assert (failed.outcome, failed.state) == (Outcome.FAILED, Note())
    assert "Later.fail of Later/a raised KeyError: 'x'" in caplog.text


async def test_reads_return_their_reply() -> None:
    """Plain and async ones."""
    assert read(Counter, "total") == 0
    assert await read_async(Notes, "shout") == ""


def test_a_read_only_action_changes_nothing() -> None:
    """Neither by an event nor by a state."""

    class Sly(Counter):
        @action.read
        def peek(self) -> None:
            self.emit(Added(5))

    class Sneaky(Notes):
        @action.read
        def peek(self) -> None:
            self.state = Note("x")

    for cls in (Sly, Sneaky):
        with pytest.raises(ActionFailed, match="the action is read-only; to change something"):
            read(cls, "peek")


def test_a_read_that_raises_is_told_like_a_command() -> None:
    """Rejected as it is, all else as ActionFailed with its cause chained."""

    class Wrong(Counter):
        @action.read
        def refuse(self) -> None:
            raise Rejected("no", "not now")

        @action.read
        def fail(self) -> None:
            raise KeyError("x")

    with pytest.raises(Rejected, match="not now"):
        read(Wrong, "refuse")
    with pytest.raises(ActionFailed, match=r"Wrong.fail of Wrong/a raised KeyError: 'x'") as caught:
        read(Wrong, "fail")
    assert isinstance(caught.value.__cause__, KeyError)


def test_states_are_shown_as_json() -> None:
    """Also mappings and types that JSON does not know."""

    @dataclass(frozen=True)
    class Rich:
        counts: Mapping[str, int]
        at: datetime

    rich = Rich({"x": 1}, datetime(2024, 1, 1, tzinfo=UTC))
    behavior = ClassBehavior(Counter)
    assert behavior.state_json(Total(5)) == b'{"total":5}'
    assert behavior.state_json(rich) == b'{"counts":{"x":1},"at":"2024-01-01T00:00:00Z"}'


def test_keyword_only_parameters_reach_the_action() -> None:
    """Arguments are kept in order."""

    class Shop(Notes):
        @action
        def buy(self, item: str, *, many: int = 1) -> str:
            return f"{many} {item}"

    behavior = ClassBehavior(Shop)
    arguments = behavior.decode_arguments("buy", b'{"many": 3, "item": "pen"}')
    decision = behavior.run("buy", "a", Note(), 1, TIME_US, command(behavior, "buy", *arguments))
    assert isinstance(decision, Decision)
    assert decision.reply == "3 pen"
