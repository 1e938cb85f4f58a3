"""What routing counts, for metrics (pure)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RoutingCounts"]


@dataclass(slots=True)
class RoutingCounts:
    """Since the start of the node."""

    forwarded: int = 0
    """Copies of commands sent to other nodes."""
    redirected: int = 0
    """Of those, told that another node owns the partition."""
    received: int = 0
    """Commands that other nodes sent and this one took."""
