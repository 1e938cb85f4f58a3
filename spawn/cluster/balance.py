"""How many partitions of what each node should have: balanced, with the fewest moves (pure).

Partitions whose topics are hosted by the same nodes are interchangeable here: a *kind*. What is
looked for is how many of each kind each node gets, so that

1. the nodes' totals are as equal as the hosting allows (the sum of their squares is least), and
2. as few partitions as possible move away from who holds them.

That is a flow with costs: a state is the best one exactly if no chain of moves (a partition of one
kind from node to node, one of another kind from there on, and so on, open or closed) makes it
better. So: keep what is held, place the rest where there is least, level from who has most of all
to who has least, and then apply such chains while there are any. With one kind of node the
levelling is all there is to do. With many kinds the search for chains is bounded, and what is left
may be short of the best by little; that each partition is placed exactly once never depends on it.

Source: design 3.3 (balanced, least movement).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

__all__ = ["Kind", "balance"]

_CHAIN_STEPS_MAX: Final = 2_000_000
"""Some half a second of looking for chains: 1,000 nodes of five kinds each cost 25,000 a chain, a
hundred kinds a million."""

_Hop = tuple[int, int]
"""Cost, and the node over which one kind pushes out another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Partitions that the same nodes host."""

    hosts: Sequence[int]
    """Numbers of nodes, at least one."""
    partitions: int
    held: Sequence[int]
    """For each node of all: how many it holds; 0 for those that don't host it."""


