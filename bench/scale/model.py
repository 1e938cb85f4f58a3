"""A cluster on paper: throughput, and what saturates first, from costs that were measured.

Deterministic arithmetic, no simulation. Each resource has a capacity and each call a cost; a
cluster serves as many calls a second as the resource allows that is used up first. Every cost names
where it was measured; what is assumed is named as assumed. Costs are those of the machine of
bench/README.md, so the tables show proportions and orders, not what other machines do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

__all__ = ["COSTS", "Cluster", "Costs", "Limit", "limits", "measure", "takeover_s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """CPU time in microseconds, of one core, if not said otherwise."""

    commit_us: float = 28.3
    """A commit in process, its caller included: bench/README.md, 64 callers."""
    http_commit_us: float = 67.0
    """A commit over HTTP on the node, 64 connections: bench/README.md."""
    row_us: float = 12.9
    """Writing a changed actor's row, on the node: bench/README.md, 41.2 - 28.3."""
    router_us: float = 25.0
    """What forwarding adds to a commit on both nodes, without the network: bench/README.md."""
    frame_us: float = 180.0
    """A frame at one end of a link: a quarter of what bench.parts.mesh takes for a request and its
    answer alone in their frames, 716. (A ping's, in `links`: 110.)"""
    turn_s: float = 0.005
    """Messages to one node share a frame if they come within a turn of the sender's loop. Assumed
    for a node that is as busy as it may be: a longer one leaves no p99 of 10 ms. (With time to
    spare it is 0.0005: bench.parts.mesh sees 5.4 a frame at 10,000/s, 1.1 at 1,000/s.)"""
    idle_link_us: float = 85.0
    """A link that only says that it lives, each second: `links`."""
    link_kib: float = 60.0
    """Memory of a link: `links`."""
    heartbeats_per_s: float = 1.67
    """Of a node to the group's coordinator: ten a session of 6 s."""
    pings_per_s: float = 60.0
    """Pings that a node sends and answers, each two frames: `watching`."""
    owned_idle_us: float = 22.0
    """An owned partition that nobody uses, each second: `idle`, (4.23 - 0.66) % / 1,600."""
    owned_kib: float = 28.0
    """Memory of an owned partition without actors: `idle`."""
    foreign_idle_us: float = 1.7
    """A hosted partition of another node, each second, without membership: `idle`."""
    foreign_kib: float = 11.2
    """Its memory: `idle`."""
    choose_us: float = 2.3
    """Choosing about a hosted partition once: `idle`."""
    choices_per_s: float = 1.0
    """Membership looks at all of them so often when all is settled (spawn/membership), ten times
    as often when it is not, and with each news of an owner."""
    actor_bytes: float = 349.0
    """An idle actor with a small state: bench/README.md."""
    broker_request_us: float = 120.0
    """The broker's CPU time for a produce request and its first batch; assumed: `broker` could not
    measure it on a quiet machine yet. Nothing here is replicated: with three copies, more."""
    broker_batch_us: float = 25.0
    """For each batch more of the request: `broker`, 31 with 16 in a request."""
    broker_record_us: float = 0.3
    """For each record more of a batch: `broker`, (40 - 31) / 29."""
    append_s: float = 0.0008
    """A produce request's round trip under load; a node has one under way to each broker."""
    rows_per_s: float = 24_500.0
    """What PostgreSQL took, beside node and broker on two cores: bench/README.md, best of four."""
    takeover_ms: float = 20.0
    """Asking the database and the log, claiming: round trips one after the other; assumed."""
    takeover_cpu_ms: float = 3.0
    """Of the node, for a partition without a tail: `broker`, 2.3 to 4.9 on a busy machine."""
    takeovers_at_once: int = 4
    """spawn/runtime/context.py."""
    replay_per_s: float = 380_000.0
    """Records folded: bench/README.md, 1,000,000 in 2.9 s less 0.275 s."""
    lease_wait_s: float = 0.275
    flush_s: float = 5.0


COSTS: Final = Costs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What is deployed, and how it is called."""

    nodes: int
    partitions: int
    """Of all types together; every node hosts all types."""
    brokers: int
    broker_cores: float = 4.0
    databases: float = 1.0
    """As many times the PostgreSQL of bench/README.md."""
    through_any: bool = True
    """Calls come in anywhere; False: at the owner."""
    rows_a_commit: float = 0.2
    """Commits of one actor between two flushes share a row; 1: each changes another actor."""
    node_share: float = 0.8
    """Of a node's core that may be used."""


class Limit(NamedTuple):
    """How many calls a second of the whole cluster a resource allows."""

    resource: str
    calls_per_s: float


def limits(cluster: Cluster, costs: Costs = COSTS) -> list[Limit]:
    """Return all limits, the lowest first."""
    found = [
        Limit("nodes' CPU", _by_nodes(cluster, costs)),
        Limit("PostgreSQL", cluster.databases * costs.rows_per_s / cluster.rows_a_commit),
        Limit("brokers' CPU", _by_brokers(cluster, costs)),
    ]
    return sorted(found, key=lambda each: each.calls_per_s)


def standing_share(cluster: Cluster, costs: Costs = COSTS) -> dict[str, float]:
    """Return which share of a node's core goes into being one of so many, without any call."""
    hosted = cluster.partitions
    owned = hosted / cluster.nodes
    links = cluster.nodes - 1
    return {
        "choosing": hosted * costs.choose_us * costs.choices_per_s / 1e6,
        "partitions of others": (hosted - owned) * costs.foreign_idle_us / 1e6,
        "own partitions": owned * costs.owned_idle_us / 1e6,
        "links": links * costs.idle_link_us / 1e6,
        "pings": min(links, 3) / 3 * costs.pings_per_s * 2 * costs.frame_us / 1e6,
    }


