"""A system of two nodes and four partitions, as the first node sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spawn.core.system_view import LinkCounts, NodeSeen, OwnerSeen, SystemCounts
from tests.integration.api.fake_ingress import TOPIC

__all__ = ["FakeView"]


class FakeView:
    """Partition 3 is this node's; the tests move partitions as they like."""

    def __init__(self) -> None:
        self.owned = {
            TOPIC: [
                OwnerSeen(1, "127.0.0.1:9101"),
                OwnerSeen(3, "127.0.0.1:9102"),
                OwnerSeen(0, ""),
                OwnerSeen(4, "127.0.0.1:9101"),
            ]
        }

    def nodes(self) -> Sequence[NodeSeen]:
        return [_node("c0ffee", 1, 61.5, 2), _node("decade", 2, 7.25, 1)]

    def owners(self) -> Mapping[str, Sequence[OwnerSeen]]:
        return self.owned

    def owner_url(self, topic: str, partition: int) -> str:
        mesh = self.owned[topic][partition].mesh if topic in self.owned else ""
        return "http://127.0.0.1:9002" if mesh == "127.0.0.1:9102" else ""

    def counts(self) -> SystemCounts:
        return SystemCounts(
            standings={"serving": 2, "unmet": 0},
            generation=7,
            is_leader=True,
            heartbeat_age_s=1.5,
            is_unfit=False,
            parked=3,
            forwarded=40,
            redirected=2,
            received=50,
            handovers_asked=5,
            handovers_given=6,
            links=LinkCounts(
                opened=2,
                frames_sent=10,
                messages_sent=100,
                bytes_sent=1000,
                frames_received=20,
                messages_received=200,
                bytes_received=2000,
                overflows=1,
                refusals={"version": 1},
                endings={"reset": 1, "closed": 2},
            ),
        )


def _node(name: str, number: int, for_s: float, partitions: int) -> NodeSeen:
    return NodeSeen(
        id=name,
        mesh=f"127.0.0.1:{9100 + number}",
        http=f"http://127.0.0.1:{9000 + number}",
        release="0.1.0",
        standing="serving",
        for_s=for_s,
        partitions=partitions,
        is_self=number == 1,
    )
