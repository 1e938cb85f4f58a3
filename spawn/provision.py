"""Topics, schemas and tables: what must be there before a node can serve (`spawn init`).

One idempotent step, run by `spawn init` and by every node at its start unless told not to create.
What exists is never changed: what differs from the settings is said, and what can lose acknowledged
events is refused (design 3.4).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from eventstore.codec import SchemaEntry
from eventstore.errors import SnapshotSchemaMismatch
from eventstore.log import EventLog, LogAdmin, TopicSettings, TopicState
from eventstore.schema_topic import (
    TopicEntry,
    platform_entries,
    read_schemas,
    topic_entries,
    topic_entry,
    write_schemas,
)
from eventstore.snapshots import SnapshotStore
from spawn.core.behavior import Behavior
from spawn.core.ids import nodes_topic, schemas_topic, topic_of
from spawn.core.schema_entries import own_entries, teach
from spawn.errors import StartRefused, UnsafeTopic
from spawn.runtime.topic_watch import partitions_changed

__all__ = [
    "TopicProblem",
    "UnsafeTopics",
    "ensure_schemas",
    "ensure_topics",
    "event_topics",
    "judge_partitions",
    "judge_types",
    "made_partitions",
    "refuse_unsafe",
    "topic_problems",
    "unhosted_types",
]

_LOGGER: Final = logging.getLogger("spawn.schemas")

_EXPECTED: Final = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
}
"""What the broker must say of an event topic; else acknowledged events can go (design 3.1)."""
_EXPECTED_COMPACTED: Final = {
    "cleanup.policy": "compact",
    "unclean.leader.election.enable": "false",
}
"""And of our own."""
_COPIES_MIN: Final = 3
"""With min.insync.replicas 2 a broker may be lost, and another one be away."""

UnsafeTopics = Literal["auto", "refuse", "warn"]
"""What to do about topics that can lose acknowledged events (setting kafka.unsafe_topics)."""


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
        topic = _topic(system, behavior)
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
    unsafe: UnsafeTopics = "auto",
) -> Mapping[str, int]:
    """Make what is missing; return the event topics with the partitions that they have.

    Raises: UnsafeTopic (see `refuse_unsafe`), StartRefused (something is missing and may not be
    created, or can't be used), LogUnavailable, LogRefused, SnapshotsUnavailable,
    SnapshotSchemaMismatch.
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
    for text in refuse_unsafe(existing, compacted, unsafe):
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
    return found


def topic_problems(state: TopicState, *, compacted: bool = False) -> Sequence[TopicProblem]:
    """Return which of a topic's settings are wrong, as far as the broker tells them (pure).

    `compacted`: it is one of our own, else it holds events.
    """
    found = []
    expected_values = _EXPECTED_COMPACTED if compacted else _EXPECTED
    for name, expected in expected_values.items():
        actual = state.settings.get(name, expected)
        if actual != expected:
            text = f"has {name}={actual}; acknowledged events are only safe with {name}={expected}"
            found.append(TopicProblem(text, f"{name}={expected}", True))
    if state.replication >= 3 and state.settings.get("min.insync.replicas", "2") == "1":
        text = "has min.insync.replicas=1; an acknowledged event may stand on one broker only"
        found.append(TopicProblem(text, "min.insync.replicas=2", True))
    wanted = TopicSettings(partitions=1).max_message_bytes
    actual = state.settings.get("max.message.bytes", str(wanted))
    if not compacted and actual.isdigit() and int(actual) < wanted:
        text = f"has max.message.bytes={actual}; large commits are refused below {wanted}"
        found.append(TopicProblem(text, f"max.message.bytes={wanted}", False))
    return found


def refuse_unsafe(
    topics: Mapping[str, TopicState], ours: Collection[str], policy: UnsafeTopics
) -> Sequence[str]:
    """Return what is wrong with topics that may be used all the same; refuse the others (pure).

    `ours`: those that are compacted; the others hold events.

    `auto` refuses topics whose settings lose acknowledged events though there are several copies:
    somebody meant them to be safe. With one copy they are lost with its disk in any case, as on a
    developer's machine, so that is said only. `refuse` wants three copies, too; `warn` refuses
    none.

    Raises: UnsafeTopic - it names every topic and setting.
    """
    told, refused, mends = [], [], []
    for name, state in topics.items():
        problems = topic_problems(state, compacted=name in ours)
        lost = [problem for problem in problems if problem.loses]
        told += [f"topic {name} {problem.text}" for problem in problems]
        if policy == "refuse" and state.replication < _COPIES_MIN:
            refused.append(f"topic {name} has {state.replication} of {_COPIES_MIN} copies")
        if lost and (policy == "refuse" or (policy == "auto" and state.replication > 1)):
            refused += [f"topic {name} {problem.text}" for problem in lost]
            changes = ",".join(problem.mend for problem in lost)
            mends.append(f"kafka-configs.sh --alter --topic {name} --add-config {changes}")
    if refused:
        raise UnsafeTopic(
            "acknowledged events are not safe: " + "; ".join(refused),
            at=", ".join(topics),
            hint="; ".join([*mends, "or SPAWN_KAFKA_UNSAFE_TOPICS=warn, if that is meant"]),
        )
    return told


async def ensure_schemas(
    log: EventLog,
    system: str,
    behaviors: Sequence[Behavior],
    time_ms: int,
    *,
    topics: Mapping[str, int] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Tell each type what its topic was written with; write down what this node will write.

    What is new stands in the topic, acknowledged, when this returns; records that use it come
    later.

    With `topics` (what `ensure_topics` returned) also compare their partitions with what they were
    made with, and write that down for those that are new.

    Raises: SchemaIncompatible (a type can't read its history), PartitionsChanged, LogUnavailable,
    TopicMissing.
    """
    topic = schemas_topic(system)
    known = await read_schemas(log, topic)
    wanted = list(platform_entries())
    if topics is not None:
        recorded = topic_entries(known)
        for text in judge_types(system, behaviors, recorded):
            say(f"warning: {text}")
        wanted += map(topic_entry, judge_partitions(system, behaviors, topics, recorded))
    for behavior in behaviors:
        for text in teach(behavior, known):
            _LOGGER.warning("newer code of %s than this has run: %s", behavior.type, text)
        wanted += own_entries(behavior)
    have = {_name(entry) for entry in known}
    await write_schemas(log, topic, [each for each in wanted if _name(each) not in have], time_ms)


def _name(entry: SchemaEntry) -> tuple[str, str, str, bytes]:
    return entry.type, entry.role, entry.name, entry.fingerprint


def judge_partitions(
    system: str,
    behaviors: Sequence[Behavior],
    topics: Mapping[str, int],
    recorded: Sequence[TopicEntry],
) -> Sequence[TopicEntry]:
    """Return what is to be recorded of the topics of some types (pure).

    Raises: PartitionsChanged - one has another number of partitions than it was made with.
    """
    made_with = made_partitions(recorded)
    for name, has in topics.items():
        if made_with.get(name, has) != has:
            raise partitions_changed(name, made_with[name], has)
    known = {(entry.topic, entry.type) for entry in recorded}
    wanted = [(_topic(system, behavior), behavior.type) for behavior in behaviors]
    return [TopicEntry(*each, topics[each[0]]) for each in wanted if each not in known]


def judge_types(
    system: str, behaviors: Sequence[Behavior], recorded: Sequence[TopicEntry]
) -> Sequence[str]:
    """Return what is odd about which types are in which topics (pure)."""
    found = []
    for topic, missing in unhosted_types(system, behaviors, recorded).items():
        found.append(
            f"topic {topic} may also hold actors of {', '.join(missing)}, which this node does not "
            "serve: it stops at partitions with commits of them; types that share a topic are "
            "served by the same nodes"
        )
    for behavior in behaviors:
        topic = _topic(system, behavior)
        before = [each.topic for each in recorded if each.type == behavior.type]
        if before and topic not in before:
            found.append(
                f"{behavior.type} was in topic {before[-1]} and is in {topic} now: its actors "
                "begin anew there"
            )
    return found


def made_partitions(recorded: Sequence[TopicEntry]) -> Mapping[str, int]:
    """Return how many partitions topics were made with: what was recorded first counts (pure)."""
    made: dict[str, int] = {}
    for entry in recorded:
        made.setdefault(entry.topic, entry.partitions)
    return made


def unhosted_types(
    system: str, behaviors: Sequence[Behavior], recorded: Sequence[TopicEntry]
) -> Mapping[str, Sequence[str]]:
    """Return, for the topics of some types, the types there that are not among them (pure).

    A node can't own partitions of such a topic for long: it should not ask for any of them.
    """
    hosted = {(_topic(system, behavior), behavior.type) for behavior in behaviors}
    ours = {topic for topic, _ in hosted}
    missing: dict[str, list[str]] = {}
    for entry in recorded:
        if entry.topic in ours and (entry.topic, entry.type) not in hosted:
            missing.setdefault(entry.topic, []).append(entry.type)
    return missing


def _topic(system: str, behavior: Behavior) -> str:
    return topic_of(system, behavior.settings.topic or behavior.type)
