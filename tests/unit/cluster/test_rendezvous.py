"""Who comes next for a partition: the same for everybody, spread, and steady."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from spawn.cluster.rendezvous import Rendezvous

_NODES = [bytes([number]) * 16 for number in range(5)]

_node_sets = st.sets(st.binary(min_size=16, max_size=16), min_size=1, max_size=9)


@given(_node_sets, st.integers(0, 999))
def test_the_order_holds_all_nodes_and_begins_with_the_first(
    nodes: set[bytes], partition: int
) -> None:
    """In whatever order the nodes are given."""
    rendezvous = Rendezvous(nodes)
    order = rendezvous.order("t", partition)
    assert sorted(order) == sorted(nodes)
    assert order[0] == rendezvous.first("t", partition)
    assert Rendezvous(reversed(sorted(nodes))).order("t", partition) == order  # noqa: C413


@given(_node_sets, st.integers(0, 999))
def test_a_node_that_goes_changes_nobody_elses_place(nodes: set[bytes], partition: int) -> None:
    """So observers that do not know of it yet agree on all the others."""
    order = list(Rendezvous(nodes).order("t", partition))
    for gone in nodes:
        left = [node for node in order if node != gone]
        assert list(Rendezvous(nodes - {gone}).order("t", partition)) == left


def test_the_partitions_of_a_lost_node_spread_over_all_others() -> None:
    """Nobody gets them all."""
    full, left = Rendezvous(_NODES), Rendezvous(_NODES[1:])
    heirs = Counter(
        left.first("t", partition)
        for partition in range(2000)
        if full.first("t", partition) == _NODES[0]
    )
    assert len(heirs) == 4
    assert min(heirs.values()) > 60  # of some 400, 100 each
    assert max(heirs.values()) < 140


def test_the_order_is_the_one_of_all_releases() -> None:
    """A node with another one would claim against those that follow this."""
    order = Rendezvous(_NODES).order("spawn.shop.Cart", 7)
    assert [node[0] for node in order] == [1, 2, 0, 3, 4]


def test_nobody_is_first_without_nodes() -> None:
    """And the order is empty."""
    assert Rendezvous([]).first("t", 0) is None
    assert Rendezvous([]).order("t", 0) == []
