"""NATS, over which systems call each other: core NATS only, nothing is stored."""

from __future__ import annotations

import uuid
from pathlib import Path

from spawn.dev.binaries import check_version
from spawn.dev.parts import Command, PartName
from spawn.dev.ports import HOST
from spawn.dev.probes import nats_server_name
from spawn.dev.supervisor_link import SupervisorLink

__all__ = ["NatsPart"]


class NatsPart:
    """nats-server on a port of loopback."""

    name: PartName = "nats"

    def __init__(self, program: Path, log: Path) -> None:
        self._program = program
        self._log = log
        self._port = 0
        self._server_name = ""

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"nats://{HOST}:{self._port}"

    async def prepare(self, link: SupervisorLink) -> None:
        await check_version(self._program, r"nats-server: v(2\.\S+)", "nats-server 2")

    def use_port(self, port: int) -> None:
        self._port = port

    def command(self) -> Command:
        self._server_name = f"spawn-dev-{uuid.uuid4().hex}"
        return Command(
            name=self.name,
            argv=(
                *(str(self._program), "--addr", HOST, "--port", str(self._port)),
                *("--name", self._server_name),
            ),
            log=self._log,
        )

    async def answers(self) -> bool:
        return await nats_server_name(self._port) == self._server_name
