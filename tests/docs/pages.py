"""The Markdown pages as data: code blocks with what stands before them, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "Block", "Page", "all_pages", "slug"]

ROOT: Final = Path(__file__).parents[2]

_FENCE = re.compile(r"^(\s*)(`{3,})([\w-]*)\s*$")
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FILE_NAME = re.compile(r"`([\w./-]+\.\w+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    """Number of its first line of content in the page, from 1."""
    language: str
    text: str
    not_run: str
    """Why it is not run here; empty: it is."""
    file: str
    """The file that the sentence before it names, as in "`counter.py`:"; empty: none."""

    @property
    def place(self) -> str:
        """For messages: `README.md:12`."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One Markdown file."""

    name: str
    """Its path from the root, with slashes."""
    blocks: Sequence[Block]
    links: Sequence[tuple[int, str]]
    """Line and target of every link outside of code."""
    anchors: frozenset[str]


def all_pages() -> Sequence[Page]:
    """Return README.md and every page below docs/, sorted by name."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [read_page(file) for file in files]


def read_page(file: Path) -> Page:
    """Return one page. Raises: ValueError - a fence is not closed."""
    name = file.relative_to(ROOT).as_posix()
    blocks: list[Block] = []
    links: list[tuple[int, str]] = []
    anchors: list[str] = []
    before: list[str] = []
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    for number, line in lines:
        if fence := _FENCE.match(line):
            blocks.append(_block(name, number + 1, fence, lines, before))
            before = []
            continue
        if heading := _HEADING.match(line):
            anchor = slug(heading[2])
            taken = sum(
                re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", one) is not None for one in anchors
            )
            anchors.append(f"{anchor}-{taken}" if taken else anchor)
        links += [(number, target) for target in _LINK.findall(re.sub(r"`[^`]*`", "", line))]
        if line.strip():
            before.append(line)
        elif before and not before[-1].startswith("<!--") and not before[-1].endswith(":"):
            before = []
    return Page(name=name, blocks=blocks, links=links, anchors=frozenset(anchors))


def _block(
    page: str,
    first: int,
    fence: re.Match[str],
    lines: Iterator[tuple[int, str]],
    before: Sequence[str],
) -> Block:
    indent, ticks, language = fence.groups()
    content = []
    for _number, line in lines:
        if line.strip() == ticks:
            break
        content.append(line.removeprefix(indent))
    else:
        raise ValueError(f"{page}:{first}: the block has no end")
    words = " ".join(before)
    not_run = _NOT_RUN.search(words)
    named = _FILE_NAME.findall(_NOT_RUN.sub("", words).rstrip())
    ends_in_colon = _NOT_RUN.sub("", words).rstrip().endswith(":")
    return Block(
        page=page,
        line=first,
        language=language,
        text="\n".join(content) + "\n",
        not_run=not_run[1] if not_run else "",
        file=named[-1] if named and ends_in_colon else "",
    )


def slug(heading: str) -> str:
    """Return a heading's anchor as GitHub makes it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
