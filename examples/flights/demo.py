"""One run from start to check: what `make demo` shows.

It starts the embedded servers and a node, feeds the year, kills the node half-way and starts it
again, then compares every aircraft with the plain computation. Servers, logs and the picture lie
in `.spawn/demo`. Nothing outlives this process, however it ends.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console, RenderableType

from examples.flights.census import ActorState, differences, read_states
from examples.flights.data import Year, find_archive, read_year
from examples.flights.delivery import Address, first_failure
from examples.flights.expected import expected_totals
from examples.flights.feeder import Feeder, feed_lines, feed_with_progress
from examples.flights.node import SPAWN, SYSTEM, NodeProcess, node_settings
from examples.flights.report import aircraft_tables, excerpt
from spawn.dev import DevFile, EmbeddedStack, dev_file
from spawn.dev.folders import lock_folder, make_data_folder
from spawn.dev.ports import HOST, is_port_taken, pick_port

__all__ = ["DemoOptions", "run_demo"]

PORT = 9001
"""Where people look for a node; another one when it is in use."""
DEV_FOLDER = Path(".spawn")
LOCK_WAIT_S = 6.0
"""The servers of a demo that was killed need some seconds to end."""
SHOWN = "Aircraft/N725MQ"
"""The aircraft with the most flights: 575."""
DIFFERENCES_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """How the demo runs."""

    rows_max: int | None = None
    """Rows of the file; None: the whole year."""
    keep: bool = False
    """Leave everything running at the end, until Ctrl-C."""
    folder: Path = Path(".spawn/demo")
    """Where servers, logs and picture go."""


async def run_demo(options: DemoOptions, console: Console) -> bool:
    """Run it; return whether every aircraft is as expected.

    Raises: FlightsMissing, StackError, NodeEnded, DeliveryFailed, Unanswered.
    """
    try:
        return await _Demo(options, console).run()
    except BaseExceptionGroup as failures:
        raise first_failure(failures) from None


class _Demo:
    """One run. Its steps are in the order in which they are called."""

    def __init__(self, options: DemoOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._begun = time.perf_counter()
        self._address = Address(HOST, pick_port() if is_port_taken(PORT) else PORT)

    async def run(self) -> bool:
        find_archive()
        self._say("[bold]A year of flights out of New York[/], an actor for each aircraft")
        folder = self._options.folder / "stack"
        await _forget_earlier_runs(folder)
        async with EmbeddedStack(folder) as stack:
            settings = node_settings(stack, self._address)
            log = self._options.folder / "node.log"
            async with NodeProcess.running(settings, self._address, log) as node:
                return await self._with_node(stack, settings, node)

    async def _with_node(
        self, stack: EmbeddedStack, settings: Mapping[str, str], node: NodeProcess
    ) -> bool:
        reading = asyncio.to_thread(read_year, self._options.rows_max)
        year, _ = await asyncio.gather(reading, node.wait_serving())
        self._say_started(stack, node, year)
        # A third of a million flights that stay: the collector need not walk them again and again.
        gc.collect()
        gc.freeze()

        feeder = Feeder(year.flights, self._address)
        pause = await self._feed(feeder, node)
        states, wrong = await self._check(year)
        self._say("", aircraft_tables(states))
        picture = self._options.folder / "flights.png"
        from examples.flights.picture import save_picture

        save_picture(picture, feeder, pause, year.flights, states)
        self._say(f"picture  {picture}")
        shown = [await self._show(settings, command) for command in ("state", "events")]
        verdict = (
            "[red]Some aircraft differ, see above" if wrong else "[green]Every aircraft is right"
        )
        self._say(f"\n{verdict}[/]   {self._elapsed()}")
        if self._options.keep:
            await self._stay(stack)
        return not wrong and all(shown)

    def _say_started(self, stack: EmbeddedStack, node: NodeProcess, year: Year) -> None:
        self._say(
            f"  log {stack.kafka_bootstrap} embedded   database {stack.endpoints.data_folder}/pg "
            f"embedded   node pid {node.pid}, http://{HOST}:{self._address.port}   "
            f"{self._elapsed()}",
            f"  {year.rows:,} rows: {len(year.flights):,} flights of {year.aircraft:,} aircraft, "
            f"{year.rows_without_aircraft:,} without a tail number left out",
        )

    async def _feed(self, feeder: Feeder, node: NodeProcess) -> tuple[float, float]:
        """Feed everything, with a kill half-way; return when it was and when answers came again."""
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(self._kill_half_way(feeder, node))
            watching = group.create_task(node.watch())
            await feed_with_progress(feeder, self._console)
            pause = await killing
            watching.cancel()
        for line in feed_lines(feeder):
            self._say(f"  {line}")
        return pause

    async def _kill_half_way(self, feeder: Feeder, node: NodeProcess) -> tuple[float, float]:
        await feeder.wait_answered(feeder.total // 2)
        pid, killed_at = node.pid, feeder.clock()
        await node.kill()
        # Answers that were on their way still come in.
        await asyncio.sleep(0.05)
        before = feeder.answered
        self._say(f"  node {pid} killed with SIGKILL after {before:,} flights")
        await node.start()
        await feeder.wait_answered(min(before + 1, feeder.total))
        answered_at = feeder.answered_at[before] if before < feeder.total else feeder.clock()
        seconds = answered_at - killed_at
        self._say(f"  started again as {node.pid}: the next answer came {seconds:.1f} s after that")
        return killed_at, answered_at

    async def _check(self, year: Year) -> tuple[Mapping[str, ActorState], list[str]]:
        """Compare every aircraft with the plain computation; return states and differences."""
        expected = await asyncio.to_thread(expected_totals, self._options.rows_max)
        states = await read_states(expected, self._address)
        wrong = list(differences(states, expected))
        flights = sum(actor.state.flights for actor in states.values())
        self._say(
            f"  check of {len(expected):,} aircraft against a plain computation over the file's "
            f"{year.rows:,} rows: flights, cancelled, delay, distance, last airport, revision",
            f"  {flights:,} flights in the actors + {year.rows_without_aircraft:,} rows without a "
            f"tail number = {flights + year.rows_without_aircraft:,}",
        )
        for line in wrong[:DIFFERENCES_MAX]:
            self._say(f"  [red]{line}[/]")
        if len(wrong) > DIFFERENCES_MAX:
            self._say(f"  [red]... and {len(wrong) - DIFFERENCES_MAX:,} more[/]")
        return states, wrong

    async def _show(self, settings: Mapping[str, str], command: str) -> bool:
        """Run a command of `spawn` as anybody would, and show the ends of what it prints.

        Returns whether it succeeded.
        """
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(str(SPAWN), command, SHOWN),
            env=settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        seconds = time.perf_counter() - begun
        self._say(f"\n[bold]$ spawn {command} {SHOWN}[/]   ({seconds:.1f} s)")
        for line in excerpt(output.decode()):
            self._console.print(line, markup=False, no_wrap=True, overflow="ellipsis")
        return process.returncode == 0

    async def _stay(self, stack: EmbeddedStack) -> None:
        """Leave everything up until SIGINT or SIGTERM, where the commands of `spawn` find it."""
        url = f"http://{HOST}:{self._address.port}"
        if dev_file.read(DEV_FOLDER) is not None:
            self._say(f"\nEverything stays up until Ctrl-C: {url}/v1/actors/{SHOWN}")
            await _asked_to_end()
            return
        dev_file.write(
            DEV_FOLDER,
            DevFile(
                system=SYSTEM,
                http_url=url,
                started=datetime.now().astimezone().isoformat(),
                kafka_bootstrap=stack.kafka_bootstrap,
                postgres_dsn=stack.postgres_dsn,
                nats_url=stack.nats_url,
                pids=stack.endpoints.pids,
            ),
        )
        self._say(
            "\nEverything stays up until Ctrl-C. From another terminal, in this folder:",
            f"  .venv/bin/spawn events {SHOWN} --state",
            f"  .venv/bin/spawn invoke {SHOWN} mean_delay_min",
            f"  curl {url}/v1/actors/{SHOWN}",
        )
        try:
            await _asked_to_end()
        finally:
            dev_file.remove(DEV_FOLDER)

    def _elapsed(self) -> str:
        return f"({time.perf_counter() - self._begun:.1f} s)"

    def _say(self, *parts: RenderableType) -> None:
        for part in parts:
            self._console.print(part, highlight=False, soft_wrap=isinstance(part, str))


async def _asked_to_end() -> None:
    """Return at the first SIGINT or SIGTERM."""
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    await asked.wait()


async def _forget_earlier_runs(folder: Path) -> None:
    """Remove the database of an earlier run: the log that its snapshots belong to is gone.

    Raises: FolderInUse - another demo runs here. FolderUnusable.
    """
    folder = make_data_folder(folder)
    lock = await lock_folder(folder, LOCK_WAIT_S)
    try:
        shutil.rmtree(folder / "pg", ignore_errors=True)
    finally:
        os.close(lock)
