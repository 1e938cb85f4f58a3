"""What can be done wrong within an action, and what is told then."""

from typing import Any, cast

import pytest

from eventstore.records import Outcome
from examples.counter import Added, Counter, Total
from spawn.errors import ReplyGone
from spawn.sdk.actions import action
from spawn.sdk.actor import Actor
from spawn.sdk.behavior import ClassBehavior
from tests.unit.sdk.notes import Note, Notes
from tests.unit.sdk.one_run import read, run


def misuse(cls: type[Actor[Any, Any]], name: str = "do") -> str:
    """Return what an action that misuses `self` is told."""
    decision = run(cls, name)
    assert decision.outcome == Outcome.FAILED
    assert decision.refusal is not None
    return decision.refusal.message


def test_calling_an_action_on_self_raises_at_once() -> None:
    """The text says what to write."""

    class Deep(Notes):
        @action
        def do(self) -> None:
            self.look()  # type: ignore[unused-coroutine]

    assert "self.look() would send Deep a command that waits for this one: put what" in misuse(Deep)


def test_setting_another_attribute_raises_at_once() -> None:
    """It would be lost; the state is where it belongs."""

    class Keeper(Notes):
        @action
        def do(self) -> None:
            self.count = 5

    assert "make `count` a field of Keeper's state" in misuse(Keeper)


def test_each_style_refuses_the_other_ones_way() -> None:
    """With what to write instead; so does emitting an undeclared event."""

    class Setter(Counter):
        @action
        def do(self) -> None:
            self.state = Total(5)

    class Emitter(Notes):
        @action
        def do(self) -> None:
            self.emit(Added(5))  # type: ignore[arg-type]

    class Other(Counter):
        @action
        def do(self) -> None:
            self.emit(Note())  # type: ignore[arg-type]

    assert "Setter is event-sourced: write self.emit(...)" in misuse(Setter)
    assert "Emitter has no events: set self.state, or write Actor[SomeState" in misuse(Emitter)
    assert "Other can't emit Note; its events are Added" in misuse(Other)


def test_a_reply_is_no_part_of_the_actor() -> None:
    """The caller gets a copy of whatever could be changed."""
    shared: list[int] = [1]

    class Sharing(Notes):
        @action
        def do(self) -> list[int]:
            return shared

        @action.read
        def look(self) -> list[int]:  # type: ignore[override]
            return shared

    for reply in (run(Sharing, "do").reply, read(Sharing, "look")):
        assert reply == shared
        assert reply is not shared


def test_a_reply_that_its_annotation_does_not_allow_fails_the_action() -> None:
    """Callers rely on it; NaN has no JSON."""

    class Liar(Notes):
        @action
        def number(self) -> int:
            return cast("int", "five")

        @action
        def mean(self) -> float:
            return float("nan")

        @action
        def nothing(self) -> None:
            return cast("None", 5)

    assert 'Liar.number of Liar/a: `the reply` must be an integer, got "five"' in misuse(
        Liar, "number"
    )
    assert "`the reply` must be float, got nan" in misuse(Liar, "mean")
    assert "`the reply` must be null, got 5" in misuse(Liar, "nothing")


def test_a_recorded_reply_is_decoded_by_the_annotation() -> None:
    """Or said to be gone when the code no longer knows it."""
    behavior = ClassBehavior(Counter)
    assert behavior.encode_reply("add", 7) == b"7"
    assert behavior.decode_reply("add", b"7") == 7
    with pytest.raises(ReplyGone, match=r"Counter.add replied \"x\" when it was executed"):
        behavior.decode_reply("add", b'"x"')
    with pytest.raises(ReplyGone, match=r"Counter.gone was executed, but the action no longer"):
        behavior.decode_reply("gone", b"7")
