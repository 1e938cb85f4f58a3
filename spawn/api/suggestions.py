"""Hints that name what a caller probably meant (pure)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from spawn.core.behavior import ActionInfo

__all__ = ["action_hint", "type_hint"]

_LISTED_MAX: Final = 12
"""Names in one hint; a longer list is no help."""


def type_hint(wanted: str, types: Mapping[str, Sequence[ActionInfo]]) -> str:
    """Return the hint for an unknown actor type."""
    if not types:
        return "this node has no actor types"
    return f"{_meant(wanted, types)}Types: {_listed(sorted(types))}"


def action_hint(wanted: str, actions: Sequence[ActionInfo]) -> str:
    """Return the hint for an unknown action of a type that has `actions`."""
    if not actions:
        return "this type has no actions"
    names = [action.name for action in actions]
    return f"{_meant(wanted, names)}Actions: {_listed([action.signature for action in actions])}"


def _meant(wanted: str, names: Iterable[str]) -> str:
    lowered = {name.lower(): name for name in names}
    nearest = difflib.get_close_matches(wanted.lower(), lowered, n=1, cutoff=0.5)
    return f"did you mean `{lowered[nearest[0]]}`? " if nearest else ""


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _LISTED_MAX
    shown = ", ".join(texts[:_LISTED_MAX])
    return f"{shown} and {more} more" if more > 0 else shown
