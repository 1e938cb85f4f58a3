"""Planned moves of partitions between nodes: asking an owner, and answering one who asks.

The new owner has read the partition up to its end when it asks; the old one lets what runs end for
a moment, writes a Release and answers. What is between is the pause that callers see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from eventstore.log import TopicPartition
from spawn.errors import SpawnError
from spawn.mesh.link import Link
from spawn.mesh.peers import Peers
from spawn.mesh.wire import Handover, HandoverAnswer, Message

__all__ = ["Handing"]

_ANSWER_S: Final = 1.0
"""An owner that answers later is asked again; it has let go of the partition perhaps."""


class Handing:
    """Both sides of it, for one node."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._asked: dict[tuple[Link, int], asyncio.Future[str]] = {}
        self._askers: dict[TopicPartition, list[tuple[Link, int]]] = {}

    # --- asking ----------------------------------------------------------------------------------

    async def ask(self, at: TopicPartition, endpoint: str, mine: str) -> str:
        """Ask an owner for a partition; return its answer, empty if there is none.

        `mine` is this node's endpoint.
        """
        try:
            link = self._peers.link(endpoint)
            number = link.new_id()
            link.post(Handover(number, at.topic, at.partition, mine))
        except SpawnError:
            return ""
        waiter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[link, number] = waiter
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await waiter
        except TimeoutError:
            return ""
        finally:
            del self._asked[link, number]

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        """Take answers."""
        for message in messages:
            if isinstance(message, HandoverAnswer):
                waiter = self._asked.get((link, message.id))
                if waiter is not None and not waiter.done():
                    waiter.set_result(message.answer)

    def ended(self, link: Link) -> None:
        """Nothing comes over this link any more."""
        for (where, _), waiter in self._asked.items():
            if where is link and not waiter.done():
                waiter.set_result("")

    # --- answering -------------------------------------------------------------------------------

    def answer(self, link: Link, asked: Handover, answer: str, epoch: int) -> None:
        """Answer at once: `refused` or `not-owner`."""
        link.post(HandoverAnswer(asked.id, answer, epoch))

    def promise(self, link: Link, asked: Handover) -> None:
        """Keep who is to be told when the partition was let go."""
        at = TopicPartition(asked.topic, asked.partition)
        self._askers.setdefault(at, []).append((link, asked.id))

    def let_go(self, at: TopicPartition, epoch: int, *, is_lost: bool) -> None:
        """Tell those who asked: the last one gets it, unless it was lost to a claim."""
        askers = self._askers.pop(at, [])
        for link, number in askers:
            # The same one may have asked twice. Two that were told so would both claim.
            is_next = link is askers[-1][0]
            answer = "not-owner" if is_lost else "released" if is_next else "refused"
            link.post(HandoverAnswer(number, answer, epoch))
