"""`spawn actors [TYPE]`: from database and log alone, a page at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from spawn.cli import console, render
from spawn.cli.common_flags import ConfigFile
from spawn.cli.settings_flags import AddressFlags
from spawn.cli.sources import opened, reading_settings
from spawn.cli.subjects import UsageError, check_text, parse_subject
from spawn.config import Settings

if TYPE_CHECKING:
    from spawn.query.actor_list import ActorLine

__all__ = ["actors"]


def actors(
    actor_type: Annotated[
        str | None, Parameter(name="TYPE", help="Of this actor type only.")
    ] = None,
    /,
    *,
    limit: Annotated[
        int, Parameter(help="At most so many; 0: all of them.", metavar="NUMBER")
    ] = 100,
    after: Annotated[
        str | None,
        Parameter(
            help="Go on behind this id; without TYPE behind this TYPE/ID.",
            metavar="ID",
            allow_leading_hyphen=True,
        ),
    ] = None,
    times: Annotated[
        bool,
        Parameter(
            help="Look up when each was last written, which takes longer.", negative="--no-times"
        ),
    ] = True,
    utc: Annotated[
        bool, Parameter(help="Times in UTC instead of this machine's zone.", negative="")
    ] = False,
    json: Annotated[bool, Parameter(help="One line of JSON for each actor.", negative="")] = False,
    config: ConfigFile = None,
    flags: Annotated[AddressFlags, Parameter(name="*")] = AddressFlags(),  # noqa: B008 - frozen
) -> None:
    """List actors from database and log, by id; deleted ones too. None of them is woken."""
    if limit < 0:
        raise UsageError(f"--limit must be at least 0, got {limit}", hint="0 lists all of them")
    name = None
    if after is not None:
        check_text(after, "--after")
        if not actor_type and "/" not in after:
            raise UsageError(
                f"without TYPE, --after takes TYPE/ID, got `{after}`",
                hint=f"e.g. spawn actors --after Counter/a, or spawn actors TYPE --after {after}",
            )
        name = (actor_type, after) if actor_type else tuple(parse_subject(after))
    settings = reading_settings(flags, config)
    printer = _Printer(as_json=json, utc=utc)
    more = asyncio.run(_list(settings, actor_type, name, limit, times, printer))
    if more is not None:
        behind = more.id if actor_type else f"{more.type}/{more.id}"
        command = f"spawn actors {actor_type} --after" if actor_type else "spawn actors --after"
        console.note(f"there are more: {command} {render.shell_word(behind)}")


async def _list(
    settings: Settings,
    actor_type: str | None,
    after: tuple[str, ...] | None,
    limit: int,
    times: bool,
    printer: _Printer,
) -> ActorLine | None:
    """Print the list; return its last line if there are more behind it."""
    from spawn.query.actor_list import ActorList
    from spawn.query.catalog import Catalog

    async with opened(settings) as (log, admin, store):
        catalog = Catalog(log, admin, settings.system)
        topics = await (catalog.topics_of(actor_type) if actor_type else catalog.topics())
        actor_list = ActorList(log, store, topics, actor_type)
        behind = None if after is None else (after[0], after[1])
        given, last = 0, None
        # One more than is shown tells whether there are more.
        wanted = limit + 1 if limit else None
        async for page in actor_list.pages(after=behind, limit=wanted, times=times):
            shown = page[: limit - given] if limit else page
            printer.page(shown)
            last = shown[-1] if shown else last
            given += len(page)
        for problem in sorted(set(actor_list.problems)):
            console.warning(problem)
        if not given:
            console.note(f"system {settings.system} has no such actors")
    return last if limit and given > limit else None


class _Printer:
    def __init__(self, *, as_json: bool, utc: bool) -> None:
        self._as_json = as_json
        self._zone = UTC if utc else None
        self._begun = False

    def page(self, lines: Sequence[ActorLine]) -> None:
        if self._as_json:
            for line in lines:
                console.data(render.json_line(_value(line)))
        elif lines:
            titles = [] if self._begun else [["actor", "rev", "last written", "offset", ""]]
            rows = [*titles, *map(self._row, lines)]
            console.data("\n".join(render.table(rows, right=(1, 3))))
            self._begun = True

    def _row(self, line: ActorLine) -> list[str]:
        when = "-" if line.time_us is None else render.when(line.time_us, self._zone)
        place = f"{line.at.partition}@{line.offset}"
        deleted = "deleted" if line.deleted else ""
        return [f"{line.type}/{line.id}", str(line.revision), when, place, deleted]


def _value(line: ActorLine) -> dict[str, Any]:
    return {
        "type": line.type,
        "id": line.id,
        "revision": line.revision,
        "time": None if line.time_us is None else render.iso_time(line.time_us),
        "deleted": line.deleted,
        "position": f"{line.at}@{line.offset}",
    }
