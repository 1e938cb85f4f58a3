"""What is wrong with a call before any actor is touched; such a refusal leaves no record."""

from __future__ import annotations

from spawn.core.behavior import Behavior
from spawn.core.ids import ID_BYTES_MAX
from spawn.errors import InvalidId, UnknownAction, UnknownType

__all__ = ["check_id", "unknown_action", "unknown_type"]


def unknown_type(name: str) -> UnknownType:
    """Return the error for a type that this node does not have."""
    return UnknownType(f"no actor type `{name}` is here")


def unknown_action(behavior: Behavior, name: str) -> UnknownAction:
    """Return the error for an action that a type does not have."""
    return UnknownAction(f"{behavior.type} has no action `{name}`")


def check_id(behavior: Behavior | None, actor_id: str) -> bytes:
    """Return an actor's id in UTF-8; without a behavior its owner will look closer.

    Raises: UnknownType (a named type has one id), InvalidId.
    """
    named = behavior.settings.named_id if behavior is not None else ""
    if behavior is not None and named and actor_id != named:
        raise UnknownType(
            f"{behavior.type} is one actor, {named!r}; there is none with id {actor_id!r}",
            hint=f"call {behavior.type}/{named}",
        )
    try:
        encoded = actor_id.encode()
    except UnicodeEncodeError as error:
        raise InvalidId(f"the id of an actor is not UTF-8: {error}") from error
    if not 0 < len(encoded) <= ID_BYTES_MAX:
        raise InvalidId(
            f"the id has {len(encoded)} bytes of UTF-8; 1 to {ID_BYTES_MAX} are allowed"
        )
    return encoded
