"""References: what `system.actor(Counter, "a")` is at run time.

One class per actor type, one small class per action, made once. A call makes the waiter and the
command and returns the waiter itself: no coroutine, no task in between.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NoReturn, cast

import msgspec

from spawn.core.behavior import Behavior
from spawn.core.commands import Command
from spawn.core.ids import ID_BYTES_MAX
from spawn.core.ingress import Dispatcher
from spawn.core.keys import digest_key
from spawn.errors import InvalidId, Unavailable, UnknownType
from spawn.sdk.carrying import LONG_DIGITS, encode_json
from spawn.sdk.definition import ActionPlan

__all__ = ["TIMEOUT_S", "Line", "check_key", "check_timeout", "reference_maker"]

TIMEOUT_S: Final = 60.0
"""How long a caller waits unless it says otherwise; the same as over HTTP."""

_Submit = Callable[[msgspec.Struct, str | None, float, tuple[Any, ...], dict[str, Any]], Any]


class Line:
    """The way from a system's references to the node that runs it; not connected at first."""

    __slots__ = ("new_waiter", "now", "refer", "submit")

    now: Callable[[], float]
    new_waiter: Callable[[], Any]
    submit: Callable[[Command], None]
    refer: Callable[[Behavior], bool]

    def __init__(self, system: str) -> None:
        def refuse() -> NoReturn:
            raise Unavailable(
                f"system {system} does not run in this process (yet)",
                hint="`spawn dev` or `spawn run` starts it; calls are made by actors, or by "
                "programs beside them, once it runs",
            )

        self.now = self.new_waiter = refuse
        self.submit = lambda _command: refuse()
        self.refer = lambda _behavior: False

    def connect(self, dispatcher: Dispatcher) -> None:
        """Send calls to a node from now on."""
        self.now = dispatcher.now
        self.new_waiter = dispatcher.new_waiter
        self.submit = dispatcher.submit
        self.refer = dispatcher.refer


class _Reference(msgspec.Struct, frozen=True, gc=False):
    """Base of references; holds the actor's id in UTF-8."""

    spawn_key: bytes

    @property
    def id(self) -> str:
        return self.spawn_key.decode()


class _Call(msgspec.Struct, gc=False):
    """Base of calls: one action of one actor."""

    ref: _Reference


def reference_maker(
    line: Line, type_name: str, named_id: str, plans: Mapping[str, ActionPlan]
) -> Callable[[str | None], Any]:
    """Return the function from an id to a reference. It raises: InvalidId, UnknownType."""
    calls = {
        name: property(_call_class(line, type_name, plan), doc=plan.function.__doc__)
        for name, plan in plans.items()
    }

    def refuse(_self: object, name: str) -> NoReturn:
        raise AttributeError(_no_such_action(type_name, plans, name))

    def describe(self: _Reference) -> str:
        return f"<reference to {type_name}/{self.id}>"

    members = {**calls, "__getattr__": refuse, "__repr__": describe}
    reference: Any = msgspec.defstruct(
        f"{type_name}Reference", (), bases=(_Reference,), namespace=members, frozen=True, gc=False
    )

    def make(actor_id: str | None) -> Any:
        if actor_id is None:
            actor_id = named_id
        try:
            key = actor_id.encode()
        except (AttributeError, UnicodeEncodeError) as error:
            raise InvalidId(f"{actor_id!r} is no id: an id is a str of Unicode text") from error
        if named_id and actor_id != named_id:
            raise UnknownType(
                f"{type_name} is one actor, {named_id!r}; there is none with id {actor_id!r}",
                hint=f"write system.actor({type_name})",
            )
        if not 0 < len(key) <= ID_BYTES_MAX:
            _refuse_length(type_name, len(key))
        return reference(key)

    return make


