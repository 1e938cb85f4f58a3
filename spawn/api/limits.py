"""What callers may ask of a node's HTTP server (docs/reference/limits.md)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HttpLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What requests and connections may ask for."""

    body_bytes_max: int = 1024 * 1024
    """Of a request's body, unpacked; more is answered 413 before an actor sees it."""
    timeout_default_s: float = 60.0
    """How long a call waits that has no `Spawn-Timeout`."""
    timeout_max_s: float = 600.0
    """The largest `Spawn-Timeout`: a wait holds memory and a connection."""
    connections_max: int = 10_000
    """Each costs memory and a file of the process; one more is answered 503 and closed."""
    keep_alive_s: float = 75.0
    """How long a connection may be without a request: longer than the 60 s after which the usual
    proxies close, so that none sends a request into a connection that is being closed here."""
    head_s: float = 10.0
    """A head must be whole so long after its first byte; it fits into a few packets."""
    body_s: float = 30.0
    """A body must be whole so long after its head, or in the time of its size at the rate below."""
    body_bytes_per_s: int = 10 * 1024
    """Slower than any link that is usable, so it meets only who keeps a connection busy."""
    stalled_s: float = 30.0
    """A client that takes nothing of its answers for so long is cut off, as one of a stream is."""

    def body_within_s(self, size_bytes: int) -> float:
        """Return how long a body of that size may take."""
        return max(self.body_s, size_bytes / self.body_bytes_per_s)
