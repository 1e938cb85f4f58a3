"""Passwords and tokens, and addresses that hold one: never shown."""

from __future__ import annotations

import re

__all__ = ["Secret", "SecretUrl"]


class SecretUrl:
    """An address that may hold a password: shown without it, `reveal()` gives all of it."""

    __slots__ = ("_url",)

    def __init__(self, url: str = "") -> None:
        self._url = url

    def reveal(self) -> str:
        """Return the address as it was given; never print or log it."""
        return self._url

    def __str__(self) -> str:
        # Greedy up to the last @: rather a host too much masked than a letter of a password shown.
        shown = re.sub(r"://([^:@/?]*):.*@", r"://\1:***@", self._url, flags=re.DOTALL)
        if shown == self._url and not shown.startswith("postgres"):
            shown = re.sub(r"://[^/?]*@", "://***@", shown)
        return re.sub(r"(?i)(password|token)=[^&]*", r"\1=***", shown)

    def __repr__(self) -> str:
        return repr(str(self))

    def __bool__(self) -> bool:
        return bool(self._url)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)


class Secret:
    """A token: never shown, `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return it; never print or log it."""
        return self._text

    def __str__(self) -> str:
        return "***" if self._text else ""

    def __repr__(self) -> str:
        return repr(str(self))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)
