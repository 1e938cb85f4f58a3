"""What one node is to do about each partition: keep, ask for, claim or leave it (pure; design 3.3).

All of it is a guess about who lives and who should own. Two nodes that guess differently cost each
other a claim; which of them owns is decided by the log (log protocol 5), so rules here aim at one
thing: that soon exactly one node wants a partition, whatever was lost on the way.

- The group's assignment says who should own a partition. A live owner is *asked* for it, and serves
  until it has released it.
- An owner that is unreachable, or says that it can't serve, is not waited for. The node that is
  assigned claims at once; else the first of the others in rendezvous order, the next one
  `STEP_S` later if that one does not.
- Nobody may wait for the group at a start: a partition that no live node serves is claimed in
  rendezvous order among those that are there.
- A duel ends: who lost a partition to a claim stays away for a time that doubles, and a node that
  is not assigned claims it from the same owner again only after that was reached once more. So of
  two that can't reach each other the assigned one stays.

Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from spawn.cluster.rendezvous import Rendezvous

__all__ = ["Choice", "Choices", "Node", "Owned", "Place", "Standing"]

STEP_S: Final = 1.0
"""The next node in rendezvous order gives the one before it so long to claim."""
RELEASED_S: Final = 0.5
"""A released partition is somebody's who asked for it; only then it is anybody's."""
HOLD_S: Final = 0.5
HOLD_MAX_S: Final = 8.0
"""A partition lost to another's claim is left alone for so long, doubled with each loss."""
STRANGER_S: Final = 15.0
"""After so long also a node that is not assigned claims again from an owner it never reached."""

Place = tuple[str, int]
"""Topic and partition."""


class Choice(StrEnum):
    """What to do about a partition."""

    LEAVE = "leave"
    """It is not for this node; if it serves it, it hands it over."""
    KEEP = "keep"
    """It serves it and goes on."""
    ASK = "ask"
    """Read it, ask its owner to hand it over, claim once it has."""
    CLAIM = "claim"
    """Claim it; nobody is waited for."""


class Standing(StrEnum):
    """How a node stands, as it says itself or as others find."""

    SERVING = "serving"
    UNFIT = "unfit"
    """It can't reach the log or the database, so it can't commit, though it may be reached."""
    LEAVING = "leaving"
    """It hands everything over and then ends."""
    UNREACHABLE = "unreachable"
    """Others agree that it does not answer."""
    UNMET = "unmet"
    """It is on the roll, but was never reached by this node."""


@dataclass(slots=True, kw_only=True)
class Node:
    """A node as this one sees it."""

    id: bytes
    endpoint: str
    """Of its mesh."""
    topics: Mapping[str, int]
    """Of the types that it hosts."""
    standing: Standing = Standing.UNMET
    since: float = 0.0
    """Of this standing."""
    met_at: float = -1.0
    """When it was last found reachable anew; below 0: never."""

    def stand(self, standing: Standing, now: float) -> bool:
        """Take a new standing; tell whether it is one."""
        if standing is self.standing:
            return False
        if self.standing in (Standing.UNMET, Standing.UNREACHABLE):
            self.met_at = now
        self.standing, self.since = standing, now
        return True

    @property
    def is_reached(self) -> bool:
        """Whether it answers."""
        return self.standing not in (Standing.UNMET, Standing.UNREACHABLE)


class Owned(NamedTuple):
    """Who owns a partition, as far as is known."""

    epoch: int
    endpoint: str
    """Empty: nobody is known to."""


class _Loss(NamedTuple):
    when: float
    endpoint: str
    """Of who took it."""
    times: int


