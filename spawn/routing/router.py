"""Commands on their way to other nodes, and what became of them (design 4; log protocol 7).

What changes an actor is numbered before it leaves, so that it may be sent as often as needed: to an
owner whose link broke, to the next owner, to whoever is said to be one. It takes effect once. Reads
are sent again without a number. A command that nobody can take now is parked until an owner is
known; its deadline is watched by the dispatcher that took it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from eventstore.log import TopicPartition
from spawn.core.behavior import Behavior
from spawn.core.commands import Answer, Command
from spawn.core.ids import Position
from spawn.core.numbering import Drawn, Numbers
from spawn.core.told_errors import RECORDED
from spawn.errors import Draining, Fenced, NodeUnreachable, OutcomeUnknown, Rejected, SpawnError
from spawn.mesh.link import Ended, Link, Mesh, Receiver
from spawn.mesh.peers import Peers
from spawn.mesh.refusals import error_of
from spawn.mesh.wire import (
    Invoke,
    Message,
    Numbered,
    Owner,
    OwnerNews,
    Redirect,
    Refusal,
    Reply,
)
from spawn.routing.counts import RoutingCounts
from spawn.routing.incoming import Incoming
from spawn.routing.owners import OwnerTable
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.execution import STATE_READ, StateJson

__all__ = ["Router"]

_AGAIN_S: Final = 0.05
"""After a refusal that will pass, or an owner that is not reached: tried again."""
_MOVING: Final = frozenset((Draining.code, Fenced.code))
"""Codes of a node that lets the partition go."""


class _Forwarded:
    """A command that is not run here."""

    __slots__ = ("at", "command", "copies", "drawn", "is_read")

    def __init__(self, command: Command, at: TopicPartition, is_read: bool) -> None:
        self.command = command
        self.at = at
        self.is_read = is_read
        self.copies = 0
        """Sent, and perhaps received by somebody."""
        self.drawn: Drawn | None = None

    @property
    def is_over(self) -> bool:
        waiter = self.command.waiter
        return waiter is None or waiter.done()


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
        """Who else is told what links bring, after the router."""
        self.hint: Callable[[TopicPartition], str] = lambda at: ""
        """Gives the endpoint of the node that should own a partition; empty: nobody knows."""
        self._time_us = time_us
        self._new_id = new_id
        self._loop = asyncio.get_running_loop()
        self.owners = OwnerTable()
        self.peers = Peers(self, now, dice)
        self.counts = RoutingCounts()
        self._incoming = Incoming(dispatcher, self.owners, self.counts)
        self._sent: dict[Link, dict[int, _Forwarded]] = {}
        self._parked: dict[TopicPartition, list[_Forwarded]] = {}
        self._numbers: dict[TopicPartition, Numbers] = {}
        self._session = new_id()
        self._retries: dict[TopicPartition, asyncio.TimerHandle] = {}

    def use(self, mesh: Mesh) -> None:
        """Take this node's mesh, whose receiver `peers` is."""
        self._endpoint = mesh.hello.endpoint
        self.peers.use(mesh)

    @property
    def parked(self) -> int:
        """Commands that wait for an owner that is known and reached."""
        return sum(map(len, self._parked.values()))

    # --- Elsewhere -------------------------------------------------------------------------------

    def send(self, command: Command, at: TopicPartition) -> None:
        behavior = self._dispatcher.behavior_of(command.type)
        forwarded = _Forwarded(command, at, _is_read(behavior, command))
        waiter: Any = command.waiter
        if not forwarded.is_read and command.request is None and waiter is not None:
            drawn = forwarded.drawn = self._numbers_of(at).draw(self._time_us())
            command.request = drawn.number
            # Whatever ends the wait, no copy is sent any more: `low` may pass.
            waiter.add_done_callback(lambda _: drawn.settle())
        self._forward(forwarded)

    def owned(self, at: TopicPartition, epoch: int) -> None:
        self.owners.learn(at, epoch, self._endpoint)
        self._tell([Owner(at.topic, at.partition, epoch, self._endpoint)])
        self._unpark(at)

    def released(self, at: TopicPartition) -> None:
        self.owners.released(at, self._endpoint)

    def learn(self, at: TopicPartition, epoch: int, endpoint: str) -> None:
        if endpoint and self.owners.learn(at, epoch, endpoint):
            self._unpark(at)

    # --- on the way ------------------------------------------------------------------------------

    def _forward(self, forwarded: _Forwarded) -> None:
        """Send a command to whoever is believed to own its partition, or park it."""
        if forwarded.is_over:
            return
        at, command = forwarded.at, forwarded.command
        if self._dispatcher.serves(at):
            self._dispatcher.submit_here(command, at)
            return
        owner = self.owners.of(at)
        endpoint = owner.endpoint or self.hint(at)
        if not endpoint or endpoint == self._endpoint:
            self._park(forwarded)
            return
        try:
            link = self.peers.link(endpoint)
            number = link.new_id()
            link.post(self._message(number, forwarded, owner.epoch))
        except NodeUnreachable:
            self._park(forwarded)
        except SpawnError as error:
            self._fail(forwarded, error)
        else:
            forwarded.copies += 1
            self.counts.forwarded += 1
            if not forwarded.is_read:
                command.started = True  # from now on nobody can say that it was never executed
            self._sent.setdefault(link, {})[number] = forwarded

    def _message(self, number: int, forwarded: _Forwarded, epoch: int) -> Invoke:
        command, at = forwarded.command, forwarded.at
        request = command.request
        return Invoke(
            id=number,
            topic=at.topic,
            partition=at.partition,
            type=command.type,
            actor=command.id,
            action=command.action,
            payload=command.payload,
            remaining_ms=max(1, int((command.deadline - self._dispatcher.now()) * 1000)),
            request=None
            if request is None
            else Numbered(request.session, request.n, request.low, request.issued_us),
            key=command.key_text,
            caller=command.caller,
            metadata=dict(command.metadata) if command.metadata else None,
            wants_answer=command.wants_answer,
            epoch=epoch,
        )

    def _park(self, forwarded: _Forwarded) -> None:
        """Keep it until an owner is known, and look again a little later."""
        at = forwarded.at
        self._parked.setdefault(at, []).append(forwarded)
        if at not in self._retries:
            self._retries[at] = self._loop.call_later(_AGAIN_S, self._unpark, at)

    def _unpark(self, at: TopicPartition) -> None:
        if (timer := self._retries.pop(at, None)) is not None:
            timer.cancel()
        for forwarded in self._parked.pop(at, ()):
            self._forward(forwarded)

    def _numbers_of(self, at: TopicPartition) -> Numbers:
        numbers = self._numbers.get(at)
        if numbers is None:
            numbers = self._numbers[at] = Numbers(self._session, self._new_id)
        return numbers

    # --- outcomes --------------------------------------------------------------------------------

    def _replied(self, forwarded: _Forwarded, told: Reply) -> None:
        self._numbers_of(forwarded.at).learn(told.time_us)
        command, at = forwarded.command, forwarded.at
        self._dispatcher.forget(command)
        waiter = command.waiter
        if waiter is None or waiter.done():
            return
        place = Position(*at, told.offset) if told.offset >= 0 else None
        if command.action == STATE_READ:
            waiter.set_result((StateJson(told.reply), told.revision, place))
        elif command.wants_answer:
            waiter.set_result(Answer(told.reply, told.revision, place))
        else:
            behavior = self._dispatcher.behavior_of(command.type)
            try:
                waiter.set_result(behavior.decode_reply(command.action, told.reply))
            except Exception as error:  # noqa: BLE001 - another version of the class replied
                waiter.set_exception(SpawnError(f"the reply can't be read: {error}"))

    def _refused(self, forwarded: _Forwarded, told: Refusal) -> None:
        self._numbers_of(forwarded.at).learn(told.time_us)
        error = error_of(told)
        if told.code in _MOVING:
            self._park(forwarded)  # its partition goes to another node: callers wait for that
            return
        is_final = isinstance(error, Rejected) or told.code in RECORDED
        if is_final or (forwarded.copies == 1 and not isinstance(error, OutcomeUnknown)):
            self._fail(forwarded, error)
        else:
            self._park(forwarded)

    def _fail(self, forwarded: _Forwarded, error: SpawnError) -> None:
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
            link.post(OwnerNews(mine))
        for receiver in self.beside:
            receiver.opened(link)

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        sent = self._sent.get(link, {})
        for message in messages:
            match message:
                case Invoke():
                    self._incoming.take(link, message)
                case Reply():
                    if (forwarded := sent.pop(message.id, None)) is not None:
                        self._replied(forwarded, message)
                case Refusal():
                    if (forwarded := sent.pop(message.id, None)) is not None:
                        self._refused(forwarded, message)
                case Redirect():
                    if (forwarded := sent.pop(message.id, None)) is not None:
                        forwarded.copies -= 1
                        self._redirected(forwarded, message)
                case OwnerNews():
                    for owner in message.owners:
                        at = TopicPartition(owner.topic, owner.partition)
                        self.learn(at, owner.epoch, owner.endpoint)
                case _:
                    pass
        for receiver in self.beside:
            receiver.received(link, messages)

    def _redirected(self, forwarded: _Forwarded, told: Redirect) -> None:
        self.counts.redirected += 1
        known = self.owners.of(forwarded.at)
        is_news = told.endpoint and self.owners.learn(forwarded.at, told.epoch, told.endpoint)
        if is_news or known.epoch > told.epoch:
            self._forward(forwarded)
        else:
            self._park(forwarded)

    def ended(self, link: Link, ended: Ended) -> None:
        unsent = {each.id for each in ended.unsent if isinstance(each, Invoke)}
        for number, forwarded in self._sent.pop(link, {}).items():
            if number in unsent:
                forwarded.copies -= 1
            self._park(forwarded)
        for receiver in self.beside:
            receiver.ended(link, ended)

    def _tell(self, owners: list[Owner]) -> None:
        for link in self.peers.links():
            try:
                link.post(OwnerNews(owners))
            except SpawnError:
                continue  # it learns by a redirect


def _is_read(behavior: Behavior, command: Command) -> bool:
    action = behavior.actions.get(command.action)
    return command.action == STATE_READ or (action is not None and action.read_only)
