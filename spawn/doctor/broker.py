"""The event log: each broker by name, port and protocol; then topics, clock, and a write if asked.

What is needed of a broker that is not Apache's is the list in docs/reference/brokers.md; the
numbers below are that list.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from eventstore.errors import (
    CorruptRecord,
    LogError,
    LogForbidden,
    LogNotAdmitted,
    LogRefused,
    LogUnavailable,
)
from eventstore.kafka_log import Security
from eventstore.kafka_probe import api_versions
from eventstore.log import (
    EventLog,
    LogAdmin,
    LogRecord,
    TopicPartition,
    TopicSettings,
    TopicState,
)
from eventstore.records import Commit, decode_prefix
from eventstore.schema_topic import TopicEntry, read_schemas, topic_entries
from spawn.config import Settings
from spawn.connections import mend_of_log, to_kafka
from spawn.core.ids import schemas_topic, topic_of
from spawn.doctor.check import Check, failed, ok, warning
from spawn.doctor.database import CLOCK_MAX_US
from spawn.provision import made_partitions, topic_problems
from spawn.query.catalog import Catalog

__all__ = ["NEEDED", "SCRATCH", "examine_log", "judge_protocol", "judge_topics", "probe_write"]

_TIMEOUT_S: Final = 5.0
_PLACES_MAX: Final = 64
_RIGHTS: Final = "check the user's rights to this system's topics"
"""Partitions whose newest record is looked at for its time."""
SCRATCH: Final = "_doctor"
"""Name of the scratch topic behind `spawn.SYSTEM.`; no actor type's name begins so."""


class Request(NamedTuple):
    """A request of the Kafka protocol and the versions of it that we can speak."""

    name: str
    lowest: int
    highest: int
    optional: str = ""
    """What is missing without it; empty: nothing works without it."""


NEEDED: Final[Mapping[int, Request]] = {
    0: Request("Produce", 7, 7),
    1: Request("Fetch", 4, 11),
    2: Request("ListOffsets", 2, 5),
    3: Request("Metadata", 4, 5),
    19: Request("CreateTopics", 1, 3, "topics have to be made by hand"),
    32: Request("DescribeConfigs", 0, 2, "the settings of topics can't be checked"),
}
"""By API key."""


async def examine_log(
    settings: Settings,
    log: EventLog,
    admin: LogAdmin,
    time_us: Callable[[], int],
    *,
    writes: bool,
) -> AsyncIterator[Check]:
    """Check brokers and topics. What needs an answer of the brokers ends when there is none."""
    source = settings.source("kafka.bootstrap_servers").name
    reached = False
    for server in settings.kafka.bootstrap_servers.split(","):
        async for check in _server(server, source, to_kafka(settings).security):
            reached = reached or (
                check.name.startswith("log protocol") and check.status != "failed"
            )
            yield check
    if not reached:
        return
    try:
        brokers = await admin.brokers()
        yield _count(brokers)
        topics = await admin.describe([
            *await Catalog(log, admin, settings.system).topics(),
            schemas_topic(settings.system),
        ])  # fmt: skip
        for check in judge_topics(settings.system, topics):
            yield check
        if schemas_topic(settings.system) in topics:
            recorded = topic_entries(await read_schemas(log, schemas_topic(settings.system)))
            for check in judge_numbers(topics, recorded):
                yield check
        yield await _newest(log, topics, settings.system, time_us)
        if writes:
            yield await probe_write(log, admin, settings.system, time_us)
    except LogNotAdmitted as error:
        keys, mend = mend_of_log(settings, error.concerns)
        yield failed("log login", f"{error} ({', '.join(keys)})", mend)
    except LogForbidden as error:
        yield failed("log", str(error), _RIGHTS)
    except LogUnavailable as error:
        yield failed(
            "log",
            f"{error}",
            "the brokers name other addresses than the ones asked: check advertised.listeners, "
            "and that this machine reaches them",
        )
    except (LogError, CorruptRecord) as error:
        yield failed("log", str(error), _RIGHTS)


async def _server(server: str, source: str, security: Security) -> AsyncIterator[Check]:
    match = re.fullmatch(r"\[?([^\]]+?)\]?:(\d+)", server)
    assert match is not None, "settings are checked"
    host, port = match[1], int(match[2])
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield failed(
            f"log name {host}",
            f"does not resolve ({error.strerror or error})",
            f"check the spelling at {source}, and DNS or /etc/hosts",
        )
        return
    yield ok(f"log name {host}", ", ".join(sorted({str(each[4][0]) for each in found})))
    tls = security.tls.context() if security.tls else None
    try:
        versions = await api_versions(host, port, _TIMEOUT_S, tls)
    except LogUnavailable as error:
        yield failed(
            f"log port {port}",
            str(error),
            "check that the broker runs there and no firewall is in between",
        )
        return
    except LogRefused as error:
        yield ok(f"log port {port}", "open")
        yield failed(
            f"log protocol {server}",
            str(error),
            "check the port: another service, or a listener that wants TLS where "
            "kafka.security_protocol has none, or the other way round",
        )
        return
    yield ok(f"log port {port}", "open")
    yield judge_protocol(server, versions)


def judge_protocol(server: str, versions: Mapping[int, tuple[int, int]]) -> Check:
    """Return what to think of a broker's versions (pure)."""
    name = f"log protocol {server}"
    lacking: list[str] = []
    missing: list[str] = []
    shown: list[str] = []
    for key, request in NEEDED.items():
        low, high = versions.get(key, (0, -1))
        if min(high, request.highest) < max(low, request.lowest):
            has = f"{low} to {high}" if high >= 0 else "none"
            text = f"{request.name} {request.lowest} to {request.highest} (it has {has})"
            (missing if request.optional else lacking).append(text)
            if request.optional:
                missing[-1] += f": {request.optional}"
        else:
            shown.append(f"{request.name} {low}-{high}")
    if lacking:
        return failed(
            name, f"it lacks {'; '.join(lacking)}", "use a broker that has what brokers.md lists"
        )
    if missing:
        return warning(name, f"it lacks {'; '.join(missing)}", "see docs/reference/brokers.md")
    return ok(name, ", ".join(shown))


