"""The leader's work: who should own what, and its size on the wire.

For several shapes of a cluster: assignments made afresh, after a join, after a loss, after a tenth
of all nodes went or came at once, and after many of both; the CPU time of each (`with all bytes`:
decoding all metadata and encoding all assignments included), partitions moved beside the fewest
possible, and bytes. Kafka keeps a group as one record, by default of 1 MiB at most.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final, TypeVar

from bench.scale.shapes import SHAPES, Assigned, Members, Shape, fewest_moves, moved, settled
from spawn.cluster.assignor import assign, lead
from spawn.cluster.members import encode_member
from spawn.cluster.rendezvous import Rendezvous

__all__ = ["KAFKA_MEMBER_BYTES", "KAFKA_RECORD_BYTES_MAX", "group_bytes", "measure"]

_T = TypeVar("_T")

KAFKA_RECORD_BYTES_MAX: Final = 1_048_588
"""message.max.bytes by default."""
KAFKA_MEMBER_BYTES: Final = 90
"""What Kafka adds for each member, as `group` sees it: member id, client id, host, time-outs."""
_TARGET_S: Final = 2.0
_REPLACED: Final = 20


def group_bytes(members: Members) -> tuple[list[int], list[int], int]:
    """Return the sizes of all assignments, of all metadata, and of Kafka's record of the group."""
    metadata = {name: encode_member(member) for name, member in members.items()}
    assigned = [len(each) for each in lead(metadata).assignments.values()]
    said = [len(each) for each in metadata.values()]
    return assigned, said, sum(assigned) + sum(said) + KAFKA_MEMBER_BYTES * len(members)


def timed(rounds: int, work: Callable[[], _T]) -> tuple[_T, str, float]:
    """Return the result, the median and the largest CPU time as text, and the largest."""
    times: list[float] = []
    results: list[_T] = []
    for _ in range(rounds):
        began = time.process_time()
        results[:] = [work()]
        times.append(time.process_time() - began)
    return results[0], f"{statistics.median(times):.2f} ({max(times):.2f})", max(times)


class _Table:
    """Prints a line for each assignment."""

    def __init__(self, shape: Shape, rounds: int) -> None:
        self._shape, self._rounds = shape, rounds
        self.worst_s = 0.0
        self.moves: list[tuple[int, int]] = []

    def row(self, what: str, members: Members, before: Assigned | None) -> Assigned:
        metadata = {name: encode_member(member) for name, member in members.items()}
        after, took, _ = timed(self._rounds, lambda: assign(members))
        _, took_all, worst = timed(self._rounds, lambda: lead(metadata))
        self.worst_s = max(self.worst_s, worst)
        totals = [sum(map(len, each.values())) for each in after.values()]
        assigned, said, group = group_bytes(members)
        moves = "-"
        if before is not None:
            count, fewest = moved(before, after), fewest_moves(members)
            self.moves.append((count, fewest))
            moves = f"{count:,} / {fewest:,}"
        print(
            f"| {self._shape.name}: {what} | {took} | {took_all} | {moves}"
            f" | {min(totals)}-{max(totals)} | {max(assigned)} / {sum(assigned):,}"
            f" | {max(said)} / {sum(said):,} | {group / KAFKA_RECORD_BYTES_MAX:.0%} |",
            flush=True,
        )
        return after


def _run(shape: Shape, nodes: int, partitions: int, rounds: int) -> _Table:
    """Measure one shape."""
    table = _Table(shape, rounds)
    tenth = max(1, nodes // 10)
    members = {f"m{number}": shape.member(number, partitions) for number in range(nodes)}
    newer = {f"n{n}": shape.member(nodes + n, partitions) for n in range(tenth)}
    fresh = table.row("fresh", members, None)
    all_held = settled(members, fresh, 1)
    table.row("a node joins", all_held | {"n0": newer["n0"]}, fresh)
    table.row("a node is lost", {k: v for k, v in all_held.items() if k != "m5"}, fresh)
    lost = {k: v for k, v in all_held.items() if int(k[1:]) // 10 % 10 != 3}
    table.row("a tenth is lost", lost, fresh)
    table.row("a tenth joins", all_held | newer, fresh)
    assigned = fresh
    for number in range(_REPLACED):  # epochs differ by then, and ranges lie in pieces
        members = settled(members, assigned, number + 2)
        for each in range(number, nodes, 5 * _REPLACED):
            del members[f"m{each}"]
            members[f"r{each}"] = shape.member(10 * nodes + each, partitions)
        assigned = assign(members)
    members = settled(members, assigned, 50)
    what = f"a node joins after {_REPLACED} times 1 % was replaced"
    table.row(what, members | {"n0": newer["n0"]}, assigned)
    return table


def measure(nodes: int, partitions: int, rounds: int) -> None:
    """Print a table, and whether the targets were met."""
    print(f"assignment: {nodes:,} nodes, {partitions:,} partitions, {rounds} rounds\n")
    print(
        "| cluster | assign, CPU s (largest) | with all bytes | moved / fewest | a node has"
        " | assignment bytes, largest / all | metadata bytes, largest / all | of Kafka's record |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    tables = [_run(shape, nodes, partitions, rounds) for shape in SHAPES]
    rendezvous = Rendezvous(number.to_bytes(16, "big") for number in range(nodes))
    _, took, _ = timed(rounds, lambda: [rendezvous.first("t", each) for each in range(100)])
    print(f"\nthe next node for 100 partitions (rendezvous): {took} s")
    worst = max(table.worst_s for table in tables)
    met = "met" if worst < _TARGET_S else "MISSED"
    print(f"longest: {worst:.2f} s; target {_TARGET_S:g} s: {met}")
    more = [(count, least) for table in tables for count, least in table.moves if count > least]
    print(f"moves above the bound: {more or 'none'}")
