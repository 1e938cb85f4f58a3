"""The base class of actors, its settings, and what `self` offers to user code.

An instance lives for one run of one action and carries nothing but that run; what lasts is the
state. So nothing can be kept on `self` by mistake, and an actor at rest costs its state alone.
"""

from __future__ import annotations

import contextlib
import operator
import typing
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Never, NoReturn, TypeGuard

from spawn.core.behavior import TypeSettings
from spawn.core.decision import EventData
from spawn.errors import InvalidTarget
from spawn.sdk.actions import action
from spawn.sdk.avro_schema import EPOCH
from spawn.sdk.definition import ActorDefinition, define
from spawn.sdk.run import ActorLogger, Run, deadline_of, dice_of, logger_of, request_of
from spawn.sdk.shapes import place_of, type_text
from spawn.sdk.values import UnresolvedName

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - a type; it is seeded

    from typing_extensions import TypeVar

    State = TypeVar("State")
    Event = TypeVar("Event", default=Never)
else:
    State = typing.TypeVar("State")
    Event = typing.TypeVar("Event")

__all__ = ["Actor", "Run", "definition_of", "is_actor_type", "new_instance", "set_run"]

_NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})


class Actor(Generic[State, Event]):
    """Base of actor types: `class Counter(Actor[Total, Added | Reset])`, or `Actor[Total]`.

    With events (frozen dataclasses) an action emits them and `evolve` folds them into the state.
    Without, an action sets `self.state`, and the new state is the event.
    """

    __slots__ = ("__spawn_run__",)

    __spawn_run__: Run
    __spawn_parts__: ClassVar[Any] = None
    """`Actor[state, events]` as declared; with type variables in it: not an actor type yet."""
    __spawn_definition__: ClassVar[ActorDefinition | None] = None
    __spawn_settings__: ClassVar[tuple[str, TypeSettings] | None] = None

    if TYPE_CHECKING:

        @property
        def state(self) -> State:
            """The actor's state, with what this action has emitted so far.

            State style: set it to a new object. Never change it in place.
            """

        @state.setter
        def state(self, value: State) -> None: ...

    @property
    def id(self) -> str:
        """The actor's id."""
        return self.__spawn_run__.id

    @property
    def revision(self) -> int:
        """How many commits have changed the actor; 0: it is new (never written, or deleted).

        After a deletion the count goes on: the first commit of the new life is one above it.
        """
        return self.__spawn_run__.revision

    @property
    def time(self) -> datetime:
        """The time of this command's record, in UTC; the same in every replay of it."""
        return EPOCH + timedelta(microseconds=self.__spawn_run__.time_us)

    @property
    def caller(self) -> str:
        """Who sent the command, e.g. `http 127.0.0.1`; empty: this node itself."""
        command = self.__spawn_run__.command
        return command.caller if command is not None else ""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the caller sent along with the command."""
        command = self.__spawn_run__.command
        return (command.metadata if command is not None else None) or _NO_METADATA

    @property
    def request_id(self) -> str:
        """The same in every run of this command, and another one for every other command.

        32 hex digits made of the actor's type and id and the request's number or idempotency key.
        """
        return request_of(self.__spawn_run__)

    @property
    def deadline(self) -> datetime:
        """When the caller stops waiting, in UTC; in `on_activate` the end of time."""
        return deadline_of(self.__spawn_run__)

    @property
    def random(self) -> Random:
        """A random source; a repetition of this run at the same `self.time` gets its numbers again.

        Seeded with type, id, revision and time: good for choices, not for secrets.
        """
        return dice_of(self.__spawn_run__)

    @property
    def log(self) -> ActorLogger:
        """A logger (`spawn.actor.<Type>`) whose records have fields: actor, action, revision.

        Actions never run in a replay, so neither does what they log.
        """
        return logger_of(self.__spawn_run__)

    @action.read
    def get_state(self) -> State:
        """Return the state; the default query, which a class may replace by one of its own."""
        return self.state

    def delete(self) -> None:
        """Delete the actor with this action's commit: it starts again from its initial state.

        The revision goes on and its history stays in the log. It says all that the action does: an
        action that deletes emits nothing and sets no state, before or after. To delete an actor
        that is new changes nothing. When the action raises, it never happened.
        """
        run = self.__spawn_run__
        if run.closed:
            if run.deleted:
                return
            raise TypeError(f"{run.type_name} can't be deleted: {run.closed}")
        if run.changed or len(run.events) > run.created:
            raise TypeError(
                f"{run.type_name} can't be deleted: this action has changed it already, and "
                "nobody would see that change; delete in an action that does only that"
            )
        run.deleted = True
        run.closed = "this action has deleted the actor"

    def emit(self, event: Event, /) -> None:
        """Apply an event to `self.state`, and to the actor once this action's commit is in the log.

        When the action raises, it never happened.
        """
        run = self.__spawn_run__
        kind = run.kinds.get(type(event))
        if kind is None or run.closed:
            self._refuse_emit(event)
        name, fingerprint, write, evolve, check = kind
        data = write(event)
        state = evolve(run.state, event)
        check(state)
        run.state = state
        # Twice as fast as EventData(...), and one of the larger parts of a commit.
        run.events.append(tuple.__new__(EventData, (name, fingerprint, data)))

    @staticmethod
    def evolve(state: State, event: Event, /) -> State:
        """Return the state after an event. Pure: it runs live and in every replay.

        It may use nothing but its two arguments, and never refuses an event.
        """
        raise NotImplementedError

    @classmethod
    def initial(cls, actor_id: str, /) -> State:
        """Return the state of an actor that was never written. Pure. By default: `State()`."""
        raise NotImplementedError

    def on_create(self) -> None:
        """Called before the action that is the actor's first to change something.

        What it emits or sets belongs to that action's commit; when the action changes nothing or
        raises, it never happened.
        """

    def on_activate(self) -> Awaitable[None] | None:
        """Called (plain or async) when the actor comes into memory. It changes nothing.

        Once per activation, before the first command or read; within 10 s, or these are refused.
        """

    def __init__(self) -> None:
        raise TypeError(
            f"{type(self).__name__} is made by the platform, one per run: call it by "
            f'`await system.actor({type(self).__name__}, "some-id").some_action()`'
        )

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.__spawn_definition__ = None
        cls.__spawn_settings__ = None
        cls.__spawn_parts__ = _declared_parts(cls)
        if cls.__spawn_parts__ is None:
            raise InvalidTarget(
                f"{cls.__name__} does not say what its state is: write "
                f"class {cls.__name__}(Actor[SomeState, SomeEvent])",
                at=place_of(cls),
            )
        if is_actor_type(cls):
            # An unknown name may be of a class that comes later: it is asked for again when used.
            with contextlib.suppress(UnresolvedName):
                definition_of(cls)

    if not TYPE_CHECKING:

        def __class_getitem__(cls, arguments: Any) -> Any:
            """Let `Actor[State]` stand for `Actor[State, Never]`."""
            if cls is Actor and not isinstance(arguments, tuple):
                arguments = (arguments, Never)
            return super().__class_getitem__(arguments)

    def __setattr__(self, name: str, value: object) -> None:
        if name != "state":
            raise AttributeError(
                f"self.{name} would be lost after this action: make `{name}` a field of "
                f"{type(self).__name__}'s state"
            )
        run = self.__spawn_run__
        if run.closed:
            raise TypeError(f"self.state can't be set: {run.closed}")
        if run.kinds:
            raise TypeError(
                f"{run.type_name} is event-sourced: write self.emit(...), evolve makes the state"
            )
        run.state = value
        run.changed = True

    def _refuse_emit(self, event: object) -> NoReturn:
        run = self.__spawn_run__
        name = type_text(type(event))
        if run.closed:
            raise TypeError(f"{name} can't be emitted: {run.closed}")
        if not run.kinds:
            raise TypeError(
                f"{run.type_name} has no events: set self.state, or write Actor[SomeState, {name}]"
            )
        declared = ", ".join(kind.__name__ for kind in run.kinds)
        raise TypeError(f"{run.type_name} can't emit {name}; its events are {declared}")


if not TYPE_CHECKING:
    # A getter in C: a third of the time of a Python function. Setting goes through __setattr__.
    Actor.state = property(operator.attrgetter("__spawn_run__.state"))

set_run: Final[Callable[[Any, Run], None]] = vars(Actor)["__spawn_run__"].__set__
"""Gives a bare instance its run."""


def new_instance(cls: type, run: Run) -> Any:
    """Return an instance for one run; `__init__` is left out."""
    instance: Any = object.__new__(cls)
    set_run(instance, run)
    return instance


def definition_of(cls: type[Actor[Any, Any]]) -> ActorDefinition:
    """Return what an actor class declares. Raises: InvalidTarget, UnresolvedName."""
    if cls.__spawn_definition__ is None:
        if not is_actor_type(cls):
            raise InvalidTarget(
                f"{cls.__name__} leaves its state or events open: it is a base of actor types, "
                "not one of them",
                at=place_of(cls),
            )
        name = cls.__name__ if cls.__spawn_settings__ is None else cls.__spawn_settings__[0]
        cls.__spawn_definition__ = define(cls, Actor, name, *typing.get_args(cls.__spawn_parts__))
    return cls.__spawn_definition__


def is_actor_type(candidate: object) -> TypeGuard[type[Actor[Any, Any]]]:
    """Tell whether something is a class that can be run as an actor type."""
    return (
        isinstance(candidate, type)
        and issubclass(candidate, Actor)
        and candidate.__spawn_parts__ is not None
        and not candidate.__spawn_parts__.__parameters__
    )


def _declared_parts(cls: type[Actor[Any, Any]]) -> Any:
    """Return `Actor[state, events]` as the class or one of its bases wrote it; None: nowhere."""
    for base in vars(cls).get("__orig_bases__", ()):
        origin: Any = typing.get_origin(base)
        if origin is Actor:
            return base
        if isinstance(origin, type) and issubclass(origin, Actor):
            parts, open_parameters = origin.__spawn_parts__, vars(origin)["__parameters__"]
            given = dict(zip(open_parameters, typing.get_args(base), strict=True))
            return parts[tuple(given[parameter] for parameter in parts.__parameters__)]
    return next((base.__spawn_parts__ for base in cls.__bases__ if issubclass(base, Actor)), None)
