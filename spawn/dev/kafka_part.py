"""The broker: Tansu, which speaks Kafka's protocol, with its log in memory.

Its log is gone whenever it stops: by `stop`, by a crash, by a restart. It knows neither idempotent
producers nor transactions, and grows by about 1 MB for 1,000 small records.
"""

from __future__ import annotations

import signal
import uuid
from pathlib import Path

from spawn.dev.binaries import check_version
from spawn.dev.parts import Command, PartName
from spawn.dev.ports import HOST
from spawn.dev.probes import kafka_cluster_id
from spawn.dev.supervisor_link import SupervisorLink

__all__ = ["KafkaPart"]


class KafkaPart:
    """The broker on a port of loopback."""

    name: PartName = "kafka"

    def __init__(self, program: Path, log: Path) -> None:
        self._program = program
        self._log = log
        self._port = 0
        # A new one for each log: what clients see as the cluster's id tells an emptied log apart
        # too.
        self._cluster_id = ""

    @property
    def port(self) -> int:
        return self._port

    @property
    def bootstrap(self) -> str:
        """The address for clients, as `host:port`."""
        return f"{HOST}:{self._port}"

    async def prepare(self, link: SupervisorLink) -> None:
        await check_version(self._program, r"\btansu (\d+\.\d+\S*)", "the broker tansu")

    def use_port(self, port: int) -> None:
        self._port = port

    def command(self) -> Command:
        self._cluster_id = f"spawn-dev-{uuid.uuid4().hex}"
        # Unless told, it listens on every interface and sends clients to port 9092.
        address = f"tcp://{self.bootstrap}"
        return Command(
            name=self.name,
            argv=(
                *(str(self._program), "broker", "--cluster-id", self._cluster_id),
                *("--listener-url", address, "--advertised-listener-url", address),
                *("--storage-engine", "memory://tansu/"),
            ),
            log=self._log,
            # While a client is connected it lets SIGTERM wait for 5 s, SIGINT never.
            stop_signal=signal.SIGINT,
        )

    async def answers(self) -> bool:
        return await kafka_cluster_id(self._port) == self._cluster_id
