"""Where commands speak: data to stdout, words to stderr, colour where a person looks."""

from __future__ import annotations

import sys
from typing import TextIO

from spawn.cli import render
from spawn.errors import Rejected, SpawnError

__all__ = ["colours_data", "colours_words", "data", "error", "markdown", "note", "warning"]


_PAGE_WIDTH_MAX = 100


def data(text: str) -> None:
    """Print a piece of the answer; at once, since others may follow much later."""
    print(text, flush=True)


def markdown(text: str) -> None:
    """Print a page: as it is written, and laid out where a person looks."""
    if not colours_data():
        data(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    console.print(Markdown(text), width=min(console.width, _PAGE_WIDTH_MAX))


def colours_data() -> bool:
    """Tell whether answers may be coloured."""
    return _colour(sys.stdout)


def colours_words() -> bool:
    """Tell whether what goes to stderr may be coloured."""
    return _colour(sys.stderr)


def note(text: str) -> None:
    """Say something that is no data."""
    print(render.visible(text, lines=True), file=sys.stderr)


def warning(text: str) -> None:
    """Say what is no error but was hardly meant."""
    print(render.warning(text, colour=_colour(sys.stderr)), file=sys.stderr)


def error(failure: SpawnError) -> None:
    """Tell an error: what, where, how to mend it."""
    hint = failure.hint or _page_hint(failure)
    text = render.error(failure.message, failure.code, failure.at, hint, colour=_colour(sys.stderr))
    print(text, file=sys.stderr)


def _page_hint(failure: SpawnError) -> str:
    """Return where to read on, for an error that has no hint of its own."""
    from spawn import error_pages

    known = not isinstance(failure, Rejected) and failure.code in error_pages.codes()
    return f"`spawn explain {failure.code}` says more" if known else ""


def _colour(stream: TextIO) -> bool:
    if not stream.isatty():
        return False
    from spawn.config import wants_colour

    return wants_colour()
