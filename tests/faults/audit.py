"""What the log says in the end, read by the plain rules (log protocol 3), and who else agrees.

Fencing is worked out here a second time, without `eventstore.fencing` and the fold. Then what the
product shows is held against it: `spawn.query`, which `spawn events` is made of, for some actors,
and each node's answer for all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from eventstore.codec import decode_claim_body, decode_commit_body
from eventstore.kafka_log import KafkaAdmin, KafkaLog, KafkaSettings
from eventstore.log import TopicPartition
from eventstore.postgres_snapshots import PostgresSnapshots
from eventstore.records import (
    NO_CLAIM,
    Barrier,
    Claim,
    Commit,
    Outcome,
    Prefix,
    Release,
    StoredRecord,
    decode_prefix,
)
from spawn.query.inspection import LogReader
from tests.faults.history import Logged

__all__ = ["TYPE", "Audit", "read_log"]

TYPE: Final = "Ledger"
_ASKED_OF_QUERY: Final = 8
"""Actors whose history is read through `spawn.query` too: a walk back of a round trip a record."""
_READ_S: Final = 60.0


@dataclass(slots=True)
class Audit:
    """What stands in the log of a system."""

    actors: dict[str, list[Logged]] = field(default_factory=dict)
    """What took effect, by actor, in order."""
    records: Counter[str] = field(default_factory=Counter)
    """How many of which kind, valid or `void`."""
    claims: dict[int, list[str]] = field(default_factory=dict)
    """By partition: the endpoints of all valid claims, in order."""
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """Every record in words, for who has to find out what happened."""


async def read_log(kafka: str, dsn: str, system: str) -> Audit:
    """Read a system's log to its end, and some actors as the product shows them."""
    audit = Audit()
    settings = KafkaSettings(servers=kafka)
    log, admin = KafkaLog(settings), KafkaAdmin(settings)
    topic = f"spawn.{system}.{TYPE}"
    store = PostgresSnapshots(dsn, system)
    try:
        async with asyncio.timeout(_READ_S):
            state = (await admin.describe([topic]))[topic]
            for partition in range(state.partitions):
                at = TopicPartition(topic, partition)
                reader = _Partition(audit, partition)
                async for chunk in log.read(at, *await log.bounds(at)):
                    for stored in chunk:
                        reader.take(stored)
            names = sorted(audit.actors, key=lambda name: -len(audit.actors[name]))
            await _compare(LogReader(log, admin, store, system), audit, names[:_ASKED_OF_QUERY])
    finally:
        await log.close()
        await store.close()
    return audit


class _Partition:
    """Steps through one partition's records."""

    def __init__(self, audit: Audit, partition: int) -> None:
        self._audit = audit
        self._partition = partition
        self._claim = NO_CLAIM
        self._next = 0
        self._is_released = False
        self._claims = audit.claims.setdefault(partition, [])

    def take(self, stored: StoredRecord) -> None:
        """Judge the next record, and take down what it did."""
        record = decode_prefix(stored.value)
        name = type(record).__name__
        is_valid = False
        match record:
            case Claim() if record.based_on == self._claim:
                is_valid = True
                self._claim, self._next, self._is_released = record.claim, 0, False
                assert stored.value is not None
                self._claims.append(decode_claim_body(stored.value, record.body_at).endpoint)
            case Commit() | Release() if self._counts(record):
                is_valid = True
                self._next += 1
                if isinstance(record, Release):
                    self._is_released = True
                else:
                    self._commit(record, stored)
            case Commit() | Release() if record.claim == self._claim and self._gap(record):
                self._audit.problems.append(
                    f"partition {self._partition} @{stored.offset}: sequence {record.sequence} "
                    f"follows {self._next - 1}: records are missing"
                )
            case _:
                pass
        is_void = not is_valid and not isinstance(record, Barrier)  # which never counts
        said = f"void {name}" if is_void else name
        self._audit.records[said] += 1
        self._audit.lines.append(
            f"{self._partition}@{stored.offset} {said} {_words(record, stored)}"
        )

    def _counts(self, record: Commit | Release) -> bool:
        is_current = record.claim == self._claim and not self._is_released
        return is_current and record.sequence == self._next

    def _gap(self, record: Commit | Release) -> bool:
        return record.sequence > self._next

    def _commit(self, record: Commit, stored: StoredRecord) -> None:
        assert stored.value is not None
        assert stored.key is not None
        if record.outcome != Outcome.APPLIED:
            return
        entries = self._audit.actors.setdefault(stored.key.decode(), [])
        body = decode_commit_body(stored.value, record.body_at)
        for _, _, data in body.events:
            entries.append(Logged(_avro_long(data), stored.offset))
        if record.revision != len(entries):
            self._audit.problems.append(
                f"{stored.key.decode()} @{stored.offset}: revision {record.revision} in the "
                f"record of change number {len(entries)}"
            )


def _words(record: Prefix | None, stored: StoredRecord) -> str:
    """Return a record in words: claim, epoch, and what a commit is of."""
    if record is None:
        return "is no record of ours"
    text = f"claim {record.claim.hex()[:8]} epoch {record.epoch}"
    if isinstance(record, Claim) and stored.value is not None:
        return f"{text} of {decode_claim_body(stored.value, record.body_at).endpoint}"
    if isinstance(record, Commit) and stored.value is not None and stored.key is not None:
        body = decode_commit_body(stored.value, record.body_at)
        numbers = [_avro_long(data) for _, _, data in body.events]
        text += f" {record.sequence} {stored.key.decode()} revision {record.revision} {numbers}"
        if (request := record.request) is not None:
            text += f" request {request.session.hex()[:8]}/{request.n} low {request.low}"
        text += f" of {body.caller}"
    return text


def _avro_long(data: bytes) -> int:
    """Return the number that is all of an event's Avro bytes: zigzag, seven bits a byte."""
    number = 0
    for place, byte in enumerate(data):
        number |= (byte & 0x7F) << (7 * place)
    return (number >> 1) ^ -(number & 1)


async def _compare(reader: LogReader, audit: Audit, names: Sequence[str]) -> None:
    """Hold what `spawn events` would show against what was read here."""
    for name in names:
        history = await reader.history(TYPE, name)
        shown = [
            (fields["number"], line.position.offset)
            for line in history.lines
            for _, fields in line.events
        ]
        if shown != [tuple(entry) for entry in audit.actors[name]]:
            audit.problems.append(f"{name}: spawn events shows {shown}, the log another history")


def owners(audit: Audit, names: Mapping[str, str]) -> Mapping[int, str]:
    """Return the last owner of each partition; `names` has nodes by their endpoints."""
    return {
        partition: names.get(claims[-1], claims[-1]) if claims else ""
        for partition, claims in audit.claims.items()
    }
