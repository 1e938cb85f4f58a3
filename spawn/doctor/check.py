"""What a check found (pure)."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Check", "failed", "ok", "warning"]


class Check(NamedTuple):
    """One line of the doctor's."""

    name: str
    status: Literal["ok", "warning", "failed"]
    text: str
    """What was found, with names and values."""
    mend: str = ""
    """What to do about it; empty with `ok`."""


def ok(name: str, text: str) -> Check:
    """Return that a thing is well."""
    return Check(name, "ok", text)


def warning(name: str, text: str, mend: str) -> Check:
    """Return that a thing works, but hardly as it was meant."""
    return Check(name, "warning", text, mend)


def failed(name: str, text: str, mend: str) -> Check:
    """Return that a thing keeps Spawn from working, or acknowledged events from being safe."""
    return Check(name, "failed", text, mend)
