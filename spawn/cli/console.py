"""Where commands speak: data to stdout, words to stderr, colour where a person looks."""

from __future__ import annotations

import sys
from typing import TextIO

from spawn.cli import render
from spawn.errors import SpawnError

__all__ = ["data", "error", "note", "warning"]


def data(text: str) -> None:
    """Print a piece of the answer."""
    print(text)


def note(text: str) -> None:
    """Say something that is no data."""
    print(render.visible(text, lines=True), file=sys.stderr)


def warning(text: str) -> None:
    """Say what is no error but was hardly meant."""
    print(render.warning(text, colour=_colour(sys.stderr)), file=sys.stderr)


def error(failure: SpawnError) -> None:
    """Tell an error: what, where, how to mend it."""
    text = render.error(
        failure.message, failure.code, failure.at, failure.hint, colour=_colour(sys.stderr)
    )
    print(text, file=sys.stderr)


def _colour(stream: TextIO) -> bool:
    if not stream.isatty():
        return False
    from spawn.config import wants_colour

    return wants_colour()
