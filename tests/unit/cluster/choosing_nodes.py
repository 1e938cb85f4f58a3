"""Several nodes that choose, over a log in which the later claim counts: a model of a cluster.

Each node has its own view (who is there, how they stand, what the group says, who owns), which a
test makes wrong; then it lets the views agree, and looks how long the nodes go on to disagree.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Final

from spawn.cluster.choice import Choice, Choices, Node, Owned, Place, Standing

__all__ = ["Chooser", "Cluster"]

_TICK_S: Final = 0.1
_CLAIM_S: Final = (0.005, 0.4)
"""How long a take-over is under way, with or without the wait for a lease."""
_NOTICE_S: Final = (0.0, 2.0)
"""After so long at the latest an owner meets a foreign claim with an append."""
_NEWS_S: Final = 0.5
"""Owners tell again and again what they own: links break and open."""
_PATIENCE_S: Final = 4.0
"""An owner that does not answer is not asked for longer (`Membership.may_claim`)."""


class Cluster:
    """All nodes, the log, and time."""

    def __init__(self, nodes: int, places: int, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self.places: list[Place] = [("t", number) for number in range(places)]
        self.log: dict[Place, tuple[int, Chooser | None]] = dict.fromkeys(self.places, (0, None))
        """Epoch and owner of the last claim."""
        self.claims: list[tuple[float, str, Place]] = []
        self.cut: set[frozenset[str]] = set()
        """Pairs of nodes between which nothing goes."""
        self.lossy = 0.0
        """Of news."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.nodes = [Chooser(self, number, nodes) for number in range(nodes)]
        for node in self.nodes:
            node.start()

    def later(self, delay_s: float, work: Callable[[], None]) -> None:
        """Have something done."""
        heapq.heappush(self._queue, (self.now + delay_s, next(self._count), work))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, work = heapq.heappop(self._queue)
            work()
        self.now = end

    def reach(self, one: Chooser, other: Chooser) -> bool:
        """Tell whether something goes between two nodes."""
        return frozenset((one.endpoint, other.endpoint)) not in self.cut

    def converge(self, assigned: list[int]) -> None:
        """Let all agree: everybody is there, and the group gives each place to one node."""
        self.lossy = 0.0
        for node in self.nodes:
            for other in self.nodes:
                is_cut = not self.reach(node, other)
                node.see(other, Standing.UNREACHABLE if is_cut else Standing.SERVING)
            shares = [
                place
                for place, number in zip(self.places, assigned, strict=True)
                if self.nodes[number % len(self.nodes)] is node
            ]
            node.choices.assign(shares)

    def claims_since(self, when: float) -> list[tuple[float, str, Place]]:
        """Return the claims from then on."""
        return [claim for claim in self.claims if claim[0] >= when]

    def servers(self, place: Place) -> list[str]:
        """Return the nodes that serve a place, or want to."""
        return [node.endpoint for node in self.nodes if node.wants(place)]


