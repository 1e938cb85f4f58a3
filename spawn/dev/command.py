"""`spawn dev`: the embedded stack and one node on it, on one screen, until Ctrl-C.

The broker's log begins anew with each start, so snapshots of an earlier one are discarded, and
that is said. The stack ends with this process, whatever ends it (see `supervisor`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from spawn import __version__
from spawn.api.server import reserve
from spawn.config import SecretUrl, Settings
from spawn.dev import dev_file
from spawn.dev.dev_file import DevFile
from spawn.dev.errors import StackError
from spawn.dev.processes import rss_bytes
from spawn.dev.stack import EmbeddedStack, Endpoints
from spawn.errors import PortTaken
from spawn.node import RunOptions, serve, with_system_of
from spawn.runtime.tasks import first_error
from spawn.sdk.target import Target

__all__ = ["BROKER_WARNING_BYTES", "develop", "screen"]

BROKER_WARNING_BYTES: Final = 2 * 1024**3
"""The broker keeps its log in memory, about 1 MB for 1,000 records: some two million of them."""
_LOOK_S: Final = 5.0


async def develop(
    target: Target, settings: Settings, folder: Path, say: Callable[[str], None]
) -> None:
    """Start the stack in `folder`, serve `target` on it, stop everything on Ctrl-C.

    Raises: StackError (a server does not come up, or ended), and all that `serve` raises.
    """
    started = time.monotonic()
    settings = with_system_of(target, settings)
    listener = _bind(settings.http.host, settings.http.port, say)
    with contextlib.closing(listener):
        async with EmbeddedStack(folder) as stack:
            settings = _on_stack(settings, stack.endpoints)

            def on_serving(url: str) -> None:
                dev_file.write(folder, _file(settings, stack.endpoints, url))
                took_s = time.monotonic() - started
                say(screen(target, stack.endpoints, url, took_s))

            options = RunOptions(
                discard_stale_snapshots=True, say=_quieter(say), on_serving=on_serving
            )
            try:
                async with _watched(stack, say):
                    await serve(settings, target, options, listener)
            finally:
                dev_file.remove(folder)


def screen(target: Target, endpoints: Endpoints, url: str, took_s: float) -> str:
    """Return what `spawn dev` shows: what runs where, and what to try next."""
    types = "\n".join(
        f"  actors    {behavior.type} ({', '.join(behavior.actions)})"
        for behavior in target.behaviors
    )
    lines = [
        f"spawn {__version__}, development mode. History lives as long as this command.",
        f"  log       {endpoints.kafka_bootstrap} embedded, in memory",
        f"  database  {endpoints.data_folder / 'pg'} embedded",
        f"  nats      {endpoints.nats_url}",
        f"{types} from {target.origin}",
        f"  http      {url}   node pid {os.getpid()}",
    ]
    if example := _example(target, url):
        lines.append(f"try  {example}")
    lines.append(f"Ctrl-C stops everything.   ({took_s:.1f} s)")
    return "\n".join(lines)


def _example(target: Target, url: str) -> str:
    """Return a call to try: the first action that takes one whole number, else any."""
    for behavior in target.behaviors:
        actor_id = behavior.settings.named_id or "a"
        for action in behavior.actions.values():
            if not action.read_only and ": int)" in action.signature:
                path = f"/v1/actors/{behavior.type}/{actor_id}/{action.name}"
                return f"curl -d 5 {url.removeprefix('http://')}{path}"
    behavior = target.behaviors[0]
    return f"curl {url}/v1/actors/{behavior.type}/{behavior.settings.named_id or 'a'}"


def _bind(host: str, port: int, say: Callable[[str], None]) -> socket.socket:
    """Reserve the port before anything is started; another one if it is taken."""
    try:
        return reserve(host, port)
    except PortTaken as taken:
        say(f"{taken}: another one is taken")
        return reserve(host, 0)


def _on_stack(settings: Settings, endpoints: Endpoints) -> Settings:
    return replace(
        settings,
        kafka=replace(settings.kafka, bootstrap_servers=endpoints.kafka_bootstrap or ""),
        postgres=replace(settings.postgres, dsn=SecretUrl(endpoints.postgres_dsn or "")),
        nats=replace(settings.nats, url=SecretUrl(endpoints.nats_url or "")),
    )


def _file(settings: Settings, endpoints: Endpoints, url: str) -> DevFile:
    return DevFile(
        system=settings.system,
        http_url=url,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        kafka_bootstrap=endpoints.kafka_bootstrap,
        postgres_dsn=endpoints.postgres_dsn,
        nats_url=endpoints.nats_url,
        pids={**endpoints.pids, "node": os.getpid()},
    )


def _quieter(say: Callable[[str], None]) -> Callable[[str], None]:
    """Leave out what is always so in development: one broker, tables made."""

    def say_more(text: str) -> None:
        if "one broker" not in text and not text.startswith("database: applied"):
            say(text)

    return say_more


@contextlib.asynccontextmanager
async def _watched(stack: EmbeddedStack, say: Callable[[str], None]) -> AsyncIterator[None]:
    """While the body runs: end it when a server ends, warn when the broker grows large."""
    try:
        async with asyncio.TaskGroup() as tasks:
            watchers = [
                tasks.create_task(_end_with(stack)),
                tasks.create_task(_warn_of_memory(stack, say)),
            ]
            yield
            for watcher in watchers:
                watcher.cancel()
    except BaseExceptionGroup as group:
        raise first_error(group) from group


async def _end_with(stack: EmbeddedStack) -> None:
    died = await stack.next_death()
    lines = "\n".join(died.last_lines)
    raise StackError(
        f"{died.name} (pid {died.pid}) {died.reason}\n{lines}",
        at=str(died.log),
        hint="start again; what the log held in memory is gone",
    )


async def _warn_of_memory(stack: EmbeddedStack, say: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(_LOOK_S)
        used = rss_bytes(stack.pid("kafka"))
        if used is not None and used > BROKER_WARNING_BYTES:
            say(
                f"warning: the embedded broker holds {used / 1024**3:.1f} GiB; its log is in "
                "memory and only grows: start again, or use `spawn run` with Apache Kafka"
            )
            return
