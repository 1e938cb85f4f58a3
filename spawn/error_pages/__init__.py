"""A page for each error code, in Markdown, so that it is at hand without a network.

`CODE.md` has what it means, what causes it, how to confirm that, and the remedy. A test holds the
pages equal to the codes that there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["codes", "meaning", "page"]

_FOLDER = Path(__file__).parent


def codes() -> Sequence[str]:
    """Return every code that has a page, sorted."""
    return sorted(file.stem for file in _FOLDER.glob("*.md"))


def page(code: str) -> str | None:
    """Return a code's page, or None if there is none."""
    return (_FOLDER / f"{code}.md").read_text(encoding="utf-8") if code in codes() else None


def meaning(code: str) -> str:
    """Return the page's first paragraph up to its first full stop, on one line; empty: no page."""
    paragraphs = (page(code) or "").split("\n\n")
    return paragraphs[1].partition(". ")[0].rstrip(".") if len(paragraphs) > 1 else ""
