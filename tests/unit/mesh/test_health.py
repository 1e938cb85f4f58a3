"""Who is found unreachable, in virtual time: in time, and never a node that answers in time."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spawn.mesh.health import (
    ANSWER_S,
    MISSES,
    OBSERVERS,
    OPINION_S,
    PING_S,
    Detector,
    Evidence,
    Finding,
    Panel,
    evidence_of,
    rendezvous,
    watched_by,
    watchers_of,
)
from spawn.mesh.link import Ending

FOUND_S: Final = 0.7
"""What the issue promises."""
ROUNDING_S: Final = 1e-5


class Run:
    """A detector in virtual time, with a peer that a test plays."""

    def __init__(
        self, answer_delay_s: Callable[[float], float | None], late_s: float = 0.0
    ) -> None:
        """Answer a ping of a time after so long, or not at all; ticks are that late."""
        self._delay, self._late_s = answer_delay_s, late_s
        self.now = 0.0
        self.detector = Detector(0.0)
        self.detector.watch(["x"], 0.0)
        self.found: list[tuple[float, Finding]] = []
        self._answers: list[tuple[float, int]] = []
        self._lates: list[float] = []

    def until(self, end: float, late_s: Callable[[float], float] = lambda due: 0.0) -> Run:
        """Let time pass; a tick due at a time is so much late."""
        while True:
            due = self.detector.due_at()
            tick_at = due + self._late_s + late_s(due)
            if self._answers and self._answers[0][0] <= tick_at:
                # What arrives while the process stands still is read once it goes on.
                at, nonce = self._answers[0]
                if at > end:
                    return self
                stands_still = tick_at - due > 0.2 and at > due
                if not stands_still:
                    heapq.heappop(self._answers)
                    self.now = at
                    self._note(self.detector.answered("x", nonce))
                    continue
            if tick_at > end:
                return self
            self.now = tick_at
            pings, findings = self.detector.tick(tick_at)
            for finding in findings:
                self._note(finding)
            for _, nonce in pings:
                delay_s = self._delay(tick_at)
                if delay_s is not None:
                    heapq.heappush(self._answers, (tick_at + delay_s, nonce))

    def _note(self, finding: Finding | None) -> None:
        if finding is not None:
            self.found.append((self.now, finding))


delays = st.floats(0, ANSWER_S - 0.001)


@given(st.lists(delays, min_size=1, max_size=50), st.floats(0, 0.03))
def test_answers_in_time_are_never_found_silent(given_s: list[float], late_s: float) -> None:
    """However they vary, and with ticks that are a little late."""
    left = itertools.cycle(given_s)
    assert Run(lambda at: next(left), late_s).until(10.0).found == []


@given(st.floats(0.0, 3.0), st.lists(delays, min_size=1, max_size=20))
@example(0.1, [0.0])
def test_a_peer_that_stops_is_found_in_time(stops_at: float, given_s: list[float]) -> None:
    """Counted from when it stops, whatever is still on its way."""
    left = itertools.cycle(given_s)

    def delay(at: float) -> float | None:
        delay_s = next(left)
        return delay_s if at + delay_s < stops_at else None

    run = Run(delay).until(5.0)
    assert [finding for _, finding in run.found] == [Finding("x", Evidence.SILENT)]
    found_at = run.found[0][0]
    assert found_at <= stops_at + FOUND_S + ROUNDING_S
    assert pytest.approx(FOUND_S) == PING_S + MISSES * ANSWER_S


@given(st.floats(0.0, 3.0), st.floats(0.3, 20.0), delays)
def test_an_observer_that_stood_still_finds_nothing(
    stands_at: float, stood_s: float, delay_s: float
) -> None:
    """Answers that came meanwhile are read after the tick that is late."""
    stood = False

    def late(due: float) -> float:
        nonlocal stood
        return stood_s if stands_at <= due < stands_at + PING_S else 0.0

    assert Run(lambda at: delay_s).until(30.0, late).found == []


@given(st.floats(0.5, 2.0), st.floats(1.0, 3.0))
def test_a_peer_that_thaws_is_reached_again(stops_at: float, for_s: float) -> None:
    """With its first answer to a ping that is not too old."""

    def delay(at: float) -> float | None:
        if not stops_at <= at < stops_at + for_s:
            return 0.01
        return stops_at + for_s - at

    run = Run(delay).until(10.0)
    assert [finding.evidence for _, finding in run.found] == [Evidence.SILENT, None]
    assert run.found[1][0] == pytest.approx(stops_at + for_s, abs=0.2)


def test_one_answer_missing_is_nothing() -> None:
    """Of several pings under way, any answer counts."""
    run = Run(lambda at: None if int(at * 10) % 5 else 0.05).until(10.0)
    assert run.found == []


@pytest.mark.parametrize("evidence", [Evidence.REFUSED, Evidence.RESET])
def test_a_lost_connection_is_found_at_once(evidence: Evidence) -> None:
    """Once; an answer to an earlier ping takes nothing back, one to a later does."""
    detector = Detector(0.0)
    detector.watch(["x", "y"], 0.0)
    (_, early), _ = detector.tick(0.0).pings
    assert detector.lost("x", evidence) == Finding("x", evidence)
    assert detector.lost("x", evidence) is None
    assert detector.finding("x") is evidence
    assert list(detector.findings()) == [Finding("x", evidence)]
    assert detector.answered("x", early) is None
    (_, later), _ = detector.tick(0.1).pings
    assert detector.answered("x", later) == Finding("x", None)
    assert detector.finding("x") is None
    assert detector.finding("y") is None


def test_better_evidence_is_told_and_worse_is_not() -> None:
    """A host that refuses says more than one that breaks a connection, and that more than none."""
    detector = Detector(0.0)
    detector.watch(["x"], 0.0)
    assert detector.lost("x", Evidence.RESET) == Finding("x", Evidence.RESET)
    assert detector.lost("x", Evidence.REFUSED) == Finding("x", Evidence.REFUSED)
    assert detector.lost("x", Evidence.RESET) is None
    assert detector.finding("x") is Evidence.REFUSED
    run = Run(lambda at: None).until(1.0)
    assert run.detector.lost("x", Evidence.RESET) == Finding("x", Evidence.RESET)


def test_who_is_watched_no_more_is_forgotten() -> None:
    """Whoever stays keeps what is known."""
    detector = Detector(0.0)
    detector.watch(["x", "y"], 0.0)
    detector.lost("x", Evidence.RESET)
    detector.lost("y", Evidence.RESET)
    detector.watch(["y", "z"], 0.5)
    assert [finding.node for finding in detector.findings()] == ["y"]
    assert detector.lost("x", Evidence.RESET) is None
    assert detector.answered("x", 1) is None
    detector.watch([], 0.6)
    assert detector.due_at() == float("inf")


def test_what_a_links_end_says() -> None:
    """An end in order, or one of our own making, says nothing of the peer's life."""
    told = {ending: evidence_of(ending) for ending in Ending}
    assert {e: v for e, v in told.items() if v is not None} == {
        Ending.REFUSED: Evidence.REFUSED,
        Ending.RESET: Evidence.RESET,
    }


