"""Who should own which partition: the port behind which membership stands (design 3.3).

What it says is a guess, and may be wrong or differ between nodes: safety is the log protocol's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from eventstore.codec import ClaimBody
from eventstore.log import TopicPartition
from spawn.errors import Fenced

__all__ = ["REPAIR", "Everything", "Placement", "Strangers"]

REPAIR: Final = "repair"
"""So begins the reason in claims of `spawn repair`, which is no node."""
_STRANGERS_S: Final = 60.0


class Placement(Protocol):
    """What one node is to own, and what it is told of what became of that."""

    async def begun(self) -> None:
        """Wait until `wants` can be asked: until it is known who else is there."""
        ...

    def is_alone(self) -> bool:
        """Tell whether no other node of the system is known to serve."""
        ...

    def not_ready(self) -> Sequence[str]:
        """Return why the node should not be sent calls now; empty: it should."""
        ...

    def wants(self, at: TopicPartition) -> bool:
        """Tell whether this node should own the partition now."""
        ...

    async def changed(self) -> None:
        """Wait until any answer of `wants` may have changed."""
        ...

    async def may_claim(self, at: TopicPartition) -> bool:
        """Wait until the partition, which was read up to its end, may be claimed.

        In a planned move that is when its owner has released it; else at once. Returns whether it
        took so long that what was read is old.
        """
        ...

    def serving(self, at: TopicPartition) -> None:
        """Take note that this node serves a partition."""
        ...

    def kept(self, at: TopicPartition) -> None:
        """Take note that it has served it for a while."""
        ...

    def let_go(self, at: TopicPartition, epoch: int, *, is_lost: bool) -> None:
        """Take note that it serves it no longer, or gave up taking it over.

        Lost to a claim (`taken` follows), or else a Release stands in the log, if it could.
        """
        ...

    def stopped(self, at: TopicPartition) -> None:
        """Take note that it can't be served until an operator mends it: nobody else is to try."""
        ...

    def taken(self, at: TopicPartition, owner: ClaimBody | None) -> None:
        """Take note that a claim of another process took it.

        Raises: Fenced - this node is not to go on.
        """
        ...


class Strangers:
    """Claims by processes that this system's nodes know nothing of: so many of them end a node."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._met: list[float] = []

    def meet(self, at: TopicPartition, owner: ClaimBody, now: float) -> None:
        """Take note of a claim. Raises: Fenced."""
        if owner.reason.startswith(REPAIR):
            return
        self._met = [when for when in self._met if now - when < _STRANGERS_S] + [now]
        if len(self._met) >= self._limit:
            raise Fenced(
                f"node {owner.owner.hex()[:8]} at {owner.endpoint} owns {at} and is not "
                "in this system's group; this node has stopped writing there, "
                "nothing acknowledged is lost",
                at=str(at),
                hint="another process uses this system's log on its own: give one of them another "
                "SPAWN_SYSTEM",
            )


class Everything:
    """The placement of a node that is alone: all is its own."""

    def __init__(self) -> None:
        self._strangers = Strangers(1)

    async def begun(self) -> None:
        pass

    def is_alone(self) -> bool:
        return True

    def not_ready(self) -> Sequence[str]:
        return ()

    def wants(self, at: TopicPartition) -> bool:
        return True

    async def changed(self) -> None:
        await asyncio.get_running_loop().create_future()  # never

    async def may_claim(self, at: TopicPartition) -> bool:
        return False

    def serving(self, at: TopicPartition) -> None:
        pass

    def kept(self, at: TopicPartition) -> None:
        pass

    def let_go(self, at: TopicPartition, epoch: int, *, is_lost: bool) -> None:
        pass

    def stopped(self, at: TopicPartition) -> None:
        pass

    def taken(self, at: TopicPartition, owner: ClaimBody | None) -> None:
        if owner is not None:
            self._strangers.meet(at, owner, asyncio.get_running_loop().time())
