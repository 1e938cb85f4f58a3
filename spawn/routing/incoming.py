"""Commands that other nodes send: run if this node owns their partition, else redirected."""

from __future__ import annotations

from typing import Any

from eventstore.log import TopicPartition
from eventstore.records import RequestNumber
from spawn.core.commands import Answer, Command
from spawn.core.keys import digest_key
from spawn.errors import SpawnError
from spawn.mesh.link import Link
from spawn.mesh.refusals import refusal_of
from spawn.mesh.wire import Invoke, Redirect, Reply
from spawn.routing.counts import RoutingCounts
from spawn.routing.owners import OwnerTable
from spawn.runtime.dispatcher import NodeDispatcher
from spawn.runtime.execution import STATE_READ

__all__ = ["Incoming"]


class Incoming:
    """Takes what links bring, and answers on the link that brought it."""

    def __init__(
        self, dispatcher: NodeDispatcher, owners: OwnerTable, counts: RoutingCounts
    ) -> None:
        self._dispatcher = dispatcher
        self._owners = owners
        self._counts = counts

    def take(self, link: Link, message: Invoke) -> None:
        """Run a command, or say who owns its partition."""
        dispatcher = self._dispatcher
        at = TopicPartition(message.topic, message.partition)
        if not dispatcher.serves(at):
            owner = self._owners.of(at)
            link.post(Redirect(message.id, owner.endpoint, owner.epoch))
            return
        try:
            behavior = dispatcher.behavior_of(message.type)
            waiter = dispatcher.new_waiter()
            command = Command(
                message.type,
                message.actor,
                message.action,
                message.payload,
                None
                if message.action == STATE_READ
                else behavior.decode_arguments(message.action, message.payload),
                dispatcher.now() + message.remaining_ms / 1000,
                waiter,
                message.action != STATE_READ,
                caller=message.caller,
                metadata=message.metadata,
            )
            if message.request is not None:
                number = message.request
                command.request = RequestNumber(
                    number.session, number.n, number.low, number.issued_us
                )
            if message.key:
                command.key = digest_key(message.key, message.action, message.payload)
                command.key_text = message.key
        except SpawnError as error:
            self._refuse(link, message, error, at)
            return

        def answered(future: Any) -> None:
            error = future.exception()
            if error is None:
                self._reply(link, message, future.result(), at)
            else:
                told = error if isinstance(error, SpawnError) else SpawnError(str(error))
                self._refuse(link, message, told, at)

        self._counts.received += 1
        waiter.add_done_callback(answered)
        dispatcher.submit_here(command, at)

    def _reply(self, link: Link, message: Invoke, result: Any, at: TopicPartition) -> None:
        time_us = self._dispatcher.partition_time_us(at)
        if isinstance(result, Answer):
            place = result.position
            reply, revision = result.reply, result.revision
        else:
            state, revision, place = result
            reply = self._dispatcher.behavior_of(message.type).state_json(state)
        offset = -1 if place is None else place.offset
        link.post(Reply(message.id, reply, revision, offset, time_us))

    def _refuse(self, link: Link, message: Invoke, error: SpawnError, at: TopicPartition) -> None:
        time_us = self._dispatcher.partition_time_us(at)
        link.post(refusal_of(message.id, error, time_us))
