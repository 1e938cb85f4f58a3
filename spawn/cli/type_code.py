"""The code of an actor type, for commands that fold its events themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from spawn.cli import console
from spawn.cli.node_client import DEV_FOLDER
from spawn.cli.subjects import Subject, UsageError, nearest
from spawn.errors import InvalidTarget

if TYPE_CHECKING:
    from spawn.core.behavior import Behavior

__all__ = ["all_code", "code_of"]


def code_of(subject: Subject, target: str | None, *, needed: bool = True) -> Behavior | None:
    """Return the type's code: of `target`, else of the `spawn dev` that runs here, or None.

    `needed`: it is told when the running one's code can't be used.
    Raises: UsageError, InvalidTarget - the target that was named is wrong.
    """
    behaviors = all_code(target, needed=needed)
    if subject.type not in behaviors and target is not None:
        raise UsageError(
            f"{target} has no type {subject.type}",
            at="--target (flag)",
            hint=nearest(subject.type, behaviors) or f"it has {', '.join(sorted(behaviors))}",
        )
    return behaviors.get(subject.type)


def all_code(target: str | None, *, needed: bool = True) -> Mapping[str, Behavior]:
    """Return the code of all types: of `target`, else of the `spawn dev` that runs here, or none.

    `needed`: it is told when the running one's code can't be used.
    Raises: InvalidTarget - the target that was named is wrong.
    """
    from spawn.sdk.target import load_target

    named = target is not None
    if target is None:
        from spawn.dev import dev_file

        running = dev_file.read(DEV_FOLDER)
        target = running.target if running is not None else None
    if target is None:
        return {}
    try:
        return {each.type: each for each in load_target(target).behaviors}
    except InvalidTarget as error:
        if named:
            raise
        if needed:
            console.warning(f"the code of the running spawn dev can't be used for states: {error}")
        return {}
