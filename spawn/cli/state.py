"""`spawn state TYPE/ID`: the state now through a node, an earlier one from the log itself."""

from __future__ import annotations

import asyncio
import json as jsons
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from spawn.cli import console, render
from spawn.cli.common_flags import Authority
from spawn.cli.moments import Moment, parse_moment
from spawn.cli.node_client import ask_node, find_node, parse_timeout_s
from spawn.cli.settings_flags import AddressFlags
from spawn.cli.sources import opened, reading_settings
from spawn.cli.subjects import Subject, UsageError, parse_subject
from spawn.cli.type_code import code_of
from spawn.client.paths import actor_path
from spawn.errors import ActorParked, UnknownRevision

if TYPE_CHECKING:
    from spawn.config import Settings
    from spawn.core.behavior import Behavior
    from spawn.query.inspection import History, HistoryLine

__all__ = ["state"]


def state(
    actor: Annotated[str, Parameter(name="TYPE/ID", help="The actor: its type and its id.")],
    /,
    *,
    at: Annotated[
        str | None,
        Parameter(
            help="The state after this revision or at this time (10:02:11, "
            "2026-11-24T10:02:11Z), from log and database: needs no node.",
            metavar="REVISION|TIME",
        ),
    ] = None,
    target: Annotated[
        str | None,
        Parameter(
            help="With --at: the type's code, a Python file or module, which folds its events; "
            "else that of the `spawn dev` that runs here.",
            metavar="TARGET",
        ),
    ] = None,
    timeout: Annotated[
        str, Parameter(help="How long to wait: 250ms, 5s, 2m.", metavar="DURATION")
    ] = "60s",
    url: Annotated[str | None, Parameter(help="The node; also SPAWN_URL.", metavar="URL")] = None,
    ca: Authority = None,
    json: Annotated[bool, Parameter(help="One line of JSON.", negative="")] = False,
    config: Annotated[
        Path | None,
        Parameter(help="With --at: file with settings, instead of ./spawn.toml.", metavar="FILE"),
    ] = None,
    flags: Annotated[AddressFlags, Parameter(name="*")] = AddressFlags(),  # noqa: B008 - frozen
) -> None:
    """Show an actor's state: now, through a node, or --at an earlier time, from the log."""
    subject = parse_subject(actor)
    if at is not None:
        if url is not None:
            raise UsageError("--at reads the log, --url names a node", hint="leave out one of them")
        moment = parse_moment(at, _today())
        settings = reading_settings(flags, config)
        behavior = code_of(subject, target)
        asyncio.run(_show_past(settings, subject, behavior, moment, as_json=json))
        return
    if target is not None:
        raise UsageError("--target goes with --at", hint="without --at the node folds the events")
    node = find_node(url, ca)
    timeout_s = parse_timeout_s(timeout)
    answer = asyncio.run(ask_node(node, "GET", actor_path(subject.type, subject.id), timeout_s))
    value = msgspec.json.decode(answer.body, type=dict[str, Any])
    _show(subject, answer.revision, answer.position, value["state"], as_json=json)


def _show(subject: Subject, revision: int, position: str, value: Any, *, as_json: bool) -> None:
    if as_json:
        shown = {"type": subject.type, "id": subject.id, "revision": revision, "state": value}
        console.data(render.json_line({**shown, "position": position or None}))
    else:
        console.data(render.state(str(subject), revision, position, value))


def _today() -> date:
    from spawn.runtime.clock import SystemClock

    return datetime.fromtimestamp(SystemClock().time_us() / 1_000_000).astimezone().date()


async def _show_past(
    settings: Settings,
    subject: Subject,
    behavior: Behavior | None,
    moment: Moment,
    *,
    as_json: bool,
) -> None:
    from spawn.query.inspection import LogReader

    async with opened(settings) as sources:
        reader = LogReader(*sources, settings.system)
        history = await reader.history(subject.type, subject.id, behavior)
    line = _line_at(history, subject, moment)
    if line is None or line.deleted:
        value = behavior and jsons.loads(behavior.state_json(behavior.initial(subject.id)))
    else:
        value = line.state
        if value is None and history.state_problem:
            raise ActorParked(
                f"the state of {subject} can't be rebuilt: {history.state_problem}",
                at=str(subject),
            )
    if value is None:
        raise UsageError(
            f"events of {subject.type} are folded by its own code, and none is named",
            hint="name it: --target counter.py",
        )
    revision, position = (line.revision, str(line.position)) if line else (0, "")
    _show(subject, revision, position, value, as_json=as_json)


def _line_at(history: History, subject: Subject, moment: Moment) -> HistoryLine | None:
    """Return the change that made the state; None: the initial one. Raises: UnknownRevision."""
    changes = [line for line in history.lines if line.outcome == "applied"]
    last = changes[-1].revision if changes else 0
    hint = f"`spawn events {render.shell_word(str(subject))}` shows what there is"
    if moment.revision is not None and moment.revision > last:
        raise UnknownRevision(
            f"{subject} has no revision {moment.revision} yet, it is at {last}", hint=hint
        )
    if moment.revision is not None:
        found = [line for line in changes if line.revision <= moment.revision]
    else:
        found = [line for line in changes if line.time_us <= moment.time_us]
        if not found:
            first = f", first at {render.when(changes[0].time_us)}" if changes else ""
            raise UnknownRevision(f"{subject} was not written by then{first}", hint=hint)
    return found[-1] if found else None
