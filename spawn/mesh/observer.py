"""One node watches others: pings over its links, opinions told and heard, verdicts out.

What is decided stands in `spawn.mesh.health`; here it meets links and time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from spawn.errors import SpawnError
from spawn.mesh.health import (
    PING_S,
    REPEAT_S,
    Detector,
    Evidence,
    Finding,
    Panel,
    evidence_of,
    watched_by,
    watchers_of,
)
from spawn.mesh.link import Ended, Link
from spawn.mesh.peers import Peers
from spawn.mesh.wire import Message, Opinion, Ping, Pong

__all__ = ["TELL_ALL_MAX", "Observer"]

TELL_ALL_MAX: Final = 16
"""In a cluster of so many nodes an opinion is told to all of them, so that each can judge by
itself; in a larger one to the node's watchers alone, and who is to claim is told by them."""


class Observer:
    """Watches the nodes that fall to this one.

    Give it what its links bring (`received`, `ended`) and who the members are; let `run` run, or
    call `step` when it says.
    """

    def __init__(
        self,
        me: str,
        peers: Peers,
        now: Callable[[], float],
        changed: Callable[[str, bool], None],
    ) -> None:
        """Prepare it; `changed` is told each node that becomes unreachable, or is so no more."""
        self._me, self._peers, self._now, self._changed = me, peers, now, changed
        self._detector = Detector(now())
        self._panel = Panel(me)
        self._endpoints: dict[str, str] = {}
        self._nodes: dict[str, str] = {}
        self._repeat_at = now() + REPEAT_S
        self.unreachable: set[str] = set()
        """Nodes on which enough observers agree."""

    def set_members(self, members: Mapping[str, str]) -> None:
        """Take all members' endpoints by node id, this node's among them."""
        self._endpoints = dict(members)
        self._nodes = {endpoint: node for node, endpoint in members.items()}
        self._detector.watch(watched_by(self._me, members), self._now())
        self._panel.set_nodes(members)
        self.unreachable &= set(members)

    def finds(self, node: str) -> bool:
        """Tell whether this node by itself finds another one unreachable."""
        return self._detector.finding(node) is not None

    def received(self, link: Link, messages: Iterable[Message]) -> None:
        """Take what a link brought; all but answers to pings and opinions is passed over."""
        if link.peer is None:
            return
        for message in messages:
            match message:
                case Pong(nonce=nonce):
                    self._find(self._detector.answered(link.peer.node, nonce))
                case Opinion(node=node, evidence=evidence):
                    told = Evidence(evidence) if evidence in set(Evidence) else None
                    self._panel.hear(link.peer.node, node, told, self._now())
                    self._judge()

    def opened(self, link: Link) -> None:
        """A link that opened says no more than the answer to the next ping."""

    def ended(self, link: Link, ended: Ended) -> None:
        """Take that a link ended."""
        node = link.peer.node if link.peer is not None else self._nodes.get(link.endpoint)
        evidence = evidence_of(ended.ending)
        if node is not None and evidence is not None:
            self._find(self._detector.lost(node, evidence))

    def step(self) -> float:
        """Do what is due, and return after how many seconds to call again, at most PING_S."""
        now = self._now()
        due = self._detector.tick(now)
        for node, nonce in due.pings:
            self._post(node, Ping(nonce))
        for finding in due.findings:
            self._find(finding)
        if now >= self._repeat_at:
            self._repeat_at = now + REPEAT_S
            for finding in self._detector.findings():
                self._tell(finding)
        self._judge()
        return min(max(self._detector.due_at() - self._now(), 0.0), PING_S)

    async def run(self) -> None:
        """Watch. Never returns."""
        while True:
            wait_s = self.step()
            await asyncio.sleep(wait_s)

    def _find(self, finding: Finding | None) -> None:
        if finding is not None:
            self._panel.hear(self._me, finding.node, finding.evidence, self._now())
            self._tell(finding)
            self._judge()

    def _tell(self, finding: Finding) -> None:
        for node in self._told(finding.node):
            if node not in (self._me, finding.node):
                self._post(node, Opinion(finding.node, finding.evidence or ""))

    def _told(self, node: str) -> Sequence[str]:
        if len(self._endpoints) <= TELL_ALL_MAX:
            return list(self._endpoints)
        return watchers_of(node, self._endpoints)

    def _post(self, node: str, message: Message) -> None:
        try:
            self._peers.link(self._endpoints[node]).post(message)
        except SpawnError:
            # A ping that does not leave is one that is not answered; an opinion is told again.
            return

    def _judge(self) -> None:
        now = self._now()
        found = {node for node in self._panel.accused() if self._panel.is_unreachable(node, now)}
        for node in sorted(found ^ self.unreachable):
            (self.unreachable.add if node in found else self.unreachable.discard)(node)
            self._changed(node, node in found)
