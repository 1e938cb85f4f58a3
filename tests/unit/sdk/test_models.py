"""Pydantic models as states, events, parameters and replies."""

from __future__ import annotations

import enum
import subprocess
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import fastavro
import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PositiveInt, field_validator

from eventstore.errors import UnreadableBody
from eventstore.records import Outcome
from spawn.core.behavior import SchemaUse
from spawn.core.decision import EncodedState
from spawn.errors import BodyMismatch, InvalidTarget, SchemaIncompatible
from spawn.sdk.actions import action
from spawn.sdk.actor import Actor
from spawn.sdk.avro_schema import avro_schema
from spawn.sdk.behavior import ClassBehavior
from spawn.sdk.reading import reader_of
from spawn.sdk.shapes import is_mutable
from spawn.sdk.values import describe_record
from spawn.sdk.writing import writer_of
from tests.unit.sdk.one_run import command, read, run


class Frozen(BaseModel):
    """Base of the models here."""

    model_config = ConfigDict(frozen=True)


class Color(enum.Enum):
    """A choice."""

    RED = "red"


class Line(Frozen):
    """One line of an order."""

    sku: str = Field(min_length=1)
    count: PositiveInt = 1


class Everything(Frozen):
    """A field of each kind."""

    i: int = 5
    s: str = "s"
    b: bool = True
    f: float = 1.5
    raw: bytes = b"\xff"
    at: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    day: date = date(2024, 1, 1)
    price: Decimal = Decimal("1.10")
    key: uuid.UUID = uuid.UUID(int=5)
    color: Color = Color.RED
    limited: Annotated[int, Field(ge=0)] = 3
    kind: Literal["a", "b"] = "a"
    maybe: Line | None = None
    either: int | str = 5
    lines: list[Line] = []
    tags: set[str] = {"x"}
    counts: dict[str, int] = {"a": 1}
    by_day: dict[date, list[int]] = {}
    fixed: tuple[int, str] = (1, "x")
    many: tuple[Line, ...] = (Line(sku="pen"),)
    inner: Mapping[str, Line] = {}


def round_trip(value: BaseModel) -> BaseModel:
    """Write a value and read it again."""
    shape = describe_record(type(value), "state")
    data = writer_of(shape)(value)
    fastavro.parse_schema(avro_schema(shape))
    read: BaseModel = reader_of(avro_schema(shape), shape, "it")(data)
    return read


def test_every_kind_of_field_is_stored_and_read() -> None:
    """With a real Avro schema, and defaults where they are constant."""
    full = Everything(
        maybe=Line(sku="ink", count=2), either="x", lines=[Line(sku="a")], by_day={date.max: [1]}
    )
    assert round_trip(full) == full
    assert round_trip(Everything()) == Everything()
    fields = {
        field["name"]: field for field in avro_schema(describe_record(Everything, "x"))["fields"]
    }
    assert fields["counts"] == {
        "name": "counts", "type": {"type": "map", "values": "long"}, "default": {"a": 1}
    }  # fmt: skip
    assert fields["at"]["type"] == {"type": "long", "logicalType": "timestamp-micros"}
    assert fields["maybe"]["type"][0] == "null"


def test_only_models_with_lists_sets_and_dicts_are_copied() -> None:
    """The others are as immutable as dataclasses."""
    assert is_mutable(describe_record(Everything, "state"))
    assert not is_mutable(describe_record(Line, "state"))


class Tree(Frozen):
    """Contains itself."""

    children: tuple[Tree, ...] = ()
    later: Later | None = None


def test_a_model_may_contain_itself_and_name_what_comes_later() -> None:
    """The names are looked up when they are needed."""
    tree = Tree(children=(Tree(later=Later(n=5)), Tree()))
    assert round_trip(tree) == tree

    class Open(Frozen):
        """Names what nobody defines."""

        part: Nowhere | None = None  # type: ignore[name-defined]  # noqa: F821

    class Early(Actor[Open]):
        pass

    with pytest.raises(InvalidTarget, match="Open: its annotations name something that module"):
        ClassBehavior(Early)


class Later(Frozen):
    """Comes later."""

    n: int


class Loose(BaseModel):
    """Not frozen."""


class Extra(Frozen):
    """Takes anything."""

    model_config = ConfigDict(extra="allow")


