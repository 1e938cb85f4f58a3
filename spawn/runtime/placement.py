"""Who should own which partition: the port behind which membership stands (design 3.3).

What it says is a guess, and may be wrong or differ between nodes: safety is the log protocol's.
"""

from __future__ import annotations

from typing import Protocol

from eventstore.log import TopicPartition

__all__ = ["Placement"]


class Placement(Protocol):
    """What one node is to own."""

    def wants(self, at: TopicPartition) -> bool:
        """Tell whether this node should own the partition now."""
        ...

    async def changed(self) -> None:
        """Wait until any answer of `wants` may have changed."""
        ...
