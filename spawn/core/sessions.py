"""Numbered requests: which of an ingress's requests are done (pure; log protocol 7).

The fold of a partition keeps, per session, what its valid records say: the numbers done and where
their replies stand, the ingress's word that all below `low` is settled, and the newest time of
issue. Bounded by the ingress's window and forgotten when the horizon passes.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from eventstore.records import Flag, RequestNumber

__all__ = ["HORIZON_US", "Arrival", "Session", "Sessions"]

HORIZON_US: Final = 15 * 60 * 1_000_000
"""A request issued longer ago than this, by the log's time, is refused as too old; never raised
or lowered on a running system, since it decides which repetitions are still known."""

_FOREVER: Final = 1 << 62


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

    __slots__ = ("by_id", "_earliest_us")

    def __init__(self, by_id: dict[bytes, Session] | None = None) -> None:
        self.by_id = {} if by_id is None else by_id
        self._earliest_us = self._earliest()

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
        done = session.done
        done[request.n] = offset
        if request.low > session.low:
            _purge(done, session.low, request.low)
            session.low = request.low
        if request.n < session.low:
            done.pop(request.n, None)
        if request.issued_us > session.newest_us:
            session.newest_us = request.issued_us
        if not durable and session.newest_us < self._earliest_us:
            self._earliest_us = session.newest_us

    def forget(self, horizon_us: int) -> None:
        """Drop the sessions whose newest request was issued before the horizon.

        Looks at them only when the earliest may have passed; so it costs one comparison a commit.
        """
        if horizon_us <= self._earliest_us:
            return
        gone = [
            name
            for name, session in self.by_id.items()
            if not session.durable and session.newest_us < horizon_us
        ]
        for name in gone:
            del self.by_id[name]
        self._earliest_us = self._earliest()

    def _earliest(self) -> int:
        return min((s.newest_us for s in self.by_id.values() if not s.durable), default=_FOREVER)


def _purge(done: dict[int, int], old_low: int, new_low: int) -> None:
    """Drop the numbers below `new_low`, by range or by scan, whichever is shorter."""
    if new_low - old_low <= len(done):
        for n in range(old_low, new_low):
            done.pop(n, None)
        return
    for n in [n for n in done if n < new_low]:
        del done[n]
