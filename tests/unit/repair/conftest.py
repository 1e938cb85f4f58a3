"""No real waiting for a log's end."""

from __future__ import annotations

import pytest

from spawn.repair import scan


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_LOOK_S", 0)
