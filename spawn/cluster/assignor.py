"""Which node should own which partition (pure; design 3.3).

Every partition of a topic that somebody hosts goes to exactly one node that hosts it. Totals are
balanced and as little as possible moves (`balance`); within that, each topic is spread evenly and
in whole ranges, since types differ in load and short assignments fit into the group. The result
depends on what the nodes say alone: not on their member ids, the order in which they are given, or
the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace

from spawn.cluster.balance import Kind, balance
from spawn.cluster.members import (
    Assignment,
    Member,
    UnreadableMember,
    decode_member,
    encode_assignment,
)

__all__ = ["Led", "assign", "disagreements", "lead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Led:
    """What the leader makes of what the members say."""

    assignments: Mapping[str, bytes]
    """By member id; a member that can't be read has none."""
    problems: Sequence[str] = ()
    """For the log: who can't be read, and who disagrees about a topic."""


def lead(metadata: Mapping[str, bytes]) -> Led:
    """Return all members' assignments from their metadata, encoded (for the group's `assign`)."""
    members: dict[str, Member] = {}
    problems: list[str] = []
    for member_id, data in sorted(metadata.items()):
        try:
            members[member_id] = decode_member(data)
        except UnreadableMember as error:
            problems.append(f"member {member_id} of the group gets nothing: {error}")
    problems += disagreements(members)
    assigned = assign(members)
    return Led(
        assignments={
            member_id: encode_assignment(assigned[member_id], member.topics)
            for member_id, member in members.items()
        },
        problems=problems,
    )


def disagreements(members: Mapping[str, Member]) -> Sequence[str]:
    """Return which nodes get nothing of a topic since they know more partitions than others do."""
    counts = _counts(members.values())
    return [
        f"node {member.node_id.hex()} gets nothing of topic {topic}: it knows of {count}"
        f" partitions, another node of {counts[topic]}; the partition count of a topic must not"
        " be changed"
        for member in sorted(members.values(), key=lambda each: each.node_id)
        for topic, count in sorted(member.topics.items())
        if count != counts[topic]
    ]


def _counts(members: Iterable[Member]) -> dict[str, int]:
    """Return each topic's partitions.

    The fewest that anybody knows of: a count only grows, and actors were placed by the old one.
    """
    counts: dict[str, int] = {}
    for member in members:
        for topic, count in member.topics.items():
            counts[topic] = min(counts.get(topic, count), count)
    return counts


@dataclass(slots=True, kw_only=True)
class _Topic:
    """A topic, and who holds its partitions: numbers of nodes, -1 for nobody."""

    name: str
    hosts: tuple[int, ...]
    holders: list[int]
    free: list[int] = field(default_factory=list)
    """Partitions that are to be given to somebody."""
    kept: dict[int, list[int]] = field(default_factory=dict)
    """Of each node; in the end its share."""


def assign(members: Mapping[str, Member]) -> Mapping[str, Assignment]:
    """Return what each member should own, by member id; every member has an entry."""
    ids = sorted(members, key=lambda each: (members[each].node_id, each))
    nodes = [members[each] for each in ids]
    kinds: dict[tuple[int, ...], list[_Topic]] = {}
    for topic in _topics(nodes):
        kinds.setdefault(topic.hosts, []).append(topic)
    shares = list(kinds.items())
    made = [_kind(hosts, topics, len(nodes)) for hosts, topics in shares]
    counts = balance(made, len(nodes))
    found: list[dict[str, Sequence[int]]] = [{} for _ in nodes]
    for (_, topics), kind, wanted in zip(shares, made, counts, strict=True):
        _share_out(topics, kind, wanted)
        for topic in topics:
            for node, partitions in topic.kept.items():
                if partitions:
                    found[node][topic.name] = sorted(partitions)
    return dict(zip(ids, found, strict=True))


def _topics(nodes: Sequence[Member]) -> list[_Topic]:
    """Return the topics by name, with the nodes that host them and who holds what.

    Of two nodes that say they hold a partition it is the one whose claim has the higher epoch: the
    other has not noticed yet that it is fenced. Of two with the same epoch the lower node id.
    """
    counts = _counts(nodes)
    hosts: dict[str, list[int]] = {name: [] for name in sorted(counts)}
    for number, node in enumerate(nodes):
        for name, count in node.topics.items():
            if count == counts[name]:
                hosts[name].append(number)
    topics: list[_Topic] = []
    for name, numbers in hosts.items():
        holders, epochs = [-1] * counts[name], [-1] * counts[name]
        for number in numbers:
            for start, stop, epoch in nodes[number].held.get(name, ()):
                for partition in range(start, stop):
                    if epoch > epochs[partition]:
                        holders[partition], epochs[partition] = number, epoch
        topics.append(_Topic(name=name, hosts=tuple(numbers), holders=holders))
    return topics


def _kind(hosts: tuple[int, ...], topics: Sequence[_Topic], nodes: int) -> Kind:
    held = [0] * nodes
    for topic in topics:
        for partition, holder in enumerate(topic.holders):
            if holder < 0:
                topic.free.append(partition)
            else:
                topic.kept.setdefault(holder, []).append(partition)
                held[holder] += 1
    partitions = sum(len(topic.holders) for topic in topics)
    return Kind(hosts=hosts, partitions=partitions, held=held)


def _share_out(topics: Sequence[_Topic], kind: Kind, wanted: Sequence[int]) -> None:
    """Let each node keep what it should have of a kind, and give it what it lacks."""
    lacks: dict[int, int] = {}
    for node in kind.hosts:
        lack = wanted[node] - kind.held[node]
        if lack < 0:
            _take(topics, node, -lack)
        elif lack:
            lacks[node] = lack
    takers = list(lacks)
    turn = 0
    for topic in topics:
        if topic.free:
            turn = _give(topic, takers, lacks, turn)


def _take(topics: Sequence[_Topic], node: int, count: int) -> None:
    """Take partitions away from a node, of those topics first of which it has most."""
    size = len(topics)
    # Nodes with equally many of some topics begin at different ones, so that who gets them gets
    # a mixture.
    most = [
        (-len(topic.kept[node]), (number + node) % size, number)
        for number, topic in enumerate(topics)
        if node in topic.kept
    ]
    heapify(most)
    for _ in range(count):
        held, turn, number = most[0]
        topics[number].free.append(topics[number].kept[node].pop())
        if held < -1:
            heapreplace(most, (held + 1, turn, number))
        else:
            heappop(most)


def _give(topic: _Topic, takers: Sequence[int], lacks: dict[int, int], turn: int) -> int:
    """Give a topic's free partitions, in ranges, to nodes that lack some; return the next's turn.

    Those that have least of the topic come first; among equals it goes round, so that the odd ones
    of all topics don't go to the same node.
    """
    free, kept = sorted(topic.free), topic.kept
    start, turns = 0, len(takers)
    while start < len(free):
        ranked = sorted(
            (len(kept.get(node, ())), (place - turn) % turns, node)
            for place, node in enumerate(takers)
            if lacks[node]
        )
        share, odd = divmod(len(free) - start, len(ranked))
        after = 0
        for rank, (_, distance, node) in enumerate(ranked[: odd if not share else None]):
            count = min(share + (rank < odd), lacks[node])
            kept.setdefault(node, []).extend(free[start : start + count])
            start += count
            lacks[node] -= count
            if rank == odd - 1:
                after = distance + 1
        turn = (turn + after) % turns
    topic.free.clear()
    return turn
