"""How many partitions of what each node should have: as good as the best that can be found."""

import itertools
from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from spawn.cluster.balance import Kind, balance

Counts = Sequence[Sequence[int]]


def _ways(kind: Kind) -> Iterator[list[int]]:
    """Yield each way to give a kind's partitions to its hosts."""
    hosts = kind.hosts
    for bars in itertools.combinations(range(kind.partitions + len(hosts) - 1), len(hosts) - 1):
        edges = [-1, *bars, kind.partitions + len(hosts) - 1]
        counts = [0] * len(kind.held)
        for host, (low, high) in zip(hosts, itertools.pairwise(edges), strict=True):
            counts[host] = high - low - 1
        yield counts


def _value(kinds: Sequence[Kind], counts: Counts) -> tuple[int, int]:
    """Return how uneven it is and how much moves: less is better, the first counts first."""
    totals = [sum(column) for column in zip(*counts, strict=True)]
    moved = sum(
        max(held - count, 0)
        for kind, row in zip(kinds, counts, strict=True)
        for held, count in zip(kind.held, row, strict=True)
    )
    return sum(total**2 for total in totals), moved


@st.composite
def _clusters(
    draw: st.DrawFn, nodes_max: int, kinds_max: int, partitions_max: int
) -> tuple[int, list[Kind]]:
    nodes = draw(st.integers(1, nodes_max))
    kinds = []
    for _ in range(draw(st.integers(1, kinds_max))):
        hosts = sorted(draw(st.sets(st.integers(0, nodes - 1), min_size=1)))
        partitions = draw(st.integers(1, partitions_max))
        held = [0] * nodes
        for _ in range(draw(st.integers(0, partitions))):
            held[draw(st.sampled_from(hosts))] += 1
        kinds.append(Kind(hosts=hosts, partitions=partitions, held=held))
    return nodes, kinds


@settings(max_examples=400)
@given(_clusters(nodes_max=4, kinds_max=3, partitions_max=5))
def test_nothing_is_more_even_or_moves_less(cluster: tuple[int, list[Kind]]) -> None:
    """Compared with every possibility, on clusters small enough for that."""
    nodes, kinds = cluster
    counts = balance(kinds, nodes)
    best = min(_value(kinds, each) for each in itertools.product(*map(_ways, kinds)))
    assert _value(kinds, counts) == best


@settings(max_examples=200)
@given(_clusters(nodes_max=12, kinds_max=8, partitions_max=40))
def test_every_partition_is_given_to_a_host_once(cluster: tuple[int, list[Kind]]) -> None:
    """In clusters of any shape."""
    nodes, kinds = cluster
    for kind, counts in zip(kinds, balance(kinds, nodes), strict=True):
        assert sum(counts) == kind.partitions
        assert all(not count or node in kind.hosts for node, count in enumerate(counts))
        assert min(counts) >= 0


@settings(max_examples=200)
@given(_clusters(nodes_max=8, kinds_max=5, partitions_max=20))
def test_what_is_balanced_stays(cluster: tuple[int, list[Kind]]) -> None:
    """Once assigned and taken over, nothing moves again."""
    nodes, kinds = cluster
    counts = balance(kinds, nodes)
    settled = [
        Kind(hosts=kind.hosts, partitions=kind.partitions, held=row)
        for kind, row in zip(kinds, counts, strict=True)
    ]
    assert balance(settled, nodes) == counts


def test_a_chain_over_another_kind_levels_what_one_kind_cannot() -> None:
    """Node 0 is too full of what only it and node 1 host; node 1 makes room by giving to node 2."""
    kinds = [
        Kind(hosts=[0, 1], partitions=4, held=[4, 0, 0]),
        Kind(hosts=[1, 2], partitions=2, held=[0, 2, 0]),
    ]
    counts = balance(kinds, 3)
    assert [sum(column) for column in zip(*counts, strict=True)] == [2, 2, 2]
