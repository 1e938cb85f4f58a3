"""Commands on their way to other nodes, and what became of them (design 4; log protocol 7).

What changes an actor is numbered before it leaves, so that it may be sent as often as needed: to an
owner whose link broke, to the next owner, to whoever is said to be one. It takes effect once. Reads
are sent again without a number. A command that nobody can take now is parked until an owner is
known; its deadline is watched by the dispatcher that took it.

Over 400 lines: all that a node asks of others and is asked by them comes through here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from eventstore.log import TopicPartition
from spawn.core.commands import Answer, Command
from spawn.core.ids import Position, partition_of
from spawn.core.ingress import ActorCommit, CommitsAsked
from spawn.core.numbering import Drawn, Numbers
from spawn.core.told_errors import RECORDED
from spawn.errors import (
    Draining,
    Fenced,
    NodeUnreachable,
    NotStarted,
    OutcomeUnknown,
    Rejected,
    RequestTooOld,
    SpawnError,
)
from spawn.mesh.link import Ended, Link, Mesh, Receiver
from spawn.mesh.peers import Peers
from spawn.mesh.refusals import error_of
from spawn.mesh.wire import (
    Commits,
    Follow,
    Invoke,
    Message,
    Numbered,
    Owner,
    OwnerNews,
    Past,
    Redirect,
    Refusal,
    Reply,
    Taken,
    Unfollow,
)
from spawn.routing.counts import RoutingCounts
from spawn.routing.incoming import Answering, Incoming
from spawn.routing.owners import OwnerTable
from spawn.routing.telling import Telling
from spawn.routing.watching import RoutedFollower, Watch
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.execution import STATE_READ, StateJson
from spawn.runtime.following import ActorFollower

__all__ = ["Router"]

_AGAIN_S: Final = 0.05
"""After a refusal that will pass, or an owner that is not reached: tried again."""
_MOVING: Final = frozenset((Draining.code, Fenced.code))
"""Codes of a node that lets the partition go."""


class _Place:
    """What is kept of a partition that commands were sent for."""

    __slots__ = ("at", "numbers", "parked", "retry")

    def __init__(self, at: TopicPartition, numbers: Numbers) -> None:
        self.at = at
        self.numbers = numbers
        self.parked: list[_Forwarded] = []
        """Commands that nobody can take now."""
        self.retry: asyncio.TimerHandle | None = None
        """Looks at them again."""


class _Forwarded:
    """A command that is not run here."""

    __slots__ = ("command", "copies", "drawn", "is_read", "place", "was_started")

    def __init__(self, command: Command, place: _Place, is_read: bool) -> None:
        self.command = command
        self.place = place
        self.is_read = is_read
        self.was_started = command.started
        """A copy may be out already, or it ran here: what refuses this one says nothing of that."""
        self.copies = 0
        """Sent, and perhaps received by somebody."""
        self.drawn: Drawn | None = None
        """Its number, if it was drawn here: settled when no copy will be sent any more."""

    @property
    def is_over(self) -> bool:
        waiter = self.command.waiter
        return waiter is None or waiter.done()

    def settle(self, _: object = None) -> None:
        """No copy will be sent any more: `low` may pass its number."""
        if self.drawn is not None:
            self.drawn.settle()

    def not_sent(self) -> None:
        """A copy was certainly not executed."""
        self.copies -= 1
        if not self.copies:
            self.command.started = self.was_started


class Router:
    """Implements `spawn.runtime.elsewhere.Elsewhere`, and `Receiver` for the node's links."""

    def __init__(
        self,
        dispatcher: NodeDispatcher,
        now: Callable[[], float],
        dice: Callable[[], float],
        time_us: Callable[[], int],
        new_id: Callable[[], bytes],
    ) -> None:
        """Prepare it; it wants a mesh (`use`) before anything is sent."""
        self._dispatcher = dispatcher
        self._endpoint = ""
        self.beside: list[Receiver] = []
        """Who else is told what links bring, but for commands and their outcomes."""
        self.hint: Callable[[TopicPartition], str] = lambda at: ""
        """Gives the endpoint of the node that should own a partition; empty: nobody knows."""
        self._time_us = time_us
        self._new_id = new_id
        self._loop = asyncio.get_running_loop()
        self.owners = OwnerTable()
        self.peers = Peers(self, now, dice)
        self.counts = RoutingCounts()
        self._telling = Telling(dispatcher, self.owners)
        self._incoming = Incoming(dispatcher, self.owners, self.counts, self._telling.take)
        self.hosted: Callable[[], Mapping[str, tuple[str, int]]] = dict
        """Gives the types that other nodes host, with their topics and those' partitions."""
        self._sent: dict[Link, dict[int, _Forwarded]] = {}
        self._watches: dict[Link, dict[int, Watch]] = {}
        self._places: dict[TopicPartition, _Place] = {}
        self._session = new_id()

    def use(self, mesh: Mesh) -> None:
        """Take this node's mesh, whose receiver `peers` is."""
        self._endpoint = mesh.hello.endpoint
        self.peers.use(mesh)

    @property
    def parked(self) -> int:
        """Commands that wait for an owner that is known and reached."""
        return sum(len(place.parked) for place in self._places.values())

    # --- Elsewhere -------------------------------------------------------------------------------

    def send(self, command: Command, at: TopicPartition) -> None:
        place = self._places.get(at) or self._place(at)
        is_read = self._dispatcher.is_read(command)
        forwarded = _Forwarded(command, place, is_read)
        if forwarded.is_over:
            return  # its caller was told that it did not begin, perhaps
        if not is_read and command.request is None and not isinstance(command.waiter, Answering):
            drawn = forwarded.drawn = place.numbers.draw(self._time_us())
            command.request = drawn.number
        self._post(forwarded)

    def time_us(self, at: TopicPartition) -> int:
        place = self._places.get(at)
        return 0 if place is None else place.numbers.newest_us

    def place_of(self, actor_type: str, key: bytes) -> TopicPartition | None:
        found = self.hosted().get(actor_type)
        return None if found is None else TopicPartition(found[0], partition_of(key, found[1]))

    def types(self) -> Mapping[str, tuple[str, int]]:
        return self.hosted()

    def follow(
        self, at: TopicPartition, actor_type: str, key: bytes, after: int | None
    ) -> RoutedFollower:
        return RoutedFollower(self, at, actor_type, key, after)

    async def commits(
        self, at: TopicPartition, actor_type: str, key: bytes, asked: CommitsAsked, timeout_s: float
    ) -> Sequence[ActorCommit]:
        deadline = self._dispatcher.now() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    watch = self._ask_past(at, actor_type, key, asked, deadline)
                    listed = [] if watch is None else await watch.listed()
                    if watch is not None and watch.is_whole:
                        return listed
                    await asyncio.sleep(_AGAIN_S)
        except TimeoutError:
            raise NotStarted(
                f"the history of {actor_type}/{key.decode()} was not told before the deadline",
                hint="ask for fewer events, or wait longer (Spawn-Timeout)",
            ) from None

    def _ask_past(
        self,
        at: TopicPartition,
        actor_type: str,
        key: bytes,
        asked: CommitsAsked,
        deadline: float,
    ) -> Watch | None:
        left_ms = max(1, int((deadline - self._dispatcher.now()) * 1000))
        return self._ask(
            at,
            lambda number: Past(number, at.topic, at.partition, actor_type, key, left_ms, *asked),
        )

    async def run(self) -> None:
        await self._telling.run()

    # --- for followers ---------------------------------------------------------------------------

    def follow_here(
        self, at: TopicPartition, actor_type: str, key: bytes, after: int | None
    ) -> ActorFollower | None:
        """Follow an actor on this node; None: it does not serve it."""
        return self._dispatcher.follow_here(at, actor_type, key, after)

    def watch(
        self, at: TopicPartition, actor_type: str, key: bytes, after: int | None
    ) -> Watch | None:
        """Follow an actor on the node that owns it; None: nobody is known to, or reached."""
        last = -1 if after is None else after
        return self._ask(
            at,
            lambda number: Follow(number, at.topic, at.partition, actor_type, key, last),
            after,
        )

    def _ask(
        self,
        at: TopicPartition,
        question: Callable[[int], Message],
        after: int | None = None,
    ) -> Watch | None:
        endpoint = self.owners.of(at).endpoint or self.hint(at)
        if not endpoint or endpoint == self._endpoint:
            return None
        try:
            link = self.peers.link(endpoint)
            number = link.new_id()
            link.post(question(number))
        except SpawnError:
            return None
        watches = self._watches.setdefault(link, {})
        watch = Watch(link, number, at, after, lambda: watches.__delitem__(number))
        watches[number] = watch
        return watch

    # --- owners ----------------------------------------------------------------------------------

    def owned(self, at: TopicPartition, epoch: int) -> None:
        self.owners.learn(at, epoch, self._endpoint)
        self._tell([Owner(at.topic, at.partition, epoch, self._endpoint)])
        self._look_again(at)

    def released(self, at: TopicPartition) -> None:
        self.owners.released(at, self._endpoint)

    def learn(self, at: TopicPartition, epoch: int, endpoint: str) -> None:
        if endpoint == self._endpoint:
            # What this node serves it knows by itself: a process was at its endpoint before.
            self.owners.nobody(at, epoch)
        elif endpoint and self.owners.learn(at, epoch, endpoint):
            self._look_again(at)

    def _look_again(self, at: TopicPartition) -> None:
        if (place := self._places.get(at)) is not None and place.parked:
            self._unpark(place)

    # --- on the way ------------------------------------------------------------------------------

    def _forward(self, forwarded: _Forwarded) -> None:
        """Run a command that was sent or parked, wherever its partition is served now."""
        if forwarded.is_over:
            forwarded.settle()
            return
        at, command = forwarded.place.at, forwarded.command
        if not self._dispatcher.serves(at):
            self._post(forwarded)
            return
        try:
            self._dispatcher.admit(command, at)
        except SpawnError as error:
            self._not_taken(forwarded, error)
            return
        if forwarded.drawn is not None:
            waiter: Any = command.waiter
            waiter.add_done_callback(forwarded.settle)

    def _not_taken(self, forwarded: _Forwarded, error: SpawnError) -> None:
        """Tell why a command was not taken; while copies of it are out it says nothing of them."""
        if forwarded.copies or forwarded.was_started:
            self._park(forwarded)
        else:
            self._fail(forwarded, error)

    def _post(self, forwarded: _Forwarded) -> None:
        """Send a command to whoever is believed to own its partition, or park it."""
        command, at = forwarded.command, forwarded.place.at
        owner = self.owners.of(at)
        endpoint = owner.endpoint or self.hint(at)
        if not endpoint or endpoint == self._endpoint:
            if (stop := self._dispatcher.stop_of(at)) is not None:
                self._not_taken(forwarded, stop)
            else:
                self._park(forwarded)
            return
        request = command.request
        remaining_ms = int((command.deadline - self._dispatcher.now()) * 1000)
        try:
            link = self.peers.link(endpoint)
            number = link.new_id()
            link.post(
                Invoke(
                    number,
                    at.topic,
                    at.partition,
                    command.type,
                    command.id,
                    command.action,
                    command.payload,
                    remaining_ms if remaining_ms > 0 else 1,
                    Numbered(request.session, request.n, request.low, request.issued_us)
                    if request is not None
                    else None,
                    command.key_text,
                    command.caller,
                    dict(command.metadata) if command.metadata else None,
                    command.wants_answer,
                    owner.epoch,
                )
            )
        except NodeUnreachable:
            self._park(forwarded)
        except SpawnError as error:
            self._not_taken(forwarded, error)
        else:
            forwarded.copies += 1
            self.counts.forwarded += 1
            if not forwarded.is_read:
                command.started = True  # from now on nobody can say that it was never executed
            sent = self._sent.get(link)
            if sent is None:
                sent = self._sent[link] = {}
            sent[number] = forwarded

    def _park(self, forwarded: _Forwarded) -> None:
        """Keep it until an owner is known, and look again a little later."""
        place = forwarded.place
        place.parked.append(forwarded)
        if place.retry is None:
            place.retry = self._loop.call_later(_AGAIN_S, self._unpark, place)

    def _unpark(self, place: _Place) -> None:
        if place.retry is not None:
            place.retry.cancel()
            place.retry = None
        parked, place.parked = place.parked, []
        for forwarded in parked:
            self._forward(forwarded)

    def _place(self, at: TopicPartition) -> _Place:
        place = self._places.get(at)
        if place is None:
            place = self._places[at] = _Place(at, Numbers(self._session, self._new_id))
        return place

    # --- outcomes --------------------------------------------------------------------------------

    def _replied(self, forwarded: _Forwarded, told: Reply) -> None:
        command, place = forwarded.command, forwarded.place
        numbers = place.numbers
        if told.time_us > numbers.newest_us:
            numbers.newest_us = told.time_us
        if forwarded.drawn is not None:
            forwarded.drawn.settle()
        self._dispatcher.forget(command)
        waiter = command.waiter
        if waiter is None or waiter.done():
            return
        if command.wants_answer:
            position = Position(*place.at, told.offset) if told.offset >= 0 else None
            waiter.set_result(Answer(told.reply, told.revision, position))
        elif command.action == STATE_READ:
            position = Position(*place.at, told.offset) if told.offset >= 0 else None
            waiter.set_result((StateJson(told.reply), told.revision, position))
        else:
            try:
                behavior = self._dispatcher.behavior_of(command.type)
                reply = behavior.decode_reply(command.action, told.reply)
            except Exception as error:  # noqa: BLE001 - another version of the class replied
                waiter.set_exception(_not_read(command, error))
            else:
                waiter.set_result(reply)

    def _refused(self, forwarded: _Forwarded, told: Refusal) -> None:
        forwarded.place.numbers.learn(told.time_us)
        error = error_of(told)
        if told.code in _MOVING:
            if told.code == Draining.code:
                forwarded.not_sent()  # said of commands that certainly have no effect
            self._park(forwarded)  # its partition goes to another node: callers wait for that
            return
        is_only_copy = forwarded.copies == 1 and not forwarded.was_started
        if isinstance(error, RequestTooOld) and is_only_copy and forwarded.drawn is not None:
            # The clock here went back. No copy of that number will ever be run (H never goes back).
            forwarded.not_sent()
            forwarded.settle()
            drawn = forwarded.drawn = forwarded.place.numbers.draw(self._time_us())
            forwarded.command.request = drawn.number
            self._forward(forwarded)
            return
        is_final = isinstance(error, Rejected) or told.code in RECORDED
        if is_final or (is_only_copy and not isinstance(error, OutcomeUnknown)):
            self._fail(forwarded, error)
        else:
            self._park(forwarded)

    def _fail(self, forwarded: _Forwarded, error: SpawnError) -> None:
        forwarded.settle()
        self._dispatcher.forget(forwarded.command)
        waiter = forwarded.command.waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    # --- Receiver --------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        mine = [
            Owner(at.topic, at.partition, owner.epoch, owner.endpoint)
            for at, owner in self.owners.owned_by(self._endpoint)
        ]
        if mine:
            try:
                link.post(OwnerNews(mine))
            except SpawnError:
                link.close()  # so full before it opened: another one begins with the news
        for receiver in self.beside:
            receiver.opened(link)

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        sent = self._sent.get(link, {})
        take = self._incoming.take
        others: list[Message] = []
        for message in messages:
            # Not `match`: most of what links carry is of these two kinds.
            if type(message) is Reply:
                if (forwarded := sent.pop(message.id, None)) is not None:
                    self._replied(forwarded, message)
            elif type(message) is Invoke:
                take(link, message)
            elif isinstance(message, Refusal):
                if (forwarded := sent.pop(message.id, None)) is not None:
                    self._refused(forwarded, message)
                elif (watch := self._watch_of(link, message.id)) is not None:
                    watch.over(error_of(message))
            elif not self._is_of_followers(link, message):
                others.append(message)
                if isinstance(message, Redirect):
                    if (forwarded := sent.pop(message.id, None)) is not None:
                        forwarded.not_sent()
                        self._redirected(link, forwarded, message)
                    elif (watch := self._watch_of(link, message.id)) is not None:
                        self.learn(watch.at, message.epoch, message.endpoint)
                        watch.over(None)
                elif isinstance(message, OwnerNews):
                    for owner in message.owners:
                        at = TopicPartition(owner.topic, owner.partition)
                        self.learn(at, owner.epoch, owner.endpoint)
        if others:
            for receiver in self.beside:
                receiver.received(link, others)

    def _is_of_followers(self, link: Link, message: Message) -> bool:
        """Take a message about following; tell whether it was one."""
        match message:
            case Commits():
                if (watch := self._watch_of(link, message.id)) is not None:
                    watch.told(message)
            case Taken():
                self._telling.taken(link, message.id, message.size_bytes)
            case Follow() | Past():
                self._telling.take(link, message)
            case Unfollow():
                self._telling.unfollow(link, message.id)
            case _:
                return False
        return True

    def _watch_of(self, link: Link, number: int) -> Watch | None:
        return self._watches.get(link, {}).get(number)

    def _redirected(self, link: Link, forwarded: _Forwarded, told: Redirect) -> None:
        self.counts.redirected += 1
        at = forwarded.place.at
        known = self.owners.of(at)
        self.learn(at, told.epoch, told.endpoint)
        if not told.endpoint and told.epoch >= known.epoch:
            self.owners.released(at, link.endpoint)
        now_known = self.owners.of(at)
        if now_known.endpoint and (now_known != known or known.epoch > told.epoch):
            self._forward(forwarded)
        else:
            self._park(forwarded)

    def ended(self, link: Link, ended: Ended) -> None:
        unsent = {each.id for each in ended.unsent if isinstance(each, Invoke)}
        for number, forwarded in self._sent.pop(link, {}).items():
            if number in unsent:
                forwarded.not_sent()
            self._park(forwarded)
        self._telling.ended(link)
        for watch in list(self._watches.pop(link, {}).values()):
            watch.over(NodeUnreachable(f"the link to {link.endpoint} has ended: {ended.text}"))
        for receiver in self.beside:
            receiver.ended(link, ended)

    def _tell(self, owners: list[Owner]) -> None:
        for link in self.peers.links():
            try:
                link.post(OwnerNews(owners))
            except SpawnError:
                continue  # it learns by a redirect


def _not_read(command: Command, error: Exception) -> SpawnError:
    return SpawnError(
        f"{command.type}.{command.action} was executed, but its reply can't be read here: {error}",
        at=command.type,
        hint="the nodes run different versions of the class",
    )
