"""Loggers that are bound to a partition: their records carry its fields.

All logging of the runtime is the standard library's, with fields in `extra` under fixed names
(style rule 20): `topic`, `partition`, `offset`, `claim`, `epoch`, `actor`, `action`, `revision`.
`spawn.logs` writes them; without it they do no harm.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from eventstore.log import TopicPartition

__all__ = ["PartitionLogger"]


class PartitionLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs to a logger with `topic` and `partition`; each call may add fields of its own."""

    def __init__(self, name: str, at: TopicPartition) -> None:
        fields = {"topic": at.topic, "partition": at.partition}
        super().__init__(logging.getLogger(name), fields)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the partition's fields to those of the call."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs
