"""Runs one action of a behavior and sends nothing anywhere."""

from typing import Any

from spawn.core.commands import Command
from spawn.core.decision import Decision
from spawn.sdk.actor import Actor
from spawn.sdk.behavior import ClassBehavior

__all__ = ["TIME_US", "command", "read", "read_async", "run", "run_async"]

TIME_US = 1_700_000_000_000_000


def command(behavior: ClassBehavior, action: str, *arguments: Any, **more: Any) -> Command:
    """Return a command with decoded arguments."""
    return Command(behavior.type, b"a", action, b"null", arguments, 1.0, **more)


def run(
    cls: type[Actor[Any, Any]],
    action: str,
    *arguments: Any,
    state: Any = None,
    revision: int = 1,
    **more: Any,
) -> Decision:
    """Run a plain action of actor `a`; without a state on its initial one."""
    behavior = ClassBehavior(cls)
    state = behavior.initial("a") if state is None else state
    sent = command(behavior, action, *arguments, **more)
    decision = behavior.run(action, "a", state, revision, TIME_US, sent)
    assert isinstance(decision, Decision), "a plain action decides at once"
    return decision


async def run_async(cls: type[Actor[Any, Any]], action: str, *arguments: Any) -> Decision:
    """Run an async action of actor `a` on its initial state."""
    behavior = ClassBehavior(cls)
    sent = command(behavior, action, *arguments)
    decision = behavior.run(action, "a", behavior.initial("a"), 1, TIME_US, sent)
    assert not isinstance(decision, Decision), "an async action decides later"
    return await decision


def read(cls: type[Actor[Any, Any]], action: str, *arguments: Any) -> Any:
    """Run a read-only action of actor `a` on its initial state."""
    behavior = ClassBehavior(cls)
    sent = command(behavior, action, *arguments)
    return behavior.read(action, "a", behavior.initial("a"), 1, TIME_US, sent)


async def read_async(cls: type[Actor[Any, Any]], action: str, *arguments: Any) -> Any:
    """Run an async read-only action of actor `a` on its initial state."""
    return await read(cls, action, *arguments)
