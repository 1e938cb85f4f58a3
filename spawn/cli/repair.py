"""`spawn repair`: what only an operator can decide about, and the ways out."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from spawn.cli import console, exit_codes, render
from spawn.cli.common_flags import ConfigFile
from spawn.cli.settings_flags import AddressFlags
from spawn.cli.sources import opened, reading_settings
from spawn.cli.subjects import UsageError, check_text, parse_subject
from spawn.cli.type_code import all_code, code_of
from spawn.config import Settings
from spawn.errors import NotConfirmed

if TYPE_CHECKING:
    from eventstore.log import TopicPartition
    from spawn.cli.sources import Sources
    from spawn.core.behavior import Behavior
    from spawn.repair.plan import Finding, Plan, Tools

__all__ = ["repair"]

Action = Literal["unpark", "skip", "accept-loss", "drop-type", "drop-system"]

_SUBJECTS: Final = {
    "unpark": ("TYPE/ID", "Counter/a"),
    "skip": ("TOPIC/PARTITION@OFFSET ...", "spawn.shop.Counter/0@17"),
    "accept-loss": ("TOPIC/PARTITION", "spawn.shop.Counter/0"),
    "drop-type": ("TYPE", "Counter"),
    "drop-system": ("SYSTEM", "shop"),
}
_POSITION: Final = re.compile(r"([^/@\s]+)/(\d{1,9})(?:@(\d{1,18}))?")
_YES: Final = ("y", "yes")


def repair(
    action: Annotated[
        Action | None,
        Parameter(name="ACTION", help="A way out; without one, what is found is listed."),
    ] = None,
    /,
    *subjects: Annotated[
        str,
        Parameter(
            name="SUBJECT",
            help="What it is about: TYPE/ID, TOPIC/PARTITION@OFFSET, TOPIC/PARTITION, a type or "
            "the system.",
        ),
    ],
    to: Annotated[
        int | None,
        Parameter(help="unpark: the state becomes that of this revision.", metavar="REVISION"),
    ] = None,
    delete: Annotated[bool, Parameter(help="unpark: the actor begins anew.", negative="")] = False,
    states: Annotated[
        Literal["keep", "drop"],
        Parameter(help="accept-loss: states that only the database has are written into the log."),
    ] = "keep",
    target: Annotated[
        str | None,
        Parameter(
            help="The types' code, a Python file or module, which histories are tried with; else "
            "that of the `spawn dev` that runs here.",
            metavar="TARGET",
        ),
    ] = None,
    yes: Annotated[bool, Parameter(help="Do it without asking.", negative="")] = False,
    json: Annotated[
        bool, Parameter(help="One line of JSON for each finding, or for the plan.", negative="")
    ] = False,
    config: ConfigFile = None,
    flags: Annotated[AddressFlags, Parameter(name="*")] = AddressFlags(),  # noqa: B008 - frozen
) -> int:
    """List parked actors, stopped partitions and lost history; each with its ways out."""
    _check_options(action, subjects, to=to, delete=delete, states=states, yes=yes)
    settings = reading_settings(flags, config)
    if action is None:
        return asyncio.run(_list(settings, all_code(target), as_json=json))
    if action != "skip" and not settings.postgres.dsn:
        raise UsageError(
            f"spawn repair {action} needs the database too",
            at=settings.source("postgres.dsn").name,
            hint="SPAWN_POSTGRES_DSN or --postgres-dsn",
        )
    make = _plan_of(settings, action, subjects, to=to, delete=delete, states=states, target=target)
    return asyncio.run(_do(settings, make, yes=yes, as_json=json))


def _check_options(
    action: str | None,
    subjects: Sequence[str],
    *,
    to: int | None,
    delete: bool,
    states: str,
    yes: bool,
) -> None:
    """Refuse what makes no sense together. Raises: UsageError."""
    for given, name, of in (
        (to is not None, "--to", "unpark"),
        (delete, "--delete", "unpark"),
        (states != "keep", "--states", "accept-loss"),
    ):
        if given and action != of:
            raise UsageError(f"{name} goes with `spawn repair {of}` only")
    if to is not None and delete:
        raise UsageError("--to and --delete exclude each other")
    if action is None:
        if yes:
            raise UsageError(
                "--yes without an action: nothing is changed by the list",
                hint=f"actions: {', '.join(_SUBJECTS)}",
            )
        return
    names, example = _SUBJECTS[action]
    if not subjects or (len(subjects) > 1 and action != "skip"):
        what = "none" if not subjects else f"{len(subjects)}"
        raise UsageError(
            f"spawn repair {action} takes {names}, got {what}",
            hint=f"e.g. spawn repair {action} {example}",
        )
    for subject in subjects:
        check_text(subject, names.removesuffix(" ..."))


def _plan_of(
    settings: Settings,
    action: Action,
    subjects: Sequence[str],
    *,
    to: int | None,
    delete: bool,
    states: str,
    target: str | None,
) -> Any:
    """Return what makes the plan, once log and database are open. Raises: UsageError."""
    from spawn.repair.accepting import plan_acceptance
    from spawn.repair.dropping import plan_drop_system, plan_drop_type
    from spawn.repair.skipping import plan_skip
    from spawn.repair.unparking import plan_unpark

    first = subjects[0]
    match action:
        case "unpark":
            subject = parse_subject(first, "spawn repair unpark Counter/a")
            behavior = code_of(subject, target, needed=False)
            return lambda tools: plan_unpark(
                tools, (subject.type, subject.id), behavior, to=to, delete=delete
            )
        case "skip":
            places = [_place(settings, each, "skip", with_offset=True) for each in subjects]
            at, offsets = places[0][0], [offset for _, offset in places]
            if any(place != at for place, _ in places):
                raise UsageError("records of one partition are skipped together, not of several")
            return lambda tools: plan_skip(tools, at, offsets)
        case "accept-loss":
            at, _ = _place(settings, first, "accept-loss", with_offset=False)
            return lambda tools: plan_acceptance(tools, at, keep_states=states == "keep")
        case "drop-type":
            return lambda tools: plan_drop_type(tools, first)
        case "drop-system":
            if first != settings.system:
                raise UsageError(
                    f"the system is {settings.system} here, not {first}",
                    at=settings.source("system").name,
                    hint=f"spawn repair drop-system {first} --system {first}",
                )
            return plan_drop_system


def _place(
    settings: Settings, text: str, action: str, *, with_offset: bool
) -> tuple[TopicPartition, int]:
    """Read `TOPIC/PARTITION@OFFSET`; a type stands for its topic. Raises: UsageError."""
    from eventstore.log import TopicPartition
    from spawn.core.ids import topic_of

    names, example = _SUBJECTS[action]
    names = names.removesuffix(" ...")
    found = _POSITION.fullmatch(text)
    if found is None or (found[3] is not None) is not with_offset:
        raise UsageError(
            f"a {'record' if with_offset else 'partition'} is named {names}, got `{text[:100]}`",
            hint=f"e.g. spawn repair {action} {example}",
        )
    topic, prefix = found[1], topic_of(settings.system, "")
    if not topic.startswith("spawn."):
        topic = prefix + topic
    if not topic.startswith(prefix):
        raise UsageError(
            f"{topic} is no topic of system {settings.system}",
            at=settings.source("system").name,
            hint="name its system with --system",
        )
    return TopicPartition(topic, int(found[2])), int(found[3] or 0)


def _tools(sources: Sources, settings: Settings) -> Tools:
    from spawn.repair.plan import Tools
    from spawn.runtime.clock import SystemClock, random_id

    return Tools(*sources, settings.system, SystemClock().time_us, random_id, random_id())


async def _list(settings: Settings, behaviors: Mapping[str, Behavior], *, as_json: bool) -> int:
    """Print what is found; the exit code says whether there was anything."""
    from spawn.core.schema_entries import teach
    from spawn.query.catalog import Catalog
    from spawn.repair.bodies import Bodies
    from spawn.repair.findings import find

    async with opened(settings) as sources:
        tools = _tools(sources, settings)
        catalog = Catalog(tools.log, tools.admin, tools.system)
        topics, entries = await catalog.topics(), await catalog.schemas()
        for behavior in behaviors.values():
            teach(behavior, entries)
        count = 0
        async for finding in find(tools, topics, Bodies(entries), behaviors):
            count += 1
            console.data(
                render.json_line(_value(finding)) if as_json else "\n".join(_lines(finding))
            )
    if not topics and not count:
        console.note(f"system {settings.system} has no topics in this log")
    else:
        found = f"{count} findings" if count else "nothing to repair"
        console.note(f"{found}: {sum(topics.values())} partitions of {len(topics)} topics read")
    if not settings.postgres.dsn:
        console.note("no database is named (SPAWN_POSTGRES_DSN), so only the log was looked at")
    return exit_codes.FAILED if count else exit_codes.DONE


async def _do(settings: Settings, make: Any, *, yes: bool, as_json: bool) -> int:
    """Show the plan, and carry it out once it is confirmed. Raises: NotConfirmed."""
    async with opened(settings) as sources:
        plan: Plan = await make(_tools(sources, settings))
        if not as_json:
            console.data("\n".join(_plan_lines(plan)))
        done: Sequence[str] = ()
        if plan.steps:
            if not yes:
                if as_json:
                    console.data(render.json_line(_plan_value(plan, applied=False, done=())))
                await asyncio.to_thread(_confirm, plan)
            done = await plan.apply()
        if as_json:
            console.data(render.json_line(_plan_value(plan, applied=bool(plan.steps), done=done)))
        else:
            for line in done:
                console.note(line)
    return exit_codes.DONE


def _confirm(plan: Plan) -> None:
    """Ask. Raises: NotConfirmed - nobody is there to be asked, or it was not confirmed."""
    if not sys.stdin.isatty():
        raise NotConfirmed(
            "nothing was changed: there is no terminal to ask at",
            hint="read the plan, then run it again with --yes",
        )
    name = plan.confirm_name
    asked = f"Type {name} to do it: " if name else "Do it? [y/N] "
    print(asked, end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    if answer != name if name else answer.lower() not in _YES:
        raise NotConfirmed("nothing was changed: it was not confirmed")


def _lines(finding: Finding) -> Sequence[str]:
    """Return a finding for people."""
    subject = f"{finding.actor} " if finding.actor else ""
    lines = [f"{finding.kind}  {subject}{finding.position}", f"  {finding.what}"]
    for way in finding.ways:
        if way.command:
            lines += [f"  {way.command}", f"      loses {way.loses}"]
        else:
            lines.append(f"  without loss: {way.loses.removeprefix('nothing: ')}")
    return [render.visible(line) for line in lines]


def _plan_lines(plan: Plan) -> Sequence[str]:
    """Return a plan for people."""
    lines = [f"plan: {plan.title}"]
    for title, texts in (("now", plan.what), ("does", plan.steps), ("loses", plan.loses)):
        lines += [f"  {title if number == 0 else '':7}{text}" for number, text in enumerate(texts)]
    if not plan.steps:
        lines.append("  nothing to do")
    return [render.visible(line) for line in lines]


def _value(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "position": finding.position,
        "actor": finding.actor or None,
        "what": finding.what,
        "ways": [{"command": way.command or None, "loses": way.loses} for way in finding.ways],
    }


def _plan_value(plan: Plan, *, applied: bool, done: Sequence[str]) -> dict[str, Any]:
    return {
        "plan": plan.title,
        "now": list(plan.what),
        "does": list(plan.steps),
        "loses": list(plan.loses),
        "applied": applied,
        "done": list(done),
    }
