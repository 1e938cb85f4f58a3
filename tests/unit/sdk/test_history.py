"""An actor type's schemas: learning what the log was written with, folding it, refusing it."""

from dataclasses import dataclass, make_dataclass, replace
from types import new_class
from typing import Any

import pytest

from eventstore.errors import UnreadableBody
from examples.counter import Added, Counter, Total
from spawn.core.behavior import SchemaUse
from spawn.core.decision import EncodedState, EventData
from spawn.errors import SchemaIncompatible
from spawn.sdk.actor import Actor
from spawn.sdk.behavior import ClassBehavior
from tests.unit.sdk.one_run import run


def classes(**types: Any) -> Any:
    """Return a Counter with an event Added and a state Total of those field types."""
    event = make_dataclass("Added", [("n", types["event"])], frozen=True)
    default = types["state"]()
    state = make_dataclass("Total", [("total", types["state"], default)], frozen=True)
    base: Any = Actor

    def evolve(before: Any, _event: Any) -> Any:
        return before

    def fill(body: dict[str, Any]) -> None:
        body["evolve"] = staticmethod(evolve)

    return new_class("Counter", (base[state, event],), exec_body=fill)


def test_events_are_folded_as_they_were_emitted() -> None:
    """What `run` encodes, `evolve` folds to the same state."""
    behavior = ClassBehavior(Counter)
    decision = run(Counter, "add", 5, state=Total(2))
    assert behavior.evolve("a", Total(2), decision.events) == decision.state == Total(7)


def test_a_state_is_stored_and_read_back() -> None:
    """With the fingerprint that `schemas` names."""
    behavior = ClassBehavior(Counter)
    encoded = behavior.encode_state(Total(5))
    assert behavior.decode_state(encoded) == Total(5)
    assert encoded.fingerprint in {use.fingerprint for use in behavior.schemas}


def test_the_schemas_are_those_of_events_and_state() -> None:
    """Complete, under the type's name."""
    uses = ClassBehavior(Counter).schemas
    assert [(use.type, use.role, use.name) for use in uses] == [
        ("Counter", "event", "Added"),
        ("Counter", "state", "Total"),
    ]
    assert uses[0].schema == (
        '{"type":"record","name":"Added","doc":"Event: somebody added a number.",'
        '"fields":[{"name":"n","type":"long"}]}'
    )


def test_an_event_of_an_older_class_is_read_after_learning_its_schema() -> None:
    """Before that its fingerprint is unknown."""
    old, new = ClassBehavior(classes(event=int, state=int)), classes(event=float, state=int)
    data = EventData("Added", old.schemas[0].fingerprint, b"\x0a")
    behavior = ClassBehavior(new)
    with pytest.raises(UnreadableBody, match=r"event Added of Counter was written with schema \w+"):
        behavior.evolve("a", behavior.initial("a"), [data])
    behavior.learn(old.schemas)
    assert behavior.evolve("a", behavior.initial("a"), [data]) == behavior.initial("a")


def test_a_history_that_can_not_be_read_refuses_the_start() -> None:
    """With event, field, types, place and mend."""
    old, new = ClassBehavior(classes(event=int, state=int)), classes(event=str, state=int)
    with pytest.raises(SchemaIncompatible) as caught:
        ClassBehavior(new).learn(old.schemas)
    assert str(caught.value) == (
        "Counter can't read its history: event Added, field `n` was int, is str"
    )
    assert caught.value.hint.startswith("keep the old field as it was and add another one")


def test_a_removed_event_class_refuses_the_start() -> None:
    """Its records are in the log still."""
    gone = SchemaUse("Counter", "event", "Reset", b"12345678", '{"type":"record","name":"Reset",'
                     '"fields":[]}')  # fmt: skip
    with pytest.raises(SchemaIncompatible, match="event Reset was removed or renamed") as caught:
        ClassBehavior(Counter).learn([gone])
    assert caught.value.hint.startswith("keep the class")
    assert caught.value.at.startswith("counter.py:")


def test_a_new_meaning_under_the_same_fingerprint_is_found() -> None:
    """An int that became a time has the same fingerprint: the schema's text tells."""
    use = ClassBehavior(Counter).schemas[0]
    time = use.schema.replace('"long"', '{"type":"long","logicalType":"timestamp-micros"}')
    with pytest.raises(SchemaIncompatible, match="field `n` was datetime, is int"):
        ClassBehavior(Counter).learn([use._replace(schema=time)])


def test_an_old_snapshot_of_an_event_sourced_type_need_not_be_readable() -> None:
    """Its state is refolded from the events."""
    old, new = ClassBehavior(classes(event=int, state=int)), classes(event=int, state=str)
    behavior = ClassBehavior(new)
    behavior.learn(old.schemas)
    with pytest.raises(UnreadableBody, match="state of Counter was written with schema"):
        behavior.decode_state(EncodedState(old.schemas[1].fingerprint, b"\x0a"))


def test_an_old_state_of_a_state_style_type_must_be_readable() -> None:
    """There the states are the history."""

    @dataclass(frozen=True)
    class Note:
        text: int = 0

    class Notes(Actor[Note]):
        pass

    known = ClassBehavior(Notes).schemas[0]
    with pytest.raises(SchemaIncompatible, match="state Note, field `text` was str, is int"):
        ClassBehavior(Notes).learn([known._replace(schema=known.schema.replace("long", "string"))])


def test_an_evolve_that_raises_makes_the_history_unreadable() -> None:
    """Actor, event and cause are named, and the cause is chained."""

    class Broken(Counter):
        @staticmethod
        def evolve(state: Total, event: Added) -> Total:
            return replace(state, total=1 // (event.n - 5))

    behavior = ClassBehavior(Broken)
    events = run(Counter, "add", 5).events
    with pytest.raises(UnreadableBody, match=r"evolve of Broken/a raised ZeroDiv.*Added\(n=5\)"):
        behavior.evolve("a", Total(), events)


def test_an_evolve_without_a_return_is_told_so() -> None:
    """The commonest mistake in it."""

    class Forgetful(Counter):
        @staticmethod
        def evolve(state: Total, event: Added) -> Total:
            return None  # type: ignore[return-value]

    events = run(Counter, "add", 5).events
    with pytest.raises(UnreadableBody, match="evolve of Forgetful/a returned NoneType"):
        ClassBehavior(Forgetful).evolve("a", Total(), events)


def test_a_state_may_be_one_of_several_classes() -> None:
    """E.g. an order that is open or paid."""

    @dataclass(frozen=True)
    class Open:
        items: tuple[str, ...] = ()

    @dataclass(frozen=True)
    class Paid:
        amount: int

    class Order(Actor[Open | Paid]):
        @classmethod
        def initial(cls, actor_id: str) -> Open | Paid:
            return Open((actor_id,))

    behavior = ClassBehavior(Order)
    assert behavior.initial("a") == Open(("a",))
    for state in (Open(("x",)), Paid(5)):
        assert behavior.decode_state(behavior.encode_state(state)) == state
