"""Users' idempotency keys: the window in time and count (log protocol 7, Keys)."""

from __future__ import annotations

import pytest

from spawn.core import keys as module
from spawn.core.keys import KEY_FRESH_US, KEY_WINDOW_US, Keys, digest_key


def test_a_key_binds_for_24_hours() -> None:
    """After that the same key is a new request."""
    keys = Keys()
    key = digest_key("order-7", "add", b"5")
    keys.bind(key, 42, 1_000)
    found = keys.find(key.key, 1_000 + KEY_WINDOW_US)
    assert found is not None
    assert (found.payload, found.offset) == (key.payload, 42)
    assert keys.find(key.key, 1_001 + KEY_WINDOW_US) is None


def test_payload_digests_tell_actions_and_payloads_apart() -> None:
    """The same key with another action or payload is a misuse that must be seen."""
    first = digest_key("k", "add", b"5")
    assert digest_key("k", "add", b"5") == first
    assert digest_key("k", "add", b"6").payload != first.payload
    assert digest_key("k", "sub", b"5").payload != first.payload


def test_the_oldest_key_goes_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; what went is remembered for the store."""
    monkeypatch.setattr(module, "KEYS_MAX", 3)
    keys = Keys()
    made = [digest_key(str(n), "a", b"") for n in range(4)]
    for n, key in enumerate(made[:3]):
        keys.bind(key, n, n)
    keys.unsaved.clear()
    keys.bind(made[3], 3, 3)
    assert list(keys.bound) == [key.key for key in made[1:]]
    assert keys.dropped == [made[0].key]


def test_young_keys_are_never_dropped_for_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor full of keys younger than 15 minutes refuses a new one."""
    monkeypatch.setattr(module, "KEYS_MAX", 2)
    keys = Keys()
    for n in range(2):
        keys.bind(digest_key(str(n), "a", b""), n, n)
    assert keys.full(KEY_FRESH_US - 1)
    assert not keys.full(KEY_FRESH_US)


def test_keys_in_flight_count_as_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them will push one out before the new one does: none of those may be young."""
    monkeypatch.setattr(module, "KEYS_MAX", 3)
    keys = Keys()
    assert not keys.full(0, 2)
    assert keys.full(0, 3)
    for n in range(2):
        keys.bind(digest_key(str(n), "a", b""), n, n * KEY_FRESH_US)
    assert not keys.full(KEY_FRESH_US + 1)
    assert not keys.full(KEY_FRESH_US + 1, 1), "the first, now old, goes"
    assert keys.full(KEY_FRESH_US + 1, 2), "the second is young"
