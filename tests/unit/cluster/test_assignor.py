"""Which node should own what: once each, balanced, little moves, the same in every process."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from spawn.cluster.assignor import assign, disagreements, lead
from spawn.cluster.members import (
    Assignment,
    HeldRange,
    Member,
    decode_assignment,
    encode_member,
    held_ranges,
)

Members = Mapping[str, Member]
Assigned = Mapping[str, Assignment]


def _member(
    number: int,
    topics: Mapping[str, int],
    held: Mapping[str, Sequence[HeldRange]] | None = None,
) -> Member:
    return Member(
        node_id=number.to_bytes(16, "big"),
        mesh=f"10.0.0.{number}:7000",
        http="",
        release="0.2.0",
        protocol=1,
        protocol_min=1,
        topics=topics,
        held=held or {},
    )


def _settled(members: Members, assigned: Assigned, epoch: int = 1) -> dict[str, Member]:
    """Return the members after they have taken over what they were given."""
    return {
        member_id: _member(
            int.from_bytes(member.node_id, "big"),
            member.topics,
            {
                topic: held_ranges(dict.fromkeys(partitions, epoch))
                for topic, partitions in assigned[member_id].items()
            },
        )
        for member_id, member in members.items()
    }


def _owners(assigned: Assigned) -> dict[tuple[str, int], str]:
    """Return who should own each partition; nobody twice."""
    owners: dict[tuple[str, int], str] = {}
    for member_id, topics in assigned.items():
        for topic, partitions in topics.items():
            assert all(low < high for low, high in pairwise(partitions))
            for partition in partitions:
                assert owners.setdefault((topic, partition), member_id) == member_id
    return owners


def _moved(before: Assigned, after: Assigned) -> int:
    owners = _owners(before)
    return sum(owners[place] != member_id for place, member_id in _owners(after).items())


def _totals(assigned: Assigned) -> list[int]:
    return [sum(map(len, topics.values())) for topics in assigned.values()]


_TOPICS = st.dictionaries(
    st.sampled_from(["spawn.s.A", "spawn.s.B", "spawn.s.C", "spawn.s.D"]),
    st.integers(1, 24),
    min_size=1,
)


@st.composite
def _clusters(draw: st.DrawFn, nodes_max: int = 8) -> dict[str, Member]:
    """Draw nodes with different sets of types, that hold (or say that they hold) anything."""
    topics = draw(_TOPICS)
    members = {}
    for number in range(draw(st.integers(1, nodes_max))):
        hosted = draw(st.sets(st.sampled_from(sorted(topics)), min_size=1))
        held = {
            topic: held_ranges(
                draw(st.dictionaries(st.integers(0, topics[topic] - 1), st.integers(0, 3)))
            )
            for topic in hosted
        }
        own = {topic: topics[topic] for topic in hosted}
        members[f"m{draw(st.integers(0, 10**6))}-{number}"] = _member(number, own, held)
    return members


@settings(max_examples=300)
@given(_clusters())
def test_every_hosted_partition_is_assigned_once_to_a_host(members: dict[str, Member]) -> None:
    """Whatever nodes say that they hold, of themselves and against each other."""
    assigned = assign(members)
    assert set(assigned) == set(members)
    expected = {
        (topic, partition)
        for member in members.values()
        for topic, count in member.topics.items()
        for partition in range(count)
    }
    owners = _owners(assigned)
    assert set(owners) == expected
    assert all(topic in members[owner].topics for (topic, _), owner in owners.items())


@settings(max_examples=200)
@given(_clusters(), st.randoms(use_true_random=False))
def test_the_order_and_the_ids_of_members_change_nothing(
    members: dict[str, Member], random: object
) -> None:
    """A coordinator gives random ids in any order; what counts is what nodes say."""
    names = list(members)
    random.shuffle(names)  # type: ignore[attr-defined]
    renamed = {f"x{place}": members[name] for place, name in enumerate(names)}
    assigned = assign(members)
    again = assign(renamed)
    assert all(again[f"x{place}"] == assigned[name] for place, name in enumerate(names))


@settings(max_examples=200)
@given(_clusters())
def test_once_taken_over_nothing_moves_again(members: dict[str, Member]) -> None:
    """Also when topics lie in pieces."""
    assigned = assign(members)
    assert assign(_settled(members, assigned)) == assigned


@settings(max_examples=200)
@given(_TOPICS, st.integers(1, 8))
def test_nodes_of_one_kind_are_even_in_all_and_in_each_topic(
    topics: dict[str, int], nodes: int
) -> None:
    """No two nodes differ by more than one partition, in total and of any topic."""
    assigned = assign({f"m{number}": _member(number, topics) for number in range(nodes)})
    totals = _totals(assigned)
    assert max(totals) - min(totals) <= 1
    for topic in topics:
        counts = [len(each.get(topic, ())) for each in assigned.values()]
        assert max(counts) - min(counts) <= 1


@settings(max_examples=200)
@given(_TOPICS, st.integers(1, 8))
def test_a_join_moves_what_the_new_node_gets_and_no_more(
    topics: dict[str, int], nodes: int
) -> None:
    """Its share is the least that balance asks for."""
    members = {f"m{number}": _member(number, topics) for number in range(nodes)}
    before = assign(members)
    after = assign(_settled(members, before) | {"new": _member(99, topics)})
    total = sum(topics.values())
    assert _moved(before, after) == sum(map(len, after["new"].values())) == total // (nodes + 1)
    assert max(_totals(after)) - min(_totals(after)) <= 1


@settings(max_examples=200)
@given(_TOPICS, st.integers(2, 8), st.data())
def test_a_loss_moves_what_the_lost_node_had_and_no_more(
    topics: dict[str, int], nodes: int, data: st.DataObject
) -> None:
    """What the others have stays where it is."""
    members = {f"m{number}": _member(number, topics) for number in range(nodes)}
    before = assign(members)
    left = _settled(members, before)
    lost = data.draw(st.sampled_from(sorted(left)))
    del left[lost]
    after = assign(left)
    assert _moved(before, after) == sum(map(len, before[lost].values()))
    assert max(_totals(after)) - min(_totals(after)) <= 1


def test_many_joins_and_losses_leave_each_topic_even_enough() -> None:
    """Topics differ in load: a node that comes gets a mixture, not all of the first type."""
    topics = {f"spawn.s.{name}": 48 for name in "ABCD"}
    members = {f"m{number}": _member(number, topics) for number in range(3)}
    assigned = assign(members)
    for number in range(3, 9):
        members = _settled(members, assigned) | {f"m{number}": _member(number, topics)}
        assigned = assign(members)
    for number in (0, 4, 5):
        members = _settled(members, assigned)
        del members[f"m{number}"]
        assigned = assign(members)
    for topic in topics:
        counts = [len(each[topic]) for each in assigned.values()]
        assert max(counts) - min(counts) <= 4
    assert set(_totals(assigned)) == {32}


def test_of_two_that_hold_a_partition_the_newer_claim_counts() -> None:
    """The other one was fenced and has not noticed."""
    topics = {"t": 2}
    stale = _member(1, topics, {"t": [HeldRange(0, 2, 4)]})
    newer = _member(2, topics, {"t": [HeldRange(0, 1, 5)]})
    assert assign({"a": stale, "b": newer}) == {"a": {"t": [1]}, "b": {"t": [0]}}
    newest = _member(1, topics, {"t": [HeldRange(0, 1, 6), HeldRange(1, 2, 4)]})
    other = _member(2, topics, {"t": [HeldRange(0, 2, 5)]})
    assert assign({"a": newest, "b": other}) == {"a": {"t": [0]}, "b": {"t": [1]}}


def test_a_fresh_assignment_is_made_of_ranges() -> None:
    """Few numbers to send, and to read for people."""
    assigned = assign({f"m{number}": _member(number, {"t": 12}) for number in range(3)})
    assert sorted(each["t"][0] for each in assigned.values()) == [0, 4, 8]
    assert all(
        list(each["t"]) == list(range(each["t"][0], each["t"][0] + 4)) for each in assigned.values()
    )


def test_who_knows_of_more_partitions_than_others_gets_none_of_the_topic() -> None:
    """Somebody has changed the count: actors are where the old one put them."""
    members = {"a": _member(1, {"t": 4, "u": 2}), "b": _member(2, {"t": 8, "u": 2})}
    assigned = assign(members)
    assert assigned["a"]["t"] == [0, 1, 2, 3]
    assert "t" not in assigned["b"]
    assert assigned["b"]["u"] == [0, 1]
    (text,) = disagreements(members)
    assert "knows of 8 partitions, another node of 4" in text


def test_a_member_that_cannot_be_read_gets_nothing_and_is_named() -> None:
    """The others share what there is."""
    members = {"a": _member(1, {"t": 4}), "b": _member(2, {"t": 4})}
    metadata = {name: encode_member(member) for name, member in members.items()}
    led = lead(metadata | {"alien": b"\x07whatever", "empty": b""})
    assert set(led.assignments) == {"a", "b"}
    assert [text.split()[1] for text in led.problems] == ["alien", "empty"]
    read = [decode_assignment(led.assignments[name], {"t": 4})["t"] for name in ("a", "b")]
    assert sorted(map(len, read)) == [2, 2]


_PROGRAM = """
import json
from spawn.cluster.assignor import assign
from spawn.cluster.members import Member, encode_member
from spawn.cluster.rendezvous import Rendezvous
nodes = [bytes([number]) * 16 for number in range(7)]
members = {
    f"m{number}": Member(
        node_id=node, mesh="", http="", release="", protocol=1, protocol_min=1,
        topics={f"t{each}": 20 for each in range(number % 3, 5)},
    )
    for number, node in enumerate(nodes)
}
order = [[node.hex() for node in Rendezvous(nodes).order("t", each)] for each in range(9)]
metadata = [encode_member(each).hex() for each in members.values()]
print(json.dumps([assign(members), order, metadata]))
"""


def test_every_process_comes_to_the_same_result() -> None:
    """Whatever the seed of its hashes."""
    results = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", _PROGRAM],
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                check=True,
            ).stdout
        )
        for seed in ("1", "2", "77")
    ]
    assert results[0] == results[1] == results[2]
