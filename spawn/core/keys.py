"""Users' idempotency keys: which commands an actor has seen (pure; log protocol 7, Keys).

A key lives with its actor and binds for a window of time and count. Everything here follows from
the actor's valid records in order, so owner, replay and checkpoint agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from eventstore.records import UserKey

__all__ = ["KEYS_MAX", "KEY_WINDOW_US", "BoundKey", "Keys", "digest_key"]

KEY_WINDOW_US: Final = 24 * 3600 * 1_000_000
"""How long a key binds, by the log's time; after it the same key is a new request."""
KEYS_MAX: Final = 100_000
"""Keys remembered per actor: 8 MB of memory at the most."""
KEY_FRESH_US: Final = 15 * 60 * 1_000_000
"""A key younger than this is never dropped for the count: a new one is refused instead."""


class BoundKey(NamedTuple):
    """What a key is bound to."""

    payload: bytes
    """Digest of action and payload."""
    offset: int
    time_us: int


class Keys:
    """The keys of one actor, oldest first."""

    __slots__ = ("bound", "dropped", "unsaved")

    def __init__(self) -> None:
        self.bound: dict[bytes, BoundKey] = {}
        self.unsaved: dict[bytes, BoundKey] = {}
        """Bound since the last flush."""
        self.dropped: list[bytes] = []
        """Fallen out of the window and still to be deleted in the store."""

    def find(self, key: bytes, time_us: int) -> BoundKey | None:
        """Return what the key is bound to at log time `time_us`, or None."""
        found = self.bound.get(key)
        if found is None or found.time_us < time_us - KEY_WINDOW_US:
            return None
        return found

    def full(self, time_us: int, in_flight: int = 0) -> bool:
        """Tell whether a new key must be refused: what would have to go for it is too young.

        `in_flight` keys will be bound before it, so that as many more of the oldest go.
        """
        going = len(self.bound) + in_flight + 1 - KEYS_MAX
        if going <= 0:
            return False
        youngest = next(islice(self.bound.values(), going - 1, None), None)
        return youngest is None or youngest.time_us > time_us - KEY_FRESH_US

    def bind(self, key: UserKey, offset: int, time_us: int) -> None:
        """Fold a valid record that carries a key, then let fall what is out of the window."""
        self.bound.pop(key.key, None)
        self.bound[key.key] = self.unsaved[key.key] = BoundKey(key.payload, offset, time_us)
        for oldest in self._outside(time_us):
            del self.bound[oldest]
            if self.unsaved.pop(oldest, None) is None:
                self.dropped.append(oldest)

    def _outside(self, time_us: int) -> list[bytes]:
        too_many = len(self.bound) - KEYS_MAX
        outside: list[bytes] = []
        for key, bound in self._oldest_first():
            if len(outside) >= too_many and bound.time_us >= time_us - KEY_WINDOW_US:
                break
            outside.append(key)
        return outside

    def _oldest_first(self) -> Iterator[tuple[bytes, BoundKey]]:
        return iter(self.bound.items())


def digest_key(key: str, action: str, payload: bytes) -> UserKey:
    """Return the 16-byte digests that stand in the prefix for a key and for what it stands for.

    The payload counts by its content: white space and the order of members make no difference.
    """
    try:
        content = msgspec.json.encode(msgspec.json.decode(payload), order="sorted")
    except (msgspec.MsgspecError, RecursionError):
        content = payload
    return UserKey(
        hashlib.blake2b(key.encode(), digest_size=16).digest(),
        hashlib.blake2b(action.encode() + b"\0" + content, digest_size=16).digest(),
    )
