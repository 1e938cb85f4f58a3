"""Dropping a type or a system: its rows, its topics, its schemas, its group; nothing else.

With a type's topic goes what the schema topic says of it, so that the type may be made anew with
another number of partitions. What it says of a topic that stays is still true, and stays.

Rows go first: they are a cache of the log, so a drop that died then has lost nothing, and one that
died later is finished by the same command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eventstore.codec import SchemaEntry
from eventstore.log import TopicPartition
from eventstore.schema_topic import SchemaTopic, forget_schemas, forget_topics
from spawn.core.ids import NAME_PATTERN, group_of, schemas_topic, topic_of
from spawn.errors import RepairRefused, UnknownType
from spawn.query.catalog import Catalog, nearest_type
from spawn.query.partition_list import list_partitions
from spawn.repair.plan import Plan, Tools

__all__ = ["plan_drop_system", "plan_drop_type"]

_SHARED: Final = (
    "a shared topic is dropped with its system; actors of one type are deleted by calls"
)


async def plan_drop_type(tools: Tools, actor_type: str) -> Plan:
    """Return what dropping an actor type does.

    Raises: UnknownType; RepairRefused - nodes run, or the type shares a topic with others.
    """
    catalog = Catalog(tools.log, tools.admin, tools.system)
    schemas, recorded = await catalog.schema_topic()
    entries = [each for each in schemas if each.type == actor_type]
    topic = topic_of(tools.system, actor_type)
    is_name = bool(NAME_PATTERN.fullmatch(actor_type))
    topics = list(await tools.admin.describe([topic])) if is_name else []
    kept = [each for each in await _kept(tools) if each == topic]
    there = {*await catalog.topics()} - {topic}
    places = [
        each
        for each in recorded
        if each.topic == topic or (each.type == actor_type and each.topic not in there)
    ]
    guests = [each.type for each in places if each.type != actor_type]
    if topics and guests:
        raise RepairRefused(
            f"the topic of {actor_type} holds actors of other types, too: {', '.join(guests)}",
            at=topic,
            hint=_SHARED,
        )
    if not topics and not kept:
        if not entries and not places:
            raise UnknownType(
                f"system {tools.system} has no actor type {actor_type[:80]} in this log",
                hint=nearest_type(actor_type, {each.type for each in schemas}),
            )
        told = [each.topic for each in recorded if each.type == actor_type]
        shared = [each for each in told if each in there] if told else await _shared(tools, schemas)
        if shared:
            raise RepairRefused(
                f"{actor_type} has no topic of its own; it shares one with other types: "
                f"{', '.join(shared)}",
                hint=_SHARED,
            )
    await _require_nobody(tools)
    others = {each.type for each in schemas} - {actor_type}
    return await _plan(
        tools,
        title=f"drop type {actor_type} of system {tools.system}",
        name=actor_type,
        topics=topics,
        kept=kept,
        entries=SchemaTopic(entries, places),
        group=False,
        loses=[f"every actor of {actor_type}, its history and its states, for good"],
        stays=f"the types {', '.join(sorted(others))} stay" if others else "",
        records=await _records(tools, topics),
    )


async def plan_drop_system(tools: Tools) -> Plan:
    """Return what dropping the whole system does. Raises: UnknownType, RepairRefused."""
    prefix = topic_of(tools.system, "")
    topics = [each for each in await tools.admin.topics(prefix) if _is_ours(each, prefix)]
    kept = await _kept(tools)
    if not topics and not kept:
        raise UnknownType(
            f"there is no system {tools.system}: neither topics nor rows",
            hint="name it with --system (SPAWN_SYSTEM)",
        )
    await _require_nobody(tools)
    # The schema topic last: it tells which types there were.
    topics.sort(key=lambda each: each == schemas_topic(tools.system))
    return await _plan(
        tools,
        title=f"drop system {tools.system}",
        name=tools.system,
        topics=topics,
        kept=kept,
        entries=SchemaTopic((), ()),
        group=True,
        loses=["every actor of this system, all history and all states, for good"],
        stays="no topic, row or group of any other system is touched",
        records=await _records(tools, topics),
    )


def _is_ours(topic: str, prefix: str) -> bool:
    """Tell whether a topic is of this system: names of types and of our own have no dots."""
    return bool(NAME_PATTERN.fullmatch(topic.removeprefix(prefix).removeprefix("_")))


async def _plan(
    tools: Tools,
    *,
    title: str,
    name: str,
    topics: Sequence[str],
    kept: Sequence[str],
    entries: SchemaTopic,
    group: bool,
    loses: Sequence[str],
    stays: str,
    records: int,
) -> Plan:
    async def apply() -> Sequence[str]:
        done = [
            f"rows of {topic} deleted"
            for topic in kept
            if tools.store is not None and await tools.store.forget(topic)
        ]
        for topic in topics:
            await tools.admin.delete([topic])
            done.append(f"topic {topic} deleted")
        if any(entries):
            time_ms, where = tools.time_us() // 1000, schemas_topic(tools.system)
            await forget_topics(tools.log, where, entries.topics, time_ms)
            await forget_schemas(tools.log, where, entries.schemas, time_ms)
            done.append(f"{_count(entries)} taken out of the schema topic")
        if group:
            await tools.admin.delete_group(group_of(tools.system))
            done.append(f"group {group_of(tools.system)} deleted")
        return done

    steps = [*(f"delete the rows of {topic} in the database" for topic in kept)]
    if tools.store is None:
        steps.append("no database is named (SPAWN_POSTGRES_DSN): its rows stay")
    steps += [f"delete topic {topic}" for topic in topics]
    if any(entries):
        steps.append(f"take its {_count(entries)} out of {schemas_topic(tools.system)}")
    if group:
        steps.append(f"delete group {group_of(tools.system)}")
    return Plan(
        title=title,
        what=[
            f"{len(topics)} topics with {records} records",
            *([stays] if stays else []),
            *await _owners(tools, topics),
        ],
        steps=steps,
        loses=loses,
        apply=apply,
        confirm_name=name,
    )


def _count(entries: SchemaTopic) -> str:
    text = f"{len(entries.schemas)} schemas"
    return f"{text} and {len(entries.topics)} entries of topics" if entries.topics else text


async def _owners(tools: Tools, topics: Sequence[str]) -> Sequence[str]:
    """Name who may still own partitions: nodes that run without a group are seen by that alone."""
    if tools.store is None:
        return []
    counts = {each.name: each.partitions for each in (await tools.admin.describe(topics)).values()}
    counts = {name: n for name, n in counts.items() if f".{tools.system}._" not in name}
    lines = await list_partitions(tools.log, tools.store, counts)
    owners = sorted({line.owner for line in lines if line.owner and not line.released})
    if not owners:
        return []
    return [f"claimed and not released by {', '.join(owners)}: see that no node runs there"]


async def _kept(tools: Tools) -> Sequence[str]:
    return [] if tools.store is None else await tools.store.topics()


async def _records(tools: Tools, topics: Sequence[str]) -> int:
    total = 0
    for topic, state in (await tools.admin.describe(topics)).items():
        for number in range(state.partitions):
            first, end = await tools.log.bounds(TopicPartition(topic, number))
            total += end - first
    return total


async def _shared(tools: Tools, schemas: Sequence[SchemaEntry]) -> Sequence[str]:
    """Return the topics that are no type's own."""
    named = {topic_of(tools.system, each.type) for each in schemas}
    catalog = Catalog(tools.log, tools.admin, tools.system)
    return [topic for topic in await catalog.topics() if topic not in named]


async def _require_nobody(tools: Tools) -> None:
    """Refuse while nodes run, as far as their group tells."""
    members = await tools.admin.group_members(group_of(tools.system))
    if members:
        raise RepairRefused(
            f"{len(members)} nodes of system {tools.system} run: {', '.join(members)}",
            at=group_of(tools.system),
            hint="stop them first: they would make topics again, or write into what is dropped; "
            "one that was just killed counts for some seconds more",
        )
