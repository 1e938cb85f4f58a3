"""`spawn config`: every setting, its value and its source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spawn.config import SETTINGS
from tests.unit.cli.running import spawn

pytestmark = pytest.mark.timeout(10)


def test_every_setting_is_shown_with_its_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag, environment, line of the file, default; and no password."""
    Path("spawn.toml").write_text('[http]\nport = 9009\n\n[snapshots]\nflush_interval = "250ms"\n')
    monkeypatch.setenv("SPAWN_POSTGRES_DSN", "postgresql://me:geheim@db:5432/shop")
    code, out, err = spawn(capsys, "config", "--system", "shop")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in out.splitlines()}
    assert list(lines) == ["setting", *SETTINGS]
    assert lines["system"] == ["shop", "--system (flag)"]
    assert lines["postgres.dsn"] == [
        "postgresql://me:***@db:5432/shop",
        "SPAWN_POSTGRES_DSN (environment)",
    ]
    assert lines["http.port"] == ["9009", "spawn.toml line 2, http.port"]
    assert lines["snapshots.flush_interval"][0] == "0.25s"
    assert lines["kafka.replication"] == ["auto", "default"]
    assert lines["kafka.bootstrap_servers"] == ["-", "default"]
    assert "geheim" not in out


def test_the_json_has_a_line_for_each_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """Its members keep their names."""
    _, out, _ = spawn(capsys, "config", "--json", "--http-port", "1234")
    values = [json.loads(line) for line in out.splitlines()]
    assert [value["key"] for value in values] == list(SETTINGS)
    assert {
        "key": "http.port",
        "value": "1234",
        "source": "flag",
        "from": "--http-port (flag)",
    } in (values)


def test_a_wrong_setting_is_named_with_its_source_and_the_nearest_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the file an unknown key is an error, in the environment a warning."""
    Path("spawn.toml").write_text("[http]\nprot = 1\n")
    code, out, err = spawn(capsys, "config")
    assert (code, out) == (2, "")
    assert "there is no setting http.prot; did you mean http.port?" in err
    assert "spawn.toml line 2" in err
    Path("spawn.toml").unlink()
    monkeypatch.setenv("SPAWN_HTTP_PROT", "1")
    code, _, err = spawn(capsys, "config")
    assert code == 0
    assert "SPAWN_HTTP_PROT (environment) is no setting and is ignored; did you mean" in err
