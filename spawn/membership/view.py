"""What a node among others tells of them: `spawn.core.system_view.SystemView`, read-only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from eventstore.log import TopicPartition
from spawn.cluster.choice import Node, Standing
from spawn.core.system_view import LinkCounts, NodeSeen, OwnerSeen, SystemCounts
from spawn.membership.membership import Membership
from spawn.routing.router import Router

__all__ = ["MembershipView"]


class MembershipView:
    """Made anew from membership and routing whenever somebody asks."""

    def __init__(self, membership: Membership, router: Router) -> None:
        self._membership, self._router = membership, router

    def nodes(self) -> Sequence[NodeSeen]:
        mine = self._membership.node
        others = sorted(
            (node for node in self._membership.known.values() if node is not mine),
            key=lambda node: (node.endpoint, node.id),
        )
        return [self._seen(node) for node in (mine, *others)]

    def _seen(self, node: Node) -> NodeSeen:
        member = self._membership.members.get(node.id)
        return NodeSeen(
            id=node.id.hex(),
            mesh=node.endpoint,
            http="" if member is None else member.http,
            release="" if member is None else member.release,
            standing=node.standing.value,
            for_s=self._membership.for_s(node),
            partitions=self._router.owners.count_of(node.endpoint),
            is_self=node is self._membership.node,
        )

    def owners(self) -> Mapping[str, Sequence[OwnerSeen]]:
        topics: dict[str, int] = {}
        for node in self._membership.known.values():
            for topic, count in node.topics.items():
                topics[topic] = max(count, topics.get(topic, 0))
        of = self._router.owners.of
        return {
            topic: [OwnerSeen(*of(TopicPartition(topic, number))) for number in range(count)]
            for topic, count in sorted(topics.items())
        }

    def owner_url(self, topic: str, partition: int) -> str:
        endpoint = self._router.owners.of(TopicPartition(topic, partition)).endpoint
        mine = self._membership.node
        if not endpoint or endpoint == mine.endpoint:
            return ""
        node = self._membership.at_endpoint(endpoint)
        member = None if node is None else self._membership.members.get(node.id)
        return "" if member is None else member.http

    def counts(self) -> SystemCounts:
        membership, routing = self._membership, self._router.counts
        group, links = membership.group, self._router.peers.counts
        standings = Counter(dict.fromkeys(map(str, Standing), 0))
        standings.update(node.standing.value for node in membership.known.values())
        asked, given = membership.handovers
        return SystemCounts(
            standings=standings,
            generation=0 if group.generation is None else group.generation.generation,
            is_leader=group.is_leader,
            heartbeat_age_s=group.heartbeat_age_s,
            is_unfit=membership.node.standing is Standing.UNFIT,
            parked=self._router.parked,
            forwarded=routing.forwarded,
            redirected=routing.redirected,
            received=routing.received,
            handovers_asked=asked,
            handovers_given=given,
            links=LinkCounts(
                opened=links.opened,
                frames_sent=links.frames_sent,
                messages_sent=links.messages_sent,
                bytes_sent=links.bytes_sent,
                frames_received=links.frames_received,
                messages_received=links.messages_received,
                bytes_received=links.bytes_received,
                overflows=links.overflows,
                refusals=dict(links.refusals),
                endings=dict(links.endings),
            ),
        )