def judge_topics(system: str, topics: Mapping[str, TopicState]) -> Sequence[Check]:
    """Return what to think of a system's topics (pure)."""
    schemas = schemas_topic(system)
    events = {name: state for name, state in topics.items() if name != schemas}
    if not events:
        return [
            warning(
                "topics",
                f"system {system} has none in this log",
                "`spawn init TARGET` makes them, and `spawn run` does; is the system's name right?",
            )
        ]
    checks = []
    untold = []
    for name, state in sorted(events.items()):
        if not state.settings:
            untold.append(name)
        problems = topic_problems(state)
        lost = [problem for problem in problems if problem.loses]
        if problems:
            judge = failed if lost else warning
            changes = " ".join(f"--add-config {problem.mend}" for problem in problems)
            checks.append(
                judge(
                    f"topic {name}",
                    "; ".join(problem.text for problem in problems),
                    f"kafka-configs.sh --alter --topic {name} {changes}",
                )
            )
    if schemas not in topics:
        checks.append(failed(f"topic {schemas}", "is missing", "`spawn init TARGET` makes it"))
    elif topics[schemas].settings.get("cleanup.policy", "compact") != "compact":
        checks.append(
            warning(
                f"topic {schemas}",
                f"has cleanup.policy={topics[schemas].settings['cleanup.policy']}",
                f"kafka-configs.sh --alter --topic {schemas} --add-config cleanup.policy=compact",
            )
        )
    if untold:
        checks.append(
            warning(
                "topic settings",
                "the broker does not tell them; whether events are kept can't be checked",
                "see docs/reference/brokers.md, and check retention by its own tools",
            )
        )
    count = sum(state.partitions for state in events.values())
    copies = sorted({state.replication for state in events.values()})
    text = f"{len(events)} with {count} partitions, copies: {', '.join(map(str, copies))}"
    if copies[0] == 1:
        checks.append(
            warning(
                "topics",
                text + "; an acknowledged event is lost with its broker's disk",
                "three brokers and three copies (kafka.replication) survive the loss of one",
            )
        )
    else:
        checks.append(ok("topics", text))
    return checks


def judge_numbers(
    topics: Mapping[str, TopicState], recorded: Sequence[TopicEntry]
) -> Sequence[Check]:
    """Return topics whose number of partitions is not the one that they were made with (pure)."""
    return [
        failed(
            f"topic {name}",
            f"has {topics[name].partitions} partitions, it was made with {made}: no node serves it",
            "`spawn explain partitions-changed`",
        )
        for name, made in made_partitions(recorded).items()
        if name in topics and topics[name].partitions != made
    ]


def _count(brokers: int) -> Check:
    if brokers == 1:
        return warning(
            "brokers",
            "one: what it acknowledged is lost with its disk",
            "for production use three; for a try this is well",
        )
    return ok("brokers", str(brokers))


async def _newest(
    log: EventLog, topics: Mapping[str, TopicState], system: str, time_us: Callable[[], int]
) -> Check:
    """Compare our clock with the newest records'; a node ahead of us wrote in our future."""
    places = [
        TopicPartition(name, number)
        for name, state in topics.items()
        if name != schemas_topic(system)
        for number in range(state.partitions)
    ]
    newest = 0
    for at in itertools.islice(places, _PLACES_MAX):
        first, end = await log.bounds(at)
        if end <= first:
            continue
        async for chunk in log.read(at, end - 1, end):
            for stored in chunk:
                prefix = decode_prefix(stored.value)
                if isinstance(prefix, Commit):
                    newest = max(newest, prefix.time_us)
    ahead_us = newest - time_us()
    if ahead_us > CLOCK_MAX_US:
        return warning(
            "log time",
            f"the newest event is {ahead_us / 1e6:.1f} s in this machine's future",
            "set the clocks of all nodes by NTP (chrony, systemd-timesyncd)",
        )
    return ok("log time", "no event is of the future")


async def probe_write(
    log: EventLog, admin: LogAdmin, system: str, time_us: Callable[[], int]
) -> Check:
    """Append to a scratch topic, and see whether offsets and records come back as they must."""
    at = TopicPartition(topic_of(system, SCRATCH), 0)
    name = "log write"
    mend = "such a broker can't hold events: see docs/reference/brokers.md"
    await admin.create({at.topic: TopicSettings(partitions=1)})
    _, end = await log.bounds(at)
    sent: list[bytes] = []
    for size in (3, 1, 2):
        values = [b"%d/%d" % (size, number) for number in range(size)]
        batch = [LogRecord(b"probe", value) for value in values]
        base = await log.append(at, batch, time_us() // 1000)
        if base != end + len(sent):
            return failed(
                name,
                f"offsets are not contiguous: a batch was to stand at {end + len(sent)}, the "
                f"broker says {base} (or another doctor writes)",
                mend,
            )
        sent += values
    _, now = await log.bounds(at)
    if now != end + len(sent):
        return failed(name, f"the end is {end + len(sent)}, the broker says {now}", mend)
    read = [
        (stored.offset, stored.value) async for chunk in log.read(at, end, now) for stored in chunk
    ]
    if read != list(enumerate(sent, end)):
        return failed(name, "records came back changed or at other offsets", mend)
    return ok(name, f"{len(sent)} records in 3 batches of {at.topic} came back as sent; it stays")
