"""The request headers that mean something here, and their checks (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from spawn.errors import InvalidHeader

__all__ = ["KEY_CHARACTERS_MAX", "parse_key", "parse_timeout"]

KEY_CHARACTERS_MAX: Final = 255
"""Of an idempotency key: what the common ones (UUIDs, order numbers) need many times over."""

_VISIBLE = re.compile(r"[!-~]+")


def parse_key(values: Sequence[str]) -> str:
    """Return the idempotency key that stands in `Idempotency-Key`. Raises: InvalidHeader."""
    _once("Idempotency-Key", values)
    key = values[0]
    if not _VISIBLE.fullmatch(key) or len(key) > KEY_CHARACTERS_MAX:
        raise InvalidHeader(
            f"Idempotency-Key must have 1 to {KEY_CHARACTERS_MAX} visible ASCII characters, "
            f"got {_shown(key)}",
            at="header Idempotency-Key",
            hint="a UUID or the number of the order, without spaces",
        )
    return key


def parse_timeout(values: Sequence[str], timeout_max_s: float) -> float:
    """Return the wait in seconds that `Spawn-Timeout` (ms) asks for. Raises: InvalidHeader."""
    _once("Spawn-Timeout", values)
    text = values[0]
    timeout_max_ms = int(timeout_max_s * 1000)
    # The length first: int() of a long text of digits is slow, and refuses from 4,301 on.
    if not (text.isascii() and text.isdecimal() and len(text) <= 12) or not (
        1 <= int(text) <= timeout_max_ms
    ):
        raise InvalidHeader(
            f"Spawn-Timeout must be whole milliseconds from 1 to {timeout_max_ms}, "
            f"got {_shown(text)}",
            at="header Spawn-Timeout",
            hint="e.g. Spawn-Timeout: 2000 for two seconds",
        )
    return int(text) / 1000


def _once(name: str, values: Sequence[str]) -> None:
    if len(values) > 1:
        raise InvalidHeader(
            f"{name} is there {len(values)} times", at=f"header {name}", hint="send it once"
        )


def _shown(value: str) -> str:
    if len(value) > 40:
        return f"{len(value)} characters beginning with {value[:20]!r}"
    return repr(value)
