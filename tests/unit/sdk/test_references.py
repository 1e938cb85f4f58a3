"""References: a call becomes a command, and only that."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest
from msgspec.structs import astuple

from examples.counter import Counter
from spawn.core.behavior import Behavior
from spawn.core.commands import Command
from spawn.core.keys import digest_key
from spawn.errors import BodyMismatch, InvalidId, Unavailable, UnknownType
from spawn.sdk.actions import action
from spawn.sdk.actor import Actor
from spawn.sdk.settings import actor
from spawn.sdk.system import System

NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001 - that is what must be refused


class FakeDispatcher:
    """Keeps the last command."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def now(self) -> float:
        """Return a fixed time."""
        return 1_000.0

    def new_waiter(self) -> Any:
        """Return something to compare by identity."""
        return object()

    def submit(self, command: Command) -> None:
        """Keep the command."""
        self.commands.append(command)

    def refer(self, behavior: Behavior) -> bool:
        """There is no other node."""
        return False


class Color(enum.Enum):
    """A choice."""

    RED = "red"


@dataclass
class Item:
    """A parameter that can be changed."""

    name: str
    tags: list[str]


@dataclass(frozen=True)
class Empty:
    """A state."""


@actor
class Shop(Actor[Empty]):
    """Actions of all kinds of parameters."""

    @action
    def none(self) -> None:
        """Have none."""

    @action
    def put(self, item: Item, many: int = 1, *, color: Color = Color.RED) -> None:
        """Have several."""

    @action
    def at(self, at: datetime) -> None:
        """Have a time."""

    @action
    def weigh(self, kg: float) -> None:
        """Have a float."""

    @action
    def name(self, text: str | None) -> None:
        """Have a text."""

    @action.read
    def look(self) -> int:
        """Read."""
        return 1


@actor(named=True)
class Config(Actor[Empty]):
    """There is one."""

    @action
    def touch(self) -> None:
        """Do nothing."""


@pytest.fixture
def node() -> FakeDispatcher:
    """Return where commands go."""
    return FakeDispatcher()


@pytest.fixture
def system(node: FakeDispatcher) -> System:
    """Return a system that runs."""
    system = System("shop", actors=[Counter, Shop, Config])
    system.bind(cast("Any", node))
    return system


