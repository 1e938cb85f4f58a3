"""Commands that other nodes send: run if this node owns their partition, else redirected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from eventstore.log import TopicPartition
from spawn.core.commands import UNDECODED, Answer, Command
from spawn.core.keys import digest_key
from spawn.errors import SpawnError
from spawn.mesh.link import Link
from spawn.mesh.refusals import refusal_of
from spawn.mesh.wire import Invoke, Redirect, Reply
from spawn.routing.counts import RoutingCounts
from spawn.routing.owners import OwnerTable
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.execution import STATE_READ, StateJson

__all__ = ["Answering", "Incoming"]

_NOW: Final = b"null"
"""The payload of a state read; another one is the revision that is asked for."""


class Answering:
    """Who waits for the outcome of a command that came over a link: tells it there, at once.

    Nothing that it is told raises: it is called while outcomes of a whole append are settled.
    """

    __slots__ = ("_at", "_dispatcher", "_id", "_is_done", "_link", "_type")

    def __init__(
        self,
        dispatcher: NodeDispatcher,
        link: Link,
        request_id: int,
        at: TopicPartition,
        actor_type: str,
    ) -> None:
        self._dispatcher = dispatcher
        self._link = link
        self._id = request_id
        self._at = at
        self._type = actor_type
        self._is_done = False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, result: Any, /) -> None:
        try:
            if isinstance(result, Answer):
                reply, revision, place = result.reply, result.revision, result.position
            else:
                state, revision, place = result
                reply = (
                    state
                    if isinstance(state, StateJson)
                    else self._dispatcher.behavior_of(self._type).state_json(state)
                )
            offset = -1 if place is None else place.offset
            time_us = self._dispatcher.partition_time_us(self._at)
            self._link.post(Reply(self._id, reply, revision, offset, time_us))
        except Exception as error:  # noqa: BLE001 - of user code's state, or larger than a frame
            self.set_exception(error)
        else:
            self._is_done = True

    def set_exception(self, exception: Any, /) -> None:
        self._is_done = True
        if not isinstance(exception, SpawnError):
            exception = SpawnError(f"the node that owns {self._type} failed: {exception!r}")
        time_us = self._dispatcher.partition_time_us(self._at)
        self._link.post(refusal_of(self._id, exception, time_us))


class Incoming:
    """Takes what links bring, and answers on the link that brought it."""

    def __init__(
        self,
        dispatcher: NodeDispatcher,
        owners: OwnerTable,
        counts: RoutingCounts,
        take_past: Callable[[Link, Invoke], None],
    ) -> None:
        """`take_past` answers what asks for a state of the past."""
        self._dispatcher = dispatcher
        self._owners = owners
        self._counts = counts
        self._take_past = take_past

    def take(self, link: Link, message: Invoke) -> None:
        """Run a command, or say who owns its partition."""
        dispatcher = self._dispatcher
        worker = dispatcher.serving(message.topic, message.partition)
        if worker is None:
            at = TopicPartition(message.topic, message.partition)
            if not dispatcher.claims(at):
                # The sender knows of a claim of ours that we do not: it is nobody's partition.
                self._owners.nobody(at, message.epoch)
            owner = self._owners.of(at)
            if not owner.endpoint and (stop := dispatcher.stop_of(at)) is not None:
                link.post(refusal_of(message.id, stop, 0))
                return
            link.post(Redirect(message.id, owner.endpoint, owner.epoch))
            return
        action = message.action
        if action == STATE_READ and message.payload != _NOW:
            self._take_past(link, message)
            return
        command = Command(
            message.type,
            message.actor,
            action,
            message.payload,
            UNDECODED,
            dispatcher.now() + message.remaining_ms / 1000,
            Answering(dispatcher, link, message.id, worker.at, message.type),
            True,
            digest_key(message.key, action, message.payload) if message.key else None,
            message.key,
            message.request,
            caller=message.caller,
            metadata=message.metadata,
        )
        self._counts.received += 1
        dispatcher.submit_here(command, worker.at)
