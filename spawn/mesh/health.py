"""Who is unreachable (pure): events with times go in, findings come out.

A node is watched by `OBSERVERS` others, which ping it each `PING_S`. An observer *finds* it
unreachable when a connection is refused or breaks, or when pings stay unanswered for `ANSWER_S`
`MISSES` times in a row. It tells the other observers (`wire.Opinion`), and a `Panel` says when
enough of them agree. All of this is about liveness alone: a wrong finding makes another node claim,
and the log decides (log protocol 5).

Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from spawn.core.mixing import MASK, digest, mix
from spawn.mesh.link import Ending

__all__ = [
    "ANSWER_S",
    "MISSES",
    "OBSERVERS",
    "OPINION_S",
    "PING_S",
    "REPEAT_S",
    "Detector",
    "Due",
    "Evidence",
    "Finding",
    "Panel",
    "evidence_of",
    "rendezvous",
    "watched_by",
    "watchers_of",
]

PING_S: Final = 0.1
ANSWER_S: Final = 0.3
"""An event loop that user code blocks for so long is ill, but not dead."""
MISSES: Final = 2
"""So many times in a row: a peer that stops is found within PING_S + MISSES * ANSWER_S = 0.7 s."""
OBSERVERS: Final = 3
"""How many watch a node. Two have to agree, and one of the three may be gone itself."""
OPINION_S: Final = 1.0
"""An opinion that was not heard again for so long counts no more."""
REPEAT_S: Final = 0.4
"""How often an observer tells its opinion while it holds: twice within OPINION_S."""

_LATE_S: Final = 0.15
"""A tick that much late says that the observer itself stood still: answers may lie unread."""
_ROUNDING_S: Final = 1e-6


class Evidence(StrEnum):
    """Why an observer finds a node unreachable; what is said in `wire.Opinion`."""

    REFUSED = "refused"
    """Its host is reached, and nobody listens."""
    RESET = "reset"
    """A connection with it broke."""
    SILENT = "silent"
    """It did not answer: it stands still, or the way to it is cut - at its end or ours."""


def evidence_of(ending: Ending) -> Evidence | None:
    """Return what a link's end says of its peer; None: nothing."""
    match ending:
        case Ending.REFUSED:
            return Evidence.REFUSED
        case Ending.RESET:
            return Evidence.RESET
    return None


# --- who watches whom -----------------------------------------------------------------------------


def rendezvous(key: str, nodes: Collection[str]) -> list[str]:
    """Return nodes in the order in which they are responsible for a key.

    Each comes to the same order, and nodes that join or leave change nothing between the others.
    """
    base = _digest(key)
    return sorted(nodes, key=lambda node: (_score(base, _digest(node)), node), reverse=True)


def watchers_of(node: str, nodes: Collection[str], count: int = OBSERVERS) -> list[str]:
    """Return who watches a node: the first others in rendezvous order; fewer if there are fewer."""
    return rendezvous(node, [other for other in nodes if other != node])[:count]


def watched_by(observer: str, nodes: Collection[str], count: int = OBSERVERS) -> list[str]:
    """Return the nodes that have `observer` among their watchers, in the order given.

    Of 1,000 nodes it takes some 30 ms: a node is left as soon as `count` others come first.
    """
    digests = {node: _digest(node) for node in nodes}
    if observer not in digests:
        return []
    mine = digests[observer]
    found = []
    for node in nodes:
        if node == observer:
            continue
        base = digests[node]
        least = (_score(base, mine), observer)
        before = 0
        for other, its in digests.items():
            if other not in (node, observer) and (_score(base, its), other) > least:
                before += 1
                if before == count:
                    break
        else:
            found.append(node)
    return found


def _digest(text: str) -> int:
    return digest(text.encode())


def _score(base: int, node: int) -> int:
    """Mix two digests; not alike in both, since keys are nodes too."""
    return mix((base ^ node * 0x9E3779B97F4A7C15) & MASK)


# --- what one observer finds ----------------------------------------------------------------------


class Finding(NamedTuple):
    """What this observer finds of a node from now on."""

    node: str
    evidence: Evidence | None
    """None: it is reached again."""


class Due(NamedTuple):
    """What a tick asks for."""

    pings: Sequence[tuple[str, int]]
    """Nodes to ping now, each with the nonce."""
    findings: Sequence[Finding]


class _Watched:
    """One node under watch."""

    __slots__ = ("evidence", "ping_at", "sent", "unanswered_since")

    def __init__(self, now: float) -> None:
        self.ping_at = now
        self.sent: deque[tuple[int, float]] = deque()
        """Nonces and times of pings whose answers count, oldest first."""
        self.unanswered_since: float | None = None
        """When the oldest ping was sent that is newer than the last answered one."""
        self.evidence: Evidence | None = None