def _call_class(line: Line, type_name: str, plan: ActionPlan) -> type:
    """Return the class whose instances are `ref.add`: `ref.add(5)`, `ref.add.options(...)(5)`."""
    action = plan.info.name
    parameters = plan.parameters
    sole = parameters.sole
    passed = sole.passed if sole is not None else frozenset[type]()
    bare = parameters.count == 0

    def call(self: _Call, /, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and type(args[0]) in passed and not kwargs:
            try:
                payload = encode_json(args[0])
            except UnicodeEncodeError:
                args, payload = parameters.bind(args, kwargs)
            if len(payload) >= LONG_DIGITS:  # an int may be too long: this looks closer
                args, payload = parameters.bind(args, kwargs)
        elif bare and not args and not kwargs:
            payload = b"null"
        else:
            args, payload = parameters.bind(args, kwargs)
        waiter = line.new_waiter()
        deadline = line.now() + TIMEOUT_S
        line.submit(Command(type_name, self.ref.spawn_key, action, payload, args, deadline, waiter))
        return waiter

    def submit(
        ref: Any,
        idempotency_key: str | None,
        timeout_s: float,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        arguments, payload = parameters.bind(args, kwargs)
        waiter = line.new_waiter()
        deadline = line.now() + timeout_s
        command = Command(type_name, ref.spawn_key, action, payload, arguments, deadline, waiter)
        if idempotency_key is not None and not plan.info.read_only:
            command.key = digest_key(idempotency_key, action, payload)
            command.key_text = idempotency_key
        line.submit(command)
        return waiter

    def options(
        self: _Call, *, idempotency_key: str | None = None, timeout_s: float | None = None
    ) -> _CallWithOptions:
        return _CallWithOptions(submit, self.ref, None, TIMEOUT_S).options(
            idempotency_key=idempotency_key, timeout_s=timeout_s
        )

    def describe(self: _Call) -> str:
        return f"<action {action} of {type_name}/{self.ref.id}>"

    members = {
        "__call__": call,
        "__doc__": plan.function.__doc__,
        "__repr__": describe,
        "options": options,
    }
    made: type = msgspec.defstruct(
        f"{type_name}_{action}", (), bases=(_Call,), namespace=members, gc=False
    )
    return made


class _CallWithOptions(msgspec.Struct, frozen=True):
    """`ref.add.options(...)`."""

    submit: _Submit
    ref: Any
    idempotency_key: str | None
    timeout_s: float

    def options(
        self, *, idempotency_key: str | None = None, timeout_s: float | None = None
    ) -> _CallWithOptions:
        check_key(idempotency_key)
        if timeout_s is not None:
            check_timeout(timeout_s)
        return _CallWithOptions(
            self.submit,
            self.ref,
            self.idempotency_key if idempotency_key is None else idempotency_key,
            self.timeout_s if timeout_s is None else timeout_s,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        waiter: Coroutine[Any, Any, Any] = self.submit(
            self.ref, self.idempotency_key, self.timeout_s, args, kwargs
        )
        return waiter


def check_timeout(timeout_s: object) -> None:
    """Refuse what is no time to wait. Raises: ValueError."""
    fits = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not fits or not 0 < cast("float", timeout_s) < math.inf:
        raise ValueError(f"timeout_s is a number of seconds above 0, got {timeout_s!r}")


def check_key(idempotency_key: object) -> None:
    """Refuse what can't be an idempotency key; None is none. Raises: ValueError."""
    if idempotency_key is None:
        return
    if not isinstance(idempotency_key, str) or not idempotency_key:
        raise ValueError(f"an idempotency key is a str, and not empty, got {idempotency_key!r}")
    try:
        idempotency_key.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"an idempotency key is Unicode text, got {idempotency_key!r}") from error


def _no_such_action(type_name: str, plans: Mapping[str, ActionPlan], name: str) -> str:
    if name == "state":
        return (
            "a reference has no state, the actor's node does: write await "
            f"system.actor({type_name}, ...).get_state()"
        )
    if name in ("delete", "emit"):
        return f"`{name}` is for {type_name}'s own actions: write one that calls self.{name}(...)"
    near = difflib.get_close_matches(name, plans, 1)
    signatures = ", ".join(plan.info.signature for plan in plans.values())
    return (
        f"{type_name} has no action `{name}`; "
        + (f"did you mean `{near[0]}`? " if near else "")
        + f"Actions: {signatures}"
    )


def _refuse_length(type_name: str, size: int) -> NoReturn:
    if not size:
        raise InvalidId(
            f"{type_name} has many actors, so a reference names one",
            hint=f'write system.actor({type_name}, "some-id")',
        )
    raise InvalidId(f"an id has at most {ID_BYTES_MAX} bytes of UTF-8, this one {size}")