def balance(kinds: Sequence[Kind], nodes: int) -> list[list[int]]:
    """Return for each kind how many partitions each of the nodes 0 .. `nodes` - 1 should have."""
    state = _State(kinds, nodes)
    for number in sorted(range(len(kinds)), key=lambda each: (len(kinds[each].hosts), each)):
        state.place(number)
    state.level()
    if len(kinds) > 1:
        steps = sum(len(each) ** 2 for each in state.kinds_of) + len(kinds) ** 3
        for _ in range(_CHAIN_STEPS_MAX // steps):
            if not state.improve():
                break
    return state.counts


class _State:
    """What each node has so far."""

    def __init__(self, kinds: Sequence[Kind], nodes: int) -> None:
        self._kinds = kinds
        self._held = [kind.held for kind in kinds]
        self.counts = [list(kind.held) for kind in kinds]
        self._totals = [sum(column) for column in zip(*self.counts, strict=True)] or [0] * nodes
        self.kinds_of: list[list[int]] = [[] for _ in range(nodes)]
        for number, kind in enumerate(kinds):
            for node in kind.hosts:
                self.kinds_of[node].append(number)

    def place(self, number: int) -> None:
        """Give what nobody holds of a kind to whoever has least."""
        kind, counts = self._kinds[number], self.counts[number]
        least = [(self._totals[node], node) for node in kind.hosts]
        heapify(least)
        for _ in range(kind.partitions - sum(counts)):
            total, node = heappop(least)
            counts[node] += 1
            self._totals[node] = total + 1
            heappush(least, (total + 1, node))

    def level(self) -> None:
        """Move single partitions from who has most to who has least while that evens the totals.

        The fullest node gives first, of all kinds the one that leads to the emptiest host; so a
        node that joins gets a little of many. A node that found nobody never will: others end with
        one less than it at the least.
        """
        counts, totals = self.counts, self._totals
        most = [(-total, node) for node, total in enumerate(totals)]
        heapify(most)
        least: list[list[tuple[int, int, int]]] = []
        for number in range(len(counts)):
            hosts = [(totals[node], self._in(number, node), node) for node in self._hosts(number)]
            heapify(hosts)
            least.append(hosts)
        while most:
            total, giver = heappop(most)
            if -total != totals[giver]:
                continue  # no longer true; what is true stands there too
            found = self._taker(giver, least)
            if found is None:
                continue
            number, taker = found
            for node, change in ((giver, -1), (taker, 1)):
                counts[number][node] += change
                totals[node] += change
                heappush(most, (-totals[node], node))
                for each in self.kinds_of[node]:
                    heappush(least[each], (totals[node], self._in(each, node), node))

    def _taker(
        self, giver: int, least: Sequence[list[tuple[int, int, int]]]
    ) -> tuple[int, int] | None:
        """Return a kind and the emptiest node that could have one of it from `giver`, if any."""
        totals = self._totals
        best: tuple[int, int, int, int] | None = None
        for number in self.kinds_of[giver]:
            if not self.counts[number][giver]:
                continue
            hosts = least[number]
            while hosts[0][0] != totals[hosts[0][2]]:
                heappop(hosts)  # as above
            total, cost_in, taker = hosts[0]
            if totals[giver] - total >= 2:
                found = (total, cost_in + self._out(number, giver), number, taker)
                best = found if best is None else min(best, found)
        return None if best is None else best[2:]

    def improve(self) -> bool:
        """Apply one chain of moves that makes it better; return whether there was one."""
        hops = self._hops()
        if cycle := _negative_cycle(hops):
            for kind, (_, node), pushed in cycle:
                self._push(kind, node, pushed)
            return True
        costs, next_kinds = _shortest(hops)
        found = self._levelling_chain(costs) or self._cheaper_chain(costs)
        if found is None:
            return False
        first, last, giver, taker = found
        self._change(first, giver, -1)
        kind = first
        while kind != last:
            pushed = next_kinds[kind][last]
            self._push(kind, hops[kind][pushed][1], pushed)
            kind = pushed
        self._change(last, taker, 1)
        return True

    def _hosts(self, number: int) -> Sequence[int]:
        return self._kinds[number].hosts

    def _in(self, number: int, node: int) -> int:
        """Return what one more costs: -1 if one comes back to who holds it."""
        return -1 if self.counts[number][node] < self._held[number][node] else 0

    def _out(self, number: int, node: int) -> int:
        """Return what one less costs: 1 if one is taken from who holds it."""
        return 1 if self.counts[number][node] <= self._held[number][node] else 0

    def _change(self, number: int, node: int, change: int) -> None:
        self.counts[number][node] += change
        self._totals[node] += change

    def _push(self, kind: int, node: int, pushed: int) -> None:
        """Let a node take one of a kind and give one of another."""
        self.counts[kind][node] += 1
        self.counts[pushed][node] -= 1

    def _hops(self) -> list[dict[int, _Hop]]:
        """Return for each kind which others it can push out of a node, where that is cheapest."""
        hops: list[dict[int, _Hop]] = [{} for _ in self._kinds]
        for node, kinds in enumerate(self.kinds_of):
            given = [(each, self._out(each, node)) for each in kinds if self.counts[each][node]]
            for kind in kinds:
                cost_in, known = self._in(kind, node), hops[kind]
                for pushed, cost_out in given:
                    cost = cost_in + cost_out
                    if pushed != kind and (pushed not in known or cost < known[pushed][0]):
                        known[pushed] = (cost, node)
        return hops

    def _levelling_chain(self, costs: list[dict[int, int]]) -> tuple[int, int, int, int] | None:
        """Return a chain from a node to one with at least two less: its kinds and its ends."""
        givers = [
            min(
                ((-self._totals[n], self._out(k, n), n) for n in kind.hosts if self.counts[k][n]),
                default=None,
            )
            for k, kind in enumerate(self._kinds)
        ]
        takers = [
            min((self._totals[n], self._in(k, n), n) for n in kind.hosts)
            for k, kind in enumerate(self._kinds)
        ]
        best: tuple[int, int, int, int] | None = None
        for first, giver in enumerate(givers):
            if giver is None:
                continue
            for last, cost in costs[first].items():
                total, cost_in, _ = takers[last]
                gap = -giver[0] - total
                if gap >= 2:
                    found = (-gap, giver[1] + cost + cost_in, first, last)
                    best = found if best is None else min(best, found)
        if best is None:
            return None
        _, _, first, last = best
        giver = givers[first]
        assert giver is not None
        return first, last, giver[2], takers[last][2]

    def _cheaper_chain(self, costs: list[dict[int, int]]) -> tuple[int, int, int, int] | None:
        """Return a chain from a node to one with one less that saves moves; the totals swap."""
        givers: list[dict[int, tuple[int, int]]] = [{} for _ in self._kinds]
        takers: list[dict[int, tuple[int, int]]] = [{} for _ in self._kinds]
        for number, kind in enumerate(self._kinds):
            for node in kind.hosts:
                total = self._totals[node]
                taker = (self._in(number, node), node)
                takers[number][total] = min(takers[number].get(total, taker), taker)
                if self.counts[number][node]:
                    giver = (self._out(number, node), node)
                    givers[number][total] = min(givers[number].get(total, giver), giver)
        for first, by_total in enumerate(givers):
            for last, cost in costs[first].items():
                for total, giver in by_total.items():
                    found = takers[last].get(total - 1)
                    if found is not None and giver[0] + cost + found[0] < 0:
                        return first, last, giver[1], found[1]
        return None


def _negative_cycle(hops: list[dict[int, _Hop]]) -> list[tuple[int, _Hop, int]]:
    """Return the hops of a cycle whose costs are below 0 in sum (Bellman and Ford); none: empty."""
    costs = [0] * len(hops)
    before = [-1] * len(hops)
    changed = -1
    for _ in hops:
        changed = -1
        for kind, known in enumerate(hops):
            for pushed, (cost, _) in known.items():
                if costs[kind] + cost < costs[pushed]:
                    costs[pushed] = costs[kind] + cost
                    before[pushed] = changed = kind
                    changed = pushed
        if changed < 0:
            return []
    for _ in hops:  # back into the cycle
        changed = before[changed]
    cycle: list[tuple[int, _Hop, int]] = []
    pushed = changed
    while True:
        kind = before[pushed]
        cycle.append((kind, hops[kind][pushed], pushed))
        pushed = kind
        if pushed == changed:
            return cycle


def _shortest(hops: list[dict[int, _Hop]]) -> tuple[list[dict[int, int]], list[dict[int, int]]]:
    """Return the costs from kind to kind, and where to go first (Floyd and Warshall)."""
    kinds = range(len(hops))
    costs: list[dict[int, int]] = [
        {kind: 0} | {to: cost for to, (cost, _) in hops[kind].items()} for kind in kinds
    ]
    next_kinds: list[dict[int, int]] = [{to: to for to in hops[kind]} for kind in kinds]
    for via in kinds:
        onward = list(costs[via].items())
        for kind in kinds:
            to_via = costs[kind].get(via)
            if to_via is None or kind == via:
                continue
            for to, cost in onward:
                if to != via and (to not in costs[kind] or to_via + cost < costs[kind][to]):
                    costs[kind][to] = to_via + cost
                    next_kinds[kind][to] = next_kinds[kind][via]
    return costs, next_kinds
