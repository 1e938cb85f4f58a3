"""Actor classes: what is refused where the class is defined, and with which mend."""

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, make_dataclass, replace
from typing import Any, Generic, TypeVar

import pytest

from spawn.core.behavior import TypeSettings
from spawn.errors import InvalidTarget
from spawn.sdk.actions import action
from spawn.sdk.actor import Actor, definition_of, is_actor_type
from spawn.sdk.behavior import ClassBehavior
from spawn.sdk.settings import actor, settings_of


@dataclass(frozen=True)
class Total:
    """A state."""

    total: int = 0


@dataclass(frozen=True)
class Added:
    """An event."""

    n: int


@dataclass(frozen=True)
class Needy:
    """A state without defaults."""

    name: str


def make(members: dict[str, Any], base: Any = Actor[Total]) -> Any:
    """Define an actor class named Bad."""
    return types.new_class("Bad", (base,), exec_body=lambda body: body.update(members))


def no_self() -> None:
    """An action without self."""


def open_parameter(self: Any, n) -> None:  # type: ignore[no-untyped-def]
    """A parameter without an annotation."""


def starred(self: Any, *ns: int) -> None:
    """Any number of arguments."""


def yielding(self: Any) -> Iterator[int]:
    """A generator."""
    yield 1


def unfit_default(self: Any, n: int = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
    """A default that its annotation does not allow."""


def odd_parameter(self: Any, n: Callable[[], int]) -> None:
    """No JSON."""


def odd_reply(self: Any) -> complex:
    """No JSON."""
    return 1j


async def later(self: Any) -> None:
    """An async hook."""


def two(state: Any, event: Any) -> Any:
    """An evolve."""
    return state


def one(state: Any) -> Any:
    """An evolve with too little."""
    return state


ACTION: Any = action
EVENTS: Any = Actor[Total, Added]
BAD: dict[str, tuple[dict[str, Any], Any, str]] = {
    "no evolve": ({}, EVENTS, "Bad has events but no evolve: write @staticmethod def evolve"),
    "evolve not static": ({"evolve": two}, EVENTS, "Bad.evolve is no plain static method"),
    "evolve of one": ({"evolve": staticmethod(one)}, EVENTS, "does not take a state and an event"),
    "init": ({"__init__": two}, Actor[Total], "Bad.__init__ would run for every command"),
    "hides state": ({"state": 5}, Actor[Total], "Bad.state hides what every actor has"),
    "hides id": ({"id": action(later)}, Actor[Total], "Bad.id hides what every actor has"),
    "no initial": ({}, Actor[Needy], "Needy() can't be made: .*@classmethod def initial(cls, id"),
    "several first states": ({}, Actor[Total | Needy], "Bad may start in any of Total | Needy"),
    "initial without id": (
        {"initial": staticmethod(lambda: 5)}, Actor[Needy], "Bad.initial does not take an id"
    ),
    "async on_create": ({"on_create": later}, Actor[Total], "Bad.on_create is async"),
    "no self": ({"do": ACTION(no_self)}, Actor[Total], "Bad.do has no `self`"),
    "no annotation": (
        {"do": action(open_parameter)}, Actor[Total], "Bad.do: parameter `n` has no annotation"
    ),
    "starred": ({"do": action(starred)}, Actor[Total], "parameter `ns` takes any number"),
    "generator": ({"do": action(yielding)}, Actor[Total], "Bad.do yields"),
    "default": (
        {"do": action(unfit_default)}, Actor[Total],
        "parameter `n`: its default: `n` must be an integer, got null",
    ),
    "odd parameter": ({"do": action(odd_parameter)}, Actor[Total], "JSON can't carry"),
    "odd reply": ({"do": action(odd_reply)}, Actor[Total], "Bad.do: its reply .*JSON can't carry"),
    "mutable state": ({}, Actor[dict[str, int]], "Bad: state dict[str, int] is no dataclass"),
    "state unsaid": ({}, Actor, "Bad does not say what its state is: write class Bad(Actor["),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_in_a_class_is_refused_with_the_mend(case: str) -> None:
    """Where the class is defined, by its name and the member's."""
    members, base, text = BAD[case]
    with pytest.raises(InvalidTarget) as caught:
        make(members, base)
    parts = text.split(".*")
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_mistake_names_file_and_line() -> None:
    """The place is that of the class, or of the action."""
    with pytest.raises(InvalidTarget) as caught:
        make({"do": action(starred)})
    assert caught.value.at == f"test_definition.py:{starred.__code__.co_firstlineno}"


def test_an_annotation_may_name_a_class_that_comes_later() -> None:
    """It is resolved when the type is used; one that never comes is then refused."""

    class Early(Actor[Total]):
        @action
        def take(self, later: "Later") -> None: ...

        @action
        def lose(self, never: "Later") -> None: ...

    assert [*definition_of(Early).actions] == ["take", "lose", "get_state"]

    class Lost(Actor[Total]):
        @action
        def take(self, never: "Never") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidTarget, match=r"Lost.take: its annotations name `Never`"):
        ClassBehavior(Lost)


@dataclass(frozen=True)
class Later:
    """Comes after the class that names it."""

    n: int


S = TypeVar("S")


class Logged(Actor[S], Generic[S]):
    """A base of actor types with an action."""

    @action.read
    def who(self) -> str:
        """Return the id."""
        return self.id


def test_a_base_class_may_leave_its_state_open() -> None:
    """It is no actor type; a class that fills it in inherits the actions."""

    class Counter(Logged[Total]):
        pass

    assert not is_actor_type(Logged)
    assert is_actor_type(Counter)
    assert [*ClassBehavior(Counter).actions] == ["who", "get_state"]
    with pytest.raises(InvalidTarget, match="Logged leaves its state or events open"):
        definition_of(Logged)


def test_a_subclass_changes_actions_of_its_base() -> None:
    """Overriding, adding, and taking away with None."""

    class First(Actor[Total]):
        @action
        def one(self) -> int:
            return 1

        @action
        def two(self) -> int:
            return 2

    class Second(First):
        two = None  # type: ignore[assignment]

        @action
        def three(self) -> int:
            return 3

    assert [*ClassBehavior(Second).actions] == ["one", "three", "get_state"]


def test_signatures_are_shown_as_written() -> None:
    """For errors, the CLI and the API."""

    class Shop(Actor[Total]):
        @action
        def buy(self, item: str, *, many: int | None = None) -> list[Later]:
            raise NotImplementedError

        @action.read
        async def look(self) -> None: ...

    infos = ClassBehavior(Shop).actions
    assert infos["buy"].signature == "buy(item: str, many: int | None = None) -> list[Later]"
    assert infos["look"].signature == "look() -> None"
    assert (infos["buy"].read_only, infos["buy"].is_async) == (False, False)
    assert (infos["look"].read_only, infos["look"].is_async) == (True, True)


def test_a_class_without_decorator_has_the_default_settings() -> None:
    """And is named as the class."""

    class Plain(Actor[Total]):
        pass

    assert settings_of(Plain) == ("Plain", TypeSettings())


def test_settings_are_taken_over() -> None:
    """Name, kind and numbers."""

    @actor(name="plain-2", named=True, idle_timeout_s=5, history_interval=0, strict_reads=True)
    class Plain(Actor[Total]):
        @action.read
        def get(self) -> int:
            return 1

    assert settings_of(Plain) == (
        "plain-2",
        TypeSettings(
            named_id="plain-2", partitions=1, idle_timeout_s=5, history_interval=0,
            strict_reads=True,
        ),
    )  # fmt: skip
    assert definition_of(Plain).actions["get"].full_name == "plain-2.get"

    @actor
    class Bare(Actor[Total]):
        pass

    assert settings_of(Bare)[0] == "Bare"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"name": "a b"}, "@actor(name='a b'): a name is made of letters"),
        ({"topic": "1"}, "a topic is made of letters"),
        ({"partitions": 0}, "@actor(partitions=0): it is a number of at least 1"),
        ({"mailbox_size_max": True}, "it is a number of at least 1"),
        ({"idle_timeout_s": 0}, "it is a time above 0"),
        ({"named": True, "partitions": 4}, "a named type has one partition"),
        ({"named": "x" * 256}, "an id has at most 255 bytes"),
        ({"named": 5}, "it is an id, or True"),
        ({"name": 5}, "@actor(name=5): a name is made of letters"),
        ({"idle_timeout_s": "5"}, "it is a time above 0"),
        ({"history_interval": 1.5}, "it is a number of at least 0"),
        ({"strict_reads": "strict"}, "@actor(strict_reads='strict'): it is True or False"),
        ({"record_commands": 0}, "it is True or False"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings: dict[str, Any], text: str) -> None:
    """With the class, the setting as written and the rule."""

    class Plain(Actor[Total]):
        pass

    with pytest.raises(InvalidTarget) as caught:
        actor(**settings)(Plain)
    assert str(caught.value).startswith("Plain: @actor(")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("idle_timeout", "idle_timeout_s"),
        ("mailbox_size", "mailbox_size_max"),
        ("mailbox", "mailbox_size_max"),
        ("partition", "partitions"),
        ("record_command", "record_commands"),
        ("snapshot", "snapshot_version"),
        ("named_id", "named"),
    ],
)
def test_a_setting_that_is_none_is_told_with_the_nearest(wrong: str, right: str) -> None:
    """And with what there is."""

    class Plain(Actor[Total]):
        pass

    settings: Any = {wrong: 5}
    with pytest.raises(InvalidTarget, match=f"@actor has no setting `{wrong}`; it has name, ") as e:
        actor(**settings)(Plain)
    assert e.value.hint == f"did you mean `{right}`?"


