"""The composition root: settings and a target become a running node (design 7).

Here, and nowhere else, ports meet their adapters: Kafka, Postgres, HTTP, signals. What a node does
once it runs is `spawn.runtime`'s matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from eventstore.errors import (
    LogError,
    LogForbidden,
    LogNotAdmitted,
    LogRefused,
    LogUnavailable,
    SnapshotError,
    SnapshotsNotAdmitted,
    SnapshotsUnavailable,
)
from eventstore.group import GROUP_KIND
from eventstore.kafka_log import KafkaAdmin, KafkaLog
from eventstore.log import TopicPartition
from eventstore.postgres_snapshots import PostgresSnapshots
from spawn.api.server import HttpLimits, HttpServer, reserve
from spawn.config import Settings
from spawn.connections import check_files, database_refusal, log_refusal, snapshots, to_kafka
from spawn.core.ids import group_of
from spawn.core.partition import Limits
from spawn.errors import LogUnreachable, StartRefused, StoreUnreachable
from spawn.exposure import access_of, base_url, check_exposure, check_mesh_exposure, tls_of
from spawn.joining import Joining
from spawn.provision import ensure_schemas, ensure_topics, event_topics
from spawn.runtime.clock import SystemClock, random_id
from spawn.runtime.clock_check import check_clock
from spawn.runtime.context import RuntimeSettings
from spawn.runtime.debugger import Debugger
from spawn.runtime.guards import guarded
from spawn.runtime.node import Node, NodePlan
from spawn.runtime.signals import Stop
from spawn.sdk.target import Target

__all__ = [
    "Adapters",
    "RunOptions",
    "Serving",
    "connected",
    "prepare",
    "serve",
    "with_system_of",
]

_logger = logging.getLogger("spawn.node")

_RETRY_S: Final = 0.2
_SENT_AWAY_S: Final = 1.0
"""Where others serve, a node that stops answers calls for so long yet, and asks to close each
connection: else a call may be on its way on one that is closed."""


class Serving(NamedTuple):
    """A node that serves."""

    url: str
    records: int
    """Read behind the checkpoints when it took its partitions over."""


async def _nothing_to_await() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a node is to be run, beside its settings."""

    create: bool = True
    """Create missing topics and tables."""
    discard_stale_snapshots: bool = False
    """Development: the log began anew, so older snapshots are deleted, not refused."""
    say: Callable[[str], None] = print
    """Tells the person who started it what happened."""
    on_prepared: Callable[[], Awaitable[None]] = _nothing_to_await
    """Awaited once when topics, tables and types are found right, before anything is claimed."""
    on_serving: Callable[[Serving], None] = lambda serving: None
    """Called once when it serves."""
    debugger: Debugger = field(default_factory=Debugger)
    """While it is attached, deadlines wait."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set it to stop the node in order, as the first signal does."""


@dataclass(frozen=True, slots=True)
class Adapters:
    """The outside world as a node sees it."""

    log: KafkaLog
    admin: KafkaAdmin
    store: PostgresSnapshots


def with_system_of(target: Target, settings: Settings) -> Settings:
    """Return the settings with the name that the target's `System` has, unless one was given."""
    if target.name is None or settings.source("system").kind != "default":
        return settings
    return replace(settings, system=target.name)


@contextlib.asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Adapters]:
    """Open log and store while the body runs; nothing is asked of them yet.

    Raises: InvalidSettings - a file for TLS or a login can't be used.
    """
    check_files(settings)
    address = to_kafka(settings)
    log = KafkaLog(address)
    store = snapshots(settings)
    try:
        yield Adapters(log, KafkaAdmin(address), store)
    finally:
        await log.close()
        await store.close()


async def prepare(
    settings: Settings, target: Target, adapters: Adapters, options: RunOptions
) -> Mapping[str, int]:
    """Make topics, tables and schemas (`spawn init`); return partitions by event topic.

    Waits for broker and database as long as the settings say. Raises: LogUnreachable,
    StoreUnreachable, StartRefused, UnsafeTopic, PartitionsChanged, SchemaIncompatible.
    """
    wanted = event_topics(settings.system, target.behaviors, settings.kafka.partitions)
    with _in_own_words(settings):
        await _wait_for_log(settings, adapters.admin)
        await _wait_for_store(settings, adapters.store)
        try:
            topics = await ensure_topics(
                adapters.admin,
                adapters.store,
                settings.system,
                wanted,
                replication=settings.kafka.replication,
                create=options.create,
                say=options.say,
                unsafe=settings.kafka.unsafe_topics,
            )
        except (LogRefused, LogForbidden) as error:
            raise StartRefused(f"the log refuses to make the topics: {error}") from error
        await _refuse_others_group(settings, adapters.admin)
        if not options.create:
            # A node that runs waits for tables that are gone; one that starts says so.
            for topic in topics:
                await adapters.store.load(TopicPartition(topic, 0), ())
        now_ms = SystemClock().time_us() // 1000
        await ensure_schemas(
            adapters.log,
            settings.system,
            target.behaviors,
            now_ms,
            topics=topics,
            say=options.say,
        )
    return topics


