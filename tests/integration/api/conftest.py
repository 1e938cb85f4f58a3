"""Fixtures of the HTTP tests: a real server on a real socket, a fake node behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.api.wire import Served, serving


@pytest.fixture(params=[True, False], ids=["express", "aiohttp"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """A running server, its fake ingress and one open connection; in turn without express lane."""
    async with serving(express=request.param) as served:
        yield served
