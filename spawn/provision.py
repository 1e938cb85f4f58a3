"""Topics, schemas and tables: what must be there before a node can serve (`spawn init`).

One idempotent step, run by `spawn init` and by every node at its start unless told not to create.
What exists is never changed: what differs from the settings is said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from eventstore.codec import SchemaEntry
from eventstore.errors import SnapshotSchemaMismatch
from eventstore.log import EventLog, LogAdmin, TopicSettings, TopicState
from eventstore.schema_topic import platform_entries, read_schemas, write_schemas
from eventstore.snapshots import SnapshotStore
from spawn.core.behavior import Behavior
from spawn.core.ids import nodes_topic, schemas_topic, topic_of
from spawn.core.schema_entries import own_entries, teach
from spawn.errors import StartRefused

__all__ = ["TopicProblem", "ensure_schemas", "ensure_topics", "event_topics", "topic_problems"]

_LOGGER: Final = logging.getLogger("spawn.schemas")

_EXPECTED: Final = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
}
"""What the broker must say of an event topic; else acknowledged events can go (design 3.1)."""


class TopicProblem(NamedTuple):
    """A setting of an event topic that is not as it should be."""

    text: str
    mend: str
    """The setting as it should be: `retention.ms=-1`."""
    loses: bool
    """Acknowledged events can be lost by it."""


def event_topics(
    system: str, behaviors: Sequence[Behavior], default_partitions: int
) -> Mapping[str, int]:
    """Return the topics of some actor types with the partitions that they want.

    Raises: StartRefused - two types share a topic and want different numbers.
    """
    topics: dict[str, int] = {}
    for behavior in behaviors:
        settings = behavior.settings
        topic = topic_of(system, settings.topic or behavior.type)
        wanted = 1 if settings.named_id else settings.partitions or default_partitions
        if topics.setdefault(topic, wanted) != wanted:
            raise StartRefused(
                f"{behavior.type} wants {wanted} partitions of topic {topic}, another type of "
                f"that topic wants {topics[topic]}",
                hint="types that share a topic share its partitions: give them one number",
            )
    return topics


async def ensure_topics(
    admin: LogAdmin,
    store: SnapshotStore,
    system: str,
    wanted: Mapping[str, int],
    *,
    replication: int | None,
    create: bool,
    say: Callable[[str], None],
) -> Mapping[str, int]:
    """Make what is missing; return the event topics with the partitions that they have.

    Raises: StartRefused (something is missing and may not be created, or can't be used),
    LogUnavailable, LogRefused, SnapshotsUnavailable, SnapshotSchemaMismatch.
    """
    compacted = (schemas_topic(system), nodes_topic(system))
    existing = await admin.describe([*wanted, *compacted])
    missing = [topic for topic in (*wanted, *compacted) if topic not in existing]
    if missing and not create:
        raise StartRefused(
            f"missing topics: {', '.join(missing)}",
            hint="`spawn init TARGET` creates them, or start without --no-create",
        )
    if missing:
        await admin.create({
            topic: TopicSettings(
                partitions=wanted.get(topic, 1),
                replication=replication,
                compacted=topic in compacted,
            )
            for topic in missing
        })  # fmt: skip
        existing = await admin.describe([*wanted, *compacted])
    if await admin.brokers() == 1:
        say("warning: one broker: what it acknowledged is lost with its disk")
    for topic in wanted:
        if topic not in existing:
            raise StartRefused(f"topic {topic} was created but the log does not show it")
        for text in _differences(existing[topic], wanted[topic]):
            say(f"warning: {text}")
    if create:
        for name in await store.migrate():
            say(f"database: applied {name}")
    elif names := await store.pending():
        raise SnapshotSchemaMismatch(
            f"it lacks tables of this version of Spawn ({', '.join(names)}); `spawn init` makes "
            "them"
        )
    return {topic: existing[topic].partitions for topic in wanted}


def _differences(state: TopicState, partitions: int) -> Sequence[str]:
    found = []
    if state.partitions != partitions:
        found.append(
            f"topic {state.name} has {state.partitions} partitions, the settings say "
            f"{partitions}; the topic's number counts"
        )
    return [*found, *(f"topic {state.name} {problem.text}" for problem in topic_problems(state))]


def topic_problems(state: TopicState) -> Sequence[TopicProblem]:
    """Return which of an event topic's settings are wrong, as far as the broker tells them."""
    found = []
    for name, expected in _EXPECTED.items():
        actual = state.settings.get(name, expected)
        if actual != expected:
            text = f"has {name}={actual}; acknowledged events are only safe with {name}={expected}"
            found.append(TopicProblem(text, f"{name}={expected}", True))
    if state.replication >= 3 and state.settings.get("min.insync.replicas", "2") == "1":
        text = "has min.insync.replicas=1; an acknowledged event may stand on one broker only"
        found.append(TopicProblem(text, "min.insync.replicas=2", False))
    wanted = TopicSettings(partitions=1).max_message_bytes
    actual = state.settings.get("max.message.bytes", str(wanted))
    if actual.isdigit() and int(actual) < wanted:
        text = f"has max.message.bytes={actual}; large commits are refused below {wanted}"
        found.append(TopicProblem(text, f"max.message.bytes={wanted}", False))
    return found


async def ensure_schemas(
    log: EventLog, system: str, behaviors: Sequence[Behavior], time_ms: int
) -> None:
    """Tell each type what its topic was written with; write down what this node will write.

    What is new stands in the topic, acknowledged, when this returns; records that use it come
    later.

    Raises: SchemaIncompatible (a type can't read its history), LogUnavailable, TopicMissing.
    """
    topic = schemas_topic(system)
    known = await read_schemas(log, topic)
    wanted = list(platform_entries())
    for behavior in behaviors:
        for text in teach(behavior, known):
            _LOGGER.warning("newer code of %s than this has run: %s", behavior.type, text)
        wanted += own_entries(behavior)
    have = {_name(entry) for entry in known}
    await write_schemas(log, topic, [each for each in wanted if _name(each) not in have], time_ms)


def _name(entry: SchemaEntry) -> tuple[str, str, str, bytes]:
    return entry.type, entry.role, entry.name, entry.fingerprint
