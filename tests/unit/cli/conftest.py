"""No setting of the machine, and an empty folder, for every test of a command line."""

from __future__ import annotations

import pytest

from spawn.config import SETTINGS


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    variables = [setting.variable for setting in SETTINGS.values()]
    for name in ("SPAWN_URL", "SPAWN_HTTP_TOKEN", "SPAWN_HTTP_TOKEN_FILE", *variables):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