def send(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call without a thought for types."""
    return call(*args, **kwargs)


def test_a_call_is_one_command(system: System, node: FakeDispatcher) -> None:
    """With the waiter that it returns, and JSON for the record."""
    waiter = send(system.actor(Counter, "é").add, 5)
    (command,) = node.commands
    expected = Command("Counter", "é".encode(), "add", b"5", (5,), 1_060.0, waiter)
    assert astuple(command) == astuple(expected)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "arguments", "payload"),
    [
        ("none", (), {}, (), b"null"),
        (
            "put",
            (Item("pen", ["x"]),),
            {},
            (Item("pen", ["x"]), 1, Color.RED),
            b'{"item":{"name":"pen","tags":["x"]},"many":1,"color":"red"}',
        ),
        (
            "put",
            (),
            {"color": Color.RED, "many": 2, "item": Item("pen", [])},
            (Item("pen", []), 2, Color.RED),
            b'{"item":{"name":"pen","tags":[]},"many":2,"color":"red"}',
        ),
        ("name", (None,), {}, (None,), b"null"),
        ("name", ("x",), {}, ("x",), b'"x"'),
        ("name", (), {"text": "x"}, ("x",), b'"x"'),
        ("weigh", (5,), {}, (5.0,), b"5"),
        (
            "at",
            (datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),),
            {},
            (datetime(2024, 1, 1, tzinfo=UTC),),
            b'"2024-01-01T02:00:00+02:00"',
        ),
    ],
)
def test_arguments_are_bound_as_python_does(
    system: System,
    node: FakeDispatcher,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    arguments: tuple[Any, ...],
    payload: bytes,
) -> None:
    """By place and name, with defaults; the same that the JSON would be decoded to."""
    send(getattr(system.actor(Shop, "a"), name), *args, **kwargs)
    (command,) = node.commands
    assert (command.arguments, command.payload) == (arguments, payload)


def test_the_actor_gets_a_copy_of_what_could_be_changed(
    system: System, node: FakeDispatcher
) -> None:
    """What the caller does to it later is not seen."""
    item = Item("pen", [])
    send(system.actor(Shop, "a").put, item)
    item.tags.append("changed")
    assert node.commands[0].arguments[0] == Item("pen", [])


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("put", Item("pen", cast("Any", [5])), "Shop.put: `item.tags[0]` must be a string, got 5"),
        ("weigh", "heavy", 'Shop.weigh: `kg` must be a number, got "heavy"'),
        ("weigh", float("nan"), "Shop.weigh: `kg` must be float, got nan"),
        ("weigh", True, "Shop.weigh: `kg` must be a number, got true"),
        ("at", NAIVE, "Shop.at: `at`: 2024-01-01T00:00:00 has no time zone"),
        ("name", "\ud800", "Shop.name: `text` has no JSON: 'utf-8' codec can't encode"),
        ("name", object(), "Shop.name: `text` has no JSON: object has no JSON"),
    ],
)
def test_a_wrong_type_raises_at_once(
    system: System, node: FakeDispatcher, name: str, value: object, text: str
) -> None:
    """At the call, naming the parameter; nothing is sent."""
    with pytest.raises(BodyMismatch) as caught:
        send(getattr(system.actor(Shop, "a"), name), value)
    assert str(caught.value).startswith(text)
    assert node.commands == []


def test_wrong_numbers_and_names_of_arguments_raise_as_in_python(system: System) -> None:
    """A TypeError that names the action."""
    counter = system.actor(Counter, "a")
    for args, kwargs, text in (
        ((), {}, "Counter.add: missing a required argument: 'n'"),
        ((1, 2), {}, "Counter.add: too many positional arguments"),
        ((1,), {"m": 2}, "Counter.add: got an unexpected keyword argument 'm'"),
    ):
        with pytest.raises(TypeError, match=text):
            send(counter.add, *args, **kwargs)


def test_options_go_into_the_command(system: System, node: FakeDispatcher) -> None:
    """Key with its digests, and the deadline; a read needs no key."""
    call = system.actor(Counter, "a").add.options(idempotency_key="order-7").options(timeout_s=2)
    send(call, 5)
    send(call, n=5)
    for command in node.commands:
        assert command.deadline == 1_002.0
        assert command.key_text == "order-7"
        assert command.key == digest_key("order-7", "add", b"5")
    send(system.actor(Counter, "a").total.options(idempotency_key="x"))
    assert node.commands[-1].key is None


@pytest.mark.parametrize(
    "options", [{"idempotency_key": ""}, {"timeout_s": 0}, {"timeout_s": float("nan")}]
)
def test_options_that_can_not_be_are_refused(system: System, options: dict[str, Any]) -> None:
    """At once."""
    with pytest.raises(ValueError, match=r"an idempotency key is a str, and not|seconds above 0"):
        system.actor(Counter, "a").add.options(**options)


def test_an_unknown_action_is_told_with_the_nearest(system: System) -> None:
    """And with what there is."""
    with pytest.raises(AttributeError) as caught:
        cast("Any", system.actor(Counter, "a")).ad(5)
    assert str(caught.value) == (
        "Counter has no action `ad`; did you mean `add`? Actions: add(n: int) -> int, "
        "total() -> int, get_state() -> Total"
    )


def test_a_reference_has_no_state(system: System) -> None:
    """It type-checks, so the text says what to write."""
    with pytest.raises(
        AttributeError, match=r"write await system.actor\(Counter, ...\).get_state\(\)"
    ):
        _ = system.actor(Counter, "a").state


def test_a_reference_is_a_light_value(system: System) -> None:
    """It can be compared, kept, shown; it says its id."""
    counter = system.actor(Counter, "a")
    assert counter == system.actor(Counter, "a")
    assert counter != system.actor(Counter, "b")
    assert hash(counter) == hash(system.actor(Counter, "a"))
    assert counter.id == "a"
    assert repr(counter) == "<reference to Counter/a>"
    assert repr(counter.add) == "<action add of Counter/a>"
    assert counter.add.__doc__ == Counter.add.__doc__


@pytest.mark.parametrize(
    ("actor_id", "text"),
    [
        ("", "Counter has many actors, so a reference names one"),
        (None, "Counter has many actors, so a reference names one"),
        ("é" * 128, "an id has at most 255 bytes of UTF-8, this one 256"),
        ("\ud800", "is no id: an id is a str of Unicode text"),
        (5, "5 is no id"),
    ],
)
def test_an_id_that_can_not_be_is_refused(system: System, actor_id: Any, text: str) -> None:
    """Where the reference is made."""
    with pytest.raises(InvalidId, match=text):
        system.actor(Counter, actor_id)


def test_a_named_type_has_one_actor(system: System, node: FakeDispatcher) -> None:
    """It needs no id and takes no other."""
    send(system.actor(Config).touch)
    send(system.actor(Config, "Config").touch)
    assert [command.id for command in node.commands] == [b"Config", b"Config"]
    with pytest.raises(
        UnknownType, match="Config is one actor, 'Config'; there is none with id 'x'"
    ):
        system.actor(Config, "x")


def test_a_system_that_does_not_run_says_so() -> None:
    """A reference may be made before, a call not; then it reaches the node."""
    system = System("shop", actors=[Counter])
    counter = system.actor(Counter, "a")
    with pytest.raises(Unavailable, match="system shop does not run in this process"):
        send(counter.add, 5)
    node = FakeDispatcher()
    system.bind(cast("Any", node))
    send(counter.add, 5)
    assert len(node.commands) == 1


def test_a_type_of_another_system_is_refused(system: System) -> None:
    """With what to write."""

    class Other(Actor[Empty]):
        pass

    with pytest.raises(UnknownType, match="Other is no actor type of system shop") as caught:
        system.actor(Other, "a")
    assert caught.value.hint == "add it: System(..., actors=[..., Other])"
