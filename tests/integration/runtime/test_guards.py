"""All that watches a node that serves, together."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from spawn.errors import Fenced, PartitionsChanged
from spawn.runtime.clock import SystemClock
from spawn.runtime.guards import guarded
from tests.integration.runtime.running import TOPIC, Cluster, add


async def test_everything_is_watched_while_the_body_runs_and_nothing_after_it() -> None:
    """Loop, clock and topics."""
    cluster = Cluster()
    cluster.store.clock = lambda: SystemClock().time_us() - 2_000_000
    before = threading.active_count()
    async with cluster.node() as node:
        context = node._context
        async with guarded(context, {TOPIC: 1}, stuck_s=0):
            assert threading.active_count() > before
            await add(node, 1)
            cluster.log.widen(TOPIC, 2)
            await asyncio.sleep(3)
            time.sleep(0.6)
            await asyncio.sleep(0.1)
        assert node.statistics().clock_ahead_s == pytest.approx(2, abs=0.2)
        assert context.blocking.beat.named == 1
        with pytest.raises(PartitionsChanged):
            await add(node, 2)
    assert threading.active_count() == before


async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    """No group of one."""
    cluster = Cluster()
    async with cluster.node() as node:
        with pytest.raises(Fenced, match="somebody"):
            async with guarded(node._context, {TOPIC: 1}, stuck_s=0):
                raise Fenced("somebody else owns it")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), guarded(node._context, {TOPIC: 1}, stuck_s=0):
                await asyncio.sleep(5)
