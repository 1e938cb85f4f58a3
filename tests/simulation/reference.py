"""What a partition's log says, worked out a second time: plainly, slowly, and without spawn.core.

The rules are those of log protocol 3, 4 and 7; this is what the production code is compared with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from eventstore.codec import decode_commit_body
from eventstore.records import Claim, Commit, Flag, Outcome, Release, StoredRecord, decode_prefix

__all__ = ["ActorSaid", "Reference", "Valid", "reference_of"]

_HORIZON_US: Final = 15 * 60 * 1_000_000


@dataclass(slots=True)
class ActorSaid:
    """An actor as the valid records say."""

    numbers: tuple[int, ...] = ()
    revision: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Valid:
    """One valid commit."""

    offset: int
    actor: str
    session: bytes
    n: int
    """0: no numbered request."""
    outcome: Outcome
    reply: bytes
    number: int | None
    """What was added."""
    key: bytes


@dataclass(slots=True)
class Reference:
    """The fold of all valid records below an offset."""

    claim: bytes = bytes(16)
    epoch: int = 0
    next: int = 0
    released: bool = False
    time_us: int = 0
    actors: dict[str, ActorSaid] = field(default_factory=dict)
    done: dict[bytes, dict[int, int]] = field(default_factory=dict)
    low: dict[bytes, int] = field(default_factory=dict)
    newest: dict[bytes, int] = field(default_factory=dict)
    commits: list[Valid] = field(default_factory=list)
    claims: int = 0

    def fold(self, stored: StoredRecord) -> None:
        """Take the next record."""
        record = decode_prefix(stored.value)
        match record:
            case Claim() if record.based_on == self.claim:
                self.claim, self.epoch, self.next = record.claim, record.epoch, 0
                self.released = False
                self.claims += 1
            case Release() if self._counts(record.claim, record.sequence):
                self.next += 1
                self.released = True
            case Commit() if self._counts(record.claim, record.sequence):
                self.next += 1
                self._commit(record, stored)
            case _:
                pass

    def _counts(self, claim: bytes, sequence: int) -> bool:
        return claim == self.claim and sequence == self.next and not self.released

    def _commit(self, record: Commit, stored: StoredRecord) -> None:
        assert stored.key is not None
        assert stored.value is not None
        body = decode_commit_body(stored.value, record.body_at)
        name = stored.key.decode()
        actor = self.actors.setdefault(name, ActorSaid())
        number = None
        if record.outcome == Outcome.APPLIED:
            for _, _, data in body.events:
                number = int(data)
                actor.numbers = (*actor.numbers, number)
            actor.revision += 1
        actor.offset = stored.offset
        self.time_us = max(self.time_us, record.time_us)
        horizon = self.time_us - _HORIZON_US
        session, n = b"", 0
        if record.flags & Flag.REQUEST:
            request = record.request
            assert request is not None
            session, n = request.session, request.n
            done = self.done.setdefault(session, {})
            done[n] = stored.offset
            self.low[session] = low = max(self.low.get(session, 0), request.low)
            for old in [each for each in done if each < low]:
                del done[old]
            self.newest[session] = max(self.newest.get(session, 0), request.issued_us)
        for old_session in [each for each, at in self.newest.items() if at < horizon]:
            del self.done[old_session], self.low[old_session], self.newest[old_session]
        key = record.key.key if record.key is not None else b""
        self.commits.append(
            Valid(stored.offset, name, session, n, Outcome(record.outcome), body.reply, number, key)
        )


def reference_of(records: Iterable[StoredRecord]) -> Reference:
    """Return the fold of records."""
    found = Reference()
    for stored in records:
        found.fold(stored)
    return found