class Private(Frozen):
    """Keeps something beside its fields."""

    _kept: int = 5


class Values(Frozen):
    """Keeps values in place of enums."""

    model_config = ConfigDict(use_enum_values=True)


class Chosen(Frozen):
    """Has an alias that is several."""

    n: int = Field(1, validation_alias=AliasChoices("a", "b"))


class Anything(Frozen):
    """Has a field of no type."""

    data: Any = None


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (Loose, "Loose can be changed in place: write model_config = ConfigDict(frozen=True)"),
        (Extra, "Extra takes fields that are not declared"),
        (Private, "Private has a private attribute `_kept`, which would be lost"),
        (Values, "Values keeps enums' values in place of the enums"),
        (Chosen, "`Chosen.n` has an alias that is no single name"),
        (Anything, "`Anything.data` is Any, which can't be stored"),
    ],
)
def test_what_would_be_lost_is_refused(cls: Any, text: str) -> None:
    """At class definition, with the field named."""
    with pytest.raises(InvalidTarget) as caught:
        describe_record(cls, "state")
    assert text in str(caught.value)


class Aliased(Frozen):
    """Named otherwise in JSON."""

    count: int = Field(0, alias="theCount")


def test_aliases_are_for_json() -> None:
    """In the log a field has its own name."""
    value = Aliased(theCount=5)
    assert round_trip(value) == value
    assert avro_schema(describe_record(Aliased, "x"))["fields"][0]["name"] == "count"


class Basket(Frozen):
    """A state with a list in it."""

    lines: list[Line] = []

    @field_validator("lines")
    @classmethod
    def _few(cls, lines: list[Line]) -> list[Line]:
        if len(lines) > 3:
            raise ValueError("too many lines")
        return lines


class Put(Frozen):
    """An event."""

    line: Line


HELD: list[list[Line]] = []


class Shop(Actor[Basket, Put]):
    """Event-sourced."""

    @action
    def put(self, line: Line, times: int = 1) -> Basket:
        """Put a line into the basket."""
        for _ in range(times):
            self.emit(Put(line=line))
        HELD.append(self.state.lines)
        return self.state

    @action
    def cheat(self, *, emit: bool = False) -> None:
        """Change the state in place."""
        self.state.lines.append(Line(sku="stolen"))
        if emit:
            self.emit(Put(line=Line(sku="paid")))

    @action.read
    def spoil(self) -> int:
        """Change what is read in place."""
        self.state.lines.clear()
        return len(self.state.lines)

    @staticmethod
    def evolve(state: Basket, event: Put) -> Basket:
        """Fold, in place: what it is given is its own."""
        state.lines.append(event.line)
        return state


class Box(Actor[Basket]):
    """In state style."""

    @action
    def put(self, line: Line) -> None:
        """Set a new state that shares parts with the old one."""
        self.state = self.state.model_copy(update={"lines": [*self.state.lines, line]})
        HELD.append(self.state.lines)

    @action
    def cheat(self) -> None:
        """Change the state in place."""
        self.state.lines.append(Line(sku="stolen"))


@pytest.mark.parametrize("cls", [Shop, Box])
def test_nobody_can_change_a_committed_state(cls: type[Actor[Basket, Any]]) -> None:
    """What user code was given or has made is never the actor's own."""
    behavior = ClassBehavior(cls)
    before = behavior.initial("a")
    sent = command(behavior, "put", Line(sku="pen"), *([1] if cls is Shop else []))
    decision: Any = behavior.run("put", "a", before, 1, 0, sent)
    assert (decision.outcome, before) == (Outcome.APPLIED, Basket())
    HELD[-1].clear()
    assert decision.state == Basket(lines=[Line(sku="pen")])
    assert behavior.initial("a") is not behavior.initial("a")


@pytest.mark.parametrize(
    ("cls", "more", "text"),
    [
        (Shop, {}, "self.state was changed in place, which no replay would see: emit an event"),
        (Shop, {"emit": True}, "self.state was changed in place"),
        (Box, {}, "set self.state to a changed copy"),
    ],
)
def test_a_change_in_place_is_found(cls: Any, more: dict[str, Any], text: str) -> None:
    """The action fails; the state is as it was."""
    behavior = ClassBehavior(cls)
    before = behavior.initial("a")
    sent = command(behavior, "cheat", *([more.get("emit", False)] if cls is Shop else []))
    decision: Any = behavior.run("cheat", "a", before, 1, 0, sent)
    assert decision.outcome is Outcome.FAILED
    assert text in decision.refusal.message
    assert before == Basket()