async def _refuse_others_group(settings: Settings, admin: KafkaAdmin) -> None:
    """Refuse to start where other programs are in this system's group, before anything is claimed.

    Raises: StartRefused, LogUnavailable, LogForbidden.
    """
    group = group_of(settings.system)
    kind = await admin.group_kind(group)
    if kind not in ("", GROUP_KIND):
        raise StartRefused(
            f"group {group} has members that are no nodes of Spawn (their kind is {kind!r})",
            at=group,
            hint="stop the programs that use it, or give this system another name (SPAWN_SYSTEM)",
        )


@contextlib.contextmanager
def _in_own_words(settings: Settings) -> Iterator[None]:
    """Tell what log and store raise as the errors that a person or program meets."""
    log, database = (
        settings.source(key).name for key in ("kafka.bootstrap_servers", "postgres.dsn")
    )
    try:
        yield
    except LogNotAdmitted as error:
        raise log_refusal(settings, error) from error
    except LogForbidden as error:
        raise StartRefused(
            f"the log can't be used: {error}",
            at=log,
            hint="grant the user the rights to this system's topics",
        ) from error
    except LogUnavailable as error:
        raise LogUnreachable(f"the log stopped answering: {error}", at=log) from error
    except LogError as error:
        raise StartRefused(f"the log can't be used: {error}", at=log) from error
    except SnapshotsNotAdmitted as error:
        raise database_refusal(settings, error) from error
    except SnapshotsUnavailable as error:
        raise StoreUnreachable(f"the database stopped answering: {error}", at=database) from error
    except SnapshotError as error:
        raise StartRefused(f"the database can't be used: {error}", at=database) from error


async def serve(
    settings: Settings,
    target: Target,
    options: RunOptions,
    sock: socket.socket | None = None,
) -> None:
    """Run a node until SIGINT or SIGTERM, then stop it in order; a second signal stops it at once.

    `sock` is a bound socket to serve on, instead of host and port of the settings.

    Raises: StartRefused and its kinds, LogUnreachable, StoreUnreachable, PortTaken, Fenced.
    """
    stop = Stop(options.stop)
    settings = with_system_of(target, settings)
    check_exposure(settings)
    check_mesh_exposure(settings)
    # Reserved before anything is claimed: a node that can't serve must not displace one that does.
    listener = sock or reserve(settings.http.host, settings.http.port)
    with contextlib.closing(listener):
        async with connected(settings) as adapters:
            with stop.on_signals(), _in_own_words(settings):
                await _serve(settings, target, options, adapters, stop, listener)


