"""`initial`, `on_create` and `on_activate`."""

import asyncio
from typing import cast

import pytest

from eventstore.errors import UnreadableBody
from eventstore.records import Outcome
from examples.counter import Added, Counter, Total
from spawn.sdk.actions import action
from spawn.sdk.actor import Actor
from spawn.sdk.behavior import ClassBehavior
from tests.unit.sdk.notes import Note, Notes
from tests.unit.sdk.one_run import run


class Created(Counter):
    """Begins with an event of its own."""

    def on_create(self) -> None:
        """Emit what belongs to the beginning."""
        self.emit(Added(100))

    @action
    def look(self) -> int:
        """Change nothing."""
        return self.state.total


def test_on_create_belongs_to_the_first_applied_commit() -> None:
    """Its events stand before the action's in the same commit; later it is not called again."""
    first = run(Created, "add", 5, revision=0)
    assert first.state == Total(105)
    assert [event.data for event in first.events] == [b"\xc8\x01", b"\x0a"]
    assert len(run(Created, "add", 5, revision=1).events) == 1


def test_on_create_is_dropped_when_the_action_changes_nothing_or_refuses() -> None:
    """It happens with the first change or not at all; the action sees it nonetheless."""
    unchanged = run(Created, "look", revision=0)
    assert (unchanged.outcome, unchanged.state) == (Outcome.UNCHANGED, Total(0))
    assert (unchanged.reply, [*unchanged.events]) == (100, [])
    refused = run(Created, "add", -1, revision=0)
    assert (refused.outcome, refused.state) == (Outcome.REJECTED, Total(0))
    assert [*refused.events] == []


def test_on_create_of_state_style_is_dropped_alike() -> None:
    """A state that only it has set counts for nothing."""

    class Begun(Notes):
        def on_create(self) -> None:
            self.state = Note("begun")

    unchanged = run(Begun, "look", revision=0)
    assert (unchanged.outcome, unchanged.state, unchanged.reply) == (
        Outcome.UNCHANGED, Note(), "begun"
    )  # fmt: skip
    assert unchanged.replaced is None
    assert run(Begun, "write", "x", revision=0).state == Note("x")


def test_initial_may_be_made_from_the_id() -> None:
    """An error in it, or a wrong state, parks the actor."""

    class Named(Actor[Note]):
        @classmethod
        def initial(cls, actor_id: str) -> Note:
            return Note(actor_id) if actor_id != "bad" else cast("Note", 5)

    behavior = ClassBehavior(Named)
    assert behavior.initial("a") == Note("a")
    with pytest.raises(UnreadableBody, match="initial of Named/bad raised NotStorable"):
        behavior.initial("bad")


async def test_on_activate_is_called_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Plain or async; its errors are logged."""
    seen: list[str] = []

    class Plain(Counter):
        def on_activate(self) -> None:
            seen.append(f"{self.id} {self.state.total} {self.revision}")

    class Later(Counter):
        async def on_activate(self) -> None:
            await asyncio.sleep(0)
            self.emit(Added(5))

    for cls in (Plain, Later):
        behavior = ClassBehavior(cls)
        assert behavior.has_on_activate
        await behavior.on_activate("a", Total(3), 2)
    assert seen == ["a 3 2"]
    assert "on_activate of Later/a raised TypeError: Added can't be emitted" in caplog.text
