"""However wrong nodes were about each other, soon one serves each partition, and nobody claims."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spawn.cluster.choice import Choices, Standing
from tests.unit.cluster.choosing_nodes import Cluster

_WRONG = [Standing.SERVING, Standing.UNREACHABLE, Standing.UNFIT, Standing.UNMET]
_SETTLED_S = 14.0
"""The longest hold, an owner that is asked in vain, and the turns of five nodes."""

_errors = st.lists(
    st.tuples(
        st.floats(0.0, 1.5),
        st.integers(0, 4),
        st.integers(0, 4),
        st.sampled_from(_WRONG),
        st.sets(st.integers(0, 3)),
    ),
    max_size=25,
)
"""After a while, somebody believes that a node stands so, and is given these places."""


def _err(cluster: Cluster, errors: list[tuple[float, int, int, Standing, set[int]]]) -> None:
    for delay_s, one, other, standing, shares in errors:
        cluster.run(delay_s)
        node = cluster.nodes[one % len(cluster.nodes)]
        node.see(cluster.nodes[other % len(cluster.nodes)], standing)
        node.choices.assign([place for place in cluster.places if place[1] in shares])


def _check_settled(cluster: Cluster, claims: list[Any]) -> None:
    for place in cluster.places:
        epoch, owner = cluster.log[place]
        assert owner is not None
        assert owner.serving == {**owner.serving, place: epoch}
        assert cluster.servers(place) == [owner.endpoint]
    assert not claims, "somebody claims on and on"


@settings(max_examples=100, deadline=None)
@given(
    nodes=st.integers(1, 5),
    places=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    errors=_errors,
    lossy=st.sampled_from([0.0, 0.5, 0.95]),
    assigned=st.lists(st.integers(0, 4), min_size=4, max_size=4),
)
def test_nodes_whose_views_agree_at_last_settle(
    nodes: int,
    places: int,
    seed: int,
    errors: list[tuple[float, int, int, Standing, set[int]]],
    lossy: float,
    assigned: list[int],
) -> None:
    """On the assigned one of each partition, within a bounded time; then nobody claims any more."""
    cluster = Cluster(nodes, places, seed)
    cluster.lossy = lossy
    _err(cluster, errors)
    cluster.converge(assigned[:places])
    cluster.run(_SETTLED_S)
    quiet = cluster.now
    cluster.run(20.0)
    _check_settled(cluster, cluster.claims_since(quiet))
    for place, number in zip(cluster.places, assigned, strict=False):
        assert cluster.servers(place) == [f"n{number % nodes}:1"]


@settings(max_examples=100, deadline=None)
@given(
    nodes=st.integers(2, 5),
    places=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    errors=_errors,
    assigned=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    lives_by_others_word=st.booleans(),
)
def test_two_that_never_reach_each_other_end_their_duels(
    nodes: int,
    places: int,
    seed: int,
    errors: list[tuple[float, int, int, Standing, set[int]]],
    assigned: list[int],
    *,
    lives_by_others_word: bool,
) -> None:
    """One of them serves; the other leaves it alone, whether it believes that the other lives."""
    cluster = Cluster(nodes, places, seed)
    _err(cluster, errors)
    cluster.cut.add(frozenset(("n0:1", "n1:1")))
    cluster.converge(assigned[:places])
    if lives_by_others_word:
        cluster.nodes[0].see(cluster.nodes[1], Standing.SERVING)
        cluster.nodes[1].see(cluster.nodes[0], Standing.SERVING)
    cluster.run(40.0)
    quiet = cluster.now
    cluster.run(40.0)
    assert not cluster.claims_since(quiet)
    for place in cluster.places:
        epoch, owner = cluster.log[place]
        assert owner is not None
        assert owner.serving[place] == epoch


def test_without_a_group_two_that_never_reach_each_other_claim_ever_more_rarely() -> None:
    """Nobody else would find out if one of them died."""
    cluster = Cluster(2, 1, seed=1)
    cluster.run(5.0)
    cluster.cut.add(frozenset(("n0:1", "n1:1")))
    for node in cluster.nodes:
        for other in cluster.nodes:
            if other is not node:
                node.see(other, Standing.UNREACHABLE)
    counts = []
    for _ in range(4):
        before = cluster.now
        cluster.run(300.0)
        counts.append(len(cluster.claims_since(before)))
    assert counts[0] <= 14
    assert counts[-1] <= 4


def test_a_group_alone_lets_nobody_wait_for_an_owner_that_dies() -> None:
    """Who lost to one that it never reached gets the partition from the group."""
    cluster = Cluster(2, 1, seed=2)
    cluster.cut.add(frozenset(("n0:1", "n1:1")))
    cluster.converge([0])
    cluster.run(60.0)
    assert cluster.log["t", 0][1] is cluster.nodes[0]
    cluster.nodes[0].choices.assign([])
    cluster.nodes[0].see(cluster.nodes[0], Standing.UNFIT)  # as good as dead: it claims nothing
    cluster.nodes[1].choices.assign([("t", 0)])
    cluster.run(1.0)
    assert cluster.log["t", 0][1] is cluster.nodes[1]


def test_the_model_can_fail() -> None:
    """Without holding off, two that never reach each other fight for ever."""
    held = Choices._holds_off
    try:
        Choices._holds_off = lambda *_: False  # type: ignore[method-assign]
        cluster = Cluster(2, 1, seed=3)
        cluster.cut.add(frozenset(("n0:1", "n1:1")))
        cluster.converge([0])
        cluster.run(100.0)
        assert len(cluster.claims_since(50.0)) > 10
    finally:
        Choices._holds_off = held  # type: ignore[method-assign]
