"""What a node is doing, as frozen values: made of its parts when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from spawn.core.ingress import DISTRIBUTIONS, Distribution, NodeStatistics, TypeStatistics
from spawn.runtime.context import NodeContext
from spawn.runtime.counts import merged
from spawn.runtime.loop_watch import LoopWatch
from spawn.runtime.partition_worker import ELSEWHERE, PartitionWorker

__all__ = ["node_statistics"]


_MOVING_S: Final = 5.0
"""A partition is taken over, or recovers, within this unless something is wrong."""


def node_statistics(
    context: NodeContext,
    workers: Sequence[PartitionWorker],
    watch: LoopWatch,
    not_ready: Sequence[str],
    now: float,
) -> NodeStatistics:
    """Return the node at this instant; it looks at each busy actor, and else only at counts."""
    partitions = [worker.statistics() for worker in workers]
    reasons = [*not_ready]
    # Once a node has served, one partition that it takes over is no reason to leave it alone.
    since = now - _MOVING_S if context.serving.is_set() else now
    reasons += [
        f"{p.topic}/{p.partition} is {p.phase}"
        for p, worker in zip(partitions, workers, strict=True)
        if p.phase not in ("active", ELSEWHERE) and worker.inactive_since <= since
    ]
    outstanding, threads = context.outstanding, context.blocking.threads
    return NodeStatistics(
        system=context.system,
        owner=context.owner.hex(),
        ready=not reasons,
        reasons=reasons,
        partitions=partitions,
        types=_types(workers),
        distributions=_distributions(context, workers, sum(p.commits for p in partitions)),
        loop_lag_s=watch.lag_s,
        loop_lag_max_s=watch.lag_max_s,
        loop_stalls=watch.stalls,
        loop_blocks=context.blocking.beat.blocks,
        loop_block_max_s=context.blocking.beat.longest_s,
        clock_ahead_s=context.clock_ahead_s,
        calls=len(outstanding),
        calls_max=context.settings.calls_max,
        refusals=dict(outstanding.refusals),
        outcomes=dict(outstanding.outcomes),
        threads=threads.size,
        thread_jobs=threads.jobs,
        log_failures=outstanding.log_failures,
        store_failures=outstanding.store_failures,
    )


def _distributions(
    context: NodeContext, workers: Sequence[PartitionWorker], commits: int
) -> Mapping[str, Distribution]:
    counts = [worker.counts for worker in workers]
    batches = [sum(bucket) for bucket in zip(*(c.batch_buckets for c in counts), strict=True)]
    return {
        "commit_seconds": merged([c.commit_seconds for c in counts]),
        "call_seconds": merged([context.outstanding.call_seconds]),
        "batch_commits": Distribution(DISTRIBUTIONS["batch_commits"], batches, float(commits)),
        "flush_seconds": merged([c.flush_seconds for c in counts]),
        "takeover_seconds": merged([c.takeover_seconds for c in counts]),
    }


def _types(workers: Iterable[PartitionWorker]) -> Sequence[TypeStatistics]:
    actors: dict[str, int] = {}
    limits: dict[str, int] = {}
    calls: dict[str, int] = {}
    most: dict[str, int] = {}
    for worker in workers:
        residents = worker.machine.residents
        for name, table in residents.tables.items():
            actors[name] = actors.get(name, 0) + len(table.actors)
            limits[name] = table.behavior.settings.mailbox_size_max
        for actor in residents.busy:
            if (work := actor.work) is not None:
                name, waiting = actor.table.type, len(work.mailbox)
                calls[name] = calls.get(name, 0) + waiting
                most[name] = max(most.get(name, 0), waiting + work.uncommitted)
    return [
        TypeStatistics(name, count, calls.get(name, 0), most.get(name, 0), limits[name])
        for name, count in sorted(actors.items())
    ]
