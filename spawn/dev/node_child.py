"""The node of `spawn dev`: a process of its own, ready before it is needed.

    python -m spawn.dev.node_child CONTROL_FD REPORT_FD LISTENER_FD

It imports all that a node needs and waits for its order, so that a reload or a restart costs no
interpreter start. Orders come on the control pipe, reports go to the other one, JSON both, one
object a line; stdin, stdout and stderr are the terminal's, so that `print` and `breakpoint()` in
an actor work.

    order (spawn dev -> node)     report (node -> spawn dev)
    an Order                      {"prepared": ..., "files"}   loaded and checked, nothing claimed
                                  {"failed": ..., "files"}     at any time; then it ends
    {"go": true}                  {"serving": url, "records": n}
    {"stop": true}                it ends in order

When the control pipe closes, `spawn dev` is gone: the node ends at once, and Linux kills it should
it be busy (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from spawn.config import Settings, load_settings, wants_colour, with_servers
from spawn.core.behavior import ActionInfo
from spawn.errors import SpawnError
from spawn.logs import configure_logs, spoken
from spawn.node import RunOptions, Serving, serve, with_system_of
from spawn.runtime.debugger import Debugger
from spawn.runtime.event_loop import run_serving
from spawn.sdk.target import Target, load_target

__all__ = ["Failure", "Order", "Report", "Served", "main", "own_files"]

_PR_SET_PDEATHSIG: Final = 1


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to serve, and on which servers."""

    target: str
    flags: dict[str, str | None]
    """Settings given on the command line, by key."""
    config: str | None
    kafka: str
    postgres: str
    nats: str
    discard_stale_snapshots: bool

    def settings(self) -> Settings:
        """Return the settings of `spawn dev`, with the embedded servers' addresses."""
        config = Path(self.config) if self.config is not None else None
        settings = load_settings(flags=self.flags, config=config)
        return with_servers(settings, kafka=self.kafka, postgres=self.postgres, nats=self.nats)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the node met it."""

    code: str
    message: str
    at: str
    hint: str


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What a target holds, for people."""

    system: str
    origin: str
    actors: tuple[tuple[str, str, tuple[ActionInfo, ...]], ...]
    """(type, id of a named one, actions)."""


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node tells; one of the first three is there."""

    prepared: Served | None = None
    failed: Failure | None = None
    serving: str = ""
    records: int = 0
    """Records read behind the checkpoints when it took over."""
    files: tuple[str, ...] = ()
    """Files of the target's own folder that were loaded."""


class _Child:
    """The two pipes, and what they say."""

    def __init__(self, control_fd: int, report_fd: int) -> None:
        self._control_fd = control_fd
        self._report_fd = report_fd
        self._received = b""
        self._go = asyncio.Event()
        self._stop = asyncio.Event()

    def first_order(self) -> Order | None:
        """Wait for the order; None: there will be none."""
        while b"\n" not in self._received:
            chunk = os.read(self._control_fd, 65536)
            if not chunk:
                return None
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return msgspec.json.decode(line, type=Order)

    def report(self, report: Report) -> None:
        line = msgspec.json.encode(report) + b"\n"
        while line:
            line = line[os.write(self._report_fd, line) :]

    async def serve(self, order: Order, target: Target, listener: socket.socket) -> None:
        """Serve a loaded target. Raises: as `spawn.node.serve`."""
        self._take(self._received)
        asyncio.get_running_loop().add_reader(self._control_fd, self._listen)

        settings = with_system_of(target, order.settings())
        is_json = _configure_logs(settings)
        actors = tuple(
            (behavior.type, behavior.settings.named_id, tuple(behavior.actions.values()))
            for behavior in target.behaviors
        )
        served = Served(system=settings.system, origin=target.origin, actors=actors)

        async def prepared() -> None:
            self.report(Report(prepared=served, files=own_files(order.target)))
            await self._go.wait()

        def serving(told: Serving) -> None:
            self.report(Report(serving=told.url, records=told.records))

        debugger = Debugger()
        debugger.notice_breakpoints()
        options = RunOptions(
            debugger=debugger,
            discard_stale_snapshots=order.discard_stale_snapshots,
            say=_quieter(spoken("spawn.node") if is_json else _say),
            on_prepared=prepared,
            on_serving=serving,
            stop=self._stop,
        )
        await serve(settings, target, options, listener)

    def _listen(self) -> None:
        chunk = os.read(self._control_fd, 65536)
        if not chunk:
            os._exit(1)  # spawn dev is gone, and its servers with it: nothing is left to finish
        self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        if b"go" in chunk:
            self._go.set()
        if b"stop" in chunk:
            self._stop.set()
            self._go.set()


def own_files(target: str) -> tuple[str, ...]:
    """Return the loaded files of the target's folder: what a change of is a change of the code."""
    place = target.partition(":")[0]
    path = Path(place).resolve()
    is_file = place.endswith(".py") or "/" in place
    folder = path.parent if is_file else Path.cwd()
    found = {str(path)} if is_file else set()
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if name and folder in Path(name).parents and "site-packages" not in name:
            found.add(name)
    return tuple(sorted(found))


def _configure_logs(settings: Settings) -> bool:
    """Write logs as `spawn run` does; the routine of starts only for who asks for a level."""
    asked = settings.source("log.level").kind != "default"
    return configure_logs(
        settings.log.level,
        settings.log.format,
        colour=sys.stderr.isatty() and wants_colour(),
        quiet=() if asked else ("spawn.partition", "spawn.node"),
    )


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _quieter(say: Callable[[str], None]) -> Callable[[str], None]:
    """Leave out what is always so in development: one broker, tables made, the end."""

    def say_more(text: str) -> None:
        if "one broker" not in text and not text.startswith(("database: applied", "stopping")):
            say(text)

    return say_more


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: Sequence[str]) -> int:
    """Wait for an order and carry it out; return the exit code."""
    control_fd, report_fd, listener_fd = (int(argument) for argument in arguments)
    parent = os.getppid()
    _die_with_parent()
    # Ctrl-C is `spawn dev`'s matter until the node has handlers of its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() != parent:
        return 1
    child = _Child(control_fd, report_fd)
    order = child.first_order()
    if order is None:
        return 0
    try:
        target = load_target(order.target)
        run_serving(child.serve(order, target, socket.socket(fileno=listener_fd)))
    except SpawnError as error:
        child.report(Report(failed=failure_of(error), files=own_files(order.target)))
        return 1
    return 0


def failure_of(error: SpawnError) -> Failure:
    """Return an error as it is told to the other process."""
    values: dict[str, Any] = {"message": error.message, "at": error.at, "hint": error.hint}
    return Failure(code=error.code, **values)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
