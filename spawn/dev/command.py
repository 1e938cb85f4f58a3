"""`spawn dev`: the embedded stack and one node on it, on one screen, until Ctrl-C.

The node is a process of its own (`session`); this one holds the stack and the listening socket. The
broker's log begins anew with each start, so snapshots of an earlier one are discarded, and that is
said. Everything ends with this process, whatever ends it (`supervisor`, `node_child`).
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from spawn import __version__
from spawn.api.server import reserve
from spawn.config import Settings
from spawn.dev import dev_file
from spawn.dev.dev_file import DevFile
from spawn.dev.errors import StackError, SupervisorLost
from spawn.dev.node_child import Order, Served
from spawn.dev.processes import rss_bytes
from spawn.dev.session import Session, Shown
from spawn.dev.stack import EmbeddedStack, Endpoints
from spawn.errors import PortTaken
from spawn.runtime.signals import stop_signals
from spawn.runtime.tasks import first_error
from spawn.sdk.target import require_file

__all__ = ["BROKER_WARNING_BYTES", "develop", "screen"]

BROKER_WARNING_BYTES: Final = 2 * 1024**3
"""The broker keeps its log in memory, about 1 MB for 1,000 records: some two million of them."""
_LOOK_S: Final = 5.0


async def develop(
    target: str,
    settings: Settings,
    given: tuple[Mapping[str, str | None], Path | None],
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Start the stack in `folder`, serve `target` on it, stop everything on Ctrl-C.

    `given` are the flags and the file that `settings` were made from; each node makes its own from
    them. Raises: StartRefused (the target can't be served), StackError (a server does not come up,
    or something ended that can't be started again).
    """
    require_file(target)
    began = time.monotonic()
    listener = _bind(settings.http.host, settings.http.port, say)
    interrupts = _Interrupts()
    with contextlib.closing(listener), interrupts.handled():
        async with EmbeddedStack(folder) as stack:
            endpoints = stack.endpoints
            first = True

            def on_serving(shown: Shown) -> None:
                nonlocal first
                dev_file.write(folder, _file(target, shown, endpoints))
                if first:
                    took_s = time.monotonic() - began
                    say(screen(shown, endpoints, took_s, curl(settings)))
                first = False

            session = Session(
                _order(target, given, endpoints),
                listener,
                stop_grace_s=settings.node.stop_grace_s,
                say=say,
                on_serving=on_serving,
            )

            async def serve() -> None:
                await session.begin()
                await session.keep()

            try:
                async with _watched(stack, say), session.running():
                    await interrupts.until_first(serve())
                    say("stopping: calls under way are finished, new ones refused; again forces it")
                    await interrupts.until_second(session.stop())
            finally:
                dev_file.remove(folder)


class _Interrupts:
    """SIGINT and SIGTERM: the first one stops in order, the second at once."""

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self._second = asyncio.Event()

    def handled(self) -> contextlib.AbstractContextManager[None]:
        """Take the signals while the body runs."""
        return stop_signals(self._signalled)

    def _signalled(self) -> None:
        (self._second if self._first.is_set() else self._first).set()

    async def until_first(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until it ends or the first signal cancels it. Raises: what `work` raises."""
        await _until(self._first, work)

    async def until_second(self, work: Coroutine[Any, Any, None]) -> None:
        """The same with the second signal."""
        await _until(self._second, work)


async def _until(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        task, wait = tasks.create_task(work), tasks.create_task(event.wait())
        await asyncio.wait((task, wait), return_when=asyncio.FIRST_COMPLETED)
        wait.cancel()
        task.cancel()


def screen(shown: Shown, endpoints: Endpoints, took_s: float, curl: str = "curl") -> str:
    """Return what `spawn dev` shows: what runs where, and what to try next."""
    served, url = shown.served, shown.url
    types = "\n".join(
        f"  actors    {name} ({', '.join(action.name for action in actions)})"
        for name, _, actions in served.actors
    )
    lines = [
        f"spawn {__version__}, development mode. History lives as long as this command.",
        f"  log       {endpoints.kafka_bootstrap} embedded, in memory",
        f"  database  {endpoints.data_folder / 'pg'} embedded",
        f"  nats      {endpoints.nats_url}",
        f"{types} from {served.origin}",
        *(
            f"warning: {name} has no action: write @action above what may be called"
            for name, _, actions in served.actors
            if {action.name for action in actions} <= {"get_state"}
        ),
        f"  http      {url}   node pid {shown.pid}",
        f"  docs      {url}/docs",
    ]
    lines.append(f"try  {_example(served, url, curl)}")
    lines.append(f"Saves reload. Ctrl-C stops everything.   ({took_s:.1f} s)")
    return "\n".join(lines)


def curl(settings: Settings) -> str:
    """Return the command to call the node with: curl, and what its token and certificate need."""
    words = ["curl"]
    if settings.http.tls_cert:
        words += ["--cacert", shlex.quote(str(settings.http.tls_cert))]
    if settings.http.token_file:
        words.append(
            f'-H "Authorization: Bearer $(cat {shlex.quote(str(settings.http.token_file))})"'
        )
    elif settings.http.token:
        words.append('-H "Authorization: Bearer $SPAWN_HTTP_TOKEN"')
    return " ".join(words)


def _example(served: Served, url: str, curl: str) -> str:
    """Return a call to try: the first action that takes one whole number, else any."""
    # Certificates made at home name localhost more often than its address.
    url = url.replace("https://127.0.0.1", "https://localhost").removeprefix("http://")
    for name, named_id, actions in served.actors:
        for action in actions:
            if not action.read_only and ": int)" in action.signature:
                path = f"/v1/actors/{name}/{named_id or 'a'}/{action.name}"
                return f"{curl} -d 5 {url}{path}"
    name, named_id, _ = served.actors[0]
    return f"{curl} {url}/v1/actors/{name}/{named_id or 'a'}"


def _bind(host: str, port: int, say: Callable[[str], None]) -> socket.socket:
    """Reserve the port before anything is started; another one if it is taken."""
    try:
        return reserve(host, port)
    except PortTaken as taken:
        say(f"{taken}: another one is taken")
        return reserve(host, 0)


def _order(
    target: str, given: tuple[Mapping[str, str | None], Path | None], endpoints: Endpoints
) -> Order:
    flags, config = given
    return Order(
        target=target,
        flags=dict(flags),
        config=None if config is None else str(config),
        kafka=endpoints.kafka_bootstrap or "",
        postgres=endpoints.postgres_dsn or "",
        nats=endpoints.nats_url or "",
        discard_stale_snapshots=True,
    )


def _file(target: str, shown: Shown, endpoints: Endpoints) -> DevFile:
    return DevFile(
        system=shown.served.system,
        http_url=shown.url,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        kafka_bootstrap=endpoints.kafka_bootstrap,
        postgres_dsn=endpoints.postgres_dsn,
        nats_url=endpoints.nats_url,
        target=target,
        pids={**endpoints.pids, "node": shown.pid},
    )


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
    kind = SupervisorLost if died.name == "supervisor" else StackError
    raise kind(
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