def test_a_read_may_spoil_its_own_copy_only() -> None:
    """So may whoever gets the state."""
    behavior = ClassBehavior(Shop)
    state = Basket(lines=[Line(sku="pen")])
    assert behavior.read("spoil", "a", state, 1, 0, command(behavior, "spoil")) == 0
    told: Any = behavior.read("get_state", "a", state, 1, 0, command(behavior, "get_state"))
    assert (told, told is state, state) == (state, False, Basket(lines=[Line(sku="pen")]))


def test_a_replay_folds_the_same_state_and_leaves_the_one_before() -> None:
    """Though `evolve` changes in place."""
    decision = run(Shop, "put", Line(sku="pen"), 2)
    behavior = ClassBehavior(Shop)
    first = behavior.evolve("a", Basket(), decision.events[:1])
    assert behavior.evolve("a", first, decision.events[1:]) == decision.state
    assert len(first.lines) == 1
    assert behavior.decode_state(behavior.encode_state(decision.state)) == decision.state


def test_what_the_model_refuses_is_not_read() -> None:
    """Its validation runs on every read."""
    behavior = ClassBehavior(Shop)
    many = Basket.model_construct(lines=[Line(sku="x")] * 4)
    encoded = behavior.encode_state(many)
    with pytest.raises(UnreadableBody, match="too many lines"):
        behavior.decode_state(EncodedState(*encoded))
    wrong = run(Box, "put", Line.model_construct(sku=5, count=1))
    assert wrong.refusal is not None
    assert "`Basket.lines" in wrong.refusal.message


def test_parameters_and_replies_are_json_of_the_model() -> None:
    """Validated by it; a mismatch names the field."""
    behavior = ClassBehavior(Shop)
    arguments = behavior.decode_arguments("put", b'{"line":{"sku":"pen","count":"2"}}')
    assert arguments == (Line(sku="pen", count=2), 1)
    with pytest.raises(BodyMismatch) as caught:
        behavior.decode_arguments("put", b'{"line":{"sku":"","count":0}}')
    assert "`line`: `sku`: string should have at least 1 character; `count`: " in str(caught.value)
    decision = run(Shop, "put", Line(sku="pen"), 1)
    assert decision.reply_json == b'{"lines":[{"sku":"pen","count":1}]}'
    assert decision.reply == Basket(lines=[Line(sku="pen")])
    assert behavior.state_json(Basket()) == b'{"lines":[]}'
    values, payload = behavior.plans["put"].parameters.bind((Line(sku="a"),), {"times": 2})
    assert (values, payload) == ((Line(sku="a"), 2), b'{"line":{"sku":"a","count":1},"times":2}')
    with pytest.raises(BodyMismatch, match=r"`line.count` must be an integer of at most 64 bits"):
        behavior.decode_arguments("put", b'{"line":{"sku":"a","count":9999999999999999999}}')
    assert read(Shop, "get_state") == Basket()


def test_a_start_that_can_not_read_its_history_is_refused() -> None:
    """Each difference names its field, as for dataclasses."""

    class Older(Frozen):
        line: str
        gone: int = 0

    class Earlier(Actor[Older]):
        @classmethod
        def initial(cls, actor_id: str, /) -> Older:
            return Older(line="x")

    (use,) = ClassBehavior(Earlier).schemas
    old = use.schema.replace('"Older"', '"Put"')
    with pytest.raises(SchemaIncompatible, match="event Put, field `line` was str, is Line"):
        ClassBehavior(Shop).learn([SchemaUse("Shop", "event", "Put", use.fingerprint, old)])


def test_neither_library_is_loaded_for_those_who_do_not_use_it() -> None:
    """Not by `import spawn`, nor by a type of dataclasses."""
    code = (
        "import sys; from examples.counter import Counter; "
        "from spawn.sdk.behavior import ClassBehavior; ClassBehavior(Counter); "
        "print([m for m in ('pydantic', 'google.protobuf', 'asyncpg', 'aiokafka') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30)
    assert done.stdout.decode().strip() == "[]"