node_sets = st.sets(st.text("abcdef0123456789", min_size=1, max_size=6), min_size=1, max_size=30)


@given(node_sets)
def test_each_node_is_watched_by_three_others(nodes: set[str]) -> None:
    """Fewer where there are fewer; both questions have one answer."""
    expected = min(OBSERVERS, len(nodes) - 1)
    watched = {observer: watched_by(observer, sorted(nodes)) for observer in nodes}
    for node in nodes:
        watchers = watchers_of(node, nodes)
        assert len(set(watchers)) == len(watchers) == expected
        assert node not in watchers
        assert set(watchers) == {observer for observer in nodes if node in watched[observer]}
    assert watched_by("nobody at all", nodes) == []


@given(node_sets, st.text(max_size=8))
def test_who_leaves_moves_nothing_else(nodes: set[str], key: str) -> None:
    """The others stay in order, whatever order they are given in."""
    order = rendezvous(key, nodes)
    assert sorted(order) == sorted(nodes)
    assert order == rendezvous(key, sorted(nodes))
    assert order[1:] == rendezvous(key, nodes - {order[0]})


def test_watching_is_spread() -> None:
    """No node has many times its share."""
    nodes = [f"node-{n}" for n in range(200)]
    shares = Counter(observer for node in nodes for observer in watchers_of(node, nodes))
    assert max(shares.values()) < 5 * OBSERVERS


