"""What commands are about: `TYPE/ID`, and the JSON that goes with it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from spawn.errors import InvalidJson, SpawnError

__all__ = ["Subject", "UsageError", "check_text", "nearest", "parse_subject", "read_payload"]


class UsageError(SpawnError):
    """The command line is wrong; nothing was tried."""

    code = "usage"


class Subject(NamedTuple):
    """One actor."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


def parse_subject(text: str, example: str = "spawn state Counter/a") -> Subject:
    """Split `TYPE/ID` at the first `/`; the id may hold more of them. Raises: UsageError."""
    check_text(text, "TYPE/ID")
    actor_type, slash, actor_id = text.partition("/")
    if not slash or not actor_type or not actor_id:
        raise UsageError(f"an actor is named TYPE/ID, got `{text}`", hint=f"e.g. {example}")
    return Subject(actor_type, actor_id)


def check_text(text: str, name: str) -> str:
    """Return an argument that is text; its bytes may be anything. Raises: UsageError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = text.encode(errors="surrogateescape").decode(errors="replace")
        raise UsageError(f"{name} is not UTF-8, got `{shown[:80]}`") from None
    return text


def read_payload(text: str | None) -> bytes:
    """Return the JSON of a command line; `-` reads it from stdin, None stands for no argument.

    Looked at here already, since it is mostly the shell that ate the quotes. Raises: InvalidJson,
    UsageError.
    """
    if text is None:
        return b""
    payload = sys.stdin.buffer.read() if text == "-" else check_text(text, "JSON").encode()
    if not payload.strip():
        return b""
    try:
        msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        quoted = msgspec.json.encode(text).decode(errors="replace")
        if text == "-":
            raise InvalidJson(f"the argument is not JSON: {error}", at="stdin") from None
        is_word = text[:1] not in '{["-0123456789'
        raise InvalidJson(
            f"`{text}` is not JSON: a JSON string needs quotes"
            if is_word
            else f"the argument is not JSON: {error}",
            at="argument JSON",
            hint=f"a text needs its quotes, and the shell others: '{quoted}'",
        ) from None
    return payload


def nearest(wrong: str, names: Iterable[str]) -> str:
    """Return the hint that proposes the nearest right name; empty: none is near."""
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(wrong.lower(), by_lower, 1)
    return f"did you mean `{by_lower[found[0]]}`?" if found else ""
