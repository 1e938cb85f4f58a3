"""How to reach the brokers, and how long to wait for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["KafkaSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """How to reach the brokers, for `KafkaLog` and `KafkaAdmin`."""

    servers: str
    """Bootstrap servers, `host:port` each, with commas between."""
    client_id: str = "spawn"
    connect_timeout_s: float = 5.0
    """An append waits so long for its partition's leader to be found and connected."""
    append_timeout_s: float = 2.0
    """An append waits so long for its answer. Longer, and a partition stalls longer behind a dead
    leader; shorter, and a busy broker's answers come too late."""
    read_timeout_s: float = 10.0
    """A read, and `bounds`, waits so long for the next records."""
    admin_timeout_s: float = 30.0
    """Creating and describing topics may take so long."""
    close_timeout_s: float = 3.0
    """`close` waits so long for clients to end; those of a dead broker are then left behind."""
    batch_bytes_max: int = 8 * 1024 * 1024
    """A larger batch (encoded) is refused unsent: our topics' max.message.bytes, which Tansu does
    not look at."""
    security: Mapping[str, Any] = field(default_factory=dict)
    """TLS and SASL: aiokafka's options of the same names, handed to each client."""

    def for_client(self, request_timeout_s: float) -> dict[str, Any]:
        """Return the options of an `AIOKafkaClient`."""
        return {
            "bootstrap_servers": self.servers,
            "client_id": self.client_id,
            "request_timeout_ms": int(request_timeout_s * 1000),
            **self.security,
        }

    def for_connection(self) -> dict[str, Any]:
        """Return the options of an `AIOKafkaConnection`."""
        return {
            "client_id": self.client_id,
            "request_timeout_ms": int(self.connect_timeout_s * 1000),
            "sasl_mechanism": "PLAIN",  # as a client takes it
            **self.security,
        }