class Detector:
    """One observer's own findings.

    Call `tick` at `due_at()`, send the pings that it asks for, and tell what comes of them.
    """

    def __init__(self, now: float) -> None:
        self._watched: dict[str, _Watched] = {}
        self._nonce = 0
        self._last_tick = now

    def watch(self, nodes: Iterable[str], now: float) -> None:
        """Watch these from now on, and no others; what is known of those that stay is kept."""
        before = self._watched
        self._watched = {node: before.get(node) or _Watched(now) for node in nodes}

    def due_at(self) -> float:
        """Return when the next tick is due."""
        return min((self._due_at(w) for w in self._watched.values()), default=float("inf"))

    def tick(self, now: float) -> Due:
        """Let time pass."""
        late_s = now - self._last_tick - PING_S
        if late_s > _LATE_S:
            self._forgive(late_s)
        self._last_tick = now
        pings: list[tuple[str, int]] = []
        findings: list[Finding] = []
        for node, watched in self._watched.items():
            since = watched.unanswered_since
            if since is not None and _is_due(since + MISSES * ANSWER_S, now):
                while watched.sent and not watched.sent[0][1] > now - MISSES * ANSWER_S:
                    watched.sent.popleft()
                watched.unanswered_since = watched.sent[0][1] if watched.sent else None
                if watched.evidence is None:
                    watched.evidence = Evidence.SILENT
                    findings.append(Finding(node, Evidence.SILENT))
            if _is_due(watched.ping_at, now):
                self._nonce += 1
                watched.ping_at = now + PING_S
                watched.sent.append((self._nonce, now))
                if watched.unanswered_since is None:
                    watched.unanswered_since = now
                pings.append((node, self._nonce))
        return Due(pings, findings)

    def answered(self, node: str, nonce: int) -> Finding | None:
        """Take an answer to a ping; returns what changes by it."""
        watched = self._watched.get(node)
        if watched is None or all(nonce != sent for sent, _ in watched.sent):
            # Of a ping from before the node was lost, or too old to tell anything of now.
            return None
        while watched.sent.popleft()[0] != nonce:
            pass
        watched.unanswered_since = watched.sent[0][1] if watched.sent else None
        if watched.evidence is None:
            return None
        watched.evidence = None
        return Finding(node, None)

    def lost(self, node: str, evidence: Evidence) -> Finding | None:
        """Take that a connection was refused or broke; returns what changes by it."""
        watched = self._watched.get(node)
        if watched is None:
            return None
        # Answers to pings over a link that is gone prove nothing any more.
        watched.sent.clear()
        watched.unanswered_since = None
        if watched.evidence in (Evidence.REFUSED, evidence):
            return None
        watched.evidence = evidence
        return Finding(node, evidence)

    def finding(self, node: str) -> Evidence | None:
        """Return what this observer finds of a node now; None: nothing against it."""
        watched = self._watched.get(node)
        return None if watched is None else watched.evidence

    def findings(self) -> Iterator[Finding]:
        """Yield all that stand, to be told again each REPEAT_S."""
        for node, watched in self._watched.items():
            if watched.evidence is not None:
                yield Finding(node, watched.evidence)

    @staticmethod
    def _due_at(watched: _Watched) -> float:
        if watched.unanswered_since is None or watched.evidence is not None:
            return watched.ping_at
        return min(watched.ping_at, watched.unanswered_since + MISSES * ANSWER_S)

    def _forgive(self, late_s: float) -> None:
        """Leave out the time in which this process stood still."""
        for watched in self._watched.values():
            watched.sent = deque((nonce, at + late_s) for nonce, at in watched.sent)
            if watched.unanswered_since is not None:
                watched.unanswered_since += late_s


def _is_due(at: float, now: float) -> bool:
    return now >= at - _ROUNDING_S


# --- what observers agree on ----------------------------------------------------------------------


class _Held(NamedTuple):
    evidence: Evidence
    heard_at: float


class Panel:
    """What the observers of all nodes say, as one node hears it.

    The rule: of the observers of a node that are not unreachable themselves, two must find it
    unreachable; where there is one alone, that one. But one that is left alone since it hears
    nothing of anybody is more likely cut off itself: it finds nothing. (Then the group's session
    time-out has to do.)
    """

    def __init__(self, me: str) -> None:
        self._me = me
        self._nodes: frozenset[str] = frozenset((me,))
        self._held: dict[str, dict[str, _Held]] = {}
        self._watchers: dict[str, list[str]] = {}

    def set_nodes(self, nodes: Collection[str]) -> None:
        """Take who the members are, this node among them; opinions on others are forgotten."""
        self._nodes = frozenset(nodes) | {self._me}
        self._watchers.clear()
        self._held = {
            node: {who: held for who, held in by.items() if who in self._nodes}
            for node, by in self._held.items()
            if node in self._nodes
        }

    def hear(self, observer: str, node: str, evidence: Evidence | None, now: float) -> None:
        """Take an opinion: this node's own, when it changes, or another's, each time."""
        if node not in self._nodes or observer not in self._nodes:
            return
        by = self._held.setdefault(node, {})
        if evidence is None:
            by.pop(observer, None)
        else:
            by[observer] = _Held(evidence, now)

    def accused(self) -> list[str]:
        """Return the nodes on which somebody has, or had, an opinion."""
        return [node for node, by in self._held.items() if by]

    def is_unreachable(self, node: str, now: float) -> bool:
        """Tell whether enough observers find it so, now."""
        watchers = self._watchers_of(node)
        gone = {who: found for who in watchers if (found := self._own(who)) is not None}
        for_it = {
            who: found
            for who in watchers
            if who not in gone and (found := self._opinion(who, node, now)) is not None
        }
        observers = len(watchers) - len(gone)
        if not for_it or len(for_it) < min(2, observers):
            return False
        if observers > 1 or not gone:
            return True
        return any(found is not Evidence.SILENT for found in (*gone.values(), *for_it.values()))

    def _watchers_of(self, node: str) -> list[str]:
        if node not in self._watchers:
            self._watchers[node] = watchers_of(node, self._nodes)
        return self._watchers[node]

    def _own(self, node: str) -> Evidence | None:
        held = self._held.get(node, {}).get(self._me)
        return None if held is None else held.evidence

    def _opinion(self, observer: str, node: str, now: float) -> Evidence | None:
        held = self._held.get(node, {}).get(observer)
        if held is None or (observer != self._me and now - held.heard_at > OPINION_S):
            return None
        return held.evidence
