"""Actions: the decorator, and what it makes of a method for the type checker and at run time.

To a type checker `system.actor(Counter, "a")` is a Counter, whose action `add` is a `Call` with
the method's own parameters. At run time it is a reference (`references`), and an action met on a
real instance, that is on `self` within an action, raises at once.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

__all__ = ["Action", "Call", "action"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Call(Protocol[P, R_co]):
    """An action of one actor, ready to be called: `await system.actor(Counter, "a").add(5)`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R_co]:
        """Send the command at once; the reply comes when its commit is in the log.

        Cancelling gives up the wait, never the command. Raises: BodyMismatch and TypeError at
        once; any `SpawnError` when awaited. It is a future at run time, called a coroutine so that
        type checkers find a forgotten `await`: several at once go into `asyncio.gather`.
        """
        ...

    def options(
        self, *, idempotency_key: str | None = None, timeout_s: float | None = None
    ) -> Call[P, R_co]:
        """Return the same call with an idempotency key, or another time to wait than 60 s.

        A command with the same key, actor, action and arguments takes effect once within 24 h.
        """
        ...


class Action(Generic[P, R]):
    """A method that others may call; `Counter.add` is one."""

    def __init__(
        self, function: Callable[..., Any], *, read_only: bool, blocking: bool = False
    ) -> None:
        self.function = function
        self.read_only = read_only
        self.blocking = blocking
        self.name = function.__name__
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Action[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Call[P, R]: ...
    def __get__(self, instance: object | None, owner: type) -> Action[P, R] | Call[P, R]:
        if instance is None:
            return self
        return _CallOnSelf(owner.__name__, self.name)

    def __repr__(self) -> str:
        return f"<action {self.function.__qualname__}>"


class _CallOnSelf:
    """Stands for `self.add` within an action."""

    def __init__(self, owner: str, name: str) -> None:
        self._owner = owner
        self._name = name

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError(
            f"self.{self._name}() would send {self._owner} a command that waits for this one: put "
            f"what `{self._name}` does into a plain method (without @action) and call that in both"
        )

    options = __call__


class _OfBlocking:
    """The type of `action(blocking=True)`: takes plain methods only."""

    __slots__ = ("_blocking", "_read_only")

    def __init__(self, *, read_only: bool, blocking: bool) -> None:
        self._read_only = read_only
        self._blocking = blocking

    def __call__(self, method: Callable[Concatenate[Any, P], R], /) -> Action[P, R]:
        return Action(method, read_only=self._read_only, blocking=self._blocking)


class _Decorator:
    """The type of `action`; see there."""

    __slots__ = ()

    @overload
    def __call__(
        self, method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> Action[P, R]: ...
    @overload
    def __call__(self, method: Callable[Concatenate[Any, P], R], /) -> Action[P, R]: ...
    @overload
    def __call__(self, /, *, blocking: bool) -> _OfBlocking: ...
    def __call__(
        self, method: Callable[..., Any] | None = None, /, *, blocking: bool = False
    ) -> Action[Any, Any] | _OfBlocking:
        """Make a method an action that may change the actor: a command, which leaves a record.

        `blocking`: it is a plain method that waits (for a disk, a lock, another program) or
        computes for long: it runs in a thread, and the node goes on meanwhile.
        """
        if method is None:
            return _OfBlocking(read_only=False, blocking=blocking)
        return Action(method, read_only=False)

    @overload
    def read(
        self, method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> Action[P, R]: ...
    @overload
    def read(self, method: Callable[Concatenate[Any, P], R], /) -> Action[P, R]: ...
    @overload
    def read(self, /, *, blocking: bool) -> _OfBlocking: ...
    def read(
        self, method: Callable[..., Any] | None = None, /, *, blocking: bool = False
    ) -> Action[Any, Any] | _OfBlocking:
        """Make a method a read-only action: runs on the committed state, leaves no record.

        `blocking`: as for `@action`.
        """
        if method is None:
            return _OfBlocking(read_only=True, blocking=blocking)
        return Action(method, read_only=True)


action: Final = _Decorator()
"""Makes a plain or async method of an actor callable by others.

`@action` may change the state; `@action.read` only looks at it, runs beside commands of the same
actor and sees what the last acknowledged one left. A plain method runs in the event loop's own
thread, which is what makes it fast; one that blocks says so, `@action(blocking=True)`, and gets a
thread. One that holds the loop for over 50 ms without saying so is named in the log, and gets one
from then on.
"""
