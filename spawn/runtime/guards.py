"""What watches a node that serves: its event loop, its clock, its topics.

For the composition root, in production only (a simulation has no threads and no use for them):

    async with node.running() as dispatcher, guarded(node.context, topics, stuck_s=30.0):
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from spawn.runtime.clock_check import ClockWatch
from spawn.runtime.context import NodeContext
from spawn.runtime.tasks import first_error
from spawn.runtime.topic_watch import TopicWatch
from spawn.runtime.watchdog import Watchdog

__all__ = ["guarded"]


@contextlib.asynccontextmanager
async def guarded(
    context: NodeContext, topics: Mapping[str, int], *, stuck_s: float
) -> AsyncIterator[None]:
    """Watch while the body runs, whose exceptions come out as they are.

    `topics`: event topics with the partitions that they are served with. `stuck_s`: how long a
    blocked loop is borne until the process ends itself; 0: for ever.
    """
    watchdog = Watchdog(context.blocking.beat, context.debugger, stuck_s=stuck_s)
    topic_watch = TopicWatch(context.log, topics, context.topic_stops)
    try:
        with watchdog.watching():
            async with asyncio.TaskGroup() as tasks:
                watches = [
                    tasks.create_task(ClockWatch(context).run()),
                    tasks.create_task(topic_watch.run()),
                ]
                yield
                for watch in watches:
                    watch.cancel()
    except BaseExceptionGroup as group:
        raise first_error(group) from group
