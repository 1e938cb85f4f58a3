"""How `--help` looks: two columns, no boxes."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

__all__ = ["SETTINGS_GROUP", "HelpFormatter"]

SETTINGS_GROUP: Final = "Settings"
"""Title of the flags of settings, of which a help page shows the usual ones only."""
_USUAL: Final = frozenset((
    "--system", "--kafka-bootstrap-servers", "--postgres-dsn", "--nats-url", "--http-host",
    "--http-port", "--log-level",
))  # fmt: skip

_ANY_WIDTH = 10_000
_WIDTH_MAX = 100
_NAMES_MAX = 34
"""Columns for names; longer ones have their text on the next line."""


class HelpFormatter:
    """Prints the panels that cyclopts has put together."""

    def __init__(self, *, all_flags: bool = False) -> None:
        """`all_flags`: those of all settings, not of the usual ones only."""
        self._all_flags = all_flags

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print commands, arguments or options."""
        entries = [(", ".join(entry.display_labels_with_metavar), entry) for entry in panel.entries]
        if not entries:
            return
        more = ""
        if SETTINGS_GROUP in _plain(panel.title, console):
            shown = [each for each in entries if self._all_flags or _is_usual(each[0])]
            if left := len(entries) - len(shown):
                more = (
                    f"  and {left} more: --help-all lists them, as does docs/reference/settings.md"
                )
            entries = shown
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
        _print(console, "\n".join([*lines, more] if more else lines))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print the line that says how the command goes."""
        _print(console, _plain(usage, console))

    def render_description(self, console: Console, options: ConsoleOptions, text: Any) -> None:
        """Print what the command does."""
        width = min(console.width, _WIDTH_MAX)
        _print(console, "\n".join(textwrap.wrap(_plain(text, console), width)))


def _is_usual(names: str) -> bool:
    return names.split(maxsplit=1)[0].rstrip(",") in _USUAL


def _plain(text: Any, console: Console) -> str:
    """Return what a piece of rich text says, on one line."""
    if text is None:
        return ""
    segments = console.render(text, console.options.update_width(_ANY_WIDTH))
    return " ".join("".join(segment.text for segment in segments).split())


def _print(console: Console, text: str) -> None:
    if text:
        console.print(text + "\n", highlight=False, markup=False, soft_wrap=True)
