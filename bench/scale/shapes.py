"""Clusters on paper: nodes, the topics that they host, and what they hold.

Names of types are two words of people's, drawn once: names that count up compress to nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from spawn.cluster.members import Assignment, Member, held_ranges

__all__ = ["SHAPES", "Assigned", "Members", "Shape", "fewest_moves", "moved", "settled"]

Members = dict[str, Member]
Assigned = Mapping[str, Assignment]

_WORDS: Final = str.split(
    "Order Cart Customer Invoice Payment Shipment Product Stock Account Ledger Transfer Card Device"
    " Session Ticket Booking Seat Flight Aircraft Crew Hotel Room Guest Review Rating Coupon"
    " Campaign Segment Audience Message Thread Channel Inbox Subscription Plan Quota Meter Usage"
    " Tenant Project Workspace Document Folder Permission Role Policy Audit Alert Incident Schedule"
    " Shift Employee Payroll Contract Vendor Receipt Return Refund Dispute Claim Quote Lead Contact"
    " Territory Forecast Budget Asset Fleet Vehicle Driver Route Parcel Label Manifest Carrier Dock"
    " Bin Pallet Batch Recipe Sensor Reading Gateway Firmware Rollout Experiment Feature Model"
    " Dataset Job Run Pipeline Step Artifact"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How nodes and types go together."""

    name: str
    topics: int
    hosting: str = "all"
    """`all`; `but a fifth`: node n hosts every topic t but those with t = n modulo 5; `groups`:
    ten groups of nodes host a tenth of the topics each; `dice`: each node a fifth, at random."""

    def names(self, partitions: int) -> dict[str, int]:
        """Return all topics with their partitions."""
        dice, names = random.Random(5), set[str]()
        while len(names) < self.topics:
            names.add("spawn.shop." + "".join(dice.sample(_WORDS, 2)))
        return dict.fromkeys(sorted(names), partitions // self.topics)

    def member(self, number: int, partitions: int) -> Member:
        """Return node `number`, holding nothing."""
        all_topics = self.names(partitions)
        dice = random.Random(number)
        match self.hosting:
            case "all":
                hosted = list(all_topics)
            case "but a fifth":
                hosted = [each for t, each in enumerate(all_topics) if t % 5 != number % 5]
            case "groups":
                hosted = [each for t, each in enumerate(all_topics) if t % 10 == number % 10]
            case _:
                hosted = sorted(dice.sample(list(all_topics), self.topics // 5))
        address = f"10.1.{number // 256}.{number % 256}"
        return Member(
            node_id=dice.randbytes(16),
            mesh=f"{address}:7400",
            http=f"{address}:9001",
            release="0.2.0",
            protocol=1,
            protocol_min=1,
            topics={topic: all_topics[topic] for topic in hosted},
        )


SHAPES: Final = (
    Shape(name="10 types", topics=10),
    Shape(name="100 types", topics=100),
    Shape(name="100 types, nodes host four fifths", topics=100, hosting="but a fifth"),
    Shape(name="100 types in 10 groups of nodes", topics=100, hosting="groups"),
    Shape(name="100 types, nodes host 20 by dice", topics=100, hosting="dice"),
)


def settled(members: Members, assigned: Assigned, epoch: int) -> Members:
    """Return the members once they hold what they were given, under claims of various epochs."""
    return {
        name: replace(
            member,
            held={
                topic: held_ranges({each: 1 + each * 7 % epoch for each in partitions})
                for topic, partitions in assigned[name].items()
            },
        )
        for name, member in members.items()
    }


def moved(before: Assigned, after: Assigned) -> int:
    """Return how many partitions have another owner, those of a lost one included."""
    owners = {
        (topic, partition): name
        for name, topics in before.items()
        for topic, partitions in topics.items()
        for partition in partitions
    }
    return sum(
        owners[topic, partition] != name
        for name, topics in after.items()
        for topic, partitions in topics.items()
        for partition in partitions
    )


def fewest_moves(members: Members) -> int:
    """Return how many partitions must get another owner at least, for totals that are balanced.

    Whatever is assigned, each node takes what it lacks of its share. Counted for each set of nodes
    that is tied together by topics that they share. A bound: what nodes host may ask for more.
    """
    return sum(_fewest(members, part) for part in _parts(members))


def _parts(members: Members) -> list[list[str]]:
    """Return the members' names, in sets that have no topic in common."""
    parts: list[tuple[set[str], list[str]]] = []
    for name, member in members.items():
        topics, names = set(member.topics), [name]
        for part in [each for each in parts if each[0] & topics]:
            parts.remove(part)
            topics |= part[0]
            names += part[1]
        parts.append((topics, names))
    return [names for _, names in parts]


def _fewest(members: Members, names: list[str]) -> int:
    topics: dict[str, int] = {}
    for name in names:
        topics.update(members[name].topics)
    held = [
        sum(each.stop - each.start for ranges in members[name].held.values() for each in ranges)
        for name in names
    ]
    share, odd = divmod(sum(topics.values()), len(names))
    # `odd` nodes end with one more than the others: those first that have it already.
    return sum(max(0, share - each) for each in held) + max(
        0, odd - sum(each > share for each in held)
    )
