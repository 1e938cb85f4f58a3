"""`spawn events TYPE/ID`: reads log and database, needs no node and wakes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from spawn.cli import console, exit_codes, render
from spawn.cli.common_flags import ConfigFile
from spawn.cli.render import EventLine
from spawn.cli.settings_flags import AddressFlags
from spawn.cli.sources import opened, reading_settings
from spawn.cli.subjects import Subject, parse_subject
from spawn.cli.type_code import code_of
from spawn.config import Settings
from spawn.errors import SchemaIncompatible

if TYPE_CHECKING:
    from spawn.core.behavior import Behavior
    from spawn.query.inspection import History, HistoryLine

__all__ = ["events"]

_POLL_S: Final = 0.25


def events(
    actor: Annotated[str, Parameter(name="TYPE/ID", help="The actor: its type and its id.")],
    /,
    *,
    state: Annotated[
        bool, Parameter(help="Also show the state after each record.", negative="")
    ] = False,
    target: Annotated[
        str | None,
        Parameter(
            help="The type's code, a Python file or module, which --state folds events with and "
            "which events are shown by; else that of the `spawn dev` that runs here.",
            metavar="TARGET",
        ),
    ] = None,
    follow: Annotated[
        bool, Parameter(help="Go on with new records as they come, until Ctrl-C.", negative="")
    ] = False,
    utc: Annotated[
        bool, Parameter(help="Times in UTC instead of this machine's zone.", negative="")
    ] = False,
    json: Annotated[
        bool, Parameter(help="One line of JSON for each record, oldest first.", negative="")
    ] = False,
    config: ConfigFile = None,
    flags: Annotated[AddressFlags, Parameter(name="*")] = AddressFlags(),  # noqa: B008 - frozen
) -> int:
    """Show an actor's history from the log: who did what when, and the events that came of it."""
    subject = parse_subject(actor)
    settings = reading_settings(flags, config)
    behavior = code_of(subject, target, needed=state)
    strict = state or target is not None
    printer = _Printer(subject, settings.system, as_json=json, with_state=state, utc=utc)
    try:
        found = asyncio.run(
            _show(settings, subject, behavior, printer, strict=strict, follow=follow)
        )
    except KeyboardInterrupt:
        # The way to end it.
        return exit_codes.DONE if follow else exit_codes.INTERRUPTED
    return exit_codes.DONE if found else exit_codes.NOT_FOUND


async def _show(
    settings: Settings,
    subject: Subject,
    behavior: Behavior | None,
    printer: _Printer,
    *,
    strict: bool,
    follow: bool,
) -> bool:
    """Show them; tell whether there were any."""
    from eventstore.errors import LogUnavailable
    from spawn.query.inspection import LogReader

    async with opened(settings) as sources:
        reader = LogReader(*sources, settings.system)
        try:
            history = await reader.history(subject.type, subject.id, behavior)
        except SchemaIncompatible:
            if strict:
                raise
            # Nobody asked for the code: what the log says by itself is shown.
            history = await reader.history(subject.type, subject.id)
        printer.whole(history, follow=follow)
        told = False
        while follow:
            try:
                newer = await history.newer()
            except LogUnavailable as error:
                if not told:
                    console.warning(f"the log does not answer, asked again until it does: {error}")
                told, newer = True, []
            else:
                told = False
            printer.more([_line(line) for line in newer])
            if not newer:
                await asyncio.sleep(_POLL_S)
        return bool(history.lines)


class _Printer:
    """Prints records, as they are or as they come."""

    def __init__(
        self, subject: Subject, system: str, *, as_json: bool, with_state: bool, utc: bool
    ) -> None:
        self._subject = subject
        self._system = system
        self._as_json = as_json
        self._with_state = with_state
        self._zone = UTC if utc else None
        self._widths: Sequence[int] = ()

    def whole(self, history: History, *, follow: bool) -> None:
        """Print what there is, and say what is missing."""
        lines = [_line(line) for line in history.lines]
        if not lines:
            console.note(f"{self._subject} was never written in system {self._system}")
        self._print(lines, titles=bool(lines) or follow)
        if history.state_problem and self._with_state:
            console.warning(f"the state is not known from some record on: {history.state_problem}")
        elif self._with_state and lines and all(line.state is None for line in lines):
            console.note(
                f"states of {self._subject.type} are not shown: its events are folded by its own "
                "code; name it: --target counter.py"
            )

    def more(self, lines: Sequence[EventLine]) -> None:
        """Print records that came."""
        self._print(lines, titles=False)

    def _print(self, lines: Sequence[EventLine], *, titles: bool) -> None:
        if self._as_json:
            for line in lines:
                console.data(render.event_json(line, with_state=self._with_state))
        elif lines or titles:
            from spawn.runtime.clock import SystemClock

            shown, self._widths = render.event_rows(
                lines,
                now_us=SystemClock().time_us(),
                with_state=self._with_state,
                zone=self._zone,
                titles=titles,
                widths=self._widths,
            )
            console.data("\n".join(shown))


def _line(line: HistoryLine) -> EventLine:
    return EventLine(
        revision=line.revision,
        time_us=line.time_us,
        action=line.action,
        caller=line.caller,
        outcome=line.outcome,
        events=line.events,
        position=str(line.position),
        state=line.state,
        deleted=line.deleted,
        repeats=line.repeats,
        refusal=line.refusal,
    )
