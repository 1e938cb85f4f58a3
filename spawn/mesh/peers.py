"""Links by endpoint: opened when they are needed, shared, closed when nobody uses them.

A link serves both directions, so one that a peer opened is used to call it too. Two nodes that
open to each other at once have two links for a while: messages keep their order on a link, not
between links.

Who posts learns of a link's end what has become of its messages: those in `Ended.unsent` certainly
have not left, all others that it posted there may have been received. A request that may have been
is repeated under its number alone (log protocol 7), if at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from spawn.errors import NodeUnreachable
from spawn.mesh.link import Ended, Ending, Link, Mesh, MeshCounts, Receiver
from spawn.mesh.wire import Message

__all__ = ["BACK_OFF_MAX_S", "BACK_OFF_S", "DENIED_S", "IDLE_S", "PEERS_MAX", "Peers"]

BACK_OFF_S: Final = 0.05
"""After a link that ended out of order none is opened for so long, more or less by dice; each
further failure doubles it. Less than `health.PING_S`: the next ping tries again."""
BACK_OFF_MAX_S: Final = 1.0
"""A node that starts again is found within this."""
DENIED_S: Final = 5.0
"""After a peer that does not talk to us, or we not to it: that changes with an upgrade alone."""
IDLE_S: Final = 60.0
"""A link that carried nothing for so long is closed; one that the peer opened after twice that, so
that as a rule one end does it."""
PEERS_MAX: Final = 10_000
"""Endpoints that are remembered; ten times the largest cluster that is planned for. For one more
nothing is opened."""

_SWEEP_S: Final = 5.0
_FORGET_S: Final = 60.0


class _Peer:
    """What is known of an endpoint."""

    __slots__ = ("failures", "links", "retry_at", "told")

    def __init__(self) -> None:
        self.links: list[Link] = []
        """Those that live, the newest last."""
        self.failures = 0
        self.retry_at = 0.0
        self.told: Ended | None = None
        """How the last link ended."""


class Peers:
    """All links of one node. Implements `Receiver` for its mesh, and hands on to the one above."""

    def __init__(
        self, receiver: Receiver, now: Callable[[], float], dice: Callable[[], float]
    ) -> None:
        """Prepare it; `dice` gives numbers from 0 to 1, and `use` the mesh."""
        self._receiver, self._now, self._dice = receiver, now, dice
        self._mesh: Mesh | None = None
        self._peers: dict[str, _Peer] = {}
        self._ours: set[Link] = set()
        self._quiet: dict[Link, tuple[int, float]] = {}

    def use(self, mesh: Mesh) -> None:
        """Take the mesh whose receiver this is."""
        self._mesh = mesh

    @property
    def counts(self) -> MeshCounts:
        """What the mesh counts."""
        return MeshCounts() if self._mesh is None else self._mesh.counts

    # --- for the router --------------------------------------------------------------------------

    def link(self, endpoint: str) -> Link:
        """Return a link to an endpoint; it is opened where there is none, and may not be open yet.

        Raises: NodeUnreachable - one ended a moment ago; nothing was sent.
        """
        assert self._mesh is not None, "no mesh to open links with"
        peer = self._peers.get(endpoint)
        if peer is None:
            if len(self._peers) >= PEERS_MAX:
                raise NodeUnreachable(
                    f"{PEERS_MAX} nodes are known, as many as may; {endpoint} is none of them"
                )
            peer = self._peers[endpoint] = _Peer()
        if peer.links:
            return _best(peer.links)
        if self._now() < peer.retry_at and peer.told is not None:
            raise NodeUnreachable(
                f"node {endpoint} is not reached: {peer.told.text}", hint="call again"
            )
        link = self._mesh.open(endpoint)
        if link.ended is not None:
            raise NodeUnreachable(f"node {endpoint} is not reached: {link.ended.text}")
        peer.links.append(link)
        self._ours.add(link)
        return link

    def links(self) -> Iterator[Link]:
        """Yield an open link to each peer that has one."""
        for peer in list(self._peers.values()):
            if peer.links and (link := _best(peer.links)).peer is not None:
                yield link

    def leave(self, endpoint: str, text: str) -> None:
        """End all links to an endpoint at once: it was found unreachable."""
        peer = self._peers.get(endpoint)
        if peer is not None:
            for link in list(peer.links):
                link.abort(Ending.TIMED_OUT, text)

    async def run(self) -> None:
        """Close links that nobody uses. Never returns."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """Close links that nobody has used, and forget endpoints."""
        now = self._now()
        for endpoint, peer in list(self._peers.items()):
            for link in list(peer.links):
                traffic, since = self._quiet.get(link, (-1, now))
                if link.traffic != traffic:
                    self._quiet[link] = link.traffic, now
                elif now - since >= (IDLE_S if link in self._ours else 2 * IDLE_S):
                    link.close()
            if not peer.links and now >= peer.retry_at + _FORGET_S:
                del self._peers[endpoint]

    # --- Receiver --------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        peer = self._peers.get(link.endpoint)
        if link in self._ours:
            assert peer is not None
            peer.failures = 0
        elif peer is not None or len(self._peers) < PEERS_MAX:
            # A peer that calls is there, whatever was found when we called it.
            peer = self._peers.setdefault(link.endpoint, _Peer())
            peer.failures, peer.retry_at = 0, 0.0
            peer.links.append(link)
        self._receiver.opened(link)

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        self._receiver.received(link, messages)

    def ended(self, link: Link, ended: Ended) -> None:
        peer = self._peers.get(link.endpoint)
        self._ours.discard(link)
        self._quiet.pop(link, None)
        if peer is not None and link in peer.links:
            peer.links.remove(link)
            peer.told = ended
            if ended.ending is not Ending.CLOSED:
                peer.retry_at = self._now() + self._back_off_s(peer, ended.ending)
        self._receiver.ended(link, ended)

    def _back_off_s(self, peer: _Peer, ending: Ending) -> float:
        if ending in (Ending.DENIED, Ending.PROTOCOL):
            return DENIED_S
        wait_s = min(BACK_OFF_S * 2.0**peer.failures, BACK_OFF_MAX_S)
        peer.failures = min(peer.failures + 1, 16)
        # Not all nodes that lost the same peer come back at once.
        return wait_s * (0.5 + self._dice() / 2)


def _best(links: Sequence[Link]) -> Link:
    """Return the newest that is open: an endpoint's newest process. Else one that may open yet."""
    for link in reversed(links):
        if link.peer is not None:
            return link
    return links[-1]