async def _serve(
    settings: Settings,
    target: Target,
    options: RunOptions,
    adapters: Adapters,
    stop: Stop,
    listener: socket.socket,
) -> None:
    # The address is for calls between systems. In this release nothing here connects to it.
    if not settings.nats.url:
        options.say(
            "no NATS address (SPAWN_NATS_URL): calls between systems are off (they come in a later "
            "release)"
        )
    elif settings.source("nats.url").kind not in ("default", "development"):
        options.say(
            "a NATS address is set, but calls between systems come in a later release: only "
            "`spawn doctor` connects to it"
        )
    with stop.cancels():
        topics = await prepare(settings, target, adapters, options)
        time_us, limit_s = SystemClock().time_us, settings.node.clock_limit_s
        await check_clock(adapters.store, time_us, limit_s, options.say)
        await options.on_prepared()
    if stop.asked.is_set():
        return
    port = listener.getsockname()[1]
    url = base_url(settings, port)
    access, tls = access_of(settings), tls_of(settings)
    joining = Joining(settings, adapters.log, adapters.store, topics, port)
    node = Node(
        NodePlan(
            system=settings.system,
            endpoint=url,
            behaviors=target.behaviors,
            topics=topics,
            log=adapters.log,
            store=adapters.store,
            settings=_runtime_settings(settings, options),
            body_bytes_max=settings.http.body_limit_bytes,
            say=options.say,
            debugger=options.debugger,
            route=joining.route,
        )
    )
    fresh = await node.is_fresh()
    async with (
        joining.joined(node) as (membership, view),
        node.running(membership) as dispatcher,
        guarded(node.context, topics, stuck_s=settings.node.stuck_s),
    ):
        if target.system is not None:
            target.system.bind(dispatcher)
        server = HttpServer(
            dispatcher,
            view=view,
            new_error_id=lambda: random_id().hex()[:12],
            limits=HttpLimits(
                body_bytes_max=settings.http.body_limit_bytes,
                timeout_default_s=settings.http.timeout_s,
                timeout_max_s=settings.http.timeout_max_s,
                connections_max=settings.http.connections_max,
                keep_alive_s=settings.http.keep_alive_s,
            ),
            access=access,
            tls=tls,
        )
        try:
            # On a first start there is nothing to wait for; later on calls wait for their owner.
            if not fresh:
                await server.start(listener)
            await stop.unless(node.serving)
            if fresh and not stop.asked.is_set():
                await server.start(listener)
            if not stop.asked.is_set():
                tails = (p.position - p.checkpoint for p in dispatcher.statistics().partitions)
                options.on_serving(Serving(url, sum(tails)))
                await stop.asked.wait()
            options.say("stopping: calls under way are finished, new ones refused")
            grace_s = settings.node.stop_grace_s
            deadline = asyncio.get_running_loop().time() + grace_s
            server.send_away()
            if await membership.hand_over(deadline - grace_s / 2):
                # Callers go to the others: each by the answer to its next call.
                await asyncio.sleep(min(_SENT_AWAY_S, grace_s / 4))
            await server.stop_listening()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(membership.leave(deadline))
                left_s = max(deadline - asyncio.get_running_loop().time(), 0.0)
                tasks.create_task(node.drain(left_s))
                tasks.create_task(server.stop(left_s))
        finally:
            await server.stop(0.2)


def _runtime_settings(settings: Settings, options: RunOptions) -> RuntimeSettings:
    return RuntimeSettings(
        limits=Limits(),
        calls_max=settings.node.calls_max,
        flush_interval_s=settings.snapshots.flush_interval_s,
        flush_actors=settings.snapshots.flush_actors,
        actor_memory_bytes=settings.actors.memory_limit_bytes,
        threads=settings.actors.threads,
        clock_limit_s=settings.node.clock_limit_s,
        discard_stale_snapshots=options.discard_stale_snapshots,
    )


async def _wait_for_log(settings: Settings, admin: KafkaAdmin) -> None:
    wait_s = settings.node.start_wait_s
    try:
        await _answered(admin.brokers, LogUnavailable, wait_s)
    except (LogNotAdmitted, LogForbidden):
        raise
    except (LogUnavailable, TimeoutError) as error:
        raise LogUnreachable(
            f"no broker answered at {settings.kafka.bootstrap_servers} within {wait_s:g} s "
            f"({str(error) or 'no answer'})",
            at=settings.source("kafka.bootstrap_servers").name,
            hint="check the address and that the broker runs; for a local try: spawn dev",
        ) from error


async def _wait_for_store(settings: Settings, store: PostgresSnapshots) -> None:
    wait_s = settings.node.start_wait_s
    try:
        await _answered(store.ping, SnapshotsUnavailable, wait_s)
    except SnapshotsNotAdmitted:
        raise
    except (SnapshotsUnavailable, TimeoutError) as error:
        raise StoreUnreachable(
            f"no database answered at {settings.postgres.dsn} within {wait_s:g} s "
            f"({str(error) or 'no answer'})",
            at=settings.source("postgres.dsn").name,
            hint="check the address and that PostgreSQL runs; for a local try: spawn dev",
        ) from error


async def _answered(
    ask: Callable[[], Awaitable[Any]], unavailable: type[Exception], wait_s: float
) -> None:
    """Ask again until there is an answer, at most `wait_s`; at least once, for a second."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while True:
        try:
            async with asyncio.timeout_at(max(deadline, loop.time() + 1)):
                await ask()
        except (LogNotAdmitted, LogForbidden, SnapshotsNotAdmitted):
            raise  # a "no" is none the better for being asked for again
        except unavailable:
            if loop.time() >= deadline:
                raise
        else:
            return
        await asyncio.sleep(_RETRY_S)
