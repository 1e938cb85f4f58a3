"""The table of owners: the higher epoch is right, whatever comes in which order."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.log import TopicPartition
from spawn.routing.owners import PARTITIONS_MAX, TOPICS_MAX, Ownership, OwnerTable

_AT = TopicPartition("spawn.shop.Cart", 3)
_PLACES = st.builds(TopicPartition, st.sampled_from(["a", "b"]), st.integers(0, 9))
_ENDPOINTS = st.sampled_from(["", "n1:7400", "n2:7400", "n3:7400"])
_STEPS = st.lists(st.tuples(st.booleans(), _PLACES, st.integers(1, 5), _ENDPOINTS), max_size=40)


@given(_STEPS)
def test_it_knows_what_a_plain_dict_would(
    steps: list[tuple[bool, TopicPartition, int, str]],
) -> None:
    """Learning and releasing in any order, endpoints that come again included."""
    table, known = OwnerTable(), dict[TopicPartition, Ownership]()
    for learns, at, epoch, endpoint in steps:
        before = known.get(at, Ownership(0, ""))
        if learns:
            is_news = (epoch, endpoint != "") > (before.epoch, before.endpoint != "")
            assert table.learn(at, epoch, endpoint) is is_news
            if is_news:
                known[at] = Ownership(epoch, endpoint)
        else:
            table.released(at, endpoint)
            if endpoint and before.endpoint == endpoint:
                known[at] = Ownership(before.epoch, "")
        assert table.of(at) == known.get(at, Ownership(0, ""))
    for endpoint in ("n1:7400", "n2:7400", "n3:7400"):
        mine = {at: each for at, each in known.items() if each.endpoint == endpoint}
        assert dict(table.owned_by(endpoint)) == mine
    assert list(table.owned_by("")) == []


@pytest.mark.parametrize(
    ("at", "epoch"),
    [
        (TopicPartition("t", -1), 1),
        (TopicPartition("t", PARTITIONS_MAX), 1),
        (TopicPartition("t", 0), 2**63),
        (TopicPartition("t", 0), -1),
    ],
)
def test_what_no_node_of_ours_says_is_passed_over(at: TopicPartition, epoch: int) -> None:
    """A number like 2**60 from a broken peer takes no memory and shadows no other partition."""
    table = OwnerTable()
    table.learn(TopicPartition("t", 1), 7, "n1:7400")
    assert not table.learn(at, epoch, "n2:7400")
    assert table.of(at) == Ownership(0, "")
    assert table.of(TopicPartition("t", 1)) == Ownership(7, "n1:7400")


def test_topics_are_bounded() -> None:
    """One more than may be is not learned; those known go on."""
    table = OwnerTable()
    for number in range(TOPICS_MAX):
        assert table.learn(TopicPartition(f"t{number}", 0), 1, "n1:7400")
    assert not table.learn(TopicPartition("more", 0), 1, "n1:7400")
    assert table.learn(TopicPartition("t0", 1), 1, "n1:7400")


def test_endpoints_that_own_nothing_are_forgotten() -> None:
    """A process that lives for a year meets more of them than there are nodes at once."""
    table = OwnerTable()
    for epoch in range(1, 1_000):
        table.learn(_AT, epoch, f"10.0.0.{epoch}:7400")
    assert table.of(_AT) == Ownership(999, "10.0.0.999:7400")
    assert len(table._endpoints.names) <= 3


def test_a_large_table_is_small() -> None:
    """A partition takes some 12 bytes, and no object: 100,000 are no matter (`bench.scale`)."""
    table = OwnerTable()
    for number in range(2_000):
        table.learn(TopicPartition("t", number), 1, f"n{number % 20}:7400")
    topic = table._topics["t"]
    assert sys.getsizeof(topic.epochs) + sys.getsizeof(topic.owners) < 2_000 * 16
    assert len(list(table.owned_by("n7:7400"))) == 100
