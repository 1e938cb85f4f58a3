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
- A newer claim is believed: who is told of one by its owner stops serving, and asks if it should.
- A duel ends: who lost a partition to a claim stays away for a time that doubles, unless who took
  it has gone since. And a node that is not assigned claims it from the same owner again only after
  that was reached once more: a group that goes on finds out who died. So of two that can't reach
  each other the assigned one stays.

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
RELEASED_S: Final = 1.0
"""A released partition is for the one who asked for it; so much later it is anybody's."""
UNKNOWN_S: Final = 1.0
"""An owner that is not known may be newer than what is known: it is looked for meanwhile."""
HOLD_S: Final = 0.5
HOLD_MAX_S: Final = 8.0
"""A partition lost to another's claim is left alone for so long, doubled with each loss."""
LOSS_FORGET_S: Final = 900.0
"""A loss longer ago does not lengthen anything any more."""
STRANGER_S: Final = 15.0
STRANGER_MAX_S: Final = 240.0
"""Without a group, also a node that never reached the owner since claims again after so long,
doubled with each loss: nobody else would find out that it died."""

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

    def stand(self, standing: Standing, now: float) -> bool:
        """Take a new standing; tell whether it is one."""
        if standing is self.standing:
            return False
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
    """Of who took it; empty: nobody knows."""
    times: int
    """Of this duel."""
    in_all: int


class Choices:
    """One node's choices. Tell it what changes; ask it about each partition."""

    def __init__(self, me: Node, owner_of: Callable[[Place], Owned], now: float) -> None:
        """`me` is this node, whose standing is set like that of the others (`stand`)."""
        self.me = me
        self._owner_of = owner_of
        self.nodes: dict[bytes, Node] = {me.id: me}
        self._by_endpoint: dict[str, Node] = {me.endpoint: me}
        self._orders: dict[str, Rendezvous] = {}
        self._assigned: frozenset[Place] | None = None
        self._is_grouped = False
        self._began = now
        self._serving: dict[Place, None] = {}
        self._given: dict[Place, None] = {}
        self._free_since: dict[Place, float] = {}
        """From when on one that nobody serves may be claimed; before `_began`: from then on."""
        self._losses: dict[Place, _Loss] = {}

    # --- who is there ----------------------------------------------------------------------------

    def put(self, node: Node) -> None:
        """Take a node that is not known; another one at its endpoint has ended.

        At this node's own endpoint there is nobody else: one that was there before has ended.
        """
        if node.endpoint == self.me.endpoint:
            return
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

    # --- what the group says ---------------------------------------------------------------------

    def assign(self, places: Iterable[Place]) -> None:
        """Take what the group gave to this node."""
        self._assigned = frozenset(places)
        self._is_grouped = True

    def unassign(self) -> None:
        """The group may have given to others what was this node's; nothing more is heard of it."""
        self._assigned = frozenset()
        self._is_grouped = False

    def is_mine(self, place: Place) -> bool:
        """Tell whether the group gave a partition to this node."""
        return self._assigned is not None and place in self._assigned

    # --- what became of partitions ---------------------------------------------------------------

    def begin(self, now: float) -> None:
        """From now on partitions that nobody serves are claimed: all others were asked for."""
        self._began = now

    def free(self, place: Place, since: float) -> None:
        """Nobody serves a partition any more, and from then on it may be claimed."""
        self._free_since[place] = since

    def took(self, place: Place) -> None:
        """This node serves a partition."""
        self._serving[place] = None
        self._given.pop(place, None)
        self._free_since.pop(place, None)

    def kept(self, place: Place) -> None:
        """This node has served it for long: what it lost before was no duel."""
        if (loss := self._losses.get(place)) is not None:
            self._losses[place] = loss._replace(times=0)

    def give(self, place: Place) -> None:
        """A partition that this node serves was asked for, and is let go."""
        self._given[place] = None

    def let_go(self, place: Place, now: float) -> None:
        """This node does not serve it any more, or takes it over no longer."""
        if place in self._serving:
            del self._serving[place]
            self._free_since[place] = now + (RELEASED_S if place in self._given else 0.0)
        self._given.pop(place, None)

    def lost(self, place: Place, endpoint: str, now: float) -> None:
        """A partition went to another's claim."""
        former = self._losses.get(place)
        if former is None or now - former.when > LOSS_FORGET_S:
            former = _Loss(now, endpoint, 0, 0)
        self._losses[place] = _Loss(now, endpoint, former.times + 1, former.in_all + 1)

    @property
    def serving(self) -> Iterable[Place]:
        """What this node serves."""
        return self._serving

    # --- what to do ------------------------------------------------------------------------------

    def may_give(self, place: Place) -> bool:
        """Tell whether this node lets a partition go that another one asks for."""
        if self.me.standing is Standing.LEAVING:
            return True
        return self._assigned is not None and place not in self._assigned

    def choose(self, place: Place, now: float) -> Choice:
        """Return what to do about a partition now."""
        me, owner = self.me, self._owner_of(place)
        is_others = owner.endpoint not in ("", me.endpoint)
        if place in self._serving:
            return Choice.LEAVE if is_others or place in self._given else Choice.KEEP
        if me.standing is not Standing.SERVING:
            return Choice.LEAVE
        node = self._by_endpoint.get(owner.endpoint) if is_others else None
        if self._holds_off(place, node, now):
            return Choice.LEAVE
        if node is None:
            if is_others:
                self._free_since.setdefault(place, now + UNKNOWN_S)
            since = max(self._free_since.get(place, self._began), self._began)
            is_due = now >= since if self.is_mine(place) else self._is_next(place, now, since)
            return Choice.CLAIM if is_due else Choice.LEAVE
        self._free_since.pop(place, None)
        if node.standing is Standing.SERVING:
            return Choice.ASK if self.is_mine(place) else Choice.LEAVE
        is_due = self.is_mine(place) or self._is_next(place, now, node.since)
        if not is_due:
            return Choice.LEAVE
        return Choice.ASK if node.standing is Standing.LEAVING else Choice.CLAIM

    def is_settled(self, place: Place) -> bool:
        """Tell whether a live node serves it and this one should not: no wait will change that."""
        node = self._by_endpoint.get(self._owner_of(place).endpoint)
        if node is None or node is self.me or node.standing is not Standing.SERVING:
            return False
        return not self.is_mine(place)

    def _holds_off(self, place: Place, node: Node | None, now: float) -> bool:
        """Tell whether a partition that was lost to a claim is left alone for now.

        `node` is its owner; None: nobody is known to be.
        """
        loss = self._losses.get(place)
        if loss is None:
            return False
        waited = now - loss.when
        is_fresh = waited < _hold_s(loss.times)
        if node is None:
            # Who took it is gone, or has left it; but where nobody knows who did, it may live.
            return is_fresh and not loss.endpoint
        if node.standing is Standing.SERVING or node.since <= loss.when:
            if is_fresh:
                return True
            if node.is_reached or node.endpoint != loss.endpoint or self.is_mine(place):
                return False
            return self._is_grouped or waited < _stranger_s(loss.in_all)
        return False

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


def _hold_s(times: int) -> float:
    return min(HOLD_S * 2.0 ** (min(times, 10) - 1), HOLD_MAX_S) if times else 0.0


def _stranger_s(times: int) -> float:
    return min(STRANGER_S * 2.0 ** (min(times, 10) - 1), STRANGER_MAX_S)
