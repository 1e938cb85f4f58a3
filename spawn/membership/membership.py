"""A node among others: who is there, what the group says, and so what this node is to own.

It is told everything that bears on that (links, the group, the roll, its own fitness), lets
`spawn.cluster.choice` decide, and wakes the runtime when the decisions change. It is the runtime's
`Placement`, and a `Receiver` beside the router.

Over 400 lines: it only brings together what is decided elsewhere, and each of its parts feeds the
same review.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from eventstore.codec import ClaimBody
from eventstore.errors import LogError
from eventstore.group import GroupMembership, GroupParticipant, GroupStatus
from eventstore.log import TopicPartition
from spawn.cluster.choice import (
    UNKNOWN_S,
    Choice,
    Choices,
    Node,
    Owned,
    Place,
    Standing,
)
from spawn.cluster.members import Member
from spawn.errors import SpawnError
from spawn.membership.fitness import Fitness
from spawn.membership.handing import Handing
from spawn.membership.participant import Participant
from spawn.membership.roll import Roll, newest
from spawn.mesh.link import Ended, Ending, Link
from spawn.mesh.observer import Observer
from spawn.mesh.wire import Handover, Message, OwnerNews, Redirect
from spawn.mesh.wire import Standing as StandingNews
from spawn.routing.router import Router
from spawn.runtime.placement import Strangers

__all__ = ["Membership", "MembershipPlan"]

_logger = logging.getLogger("spawn.membership")

_FIRST_LOOK_S: Final = 4.0
"""A start waits so long at most for nodes on the roll that neither answer nor refuse."""
_TICK_S: Final = 0.1
_REST_TICKS: Final = 10
"""While every partition is where it should be, time alone changes nothing; it is looked all the
same, this much more rarely."""
_ROLL_S: Final = 5.0
"""The roll is read again so often, for nodes that could not be reached when they started."""
_LOOK_PAUSE_S: Final = 0.1
"""However often somebody is met who is not known there."""
_ERASE_S: Final = 30.0
"""So long after it was first seen a node that is in no group and was never met is erased."""
_ASK_AGAIN_S: Final = 0.2
_OLD_S: Final = 1.0
"""What was read of a partition longer ago is read on before it is claimed."""
_PATIENCE_S: Final = 4.0
"""An owner that lives by others' word and does not answer us is not asked for longer than this."""
_STRANGERS: Final = 3
"""One or two claims by strangers are passed over: a node may be newer than what is known here."""
_GOODBYE_S: Final = 0.5
_KEEP_LINKS_S: Final = 20.0
"""Less than a link may be idle: nodes stay linked, so that owners' news reach everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipPlan:
    """What a membership is made of."""

    me: Member
    """This node, with nothing held."""
    router: Router
    roll: Roll
    group: Callable[[GroupParticipant], GroupMembership]
    probes: Mapping[str, Callable[[], Awaitable[object]]]
    serves: Callable[[TopicPartition], bool]
    now: Callable[[], float]
    time_ms: Callable[[], int]


class Membership:
    """See the module."""

    def __init__(self, plan: MembershipPlan) -> None:
        self._plan = plan
        self._router, self._now = plan.router, plan.now
        now = plan.now()
        me = plan.me
        self.node = Node(
            id=me.node_id,
            endpoint=me.mesh,
            topics=me.topics,
            standing=Standing.SERVING,
            since=now,
        )
        self._choices = Choices(self.node, self._owner_of)
        self._places = dict.fromkeys(
            TopicPartition(topic, partition)
            for topic, count in sorted(me.topics.items())
            for partition in range(count)
        )
        self._handing = Handing(self._router.peers)
        self._observer = Observer(me.node_id.hex(), self._router.peers, self._now, self._found)
        self._fitness = Fitness(plan.probes, self._fit)
        self._participant = Participant(me, self._held, self._assigned, self._unassigned)
        self._group = plan.group(self._participant)
        self._members: Mapping[bytes, Member] = {me.node_id: me}
        self._elsewhere: Mapping[str, tuple[str, int]] = {}
        """Types that other nodes host alone, with their topics and those' partitions."""
        self._seen_at: dict[bytes, float] = {}
        """Every node that was ever met, or seen on the roll."""
        self._told: dict[bytes, Standing] = {}
        self._answered: set[bytes] = set()
        """Nodes that were met, or whose endpoint refused: nobody has to be waited for there."""
        self._wanted: set[TopicPartition] = set()
        self._change = asyncio.Event()
        """Set with the next change, and then another one."""
        self._has_begun = asyncio.Event()
        self._look_again = asyncio.Event()
        self._settled = asyncio.Event()
        self._stopped: set[TopicPartition] = set()
        self._unknown: dict[bytes, tuple[TopicPartition, ClaimBody]] = {}
        """Who claimed what was served here, and was not known then."""
        self._strangers = Strangers(_STRANGERS)
        self._router.beside += [self._observer, self]
        self._router.hint = self._hint
        self._router.hosted = lambda: self._elsewhere
        self._set_observed()

    # --- running ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take part until cancelled. Raises: GroupRefused, LogError - at the start alone."""
        await self._write()
        await self._read_roll()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._first_look())
            tasks.create_task(self._keep_roll())
            tasks.create_task(self._tick())
            tasks.create_task(self._keep_links())
            tasks.create_task(self._observer.run())
            tasks.create_task(self._router.peers.run())
            tasks.create_task(self._fitness.run())
            tasks.create_task(self._group.run())

    async def hand_over(self, deadline: float) -> bool:
        """Let others take what they can, until `deadline`; nothing is claimed any more.

        Returns whether there are others.
        """
        self._choices.stand(self.node, Standing.LEAVING, self._now())
        self._tell_standing()
        self._review()
        try:
            async with asyncio.timeout_at(deadline):
                while self._has_heirs():
                    await self.changed()
        except TimeoutError:
            _logger.warning("the other nodes did not take all partitions in time")
        return bool(self._others())

    async def leave(self, deadline: float) -> None:
        """Say goodbye; `run` goes on, for commands that are on their way."""
        await self._group.leave()
        try:
            async with asyncio.timeout_at(max(deadline, self._now() + _GOODBYE_S)):
                await self._plan.roll.erase([self.node.id], self._plan.time_ms())
        except (LogError, TimeoutError) as error:
            _logger.warning("this node stays on the roll until others erase it: %s", error)

    def _has_heirs(self) -> bool:
        """Tell whether this node owns something that another one could take."""
        return any(
            topic in node.topics for topic, _ in self._choices.serving for node in self._others()
        )

    def _others(self) -> Sequence[Node]:
        return [
            node
            for node in self._choices.nodes.values()
            if node is not self.node and node.standing is Standing.SERVING
        ]

    # --- Placement -------------------------------------------------------------------------------

    async def begun(self) -> None:
        await self._has_begun.wait()

    def is_alone(self) -> bool:
        return not self._others()

    def wants(self, at: TopicPartition) -> bool:
        return at in self._wanted

    async def changed(self) -> None:
        await self._change.wait()

    async def may_claim(self, at: TopicPartition) -> bool:
        began = self._now()
        await self._until_claimable(at)
        return self._now() - began > _OLD_S

    async def _until_claimable(self, at: TopicPartition) -> None:
        patience = self._now() + _PATIENCE_S
        while True:
            choice = self._choices.choose(at, self._now())
            if choice is Choice.CLAIM:
                return
            if choice is Choice.ASK:
                owner = self._router.owners.of(at)
                answer = await self._handing.ask(at, owner.endpoint, self.node.endpoint)
                if answer == "released":
                    return
                if answer == "not-owner" and self._router.owners.of(at) == owner:
                    self._router.owners.released(at, owner.endpoint)
                    self._choices.free(at, self._now())
                    continue
                if answer:
                    patience = self._now() + _PATIENCE_S
                elif self._now() > patience:
                    return
            await asyncio.sleep(_ASK_AGAIN_S)

    def serving(self, at: TopicPartition) -> None:
        self._stopped.discard(at)
        self._choices.took(at)
        self._review((at,))

    def kept(self, at: TopicPartition) -> None:
        self._choices.kept(at)

    def let_go(self, at: TopicPartition, epoch: int, *, is_lost: bool) -> None:
        self._handing.let_go(at, epoch, is_lost=is_lost)
        self._choices.let_go(at, self._now())
        self._review((at,))

    def stopped(self, at: TopicPartition) -> None:
        self._stopped.add(at)

    def taken(self, at: TopicPartition, owner: ClaimBody | None) -> None:
        now = self._now()
        endpoint = "" if owner is None else owner.endpoint
        self._choices.lost(at, endpoint, now)
        if owner is not None and self._choices.at_endpoint(endpoint) is None:
            self._look_again.set()
            self._choices.free(at, now + UNKNOWN_S)
        if owner is not None and owner.owner not in self._seen_at:
            self._unknown[owner.owner] = at, owner  # judged when the roll was read since
            self._look_again.set()
        self._review((at,))

    # --- Receiver, beside the router -------------------------------------------------------------

    def opened(self, link: Link) -> None:
        # Before anything that the peer tells: what was known of its endpoint is a former process's.
        self._meet(link)
        try:
            link.post(StandingNews(self.node.standing.value))
        except SpawnError:
            return  # it has ended already

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        self._handing.received(link, messages)
        for message in messages:
            if isinstance(message, StandingNews):
                self._hear(link, message)
            elif isinstance(message, Handover):
                self._asked_for(link, message)
        told = [
            TopicPartition(owner.topic, owner.partition)
            for message in messages
            if isinstance(message, OwnerNews)
            for owner in message.owners
        ]
        if any(isinstance(message, Redirect) for message in messages):
            self._review()  # it does not say of which partition
        elif told:
            self._review(told)

    def ended(self, link: Link, ended: Ended) -> None:
        self._handing.ended(link)
        node = self._choices.at_endpoint(link.endpoint)
        is_silent = ended.ending is Ending.TIMED_OUT  # it may stand still for a moment
        if node is not None and node.standing is Standing.UNMET and not is_silent:
            self._answered.add(node.id)
            self._check_first_look()

    def _meet(self, link: Link) -> None:
        """Take who is at a link's other end; one that is not known is looked for on the roll."""
        peer = link.peer
        if peer is None or peer.endpoint == self.node.endpoint:
            return
        node_id = bytes.fromhex(peer.node)
        node = self._choices.nodes.get(node_id)
        self._seen_at.setdefault(node_id, self._now())
        if node is None:
            node = Node(id=node_id, endpoint=peer.endpoint, topics={}, since=self._now())
            self._put(node)
            self._look_again.set()
        if node_id not in self._told:
            self._told[node_id] = Standing.SERVING
            self._restand(node)

    def _hear(self, link: Link, news: StandingNews) -> None:
        node = self._choices.nodes.get(bytes.fromhex(link.peer.node)) if link.peer else None
        if node is None:
            return  # it has ended
        known = {Standing.UNFIT.value: Standing.UNFIT, Standing.LEAVING.value: Standing.LEAVING}
        self._told[node.id] = known.get(news.standing, Standing.SERVING)
        self._answered.add(node.id)
        self._restand(node)
        self._check_first_look()

    def _asked_for(self, link: Link, asked: Handover) -> None:
        at = TopicPartition(asked.topic, asked.partition)
        owner = self._router.owners.of(at)
        if not self._plan.serves(at):
            # One that is about to serve it stays the owner in the asker's eyes.
            is_kept = at in self._wanted or at in self._stopped
            answer = "refused" if is_kept else "not-owner"
            self._handing.answer(link, asked, answer, owner.epoch)
        elif not self._choices.may_give(at):
            self._handing.answer(link, asked, "refused", owner.epoch)
        else:
            self._handing.promise(link, asked)
            self._choices.give(at)
            self._review((at,))

    # --- who is there ----------------------------------------------------------------------------

    def _put(self, node: Node) -> None:
        former = self._choices.at_endpoint(node.endpoint)
        if former is not None and former is not self.node:
            self._forget(former)
        self._choices.put(node)
        self._set_observed()

    def _forget(self, node: Node) -> None:
        now = self._now()
        for at, _ in list(self._router.owners.owned_by(node.endpoint)):
            self._router.owners.released(at, node.endpoint)
            self._choices.free(at, now)
        self._choices.remove(node.id)
        self._told.pop(node.id, None)
        self._answered.discard(node.id)

    def _set_observed(self) -> None:
        self._observer.set_members({
            node.id.hex(): node.endpoint
            for node in self._choices.nodes.values()
            if node is self.node or node.id in self._told
        })  # fmt: skip

    def _restand(self, node: Node) -> None:
        """Let a node stand as it says, unless observers agree that it can't be reached."""
        told = self._told.get(node.id)
        if told is None:
            standing = Standing.UNMET
        elif node.id.hex() in self._observer.unreachable:
            standing = Standing.UNREACHABLE
        else:
            standing = told
        if self._choices.stand(node, standing, self._now()):
            name = node.id.hex()[:8]
            _logger.info("node %s at %s is %s", name, node.endpoint, standing.value)
            self._set_observed()
            self._review()

    def _found(self, node_hex: str, is_unreachable: bool) -> None:
        node = self._choices.nodes.get(bytes.fromhex(node_hex))
        if node is None or node is self.node:
            return
        self._restand(node)
        if is_unreachable:
            self._router.peers.leave(node.endpoint, "observers agree that it does not answer")

    def _fit(self, missing: str) -> None:
        if self.node.standing is Standing.LEAVING:
            return
        if missing:
            _logger.warning("this node does not reach %s: others may take over", missing)
        else:
            _logger.info("log and database are reached again")
        standing = Standing.UNFIT if missing else Standing.SERVING
        self._choices.stand(self.node, standing, self._now())
        self._tell_standing()
        self._review()

    def _tell_standing(self) -> None:
        news = StandingNews(self.node.standing.value)
        for link in self._router.peers.links():
            try:
                link.post(news)
            except SpawnError:
                continue  # it is told when a link opens again

    # --- the roll --------------------------------------------------------------------------------

    async def _write(self) -> None:
        await self._plan.roll.write(self._plan.me, self._plan.time_ms())

    async def _read_roll(self) -> None:
        self._members = await self._plan.roll.read()
        self._elsewhere = {
            name: (topic, member.topics[topic])
            for member in self._members.values()
            for name, topic in member.types.items()
            if name not in self._plan.me.types
        }
        now = self._now()
        for node_id in self._members:
            self._seen_at.setdefault(node_id, now)
        last = newest(self._members)
        for node_id, member in self._members.items():
            node = self._choices.nodes.get(node_id)
            if node is None:
                # A process that ended may stand there still, or be written late: who is met counts.
                known = self._choices.at_endpoint(member.mesh)
                if node_id in last and (known is None or not known.is_reached):
                    node = Node(id=node_id, endpoint=member.mesh, topics=member.topics, since=now)
                    self._put(node)
            elif node is not self.node and node.topics != member.topics:
                self._choices.remove(node_id)
                node.topics = member.topics
                self._choices.put(node)
        for node in list(self._choices.nodes.values()):
            if node is not self.node and node.id not in self._members and not node.is_reached:
                self._forget(node)
        self._set_observed()
        self._call_unmet()
        self._review()

    def _call_unmet(self) -> None:
        """Open links to nodes that were not met yet; they answer, or nobody does."""
        for node in list(self._choices.nodes.values()):
            if node.standing is Standing.UNMET:
                try:
                    self._meet(self._router.peers.link(node.endpoint))
                except SpawnError:
                    continue  # it was tried a moment ago

    async def _keep_roll(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_ROLL_S):
                    await self._look_again.wait()
            except TimeoutError:
                pass
            self._look_again.clear()
            try:
                await self._read_roll()
                self._judge_unknown()
                # What is asked for meanwhile is looked for then, and not at once.
                await asyncio.sleep(_LOOK_PAUSE_S)
                if self.node.standing is Standing.LEAVING:
                    continue
                if self.node.id not in newest(self._members):
                    await self._write()
                if self._group.status().is_leader:
                    await self._erase_dead()
            except LogError as error:
                _logger.debug("the roll can't be read or written: %s", error)

    def _judge_unknown(self) -> None:
        """Hold claims by processes that never stood on the roll against this node's going on.

        Raises: Fenced - there were too many.
        """
        unknown, self._unknown = self._unknown, {}
        for node_id, (at, owner) in unknown.items():
            if node_id not in self._seen_at:
                _logger.warning("%s was claimed by %s, which is on no roll", at, owner.endpoint)
                self._strangers.meet(at, owner, self._now())

    async def _erase_dead(self) -> None:
        now = self._now()
        dead = [
            node_id
            for node_id in self._members
            if node_id not in self._participant.grouped
            and now - self._seen_at.get(node_id, now) > _ERASE_S
            and ((node := self._choices.nodes.get(node_id)) is None or not node.is_reached)
        ]
        await self._plan.roll.erase(dead, self._plan.time_ms())

    # --- the first look --------------------------------------------------------------------------

    async def _first_look(self) -> None:
        """Wait until every node on the roll was met or is known to be gone."""
        self._check_first_look()
        try:
            async with asyncio.timeout(_FIRST_LOOK_S):
                await self._has_begun.wait()
        except TimeoutError:
            self._begin()

    def _check_first_look(self) -> None:
        if not self._has_begun.is_set() and all(
            node_id in self._answered for node_id in self._choices.nodes if node_id != self.node.id
        ):
            self._begin()

    def _begin(self) -> None:
        self._has_begun.set()
        self._review()

    # --- the group -------------------------------------------------------------------------------

    def _held(self) -> Iterable[tuple[TopicPartition, int]]:
        for at, owner in self._router.owners.owned_by(self.node.endpoint):
            yield at, owner.epoch

    def _assigned(self, places: Iterable[TopicPartition]) -> None:
        self._choices.assign(places)
        self._review()

    def _unassigned(self) -> None:
        self._choices.unassign()
        self._review()

    # --- deciding --------------------------------------------------------------------------------

    def _owner_of(self, place: Place) -> Owned:
        owner = self._router.owners.of(TopicPartition(*place))
        return Owned(owner.epoch, owner.endpoint)

    def _hint(self, at: TopicPartition) -> str:
        """Return a node that hosts what this one does not: it knows the owner, or is told."""
        if at.topic in self.node.topics:
            return ""
        for node in self._choices.nodes.values():
            if at.topic in node.topics and node.standing is Standing.SERVING:
                return node.endpoint
        return ""

    def _review(self, places: Iterable[TopicPartition] | None = None) -> None:
        """Decide anew, about some partitions or all; wake whoever waits if anything is different.

        A node may host tens of thousands: what bears on one alone has that one looked at.
        """
        if not self._has_begun.is_set():
            return
        now, choose, wanted = self._now(), self._choices.choose, self._wanted
        is_settled = True if places is None else self._settled.is_set()
        is_changed = self.node.standing is Standing.LEAVING
        for at in self._places if places is None else places:
            if at not in self._places:
                continue  # somebody tells of a topic that is not hosted here
            choice = choose(at, now)
            if (choice is not Choice.LEAVE) is not (at in wanted):
                is_changed = True
                (wanted.discard if choice is Choice.LEAVE else wanted.add)(at)
            if choice is not Choice.KEEP and is_settled:
                is_settled = self._choices.is_settled(at)
        (self._settled.set if is_settled else self._settled.clear)()
        if is_changed:
            change, self._change = self._change, asyncio.Event()
            change.set()

    async def _tick(self) -> None:
        """Decide again while time alone changes what is to be done."""
        ticks = 0
        while True:
            await asyncio.sleep(_TICK_S)
            self._call_unmet()
            ticks += 1
            if not self._settled.is_set() or ticks % _REST_TICKS == 0:
                self._review()

    async def _keep_links(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_LINKS_S)
            self._tell_standing()

    # --- for people ------------------------------------------------------------------------------

    def not_ready(self) -> Sequence[str]:
        """Return why this node should not be sent calls now; empty: it should."""
        if not self._has_begun.is_set():
            return ["it looks for the other nodes"]
        if self.node.standing is Standing.LEAVING:
            return ["it is stopping"]
        # One that does not reach log or database forwards what comes to it, or all are like it.
        return []

    @property
    def members(self) -> Mapping[bytes, Member]:
        """Who stands on the roll, by node id; what they said of themselves."""
        return self._members

    @property
    def known(self) -> Mapping[bytes, Node]:
        """The nodes that are reckoned with, by id; one may be met before it is on the roll."""
        return self._choices.nodes

    def at_endpoint(self, endpoint: str) -> Node | None:
        """Return the node whose mesh is there."""
        return self._choices.at_endpoint(endpoint)

    def for_s(self, node: Node) -> float:
        """Return how long a node has stood as it does."""
        now = self._now()
        since = self._seen_at.get(node.id, now) if node.standing is Standing.UNMET else node.since
        return max(0.0, now - since)

    @property
    def group(self) -> GroupStatus:
        """How this node stands in the group."""
        return self._group.status()

    @property
    def handovers(self) -> tuple[int, int]:
        """Partitions that this node was given when it asked, and those that it gave."""
        return self._handing.received_count, self._handing.given_count
