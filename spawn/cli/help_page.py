"""How `--help` looks: two columns, no boxes."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

__all__ = ["HelpFormatter"]

_ANY_WIDTH = 10_000
_WIDTH_MAX = 100
_NAMES_MAX = 34
"""Columns for names; longer ones have their text on the next line."""


class HelpFormatter:
    """Prints the panels that cyclopts has put together."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print commands, arguments or options."""
        entries = [(", ".join(entry.display_labels_with_metavar), entry) for entry in panel.entries]
        if not entries:
            return
        names_width = min(_NAMES_MAX, max(len(names) for names, _ in entries)) + 4
        lines = [f"{_plain(panel.title, console)}:"]
        for names, entry in entries:
            text = _plain(entry.description, console)
            if (
                entry.default is not None
                and "default" not in text
                and entry.default not in ("True", "False")
            ):
                text += f" [default: {entry.default}]"
            wrapped = textwrap.wrap(text, min(console.width, _WIDTH_MAX) - names_width) or [""]
            head = f"  {names}"
            if len(head) + 2 > names_width:
                lines.append(head)
                head = ""
            lines += [
                f"{head if number == 0 else '':{names_width}}{part}".rstrip()
                for number, part in enumerate(wrapped)
            ]
        _print(console, "\n".join(lines))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print the line that says how the command goes."""
        _print(console, _plain(usage, console))

    def render_description(self, console: Console, options: ConsoleOptions, text: Any) -> None:
        """Print what the command does."""
        width = min(console.width, _WIDTH_MAX)
        _print(console, "\n".join(textwrap.wrap(_plain(text, console), width)))


def _plain(text: Any, console: Console) -> str:
    """Return what a piece of rich text says, on one line."""
    if text is None:
        return ""
    segments = console.render(text, console.options.update_width(_ANY_WIDTH))
    return " ".join("".join(segment.text for segment in segments).split())


def _print(console: Console, text: str) -> None:
    if text:
        console.print(text + "\n", highlight=False, markup=False, soft_wrap=True)
