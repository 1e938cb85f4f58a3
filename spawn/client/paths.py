"""Addresses and paths of a node, and what may stand in a request's head (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlsplit

from spawn.errors import InvalidHeader

__all__ = ["actor_path", "addresses_of", "checked_key", "is_visible", "node_address"]

_KEY_CHARACTERS_MAX: Final = 255
"""What a node takes of an idempotency key (`spawn/api/headers.py`)."""
_VISIBLE: Final = re.compile(r"[!-~]+")
_BETWEEN: Final = re.compile(r",\s*(?=https?://)")
"""A comma within a password is none between addresses."""


def actor_path(actor_type: str, actor_id: str, action: str = "") -> str:
    """Return the percent-encoded path of an actor or of one of its actions; ids may hold anything.

    Bytes of a command line that are no UTF-8 go as they came: the node refuses them.
    """
    parts = [actor_type, actor_id, *([action] if action else [])]
    return "/v1/actors/" + "/".join(map(_quoted, parts))


def _quoted(part: str) -> str:
    # Dots alone are a way up or nothing to clients and proxies, so they don't stay dots.
    if part in (".", ".."):
        return part.replace(".", "%2E")
    return quote(part, safe="", errors="surrogateescape")


def addresses_of(url: object) -> Sequence[object]:
    """Return the addresses in what a client was given, each still to be checked, none twice.

    Raises: ValueError - there is none.
    """
    if isinstance(url, str):
        return list(dict.fromkeys(_BETWEEN.split(url)))
    if isinstance(url, Sequence) and not isinstance(url, bytes):
        if not url:
            raise ValueError("a client needs the address of a node at least")
        return list(dict.fromkeys(url))
    return [url]


def node_address(url: object) -> str:
    """Check a node's address; return it for people, its password masked.

    Raises: TypeError, ValueError.
    """
    if not isinstance(url, str):
        raise TypeError(f"a node's address is a str, got {type(url).__name__}")
    # Greedy up to the last @: rather too much is masked than a letter of a password shown.
    shown = re.sub(r"^([a-z]+://)?.*@", r"\1***@", url, flags=re.DOTALL | re.IGNORECASE)
    text = f"a node's address is http://host:port, got {shown!r}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"{text}: a port is a number from 1 to 65535") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(text)
    if not is_visible(url) or parts.query or parts.fragment:
        raise ValueError(f"{text}: nothing with `?` or `#`, and visible ASCII characters only")
    return shown.rstrip("/")


def is_visible(text: str) -> bool:
    """Tell whether a text has visible ASCII characters only, and at least one."""
    return _VISIBLE.fullmatch(text) is not None


def checked_key(key: str) -> str:
    """Return an idempotency key that HTTP can carry; empty is none. Raises: InvalidHeader."""
    if key and (not is_visible(key) or len(key) > _KEY_CHARACTERS_MAX):
        raise InvalidHeader(
            f"an idempotency key over HTTP has 1 to {_KEY_CHARACTERS_MAX} visible ASCII characters,"
            f" got {key[:40]!r}",
            hint="a UUID or the number of the order, without spaces",
        )
    return key