class Choices:
    """One node's choices. Tell it what changes; ask it about each partition."""

    def __init__(self, me: Node, owner_of: Callable[[Place], Owned], now: float) -> None:
        """`me` is this node, whose standing is that of the others' too (`stand`)."""
        self.me = me
        self._owner_of = owner_of
        self.nodes: dict[bytes, Node] = {me.id: me}
        self._by_endpoint: dict[str, Node] = {me.endpoint: me}
        self._orders: dict[str, Rendezvous] = {}
        self._assigned: frozenset[Place] | None = None
        self._began = now
        self._free_since: dict[Place, float] = {}
        self._losses: dict[Place, _Loss] = {}
        self._given: dict[Place, float] = {}

    # --- what changes ----------------------------------------------------------------------------

    def put(self, node: Node) -> None:
        """Take a node that is not known; another one at its endpoint has ended."""
        former = self._by_endpoint.get(node.endpoint)
        if former is not None and former.id != node.id:
            self.remove(former.id)
        self.nodes[node.id] = node
        self._by_endpoint[node.endpoint] = node
        self._orders.clear()

    def remove(self, node_id: bytes) -> None:
        """Forget a node that has ended."""
        node = self.nodes.pop(node_id, None)
        if node is not None and self._by_endpoint.get(node.endpoint) is node:
            del self._by_endpoint[node.endpoint]
        self._orders.clear()

    def stand(self, node: Node, standing: Standing, now: float) -> bool:
        """Take how a node stands; tell whether that is news."""
        if not node.stand(standing, now):
            return False
        self._orders.clear()
        return True

    def at_endpoint(self, endpoint: str) -> Node | None:
        """Return the node whose mesh is there."""
        return self._by_endpoint.get(endpoint)

    def assign(self, places: Iterable[Place]) -> None:
        """Take what the group gave to this node."""
        self._assigned = frozenset(places)

    @property
    def is_assigned(self) -> bool:
        """Whether the group has said anything yet."""
        return self._assigned is not None

    def is_mine(self, place: Place) -> bool:
        """Tell whether the group gave a partition to this node."""
        return self._assigned is not None and place in self._assigned

    def begin(self, now: float) -> None:
        """From now on partitions that nobody serves are claimed: all others were asked for."""
        self._began = now

    def free(self, place: Place, now: float) -> None:
        """Nobody serves a partition any more."""
        self._free_since[place] = now

    def took(self, place: Place) -> None:
        """This node serves a partition."""
        self._given.pop(place, None)
        self._free_since.pop(place, None)

    def kept(self, place: Place) -> None:
        """This node has served it for long: what it lost before was no duel."""
        self._losses.pop(place, None)

    def lost(self, place: Place, endpoint: str, now: float) -> None:
        """A partition went to another's claim."""
        former = self._losses.get(place)
        self._losses[place] = _Loss(now, endpoint, 1 if former is None else former.times + 1)

    def give(self, place: Place, now: float) -> None:
        """A partition that this node serves was asked for, and is let go."""
        self._given[place] = now

    # --- what to do ------------------------------------------------------------------------------

    def may_give(self, place: Place) -> bool:
        """Tell whether this node lets a partition go that another one asks for."""
        if self.me.standing is Standing.LEAVING:
            return True
        return self._assigned is not None and place not in self._assigned

    def choose(self, place: Place, now: float) -> Choice:
        """Return what to do about a partition now."""
        me, owner = self.me, self._owner_of(place)
        if owner.endpoint == me.endpoint:
            return Choice.LEAVE if place in self._given else Choice.KEEP
        if me.standing is not Standing.SERVING:
            return Choice.LEAVE
        if (given := self._given.get(place)) is not None:
            # The one who asked takes it; if it does not, it is free for this node too.
            if now - given < RELEASED_S:
                return Choice.LEAVE
            del self._given[place]
        loss = self._losses.get(place)
        if loss is not None and now - loss.when < _hold_s(loss.times):
            return Choice.LEAVE
        node = self._by_endpoint.get(owner.endpoint) if owner.endpoint else None
        if node is not None and node.standing is Standing.SERVING:
            return Choice.ASK if self.is_mine(place) else Choice.LEAVE
        if node is not None and node.standing is Standing.LEAVING:
            return Choice.ASK if self._is_next(place, now, node.since) else Choice.LEAVE
        if node is None:
            since = max(self._free_since.get(place, self._began), self._began)
            first_s = RELEASED_S if place in self._free_since else 0.0
            return self._claim_if(self.is_mine(place) or self._is_next(place, now, since + first_s))
        if self.is_mine(place):
            return Choice.CLAIM
        if loss is not None and loss.endpoint == owner.endpoint:
            met_again = node.met_at > loss.when
            if not met_again and now - loss.when < STRANGER_S:
                return Choice.LEAVE
        return self._claim_if(self._is_next(place, now, node.since))

    def _claim_if(self, is_due: bool) -> Choice:
        return Choice.CLAIM if is_due else Choice.LEAVE

    def _is_next(self, place: Place, now: float, since: float) -> bool:
        """Tell whether it is this node's turn for a partition that lacks an owner since then."""
        topic, partition = place
        order = self._orders.get(topic)
        if order is None:
            order = self._orders[topic] = Rendezvous(
                node.id
                for node in self.nodes.values()
                if node.standing is Standing.SERVING and topic in node.topics
            )
        waited = now - since
        if waited < 0:
            return False
        me = self.me.id
        for rank, node_id in enumerate(order.order(topic, partition)):
            if waited < rank * STEP_S:
                return False
            if node_id == me:
                return True
        return False


def _hold_s(count: int) -> float:
    return min(HOLD_S * 2.0 ** (min(count, 10) - 1), HOLD_MAX_S)
