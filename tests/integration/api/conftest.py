"""Fixtures of the HTTP tests: a real server on a real socket, a fake node behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.api.wire import Served, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A running server, its fake ingress and one open connection."""
    async with serving() as served:
        yield served
