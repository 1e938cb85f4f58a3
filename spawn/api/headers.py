"""The request headers that mean something here, and their checks (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from eventstore.records import RequestNumber
from spawn.core.numbering import WINDOW
from spawn.errors import InvalidHeader

__all__ = ["KEY_CHARACTERS_MAX", "parse_key", "parse_request", "parse_timeout"]

KEY_CHARACTERS_MAX: Final = 255
"""Of an idempotency key: what the common ones (UUIDs, order numbers) need many times over."""

_REQUEST = re.compile(
    r"session=([0-9a-f]{32}), ?n=([0-9]{1,19}), ?low=([0-9]{1,19}), ?issued=([0-9]{1,19})"
)
_VISIBLE = re.compile(r"[!-~]+")


def parse_key(values: Sequence[str], at: str = "header Idempotency-Key") -> str:
    """Return the idempotency key that stands in `Idempotency-Key`. Raises: InvalidHeader."""
    _once("Idempotency-Key", values, at)
    key = values[0]
    if not _VISIBLE.fullmatch(key) or len(key) > KEY_CHARACTERS_MAX:
        raise InvalidHeader(
            f"Idempotency-Key must have 1 to {KEY_CHARACTERS_MAX} visible ASCII characters, "
            f"got {_shown(key)}",
            at=at,
            hint="a UUID or the number of the order, without spaces",
        )
    return key


def parse_timeout(values: Sequence[str], timeout_max_s: float) -> float:
    """Return the wait in seconds that `Spawn-Timeout` (ms) asks for. Raises: InvalidHeader."""
    _once("Spawn-Timeout", values, "header Spawn-Timeout")
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


def parse_request(values: Sequence[str], at: str = "header Spawn-Request") -> RequestNumber:
    """Return the request's number from `Spawn-Request` (log protocol 7). Raises: InvalidHeader.

    Whether `issued` is too far ahead depends on the partition's time: the partition judges it.
    """
    _once("Spawn-Request", values, at)
    found = _REQUEST.fullmatch(values[0])
    if found is None:
        raise InvalidHeader(
            "Spawn-Request must be `session=` and 32 hexadecimal digits, `n=`, `low=` and "
            f"`issued=` (us) with commas between, got {_shown(values[0])}",
            at=at,
            hint="e.g. session=00112233445566778899aabbccddeeff, n=8, low=7, "
            "issued=1795558208000000",
        )
    n, low, issued_us = int(found[2]), int(found[3]), int(found[4])
    problem = ""
    if not 1 <= n < 1 << 63:
        problem = f"n must be from 1 to 2^63 - 1, got {n}"
    elif not low <= n < low + WINDOW:
        problem = f"n must be from low to low + {WINDOW - 1}, got n={n}, low={low}"
    elif issued_us >= 1 << 63:
        problem = f"issued must be below 2^63 us, got {issued_us}"
    if problem:
        raise InvalidHeader(
            f"Spawn-Request: {problem}", at=at, hint="n counts the requests to one partition"
        )
    return RequestNumber(bytes.fromhex(found[1]), n, low, issued_us)


def _once(name: str, values: Sequence[str], at: str) -> None:
    if len(values) > 1:
        raise InvalidHeader(f"{name} is there {len(values)} times", at=at, hint="send it once")


def _shown(value: str) -> str:
    if len(value) > 40:
        return f"{len(value)} characters beginning with {value[:20]!r}"
    return repr(value)
