"""The leader's work in a large cluster: who should own what, and its size on the wire.

    .venv/bin/python -m bench.scale [--nodes N] [--partitions N] [--rounds N]

No server is started. For several shapes of a cluster: assignments made afresh, after a join, after
a loss, and after many of both; the CPU time of each (`with all bytes`: decoding all metadata and
encoding all assignments included), partitions moved beside the fewest possible, and bytes. Kafka
keeps a group as one record, by default of 1 MiB at most, which is what a group outgrows first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bench.machine import machine_facts
from spawn.cluster.assignor import assign, lead
from spawn.cluster.members import Assignment, Member, encode_member, held_ranges
from spawn.cluster.rendezvous import Rendezvous

_T = TypeVar("_T")

_KAFKA_RECORD_BYTES_MAX: Final = 1_048_588
"""message.max.bytes by default."""
_KAFKA_MEMBER_BYTES: Final = 150
"""About what Kafka adds for each member: member id, client id, host, time-outs."""
_TARGET_S: Final = 2.0
_CHANGES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A cluster."""

    name: str
    topics: int
    kinds: int = 1
    """With more than one, node n hosts every topic t but those with t = n modulo `kinds`."""


_SHAPES: Final = (
    Shape(name="10 topics", topics=10),
    Shape(name="100 topics", topics=100),
    Shape(name="100 topics, 5 kinds of nodes", topics=100, kinds=5),
)

Members = dict[str, Member]
Assigned = Mapping[str, Assignment]


def _member(shape: Shape, number: int, partitions: int) -> Member:
    each = partitions // shape.topics
    return Member(
        node_id=number.to_bytes(4, "big") * 4,
        mesh=f"10.1.{number // 256}.{number % 256}:7400",
        http=f"10.1.{number // 256}.{number % 256}:9001",
        release="0.2.0",
        protocol=1,
        protocol_min=1,
        topics={
            f"spawn.shop.Type{topic:03d}": each
            for topic in range(shape.topics)
            if shape.kinds == 1 or topic % shape.kinds != number % shape.kinds
        },
    )


def _settled(members: Members, assigned: Assigned, epoch: int) -> Members:
    """Return the members once they hold what they were given, each claim with an epoch."""
    return {
        name: Member(
            node_id=member.node_id,
            mesh=member.mesh,
            http=member.http,
            release=member.release,
            protocol=member.protocol,
            protocol_min=member.protocol_min,
            topics=member.topics,
            held={
                topic: held_ranges({each: 1 + each % epoch for each in partitions})
                for topic, partitions in assigned[name].items()
            },
        )
        for name, member in members.items()
    }


def _moved(before: Assigned, after: Assigned) -> int:
    """Return how many partitions have another owner, those of a lost one included."""
    owners = {
        (topic, partition): name
        for name, topics in before.items()
        for topic, partitions in topics.items()
        for partition in partitions
    }
    return sum(
        owners[topic, partition] != name
        for name, topics in after.items()
        for topic, partitions in topics.items()
        for partition in partitions
    )


def _count(assignment: Assignment) -> int:
    return sum(map(len, assignment.values()))


def _timed(rounds: int, work: Callable[[], _T]) -> tuple[_T, str, float]:
    """Return the result, the median and the largest CPU time as text, and the largest."""
    times: list[float] = []
    result = work()  # once unmeasured: the first call also pays for what the others find warm
    for _ in range(rounds):
        began = time.process_time()
        result = work()
        times.append(time.process_time() - began)
    return result, f"{statistics.median(times):.2f} (max {max(times):.2f})", max(times)


def _row(
    what: str, members: Members, before: Assigned, fewest: int, rounds: int
) -> tuple[Assigned, float]:
    """Measure one assignment, print its line, return it and its time."""
    metadata = {name: encode_member(member) for name, member in members.items()}
    after, took, _ = _timed(rounds, lambda: assign(members))
    led, took_all, worst = _timed(rounds, lambda: lead(metadata))
    totals = [_count(each) for each in after.values()]
    assigned = [len(each) for each in led.assignments.values()]
    said = [len(each) for each in metadata.values()]
    group = sum(assigned) + sum(said) + _KAFKA_MEMBER_BYTES * len(members)
    moved = f"{_moved(before, after)} / {fewest}" if before else "-"
    print(
        f"| {what} | {took} | {took_all} | {moved} | {min(totals)}-{max(totals)}"
        f" | {max(assigned)} / {sum(assigned):,} | {max(said)} / {sum(said):,}"
        f" | {group / _KAFKA_RECORD_BYTES_MAX:.0%} |"
    )
    return after, worst


def _run(shape: Shape, nodes: int, partitions: int, rounds: int) -> float:
    """Measure one shape; return the longest time."""
    members = {f"m{number}": _member(shape, number, partitions) for number in range(nodes)}
    fresh, worst = _row(f"{shape.name}: fresh", members, {}, 0, rounds)
    settled = _settled(members, fresh, 1)
    joined = settled | {"new": _member(shape, nodes, partitions)}
    _, took = _row(f"{shape.name}: join", joined, fresh, partitions // (nodes + 1), rounds)
    worst = max(worst, took)
    left = {name: member for name, member in settled.items() if name != "m5"}
    _, took = _row(f"{shape.name}: loss", left, fresh, _count(fresh["m5"]), rounds)
    worst = max(worst, took)
    assigned: Assigned = fresh
    for number in range(_CHANGES):  # epochs differ by then, and ranges lie in pieces
        members = _settled(members, assigned, number + 2)
        del members[f"m{number * 7}"]
        members[f"m{nodes + number}"] = _member(shape, nodes + number, partitions)
        assigned = assign(members)
    members = _settled(members, assigned, _CHANGES)
    joined = members | {"new": _member(shape, nodes + _CHANGES, partitions)}
    what = f"{shape.name}: join after {_CHANGES} replaced nodes"
    _, took = _row(what, joined, assigned, partitions // (nodes + 1), rounds)
    return max(worst, took)


def _rendezvous(nodes: int) -> str:
    rendezvous = Rendezvous(number.to_bytes(16, "big") for number in range(nodes))
    _, took, _ = _timed(3, lambda: [rendezvous.first("t", each) for each in range(100)])
    return took


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, the machine, and whether the target was met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--partitions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen: Any = parser.parse_args(arguments)
    print(f"{chosen.nodes:,} nodes, {chosen.partitions:,} partitions, {chosen.rounds} rounds\n")
    print(
        "| cluster | assign, CPU s | with all bytes, CPU s | moved / fewest | a node has"
        " | assignment bytes, max / all | metadata bytes, max / all | of Kafka's record |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    worst = max(_run(shape, chosen.nodes, chosen.partitions, chosen.rounds) for shape in _SHAPES)
    print(f"\nthe next node for 100 partitions (rendezvous): {_rendezvous(chosen.nodes)} s")
    met = "met" if worst < _TARGET_S else "MISSED"
    print(f"longest: {worst:.2f} s; target {_TARGET_S:g} s: {met}")
    facts = machine_facts([])
    print(facts["machine"], facts["software"].partition(",")[0], sep="; ")


if __name__ == "__main__":
    main()
