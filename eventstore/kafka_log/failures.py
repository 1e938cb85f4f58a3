"""What aiokafka and the brokers report, and what it means for the caller."""

from __future__ import annotations

import logging
from typing import Final

from aiokafka import errors as kafka

from eventstore.errors import LogForbidden, LogRefused, LogTooLarge

__all__ = ["FAILURES", "NOT_STORED", "REFUSALS", "RETRY_S", "quieten_client", "reason", "refusal"]

RETRY_S: Final = 0.1
"""Between two attempts at something that may pass."""

FAILURES: Final = (kafka.KafkaError, OSError, KeyError, AssertionError, ValueError)
"""What aiokafka's calls raise. OSError includes TimeoutError; KeyError and AssertionError come when
another of its tasks dropped a connection or topic, ValueError from answers of another shape."""

_FORBIDDEN: Final = (
    kafka.TopicAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
)
"""The broker looks at rights before anything else."""

_TOO_LARGE: Final = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
"""It looks at sizes before it appends."""

REFUSALS: Final = (
    *_FORBIDDEN,
    *_TOO_LARGE,
    kafka.InvalidTopicError,
    kafka.InvalidTimestampError,
    kafka.InvalidPartitionsError,
    kafka.InvalidReplicationFactorError,
    kafka.InvalidConfigurationError,
    kafka.InvalidRequestError,
    kafka.PolicyViolationError,
    kafka.UnsupportedForMessageFormatError,
)
"""Answers by which the broker did nothing and would do nothing if asked again as things are."""

NOT_STORED: Final = (
    kafka.UnknownTopicOrPartitionError,
    kafka.LeaderNotAvailableError,
    kafka.NotLeaderForPartitionError,
    kafka.NotEnoughReplicasError,
)
"""Answers by which the broker stored nothing now and may do so if asked again - unless they tell a
base offset. A leader that is deposed while it waits for its followers says "not leader" too, of a
batch that it has appended, and that one has an offset (Kafka's DelayedProduce)."""


def reason(error: BaseException) -> str:
    """Return what an error says, or its name."""
    return str(error) or type(error).__name__


def refusal(kind: type[BaseException], message: str) -> LogForbidden | LogRefused:
    """Return what one of `REFUSALS` is to our callers."""
    if issubclass(kind, _FORBIDDEN):
        return LogForbidden(message)
    if issubclass(kind, _TOO_LARGE):
        return LogTooLarge(message)
    return LogRefused(message)


def quieten_client() -> None:
    """Keep aiokafka's loggers still, unless somebody has set their level.

    With a broker away they write many lines a second. All that matters there reaches us as an
    exception, and the caller says it once. `logging.getLogger("aiokafka").setLevel(...)` undoes it.
    """
    log = logging.getLogger("aiokafka")
    if log.level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)
