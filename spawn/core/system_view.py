"""What a node knows of its system, for edges: nodes, owners, counts (a port, as `ingress` is).

A guess like all that nodes know of each other; who owns a partition is decided by its log alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

__all__ = ["NO_LINKS", "LinkCounts", "NodeSeen", "OwnerSeen", "SystemCounts", "SystemView"]


class NodeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A node on the roll, as another one sees it."""

    id: str
    """Of its process's start, in hex."""
    mesh: str
    """`host:port` for other nodes."""
    http: str
    """URL for programs; empty: it serves none."""
    release: str
    standing: str
    """`serving`, `unfit`, `leaving`, `unreachable`, or `unmet`: it was never reached from here."""
    for_s: float
    """How long it has stood so."""
    partitions: int
    """As many are its own, as far as is known."""
    is_self: bool


class OwnerSeen(msgspec.Struct, frozen=True, gc=False):
    """Who owns a partition."""

    epoch: int
    """Of the newest claim that was heard of; 0: none was."""
    mesh: str
    """The owner's endpoint; empty: nobody is known to own it."""


class LinkCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What links to other nodes have carried since the start."""

    opened: int
    frames_sent: int
    messages_sent: int
    bytes_sent: int
    frames_received: int
    messages_received: int
    bytes_received: int
    overflows: int
    """Messages refused since too many waited."""
    refusals: Mapping[str, int]
    """Peers that were refused, by reason."""
    endings: Mapping[str, int]
    """Links that ended, by how."""


NO_LINKS = LinkCounts(
    opened=0,
    frames_sent=0,
    messages_sent=0,
    bytes_sent=0,
    frames_received=0,
    messages_received=0,
    bytes_received=0,
    overflows=0,
    refusals={},
    endings={},
)


class SystemCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What metrics tell of a node among the others."""

    standings: Mapping[str, int]
    """Nodes by standing, this one included; every standing is there."""
    generation: int
    """Of the group; 0: this node is no member now."""
    is_leader: bool
    heartbeat_age_s: float | None
    """Since the group's coordinator was last heard of; None: never."""
    is_unfit: bool
    """This node does not reach log or database."""
    parked: int
    """Commands that wait for the owner of their partition to be known or reached."""
    forwarded: int
    """Copies of commands sent to other nodes since the start, as all that follows."""
    redirected: int
    """Of those, told that another node owns the partition."""
    received: int
    """Commands that other nodes sent and this one took."""
    handovers_asked: int
    """Partitions that this node was given when it asked for them."""
    handovers_given: int
    """Partitions that this node gave to one that asked."""
    links: LinkCounts


class SystemView(Protocol):
    """A node's view of its system. Nothing here waits or raises."""

    def nodes(self) -> Sequence[NodeSeen]:
        """Return every node on the roll and every other one that was met, this one first."""
        ...

    def owners(self) -> Mapping[str, Sequence[OwnerSeen]]:
        """Return by topic the owner of each of its partitions."""
        ...

    def owner_url(self, topic: str, partition: int) -> str:
        """Return where programs reach a partition's owner; empty: this node, or nobody knows."""
        ...

    def counts(self) -> SystemCounts:
        """Return what metrics tell."""
        ...
