"""Numbered requests: which of an ingress's requests are done (pure; log protocol 7).

The fold of a partition keeps, per session, what its valid records say: the numbers done and where
their replies stand, the ingress's word that all below `low` is settled, and the newest time of
issue. Bounded by the ingress's window and forgotten when the horizon passes.
"""

from __future__ import annotations

import enum
import heapq
from typing import Final

import msgspec

from eventstore.records import Flag, RequestNumber

__all__ = ["HORIZON_US", "Arrival", "Session", "Sessions"]

HORIZON_US: Final = 15 * 60 * 1_000_000
"""A request issued longer ago than this, by the log's time, is refused as too old; never raised
or lowered on a running system, since it decides which repetitions are still known."""


class Arrival(enum.Enum):
    """What is to become of an arriving numbered request."""

    RUN = "run"
    DONE = "done"
    """Its record is known: the reply stands there."""
    DROP = "drop"
    """Its ingress has said that nobody waits for it any more."""
    SETTLED = "settled"
    """As DROP, for a durable session, which is told so."""
    TOO_OLD = "too-old"
    """Issued before the horizon: whether it was executed is unknown for ever."""


class Session(msgspec.Struct):
    """One ingress process's requests to this partition."""

    low: int
    newest_us: int
    durable: bool
    done: dict[int, int]
    """Number -> offset of its record, for numbers from `low` on."""


class Sessions:
    """All sessions of a partition."""

    __slots__ = ("_by_age", "by_id", "numbers")

    def __init__(self, by_id: dict[bytes, Session] | None = None) -> None:
        self.by_id = {} if by_id is None else by_id
        self.numbers = sum(len(session.done) for session in self.by_id.values())
        """How many done numbers are known, of all sessions."""
        self._by_age = [(s.newest_us, name) for name, s in self.by_id.items() if not s.durable]
        """A heap with one entry for each session that can be forgotten: (no later than its newest
        request, its name). Brought up to date only when the horizon comes to it."""
        heapq.heapify(self._by_age)

    def arrival(self, request: RequestNumber, durable: bool, horizon_us: int) -> Arrival:
        """Judge a request by committed memory alone; those in flight are the partition's matter."""
        session = self.by_id.get(request.session)
        if session is not None:
            if request.n in session.done:
                return Arrival.DONE
            if request.n < session.low:
                return Arrival.SETTLED if session.durable else Arrival.DROP
        if not durable and request.issued_us < horizon_us:
            return Arrival.TOO_OLD
        return Arrival.RUN

    def fold(self, request: RequestNumber, flags: int, offset: int) -> None:
        """Fold a valid record's request; the caller folds the record's time after it."""
        durable = bool(flags & Flag.DURABLE)
        session = self.by_id.get(request.session)
        if session is None:
            session = Session(request.low, request.issued_us, durable, {})
            self.by_id[request.session] = session
            if not durable:
                heapq.heappush(self._by_age, (request.issued_us, request.session))
        done = session.done
        known = len(done)
        done[request.n] = offset
        if request.low > session.low:
            _purge(done, session.low, request.low)
            session.low = request.low
        if request.n < session.low:
            done.pop(request.n, None)
        self.numbers += len(done) - known
        if request.issued_us > session.newest_us:
            session.newest_us = request.issued_us

    def forget(self, horizon_us: int) -> None:
        """Drop the sessions whose newest request was issued before the horizon.

        Looks only at those that the horizon has come to; mostly it is one comparison a commit.
        """
        by_age = self._by_age
        while by_age and by_age[0][0] < horizon_us:
            _, name = by_age[0]
            newest_us = self.by_id[name].newest_us
            if newest_us < horizon_us:
                heapq.heappop(by_age)
                self.numbers -= len(self.by_id.pop(name).done)
            else:
                heapq.heapreplace(by_age, (newest_us, name))


def _purge(done: dict[int, int], old_low: int, new_low: int) -> None:
    """Drop the numbers below `new_low`, by range or by scan, whichever is shorter."""
    if new_low - old_low <= len(done):
        for n in range(old_low, new_low):
            done.pop(n, None)
        return
    for n in [n for n in done if n < new_low]:
        del done[n]
