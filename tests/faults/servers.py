"""What nodes stand on: one Apache Kafka broker or three, PostgreSQL, gates in front on demand."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from spawn.dev import EmbeddedStack
from tests.faults.gate import Gate
from tests.services.apache_kafka import ApacheKafka, Seat

__all__ = ["Servers"]

_THREE = {
    # Kafka's own defaults: one broker of three that is killed is what users see.
    "broker.session.timeout.ms": "9000",
    "broker.heartbeat.interval.ms": "2000",
}


class Servers:
    """From `async with` to its end; what a case did to them it undoes with `restore`."""

    def __init__(self, *, brokers: int = 1, gated: bool = False) -> None:
        """With `gated`, nodes reach broker and database through gates; with one broker only."""
        self.pids: dict[str, int] = {}
        """Process ids of nodes by name, for the gates."""
        self.kafka_gate: Gate | None = None
        self.postgres_gate: Gate | None = None
        if gated:
            assert brokers == 1
            self.kafka_gate = Gate(0, self._all_pids)
        port = self.kafka_gate.port if self.kafka_gate is not None else 0
        seats: Sequence[Seat | None] = Seat.several(brokers) if brokers > 1 else [None]
        self.brokers = [
            ApacheKafka(
                seat=seat,
                heap_mib=512 if seat else 768,
                settings=_THREE if seat else None,
                advertised_port=port,
            )
            for seat in seats
        ]
        self._folder = tempfile.TemporaryDirectory(prefix="spawn-faults-pg-")
        self.store = EmbeddedStack(Path(self._folder.name) / "data", kafka=False, nats=False)

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(
                *(asyncio.to_thread(broker.start) for broker in self.brokers), self.store.start()
            )
            if self.kafka_gate is not None:
                self.kafka_gate.serve(_port(self.brokers[0].bootstrap))
                await self.kafka_gate.open()
                self.postgres_gate = Gate(_socket(self.store.postgres_dsn), self._all_pids)
                await self.postgres_gate.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End everything."""
        for gate in self.gates:
            gate.close()
        try:
            await self.store.close()
        finally:
            for broker in self.brokers:
                broker.close()
            self._folder.cleanup()

    @property
    def gates(self) -> Sequence[Gate]:
        """The gates that there are."""
        return [gate for gate in (self.kafka_gate, self.postgres_gate) if gate is not None]

    @property
    def kafka(self) -> str:
        """Where nodes find the brokers."""
        if self.kafka_gate is not None:
            return f"127.0.0.1:{self.kafka_gate.port}"
        return self.direct_kafka

    @property
    def direct_kafka(self) -> str:
        """Where the harness finds them."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    @property
    def dsn(self) -> str:
        """Where nodes find the database."""
        if self.postgres_gate is not None:
            return f"postgresql://postgres@127.0.0.1:{self.postgres_gate.port}/postgres"
        return self.store.postgres_dsn

    async def restore(self) -> None:
        """Heal, thaw, start whatever a case left otherwise."""
        for gate in self.gates:
            gate.heal()
        await asyncio.gather(*(asyncio.to_thread(each.ensure_running) for each in self.brokers))
        if "postgres" in self.store.endpoints.pids:
            await self.store.thaw("postgres")
        else:
            await self.store.restart("postgres")

    def _all_pids(self) -> dict[str, int]:
        return self.pids


def _socket(dsn: str) -> Path:
    """Return the socket file of the embedded PostgreSQL."""
    asked = parse_qs(urlsplit(dsn).query)
    return Path(asked["host"][0]) / f".s.PGSQL.{asked['port'][0]}"


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
