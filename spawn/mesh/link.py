"""The port of the mesh: links to peers, free of any transport's types (pure).

A link is one conversation with one process. It opens by itself and ends once, for ever; `Peers`
opens another. Everything here is called in the event loop's thread and never waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from spawn.mesh.wire import Hello, Message

__all__ = [
    "ANSWERS_BYTES_MAX",
    "ANSWERS_MAX",
    "WAITING_BYTES_MAX",
    "WAITING_MAX",
    "Ended",
    "Ending",
    "Link",
    "Mesh",
    "MeshCounts",
    "Receiver",
]

WAITING_MAX: Final = 20_000
"""Messages that wait on one link to be sent; as many as a node holds calls (`node.calls_max`). One
more is refused: TooManyWaiting."""
WAITING_BYTES_MAX: Final = 32 * 1024 * 1024
"""Their bytes; four of the largest frames."""
ANSWERS_MAX: Final = 40_000
"""With answers, which are never refused, as many may wait; then the peer takes too little and the
link ends (`SLOW`). Twice `WAITING_MAX`: answers have room whatever else waits."""
ANSWERS_BYTES_MAX: Final = 64 * 1024 * 1024
"""With their bytes. A node holds so much at most for a peer that stands still."""


class Ending(StrEnum):
    """How a link ended."""

    CLOSED = "closed"
    """In order, by one end or the other."""
    REFUSED = "refused"
    """Nobody listens at the endpoint, or TLS did not come about."""
    RESET = "reset"
    """The connection broke: a process that ended, a host that was cut off."""
    TIMED_OUT = "timed-out"
    """The peer said nothing for too long."""
    PROTOCOL = "protocol"
    """We refuse the peer: what it said can't be taken."""
    DENIED = "denied"
    """The peer refuses us; `reason` is its word."""
    SLOW = "slow"
    """The peer does not take its answers."""


class Ended(NamedTuple):
    """Why a link is over."""

    ending: Ending
    reason: str
    """A stable word for counters: that of the ending, or what was wrong with the peer."""
    text: str
    """For people."""
    unsent: Sequence[Message]
    """Those posted that certainly have not left, in order: the peer has not seen them and never
    will. All others that were posted may have been received, now or later."""


class Link(Protocol):
    """One conversation with a peer, in both directions."""

    @property
    def endpoint(self) -> str:
        """Where the peer's mesh is; empty until an accepted one has said so."""
        ...

    @property
    def peer(self) -> Hello | None:
        """What the peer said of itself; None until it did."""
        ...

    @property
    def ended(self) -> Ended | None:
        """None while it may carry messages, or may yet."""
        ...

    @property
    def traffic(self) -> int:
        """A number that changes with each message, but for those that keep the link alive."""
        ...

    def new_id(self) -> int:
        """Return an id for a request on this link, never used on it before."""
        ...

    def post(self, message: Message) -> None:
        """Have a message sent, in order, with others in one frame where they wait together.

        It waits for the link to open. An answer (Reply, Refusal, Redirect, Pong, HandoverAnswer,
        Taken, Unfollow) is never refused, and without effect once the link has ended.

        Raises: TooManyWaiting - the peer takes messages more slowly than they come; BodyTooLarge -
        no frame holds it; NodeUnreachable - the link has ended. It then certainly is not sent.
        """
        ...

    def close(self) -> None:
        """Send what waits, take leave, and end."""
        ...

    def abort(self, ending: Ending, text: str) -> None:
        """End it at once; what waits is unsent."""
        ...


class Receiver(Protocol):
    """Who is told what links bring. An exception that it raises ends the mesh: it is a bug."""

    def opened(self, link: Link) -> None:
        """Both ends have greeted; `link.peer` is known. The link was opened or accepted."""
        ...

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        """Take one frame's messages, in order, never empty, without what is the link's own."""
        ...

    def ended(self, link: Link, ended: Ended) -> None:
        """Tell that it is over: once for each link opened by us, or accepted and `opened`."""
        ...


class Mesh(Protocol):
    """One node's transport: it accepts links at its endpoint and opens others."""

    @property
    def hello(self) -> Hello:
        """What this node says of itself."""
        ...

    @property
    def counts(self) -> MeshCounts:
        """What has happened since the start."""
        ...

    def open(self, endpoint: str) -> Link:
        """Return a new link to an endpoint; it opens in the background or ends.

        While the node is stopping it has ended already.
        """
        ...


@dataclass(slots=True)
class MeshCounts:
    """What a mesh counts, for metrics; written by links alone."""

    opened: int = 0
    """Links that greeted, whoever began."""
    frames_sent: int = 0
    messages_sent: int = 0
    bytes_sent: int = 0
    frames_received: int = 0
    messages_received: int = 0
    bytes_received: int = 0
    overflows: int = 0
    """Messages refused since too many waited."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Peers that we refused, by reason: `version`, `system`, `itself`, `no-hello`, `unreadable`,
    `over-limit`, `unknown-kind`, `too-many-links`."""
    endings: Counter[str] = field(default_factory=Counter)
    """Links that ended, by `Ending`."""
