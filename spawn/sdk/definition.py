"""What an actor class declares, checked and resolved once: state, events, actions, hooks.

Every mistake is refused where the class is defined, with what to write instead. Nothing here
needs fastavro: `behavior` adds schemas and readers when a node or a test runs the type.
"""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

from spawn.core.behavior import ActionInfo
from spawn.errors import InvalidTarget
from spawn.sdk.actions import Action
from spawn.sdk.carrying import Carrier, StateCarrier
from spawn.sdk.parameters import Parameters
from spawn.sdk.scalars import Writer
from spawn.sdk.shapes import MessageShape, RecordShape, Shape, is_mutable, place_of, type_text
from spawn.sdk.values import UnresolvedName, branches_of, describe_record
from spawn.sdk.writing import checker_of, writer_of

__all__ = ["ActionPlan", "ActorDefinition", "define"]

_HOOKS = frozenset(("evolve", "initial", "on_create", "on_activate"))


class ActionPlan(NamedTuple):
    """One action, ready to run."""

    info: ActionInfo
    full_name: str
    """`Counter.add`."""
    function: Callable[..., Any]
    """Takes an actor and all arguments in order."""
    parameters: Parameters
    reply: Carrier | StateCarrier


class ActorDefinition(NamedTuple):
    """An actor class, understood."""

    cls: type
    state_shape: Shape
    state_types: frozenset[type]
    write_state: Writer
    check_state: Writer
    """Raises NotStorable for a state that could not be written; cheap for large ones too."""
    event_shapes: Mapping[str, RecordShape | MessageShape]
    """By class name; empty: state style."""
    evolve: Callable[[Any, Any], Any]
    initial: Callable[[str], Any]
    on_create: Callable[[Any], None] | None
    has_on_activate: bool
    actions: Mapping[str, ActionPlan]
    copy: Callable[[Any], Any] | None
    """Copies a state that can be changed in place; None: none can."""


def define(cls: Any, base: Any, name: str, state: Any, events: Any) -> ActorDefinition:
    """Return what `class cls(base[state, events])` declares; `name` is the actor type's.

    `base` is `Actor`, whose members a subclass may fill in or must leave alone.
    Raises: InvalidTarget; UnresolvedName - an annotation names a class that comes later.
    """
    try:
        state_shape = describe_record(state, f"{name}: state")
    except InvalidTarget as error:
        error.at = error.at or place_of(cls)
        raise
    event_types = () if events is typing.Never else branches_of(events)
    event_shapes: dict[str, RecordShape | MessageShape] = {}
    for event in event_types:
        shape = describe_record(event, f"{name}: event")
        assert isinstance(shape, RecordShape | MessageShape), "an event is one class"
        if event_shapes.setdefault(event.__name__, shape) is not shape:
            _refuse(cls, f"{name}: two events are named {event.__name__}: rename one of them")
    _check_members(cls, base)
    if event_shapes:
        _check_evolve(cls, base)
    state_types = frozenset(branches_of(state))
    check_state = checker_of(state_shape)
    return ActorDefinition(
        cls,
        state_shape,
        state_types,
        writer_of(state_shape),
        check_state,
        event_shapes,
        cls.evolve,
        _initial(cls, base, state, check_state),
        _on_create(cls, base),
        cls.on_activate is not base.on_activate,
        {plan.info.name: plan for plan in _plans(cls, base, name, state)},
        copy.deepcopy if is_mutable(state_shape) else None,
    )


def _check_members(cls: Any, base: Any) -> None:
    """Refuse what hides a member of the base, or runs at other times than its author thinks."""
    reserved = {
        name
        for name, member in vars(base).items()
        if not (name.startswith("__") or isinstance(member, Action))
    } - _HOOKS
    for owner in cls.__mro__[: cls.__mro__.index(base)]:
        for member in vars(owner):
            if member in reserved and not member.startswith("_"):
                _refuse(cls, f"{cls.__name__}.{member} hides what every actor has: rename it")
        if "__init__" in vars(owner):
            _refuse(
                cls,
                f"{cls.__name__}.__init__ would run for every command: what an actor starts with "
                "belongs into its state's defaults, `initial` or `on_create`",
            )


def _check_evolve(cls: Any, base: Any) -> None:
    evolve = inspect.getattr_static(cls, "evolve")
    wanted = "write @staticmethod def evolve(state, event): return the new state"
    if cls.evolve is base.evolve:
        _refuse(cls, f"{cls.__name__} has events but no evolve: {wanted}")
    if not isinstance(evolve, staticmethod) or inspect.iscoroutinefunction(cls.evolve):
        _refuse(cls, f"{cls.__name__}.evolve is no plain static method: {wanted}")
    if not _accepts(cls.evolve, 2):
        _refuse(cls, f"{cls.__name__}.evolve does not take a state and an event: {wanted}")