def test_a_blocking_action_is_plain() -> None:
    """An async one has its own ways."""

    async def late(self: Any) -> None:
        """Do nothing."""

    with pytest.raises(InvalidTarget, match=r"Bad\.late is async and blocking: write `def`"):
        make({"late": action(blocking=True)(late)})
    info = definition_of(Blocks).actions["wait"].info
    assert (info.blocking, info.is_async, info.read_only) == (True, False, False)
    assert definition_of(Blocks).actions["look"].info[1] is True
    assert not definition_of(Blocks).actions["quick"].info.blocking


class Blocks(Actor[Total]):
    """Actions that say that they block."""

    @action(blocking=True)
    def wait(self) -> None:
        """Wait."""

    @action.read(blocking=True)
    def look(self) -> None:
        """Wait in a read."""

    @action(blocking=False)
    def quick(self) -> None:
        """Say that it does not."""


def test_an_instance_is_not_made_by_hand() -> None:
    """The text says what to write instead."""

    class Plain(Actor[Total]):
        pass

    with pytest.raises(TypeError, match=r'await system.actor\(Plain, "some-id"\)'):
        Plain()


def test_two_events_of_one_name_are_refused() -> None:
    """The log names an event by its class."""
    other: Any = make_dataclass("Added", [("x", int)], frozen=True)
    base: Any = Actor
    with pytest.raises(InvalidTarget, match="two events are named Added"):
        make({"evolve": staticmethod(two)}, base[Total, Added | other])


def test_replace_keeps_working_on_states() -> None:
    """Nothing is done to the user's classes."""
    assert replace(Total(1), total=2) == Total(2)