class Chooser:
    """One node: what it chooses is done, after a while."""

    def __init__(self, cluster: Cluster, number: int, nodes: int) -> None:
        self.cluster = cluster
        self.endpoint = f"n{number}:1"
        self.table: dict[Place, Owned] = {}
        self.serving: dict[Place, int] = {}
        """Epochs of its own claims."""
        self.taking: dict[Place, int] = {}
        """Epochs at the log's end when it was read."""
        self.asking: dict[Place, float] = {}
        """Since when nobody answered."""
        everybody = [
            Node(id=bytes([each]) * 16, endpoint=f"n{each}:1", topics={"t": len(cluster.places)})
            for each in range(nodes)
        ]
        self.me = everybody[number]
        self.me.standing = Standing.SERVING
        self.choices = Choices(self.me, lambda place: self.table.get(place, Owned(0, "")), 0.0)
        for each in everybody:
            if each is not self.me:
                self.choices.put(each)
                self.choices.stand(each, Standing.SERVING, 0.0)

    def start(self) -> None:
        """Begin to choose."""
        dice = self.cluster.dice
        self.cluster.later(dice.uniform(0, _TICK_S), self._tick)
        self.cluster.later(dice.uniform(0, _NEWS_S), self._tell_again)

    def see(self, other: Chooser, standing: Standing) -> None:
        """Find how another node stands."""
        if other is not self:
            node = self.choices.nodes[other.me.id]
            self.choices.stand(node, standing, self.cluster.now)
        elif standing in (Standing.SERVING, Standing.UNFIT):
            self.choices.stand(self.me, standing, self.cluster.now)

    def wants(self, place: Place) -> bool:
        """Tell whether it serves a place or wants to."""
        return self.choices.choose(place, self.cluster.now) is not Choice.LEAVE

    def _tick(self) -> None:
        for place in self.cluster.places:
            match self.choices.choose(place, self.cluster.now):
                case Choice.CLAIM:
                    self._take(place)
                case Choice.ASK:
                    self._ask(place)
                case Choice.LEAVE:
                    self.asking.pop(place, None)
                    if place in self.serving:
                        self._let_go(place)
        self.cluster.later(_TICK_S, self._tick)

    def _ask(self, place: Place) -> None:
        cluster, known = self.cluster, self.table[place]
        owner = next(node for node in cluster.nodes if node.endpoint == known.endpoint)
        if not cluster.reach(self, owner):
            since = self.asking.setdefault(place, cluster.now)
            if cluster.now - since > _PATIENCE_S:
                self._take(place)
            return
        self.asking.pop(place, None)
        if place not in owner.serving:
            if place not in owner.taking and not owner.wants(place):
                self.table[place] = Owned(known.epoch, "")
                self.choices.free(place, cluster.now)
        elif owner.choices.may_give(place):
            owner.choices.give(place)
            owner._let_go(place)
            self._take(place)

    def _take(self, place: Place) -> None:
        if place not in self.taking:
            self.taking[place] = self.cluster.log[place][0]
            delay_s = self.cluster.dice.uniform(*_CLAIM_S)
            self.cluster.later(delay_s, lambda: self._claim(place))

    def _claim(self, place: Place) -> None:
        cluster, read = self.cluster, self.taking.pop(place)
        self.asking.pop(place, None)
        epoch, former = cluster.log[place]
        if epoch != read:
            self._lose(place)
            return
        cluster.log[place] = epoch + 1, self
        cluster.claims.append((cluster.now, self.endpoint, place))
        self.serving[place] = epoch + 1
        self.table[place] = Owned(epoch + 1, self.endpoint)
        self.choices.took(place)
        cluster.later(5.0, lambda: self._keep(place, epoch + 1))
        self._tell(place)
        if former is not None and former is not self:
            cluster.later(cluster.dice.uniform(*_NOTICE_S), lambda: former._notice(place, epoch))

    def _keep(self, place: Place, epoch: int) -> None:
        if self.serving.get(place) == epoch:
            self.choices.kept(place)

    def _notice(self, place: Place, epoch: int) -> None:
        """An append meets the claim of another node."""
        if self.serving.get(place) == epoch:
            self._let_go(place)
            self._lose(place)

    def _lose(self, place: Place) -> None:
        epoch, owner = self.cluster.log[place]
        assert owner is not None
        self._learn(place, epoch, owner.endpoint)
        self.choices.lost(place, owner.endpoint, self.cluster.now)

    def _let_go(self, place: Place) -> None:
        epoch = self.serving.pop(place)
        if self.table[place] == Owned(epoch, self.endpoint):
            self.table[place] = Owned(epoch, "")
        self.choices.let_go(place, self.cluster.now)

    def _tell(self, place: Place) -> None:
        epoch = self.serving[place]
        for other in self.cluster.nodes:
            if self.cluster.reach(self, other) and self.cluster.dice.random() >= self.cluster.lossy:
                other._learn(place, epoch, self.endpoint)

    def _tell_again(self) -> None:
        for place in self.serving:
            self._tell(place)
        self.cluster.later(_NEWS_S, self._tell_again)

    def _learn(self, place: Place, epoch: int, endpoint: str) -> None:
        known = self.table.get(place, Owned(0, ""))
        if (epoch, endpoint != "") > (known.epoch, known.endpoint != ""):
            self.table[place] = Owned(epoch, endpoint)