def _initial(
    cls: Any, base: Any, state: Any, check: Callable[[Any], object]
) -> Callable[[str], Any]:
    """Return how an actor's first state is made: by `initial`, else one instance for all."""
    if getattr(cls.initial, "__func__", cls.initial) is not base.initial.__func__:
        if not _accepts(cls.initial, 1):
            _refuse(cls, f"{cls.__name__}.initial does not take an id: def initial(cls, id)")
        made: Callable[[str], Any] = cls.initial
        return made
    mend = (
        f"give its fields defaults, or write in {cls.__name__}: "
        f"@classmethod def initial(cls, id: str) -> {type_text(state)}"
    )
    if len(branches_of(state)) > 1:
        _refuse(cls, f"{cls.__name__} may start in any of {type_text(state)}: {mend}")
    try:
        first = state()
    except Exception as error:
        message = f"{cls.__name__}: {type_text(state)}() can't be made: {error}; {mend}"
        raise InvalidTarget(message, at=place_of(cls)) from error
    try:
        check(first)
    except Exception as error:
        message = f"{cls.__name__}: the first state can't be stored: {error}"
        raise InvalidTarget(message, at=place_of(state)) from error
    return lambda _id: first


def _on_create(cls: Any, base: Any) -> Callable[[Any], None] | None:
    if cls.on_create is base.on_create:
        return None
    if inspect.iscoroutinefunction(cls.on_create):
        _refuse(cls, f"{cls.__name__}.on_create is async: it may only set up state, so write `def`")
    hook: Callable[[Any], None] = cls.on_create
    return hook


def _plans(cls: Any, base: Any, type_name: str, state: Any) -> Iterator[ActionPlan]:
    found: dict[str, Action[Any, Any]] = {}
    for owner in reversed(cls.__mro__):
        for name, member in vars(owner).items():
            if isinstance(member, Action):
                found[name] = member
            else:
                found.pop(name, None)
    # The base's own query of the state comes last, for people.
    own = sorted(found.items(), key=lambda item: item[1] is vars(base).get(item[0]))
    for name, member in own:
        is_state_query = member is vars(base).get(name)
        yield _plan(f"{type_name}.{name}", name, member, state if is_state_query else None)


def _plan(full_name: str, name: str, action: Action[Any, Any], state: Any) -> ActionPlan:
    """Return an action's plan; `state` is the state's annotation for the base's own query."""
    function = action.function
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        _refuse(function, f"{full_name} yields: an action returns one reply")
    if not inspect.signature(function).parameters:
        _refuse(function, f"{full_name} has no `self`")
    is_async = inspect.iscoroutinefunction(function)
    if is_async and action.blocking:
        _refuse(
            function,
            f"{full_name} is async and blocking: write `def`, or leave blocking out and put what "
            "blocks into `await asyncio.to_thread(...)`",
        )
    hints = {"return": state} if state is not None else _hints(full_name, function)
    try:
        where = f"{full_name}: its reply"
        reply = (
            StateCarrier(state) if state is not None else Carrier(hints.get("return", Any), where)
        )
    except InvalidTarget as error:
        error.at = place_of(function)
        raise
    code = function.__code__
    return ActionPlan(
        ActionInfo(
            name,
            action.read_only,
            is_async,
            _signature_text(name, function, hints),
            action.blocking,
            f"{code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}",
        ),
        full_name,
        (parameters := Parameters(full_name, function, hints)).function,
        parameters,
        reply,
    )


def _hints(full_name: str, function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise UnresolvedName(
            f"{full_name}: its annotations name `{error.name}`, which module "
            f"{function.__module__} does not define: define or import it at the module's top level",
            name=error.name,
        ) from error


def _signature_text(name: str, function: Any, hints: Mapping[str, Any]) -> str:
    parts: list[str] = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        text = f"{parameter.name}: {type_text(hints.get(parameter.name, Any))}"
        if parameter.default is not parameter.empty:
            text += f" = {parameter.default!r}"
        parts.append(text)
    return f"{name}({', '.join(parts)}) -> {type_text(hints.get('return', Any))}"


def _accepts(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def _refuse(place: Any, message: str) -> NoReturn:
    raise InvalidTarget(message, at=place_of(place))
