"""What stands behind the `?` of a URL, parsed strictly (pure)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import parse_qsl

from spawn.errors import InvalidQuery

__all__ = ["REVISION_MAX", "parse_query", "whole_number"]

REVISION_MAX: Final = (1 << 63) - 1
"""An actor's largest revision: it is a signed 64-bit number in the log."""

_BYTES_MAX = 2_000


def parse_query(target: str, known: Collection[str]) -> Mapping[str, str]:
    """Return the parameters of a request target. Raises: InvalidQuery - unknown, or twice."""
    text = target.partition("?")[2]
    if len(text) > _BYTES_MAX:
        raise InvalidQuery(f"the query has over {_BYTES_MAX} characters")
    found: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name not in known:
            raise InvalidQuery(
                f"there is no parameter `{name[:40]}` here",
                hint=f"there are {', '.join(known)}" if known else "this path takes none",
            )
        if name in found:
            raise InvalidQuery(f"`{name}` is there twice", hint="give it once")
        found[name] = value
    return found


def whole_number(name: str, text: str, least: int, most: int) -> int:
    """Return a parameter's number. Raises: InvalidQuery."""
    sound = text.isascii() and text.isdecimal() and len(text) <= 19
    if not sound or not least <= int(text) <= most:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise InvalidQuery(
            f"{name} must be a whole number from {least} to {most}, got {shown!r}",
            hint=f"e.g. ?{name}={min(max(least, 100), most)}",
        )
    return int(text)