def panel(*nodes: str) -> Panel:
    """Return the panel of node `me` in a cluster."""
    panel = Panel("me")
    panel.set_nodes(nodes)
    return panel


def test_one_alone_decides_where_there_is_one() -> None:
    """Two nodes."""
    two = panel("me", "x")
    assert not two.is_unreachable("x", 0.0)
    two.hear("me", "x", Evidence.SILENT, 0.0)
    assert two.is_unreachable("x", 60.0)
    two.hear("me", "x", None, 61.0)
    assert not two.is_unreachable("x", 61.0)


def test_two_must_agree_where_there_are_two() -> None:
    """And still hold it."""
    three = panel("me", "x", "y")
    three.hear("me", "x", Evidence.RESET, 0.0)
    assert not three.is_unreachable("x", 0.0)
    three.hear("y", "x", Evidence.SILENT, 0.1)
    assert three.is_unreachable("x", 0.1)
    assert three.is_unreachable("x", 0.1 + OPINION_S)
    assert not three.is_unreachable("x", 0.2 + OPINION_S)
    three.hear("y", "x", Evidence.SILENT, 2.0)
    three.hear("y", "x", None, 2.1)
    assert not three.is_unreachable("x", 2.1)


def test_an_observer_that_is_gone_itself_is_not_asked() -> None:
    """Two of three nodes ended."""
    three = panel("me", "x", "y")
    three.hear("me", "x", Evidence.REFUSED, 0.0)
    three.hear("me", "y", Evidence.RESET, 0.0)
    assert three.is_unreachable("x", 0.0)
    assert three.is_unreachable("y", 0.0)


def test_who_hears_nobody_finds_nothing() -> None:
    """It is more likely cut off itself; but one refusal shows that its network works."""
    three = panel("me", "x", "y")
    three.hear("me", "x", Evidence.SILENT, 0.0)
    three.hear("me", "y", Evidence.SILENT, 0.0)
    assert not three.is_unreachable("x", 0.0)
    assert not three.is_unreachable("y", 0.0)
    three.hear("me", "y", Evidence.REFUSED, 0.0)
    assert three.is_unreachable("x", 0.0)


def test_what_an_unreachable_observer_said_does_not_count() -> None:
    """The other one, which has a view, decides alone: it finds nothing."""
    three = panel("me", "x", "y")
    three.hear("y", "x", Evidence.SILENT, 0.0)
    three.hear("me", "y", Evidence.RESET, 0.0)
    assert not three.is_unreachable("x", 0.0)


def test_a_bystander_hears_the_watchers() -> None:
    """Who does not watch a node knows by what two watchers say; others don't count."""
    nodes = [f"n{n}" for n in range(10)]
    node = next(n for n in nodes if "me" not in watchers_of(n, [*nodes, "me"]))
    ten = panel("me", *nodes)
    watchers = watchers_of(node, [*nodes, "me"])
    others = [n for n in nodes if n not in (*watchers, node)]
    for other in (*others, "me", watchers[0]):
        ten.hear(other, node, Evidence.REFUSED, 0.0)
    assert not ten.is_unreachable(node, 0.0)
    ten.hear(watchers[2], node, Evidence.SILENT, 0.0)
    assert ten.is_unreachable(node, 0.0)


def test_who_is_no_member_has_no_say_and_is_not_judged() -> None:
    """Opinions of and on nodes that left are forgotten."""
    three = panel("me", "x", "y")
    three.hear("stranger", "x", Evidence.RESET, 0.0)
    three.hear("me", "stranger", Evidence.RESET, 0.0)
    three.hear("me", "x", Evidence.RESET, 0.0)
    three.hear("y", "x", Evidence.RESET, 0.0)
    assert three.is_unreachable("x", 0.0)
    assert not three.is_unreachable("stranger", 0.0)
    three.set_nodes(["y"])
    three.set_nodes(["x", "y"])
    assert not three.is_unreachable("x", 0.0)
