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
from tests.services.ports import free_port

__all__ = ["Servers"]

_THREE = {
    # Kafka's own defaults: one broker of three that is killed is what users see.
    "broker.session.timeout.ms": "9000",
    "broker.heartbeat.interval.ms": "2000",
}


class Servers:
    """From `async with` to its end; what a case did to them it undoes with `restore`."""

    def __init__(self, *, brokers: int = 1, gated: Sequence[str] = ()) -> None:
        """The nodes named in `gated` reach broker and database through gates of their own."""
        assert brokers == 1 or not gated
        self.pids: dict[str, int] = {}
        """Process ids of nodes by name, for the gates between nodes."""
        self._listeners = {name: free_port() for name in gated}
        self.kafka_gates = {name: Gate(port, only=name) for name, port in self._listeners.items()}
        self.postgres_gates: dict[str, Gate] = {}
        seats: Sequence[Seat | None] = Seat.several(brokers) if brokers > 1 else [None]
        self.brokers = [
            ApacheKafka(
                seat=seat,
                heap_mib=512 if seat else 768,
                settings=_THREE if seat else self._gated_listeners(),
                listeners={name.upper(): port for name, port in self._listeners.items()},
                advertised={name.upper(): g.port for name, g in self.kafka_gates.items()},
            )
            for seat in seats
        ]
        self._folder = tempfile.TemporaryDirectory(prefix="spawn-faults-pg-")
        self.store = EmbeddedStack(Path(self._folder.name) / "data", kafka=False, nats=False)

    def _gated_listeners(self) -> dict[str, str]:
        """Return the settings of the listeners behind gates: clients are told the gates' ports."""
        if not self._listeners:
            return {}
        protocols = ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"]
        protocols += [f"{name.upper()}:PLAINTEXT" for name in self._listeners]
        return {"listener.security.protocol.map": ",".join(protocols)}

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(
                *(asyncio.to_thread(broker.start) for broker in self.brokers), self.store.start()
            )
            socket = _socket(self.store.postgres_dsn)
            self.postgres_gates = {name: Gate(socket, only=name) for name in self._listeners}
            for gate in self.gates:
                await gate.open()
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
        """All gates in front of broker and database."""
        return [*self.kafka_gates.values(), *self.postgres_gates.values()]

    @property
    def is_gated(self) -> bool:
        """Whether nodes go through gates."""
        return bool(self._listeners)

    def kafka_for(self, name: str) -> str:
        """Return where a node finds the brokers."""
        gate = self.kafka_gates.get(name)
        return self.kafka if gate is None else f"127.0.0.1:{gate.port}"

    def dsn_for(self, name: str) -> str:
        """Return where a node finds the database."""
        gate = self.postgres_gates.get(name)
        if gate is None:
            return self.store.postgres_dsn
        return f"postgresql://postgres@127.0.0.1:{gate.port}/postgres"

    @property
    def kafka(self) -> str:
        """Where the harness finds the brokers."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    async def restore(self) -> None:
        """Heal, thaw, start whatever a case left otherwise."""
        for gate in self.gates:
            gate.heal()
        await asyncio.gather(*(asyncio.to_thread(each.ensure_running) for each in self.brokers))
        if "postgres" in self.store.endpoints.pids:
            await self.store.thaw("postgres")
        else:
            await self.store.restart("postgres")


def _socket(dsn: str) -> Path:
    """Return the socket file of the embedded PostgreSQL."""
    asked = parse_qs(urlsplit(dsn).query)
    return Path(asked["host"][0]) / f".s.PGSQL.{asked['port'][0]}"
