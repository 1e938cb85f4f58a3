"""The demo's node: `spawn run` as a process of its own, to be killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from examples.flights.connection import request_bytes
from examples.flights.delivery import Address, Conversation, deliver
from spawn.dev import EmbeddedStack
from spawn.dev.parts import Command
from spawn.dev.supervisor_link import Exit, SupervisorLink

__all__ = ["SPAWN", "SYSTEM", "NodeEnded", "NodeProcess", "node_settings"]

SPAWN = Path(sys.executable).with_name("spawn")
"""The command that is installed beside this Python."""
SYSTEM = "flights"
ACTORS = Path(__file__).with_name("aircraft.py")
LOG_LINES = 15


class NodeEnded(Exception):
    """The node ended without being asked to; the text closes with the last lines of its log."""


def node_settings(stack: EmbeddedStack, address: Address) -> dict[str, str]:
    """Return the environment of a node on these servers, and of commands that ask for something."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("SPAWN_")}
    return others | {
        "SPAWN_SYSTEM": SYSTEM,
        "SPAWN_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap,
        "SPAWN_POSTGRES_DSN": stack.postgres_dsn,
        "SPAWN_NATS_URL": stack.nats_url,
        "SPAWN_HTTP_PORT": str(address.port),
        "SPAWN_URL": f"http://{address.host}:{address.port}",
    }


class NodeProcess:
    """The node, under a supervisor that ends it when this process is gone."""

    def __init__(self, settings: Mapping[str, str], address: Address, log: Path) -> None:
        self._address = address
        self._log = log.absolute()
        self._command = Command(
            name="node",
            argv=(str(SPAWN), "run", str(ACTORS)),
            env=settings,
            cwd=Path.cwd(),
            log=self._log,
        )
        self.pid = 0
        """Of the process that was started last."""
        self._link: SupervisorLink
        self._wanted = False
        self._ended = asyncio.Event()
        self._how = ""

    @classmethod
    @asynccontextmanager
    async def running(
        cls, settings: Mapping[str, str], address: Address, log: Path
    ) -> AsyncIterator[Self]:
        """Start a node; it ends, in order, with the body. Raises: NodeEnded, Unanswered."""
        node = cls(settings, address, log)
        node._log.write_bytes(b"")
        # The supervisor holds a descriptor for its parent; there is none to hold here.
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            node._link = await SupervisorLink.open(
                log=node._log, keep_fd=nothing, on_exit=node._on_exit, on_lost=node._on_lost
            )
        finally:
            os.close(nothing)
        try:
            await node.start()
            yield node
        finally:
            node._wanted = False
            await node._link.close()

    async def start(self) -> None:
        """Start the process (again); returns before it serves."""
        self._wanted = True
        self.pid = await self._link.start(self._command)

    async def kill(self) -> None:
        """End the process with SIGKILL; returns once nothing is left of it."""
        self._wanted = False
        await self._link.signal("node", signal.SIGKILL)
        await self._link.wait_exit("node", timeout_s=5.0)

    async def wait_serving(self) -> None:
        """Return once the node answers. Raises: NodeEnded, Unanswered."""

        def ask() -> Conversation:
            yield request_bytes("GET", "/health/live")

        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self.watch())
            await deliver([ask()], self._address)
            watch.cancel()

    async def watch(self) -> None:
        """Raises: NodeEnded - as soon as the node ends without being asked to."""
        await self._ended.wait()
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        raise NodeEnded("\n  ".join([f"the node {self._how}; {self._log} ends with", *lines]))

    def _on_exit(self, ended: Exit) -> None:
        if self._wanted:
            self._how = str(ended)
            self._ended.set()

    def _on_lost(self) -> None:
        self._how = "was ended with its supervisor"
        self._ended.set()