def _by_nodes(cluster: Cluster, costs: Costs) -> float:
    """Return the rate at which the nodes' cores are used up; calls come evenly."""
    free = cluster.node_share - sum(standing_share(cluster, costs).values())
    if free <= 0:
        return 0.0
    plain = costs.http_commit_us + cluster.rows_a_commit * costs.row_us
    forwarded = 1 - 1 / cluster.nodes if cluster.through_any else 0.0
    low, high = 0.0, free * 1e6 / plain
    for _ in range(60):  # frames fill with the rate, so that the cost of a call falls with it
        rate = (low + high) / 2
        used = rate * (plain + forwarded * forward_us(rate * forwarded, cluster.nodes, costs))
        low, high = (rate, high) if used < free * 1e6 else (low, rate)
    return low * cluster.nodes


def forward_us(rate: float, nodes: int, costs: Costs = COSTS) -> float:
    """Return the CPU time of a forwarded call, of both nodes: request and answer, at both ends.

    `rate`: calls a second that each node forwards, evenly to all others.
    """
    a_frame = max(1.0, rate / max(nodes - 1, 1) * costs.turn_s)
    return costs.router_us + 4 * costs.frame_us / a_frame


def _by_brokers(cluster: Cluster, costs: Costs) -> float:
    """Return the rate at which the brokers' cores are used up.

    A node has one request under way to each broker; what comes meanwhile is the next one's.
    """
    cores_us = cluster.brokers * cluster.broker_cores * 1e6

    def used(rate: float) -> float:
        streams = cluster.nodes * cluster.brokers
        requests = min(rate, streams / costs.append_s)
        a_request = rate / requests if requests else 0.0
        led = max(1.0, cluster.partitions / streams)
        batches = requests * led * (1 - (1 - 1 / led) ** a_request) if led > 1 else requests
        beat = cluster.nodes * costs.heartbeats_per_s * costs.broker_request_us
        return (
            beat
            + requests * costs.broker_request_us
            + max(0.0, batches - requests) * costs.broker_batch_us
            + max(0.0, rate - batches) * costs.broker_record_us
        )

    low, high = 0.0, 1e9
    for _ in range(60):
        rate = (low + high) / 2
        low, high = (rate, high) if used(rate) < cores_us else (low, rate)
    return low


def takeover_s(cluster: Cluster, commits_per_s: float, costs: Costs = COSTS) -> float:
    """Return the seconds until all partitions of a killed node serve again, from its being found.

    `commits_per_s`: of the lost node; half of the time between flushes is its tail.
    """
    heirs = max(1, cluster.nodes - 1)
    each = math.ceil(cluster.partitions / cluster.nodes / heirs)
    trips = math.ceil(each / costs.takeovers_at_once) * costs.takeover_ms / 1e3
    tail = commits_per_s * costs.flush_s / 2 / heirs / costs.replay_per_s
    return max(trips, each * costs.takeover_cpu_ms / 1e3) + tail + costs.lease_wait_s


_CLUSTERS: Final = (
    Cluster(nodes=3, partitions=96, brokers=3),
    Cluster(nodes=10, partitions=320, brokers=3),
    Cluster(nodes=100, partitions=3_200, brokers=6),
    Cluster(nodes=1_000, partitions=100_000, brokers=75),
)


def _throughput() -> None:
    print("| nodes | partitions | brokers | calls come in | saturates first | calls/s", end="")
    print(" | then | at calls/s | a forwarded call, us |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for cluster in _CLUSTERS:
        for anywhere in (False, True):
            each = replace(cluster, through_any=anywhere)
            first, second, *_ = limits(each)
            cost = "-"
            if anywhere:
                cost = f"{forward_us(first.calls_per_s / each.nodes, each.nodes):.0f}"
            print(
                f"| {each.nodes:,} | {each.partitions:,} | {each.brokers} |"
                f" {'anywhere' if anywhere else 'at the owner'} | {first.resource}"
                f" | {first.calls_per_s:,.0f} | {second.resource} | {second.calls_per_s:,.0f}"
                f" | {cost} |"
            )


def _standing() -> None:
    print("\n| nodes | partitions | share of a node's core without any call: ", end="")
    print(" | ".join(standing_share(_CLUSTERS[0])), "| MiB a node |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for cluster in _CLUSTERS:
        shares = standing_share(cluster)
        owned = cluster.partitions / cluster.nodes
        kib = (
            owned * COSTS.owned_kib
            + (cluster.partitions - owned) * COSTS.foreign_kib
            + (cluster.nodes - 1) * COSTS.link_kib
        )
        print(
            f"| {cluster.nodes:,} | {cluster.partitions:,} | "
            + " | ".join(f"{share:.1%}" for share in shares.values())
            + f" | {kib / 1024:,.0f} |"
        )


def _takeovers() -> None:
    print("\n| nodes | partitions | seconds to take over a killed node's partitions, once found |")
    print("| --- | --- | --- |")
    for cluster in _CLUSTERS:
        print(f"| {cluster.nodes:,} | {cluster.partitions:,} | {takeover_s(cluster, 10_000):.2f} |")
    crowded = Cluster(nodes=3, partitions=4_800, brokers=3)
    print(f"| 3 | 4,800 | {takeover_s(crowded, 10_000):.2f} |")


def measure(_nodes: int, _partitions: int, _rounds: int) -> None:
    """Print the tables."""
    print("model: from measured costs, one core a node, HTTP, a changed actor committed 5 times\n")
    _throughput()
    _standing()
    _takeovers()
