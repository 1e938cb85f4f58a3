"""Protobuf messages as states, events, parameters and replies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from eventstore.errors import UnreadableBody, WrittenByNewerCode
from eventstore.records import Outcome
from schemas.compat import differences
from spawn.core.behavior import SchemaUse
from spawn.core.decision import EncodedState
from spawn.errors import BodyMismatch, SchemaIncompatible
from spawn.sdk.actions import action
from spawn.sdk.actor import Actor
from spawn.sdk.avro_schema import avro_schema
from spawn.sdk.behavior import ClassBehavior
from spawn.sdk.messages import message_schema
from spawn.sdk.reading import reader_of
from spawn.sdk.values import describe_record
from spawn.sdk.writing import writer_of
from tests.unit.sdk.one_run import command, read, run
from tests.unit.sdk.protos import messages

_LINE = "1 sku string, 2 count int64, 3 color Color"
_MADE = messages(Line=_LINE, Basket="1 lines Line*, 2 owner string", Put="1 line Line")
Line: Any = _MADE["Line"]
Basket: Any = _MADE["Basket"]
Put: Any = _MADE["Put"]
HELD: list[Any] = []


@dataclass(frozen=True)
class Noted:
    """An event that is a dataclass with a message in it."""

    line: Line
    by: str = ""


class Shop(Actor[Basket, Put | Noted]):
    """Event-sourced."""

    @action
    def put(self, line: Line, by: str = "") -> Basket:
        """Put a line into the basket."""
        self.emit(Noted(line, by) if by else Put(line=line))
        HELD.append(self.state)
        return self.state

    @action
    def cheat(self) -> None:
        """Change the state in place."""
        self.state.owner = "me"

    @staticmethod
    def evolve(state: Basket, event: Put | Noted) -> Basket:
        """Fold, in place: what it is given is its own."""
        state.lines.append(event.line)
        return state


class Box(Actor[Basket]):
    """In state style."""

    @action
    def own(self, owner: str) -> None:
        """Set a new state."""
        changed = Basket()
        changed.CopyFrom(self.state)
        changed.owner = owner
        self.state = changed
        HELD.append(changed)


@pytest.mark.parametrize(("cls", "name"), [(Shop, "put"), (Box, "own")])
def test_messages_are_stored_and_nobody_can_change_a_committed_one(cls: Any, name: str) -> None:
    """User code works on copies; what is kept is what a replay would give."""
    behavior = ClassBehavior(cls)
    before = behavior.initial("a")
    given = [Line(sku="pen", count=2), ""] if cls is Shop else ["ann"]
    decision: Any = behavior.run(name, "a", before, 1, 0, command(behavior, name, *given))
    assert (decision.outcome, before) == (Outcome.APPLIED, Basket())
    HELD[-1].owner = "thief"
    assert decision.state.owner == ("" if cls is Shop else "ann")
    assert behavior.decode_state(behavior.encode_state(decision.state)) == decision.state
    if cls is Shop:
        assert behavior.evolve("a", before, decision.events) == decision.state
        assert before == Basket()


def test_a_change_in_place_is_found() -> None:
    """The action fails."""
    decision = run(Shop, "cheat")
    assert decision.refusal is not None
    assert "self.state was changed in place" in decision.refusal.message
    assert decision.state == Basket()


def test_a_message_may_stand_in_a_dataclass() -> None:
    """As a field of an event."""
    decision = run(Shop, "put", Line(sku="pen"), "ann")
    assert [event.name for event in decision.events] == ["Noted"]
    assert decision.state.lines[0].sku == "pen"


def test_json_is_the_canonical_mapping() -> None:
    """In parameters, replies and the state: int64 is a string, enums have names."""
    behavior = ClassBehavior(Shop)
    line, by = behavior.decode_arguments(
        "put", b'{"line":{"sku":"pen","count":"2","color":"BLUE"}}'
    )
    assert (line, by) == (Line(sku="pen", count=2, color=1), "")
    decision = run(Shop, "put", line, "")
    assert decision.reply_json == b'{"lines": [{"sku": "pen", "count": "2", "color": "BLUE"}]}'
    assert decision.reply == decision.state
    assert behavior.state_json(decision.state) == decision.reply_json
    assert behavior.decode_reply("put", decision.reply_json) == decision.state
    with pytest.raises(BodyMismatch, match=r"`line`: .*sku"):
        behavior.decode_arguments("put", b'{"line":{"sku":5}}')
    with pytest.raises(BodyMismatch, match=r"`line`: .*no field named"):
        behavior.decode_arguments("put", b'{"line":{"price":5}}')
    assert read(Shop, "get_state") == Basket()


def test_another_message_is_not_written() -> None:
    """And bytes that are none are not read."""
    write = writer_of(describe_record(Put, "event"))
    with pytest.raises(TypeError, match="must be a Put"):
        write(Line())
    behavior = ClassBehavior(Box)
    fingerprint, _ = behavior.encode_state(Basket())
    with pytest.raises(UnreadableBody):
        behavior.decode_state(EncodedState(fingerprint, b"\x04\xff\xff"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (_LINE, []),
        ("1 sku string, 2 count int64, 3 color Color, 4 more string", []),
        ("1 sku string", []),
        ("1 sku bytes, 2 count int64", []),
        ("1 sku int64, 2 count int64", ["field `lines.sku` was string, is int64"]),
        ("1 sku string, 2 count int32", ["field `lines.count` was int64, is int32"]),
        ("1 sku string*", ["field `lines.sku` was string, is repeated string"]),
        ("1 sku string, 5 count int64", ["field `lines.count` was number 2, is number 5"]),
        ("1 sku string, 2 price int64", ["field `lines.count` had number 2, which is `price` now"]),
    ],
)
def test_what_changed_in_a_descriptor_is_named(line: str, expected: list[str]) -> None:
    """By number and type, as the wire goes, and by name, as people do."""
    later = messages(Line=line, Basket="1 lines Line*, 2 owner string")["Basket"]
    before, after = message_schema(Basket), message_schema(later)
    assert [str(each) for each in differences(before, after)] == expected
    if not expected:
        state = Basket(owner="ann")
        state.lines.add(sku="pen")
        shape = describe_record(later, "state")
        data = writer_of(describe_record(Basket, "state"))(state)
        assert reader_of(before, shape, "it")(data).lines[0].sku in ("pen", b"pen")


def test_lost_names_of_an_enum_are_named() -> None:
    """Gone or standing for something else."""
    before = message_schema(Line)
    gone = message_schema(messages(Line=_LINE, Color="RED")["Line"])
    other = message_schema(messages(Line=_LINE, Color="RED GREEN")["Line"])
    assert [str(d) for d in differences(before, gone)] == [
        "field `color` lost BLUE of enum shop.Color"
    ]
    assert [str(d) for d in differences(before, other)] == [
        "field `color` BLUE of enum shop.Color is GREEN now"
    ]


def test_a_message_is_no_dataclass_of_the_same_name() -> None:
    """Neither reads what the other wrote."""
    record = {"type": "record", "name": "Line", "fields": []}
    assert [str(d) for d in differences(record, message_schema(Line))] == [
        "was a record, is a protobuf message"
    ]
    assert [str(d) for d in differences(message_schema(Line), record)] == [
        "was a protobuf message, is a record"
    ]


def test_a_start_that_can_not_read_its_history_is_refused() -> None:
    """A changed descriptor has another fingerprint, so that the schema topic learns of it."""
    later = messages(Line=_LINE, Put="1 line Line")["Put"]
    changed = messages(Line="1 sku string, 2 count string", Put="1 line Line")["Put"]
    assert message_schema(later) == message_schema(Put)
    assert message_schema(changed) != message_schema(Put)
    ours = {use.name: use for use in ClassBehavior(Shop).schemas}
    assert "\n" not in ours["Put"].schema

    class Earlier(Actor[Basket, changed]):  # type: ignore[valid-type]
        @staticmethod
        def evolve(state: Any, event: Any) -> Any:
            return state

    theirs = {use.name: use for use in ClassBehavior(Earlier).schemas}
    assert theirs["Put"].fingerprint != ours["Put"].fingerprint
    with pytest.raises(
        SchemaIncompatible, match=r"event Put, field `line.count` was string, is int"
    ):
        ClassBehavior(Shop).learn([theirs["Put"]._replace(type="Shop")])
    assert isinstance(ours["Put"], SchemaUse)


def test_a_newer_message_is_read_while_nothing_in_it_is_unknown() -> None:
    """At any depth; a field at its default takes no bytes, so nothing of it is there."""
    line, basket = "1 sku string, 2 count int64, 3 color Color, 4 gift string", "1 lines Line*"
    later: Any = messages(Line=line, Basket=f"{basket}, 2 owner string, 3 first Line")
    shape = describe_record(Basket, "state")
    newer = describe_record(later["Basket"], "state")
    schema, write = avro_schema(newer), writer_of(newer)
    read_newer = reader_of(schema, shape, "it", newer=True)
    plain = later["Basket"](owner="ann")
    plain.lines.add(sku="pen", gift="")
    assert read_newer(write(plain)).lines[0].sku == "pen"
    changes: list[tuple[int, Any]] = [
        (4, lambda basket: basket.lines.add(gift="y")),
        (3, lambda basket: basket.first.SetInParent()),
    ]
    for number, change in changes:
        changed = later["Basket"]()
        changed.CopyFrom(plain)
        change(changed)
        with pytest.raises(WrittenByNewerCode, match=f"does not know: {number}"):
            read_newer(write(changed))
        assert reader_of(schema, shape, "it")(write(changed)).owner == "ann"


def test_a_message_that_contains_itself_is_described_once() -> None:
    """As its own bytes are."""
    tree = messages(Tree="1 children Tree*, 2 n int64")["Tree"]
    shape = describe_record(tree, "state")
    assert differences(avro_schema(shape), avro_schema(shape)) == []
    value = tree(children=[tree(n=1)])
    assert reader_of(avro_schema(shape), shape, "it")(writer_of(shape)(value)) == value
