"""How to reach the brokers, and how long to wait for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eventstore.kafka_log.security import Security

__all__ = ["KafkaSettings"]

_UNSECURED: Final = Security()


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
    security: Security = _UNSECURED
    """TLS and login."""
