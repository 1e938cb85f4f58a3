"""Settings: precedence, checks, sources, and passwords that stay hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spawn.config import (
    SETTINGS,
    SecretUrl,
    Settings,
    load_settings,
    node_url,
    parse_duration_s,
    wants_colour,
)
from spawn.errors import InvalidSettings


def load(monkeypatch: pytest.MonkeyPatch, folder: Path, toml: str = "", **given: Any) -> Settings:
    """Load with a `spawn.toml` in the current folder and, if not given, an empty environment."""
    if toml:
        (folder / "spawn.toml").write_text(toml)
    monkeypatch.chdir(folder)
    return load_settings(**({"environ": {}} | given))


def problem(monkeypatch: pytest.MonkeyPatch, folder: Path, toml: str = "", **given: Any) -> str:
    """Load, and return what is told of what is wrong, with place and hint."""
    with pytest.raises(InvalidSettings) as caught:
        load(monkeypatch, folder, toml, **given)
    return f"{caught.value.message}\n{caught.value.at}\n{caught.value.hint}"


def test_defaults_are_those_that_the_documents_name() -> None:
    """The numbers that issue and README promise."""
    settings = load_settings(environ={})
    assert settings.system == "spawn-system"
    assert (settings.http.host, settings.http.port, settings.mesh.port) == ("127.0.0.1", 9001, 9101)
    assert (settings.kafka.partitions, settings.kafka.replication) == (16, None)
    assert (settings.http.body_limit_bytes, settings.http.timeout_s) == (1024 * 1024, 60.0)
    assert not settings.nats.url
    assert settings.source("http.port").kind == "default"


def test_flags_win_over_environment_over_development_over_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each layer gives what the ones above it leave open, and each value knows its source."""
    toml = 'system = "file"\n[http]\nport = 1\nhost = "file"\n[nats]\nurl = "nats://file"\n'
    settings = load(
        monkeypatch,
        tmp_path,
        toml + '[kafka]\nbootstrap_servers = "file:1"\n',
        flags={"http.port": "4", "http.host": None},
        environ={"SPAWN_HTTP_PORT": "3", "SPAWN_HTTP_HOST": "env", "SPAWN_NATS_URL": ""},
        development={"kafka.bootstrap_servers": "dev:2", "http.host": "dev"},
    )
    assert settings.http.port == 4
    assert settings.http.host == "env"
    assert settings.kafka.bootstrap_servers == "dev:2"
    assert settings.nats.url.reveal() == "nats://file"
    assert settings.system == "file"
    names = {key: settings.source(key) for key in settings.sources}
    assert names["http.port"] == ("flag", "--http-port (flag)")
    assert names["http.host"] == ("environment", "SPAWN_HTTP_HOST (environment)")
    assert names["kafka.bootstrap_servers"].kind == "development"
    assert names["nats.url"] == ("file", "spawn.toml line 6, nats.url")
    assert names["system"] == ("file", "spawn.toml line 1, system")


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    """--config is no wish."""
    named = tmp_path / "other.toml"
    with pytest.raises(InvalidSettings, match="there is no file"):
        load_settings(config=named, environ={})
    named.write_text("[kafka]\npartitions = 4\n")
    assert load_settings(config=named, environ={}).kafka.partitions == 4


def test_all_problems_are_told_at_once_each_with_its_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One start is enough to see everything that must be mended."""
    told = problem(
        monkeypatch,
        tmp_path,
        '[http]\nhost = "::1"\ntimeout = "soon"\n\n[htp]\n\n[kafka]\npartition = 3\n',
        environ={"SPAWN_SYSTEM": "no spaces"},
        flags={"http.port": "abc"},
        required=["postgres.dsn"],
    )
    assert "6 settings are wrong" in told
    assert "http.port must be a whole number, got 'abc', at --http-port (flag)" in told
    assert "system must begin with a letter" in told
    assert "at SPAWN_SYSTEM (environment)" in told
    assert "http.timeout must be a duration like 250ms" in told
    assert "at spawn.toml line 3, http.timeout" in told
    assert "there is no table [htp]; did you mean http?" in told
    assert "there is no setting kafka.partition; did you mean kafka.partitions?" in told
    assert "at spawn.toml line 8, kafka.partition" in told
    assert "postgres.dsn is not set" in told
    assert "SPAWN_POSTGRES_DSN, --postgres-dsn, or dsn in [postgres] of spawn.toml" in told


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("http.port", "65536", "from 0 to 65535"),
        ("http.port", 90.5, "whole number"),
        ("http.port", True, "whole number"),
        ("http.port", "9" * 400, "whole number"),
        ("http.host", "localhost:9001", "without port"),
        ("http.body_limit", "1MB", "size like 64KiB"),
        ("http.body_limit", "5MiB", "from 1KiB to 4MiB"),
        ("http.timeout", "-1", "duration"),
        ("http.timeout", "1d", "duration"),
        ("http.timeout", "nan", "duration"),
        ("http.timeout", "2h", "from 0.001s to 3600s"),
        ("http.timeout", "11m", "over http.timeout_max"),
        ("mesh.port", "9001", "both 9001"),
        ("actors.memory_limit", "512", "from 16MiB"),
        ("kafka.bootstrap_servers", "kafka", "host:port"),
        ("kafka.bootstrap_servers", "a:1,b:0", "got 'b:0'"),
        ("kafka.replication", "0", "from 1 to 99"),
        ("nats.url", "http://x", "nats://"),
        ("system", "9lives", "begin with a letter"),
        ("system", "x" * 64, "at most 63"),
    ],
)
def test_a_value_that_can_not_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, value: object, part: str
) -> None:
    """What it must be, and what it is."""
    assert part in problem(monkeypatch, tmp_path, flags={key: value})


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("http.body_limit", "64KiB", 65_536),
        ("http.body_limit", "2 MiB", 2 * 1024**2),
        ("http.body_limit", 2048, 2048),
        ("http.timeout", "250ms", 0.25),
        ("http.timeout", "2m", 120.0),
        ("http.timeout", 1.5, 1.5),
        ("kafka.replication", "auto", None),
        ("kafka.replication", 3, 3),
        ("kafka.bootstrap_servers", "a:1, [::1]:2", "a:1,[::1]:2"),
    ],
)
def test_units_are_understood(key: str, text: object, value: object) -> None:
    """Durations, sizes and lists, from text and from TOML's own types."""
    settings = load_settings(flags={key: text}, environ={})
    setting = SETTINGS[key]
    assert getattr(getattr(settings, setting.group), setting.attribute) == value


@pytest.mark.parametrize("text", ["5s", "5", "5000ms", "5.0", " 5 s"])
def test_a_duration_is_seconds_whatever_its_unit(text: str) -> None:
    """The same for flags of commands."""
    assert parse_duration_s(text) == 5.0


@pytest.mark.parametrize(
    ("toml", "part"),
    [
        ("[http\n", "spawn.toml is not TOML"),
        ('http = "x"\n', "http must be a table: write [http]"),
        ("[system]\nx = 1\n", "there is no table [system]"),
        ("prot = 1\n", "there is no setting prot"),
        ("[http.port]\nx = 1\n", "http.port must be a whole number"),
    ],
)
def test_a_file_that_makes_no_sense_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toml: str, part: str
) -> None:
    """Syntax and shape."""
    assert part in problem(monkeypatch, tmp_path, toml)


def test_a_file_that_is_no_text_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No traceback from the decoder."""
    (tmp_path / "spawn.toml").write_bytes(b"\xff\xfe")
    assert "can't be read" in problem(monkeypatch, tmp_path)


def test_an_unknown_variable_is_warned_of_with_the_nearest_name() -> None:
    """A misspelt variable would else be silently without effect."""
    environ = {
        "SPAWN_HTP_PORT": "1",
        "SPAWN_URL": "http://x",
        "SPAWN_TANSU_BIN": "/x",
        "SPAWN_PORT_9001_TCP": "tcp://10.0.0.1:9001",
        "SPAWN_SERVICE_HOST": "10.0.0.1",
        "HOME": "/",
    }
    assert load_settings(environ=environ).warnings == (
        "SPAWN_HTP_PORT (environment) is no setting and is ignored; did you mean SPAWN_HTTP_PORT?",
    )


def test_a_variable_that_kubernetes_set_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A service named spawn-http sets SPAWN_HTTP_PORT to an address."""
    told = problem(monkeypatch, tmp_path, environ={"SPAWN_HTTP_PORT": "tcp://10.0.0.1:80"})
    assert "enableServiceLinks: false" in told


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:s3cret@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u:s3/cr@et@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u@h/db?password=s3cret&x=1", "postgresql://u@h/db?password=***&x=1"),
        ("postgresql://h/db?sslpassword=s3cret", "postgresql://h/db?sslpassword=***"),
        ("postgresql:///db?host=/run/pg", "postgresql:///db?host=/run/pg"),
        ("nats://s3cret@h:4222", "nats://***@h:4222"),
        ("nats://u:s3cret@h:4222", "nats://u:***@h:4222"),
        ("nats://h:4222", "nats://h:4222"),
        ("nats://a:s3cret@h,nats://b:s3cret@i", "nats://a:***@i"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    """In whatever place it stands; the part that goes to the server has it."""
    secret = SecretUrl(url)
    assert str(secret) == shown
    assert secret.reveal() == url
    assert "s3cret" not in repr(secret)


def test_settings_and_their_errors_show_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the repr of all settings nor a complaint about an address."""
    settings = load_settings(environ={"SPAWN_POSTGRES_DSN": "postgresql://u:s3cret@h/db"})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in f"{settings.sources}"
    told = problem(monkeypatch, tmp_path, environ={"SPAWN_POSTGRES_DSN": "u:s3cret@h/db"})
    assert "s3cret" not in told
    assert "libpq URI" in told
    told = problem(monkeypatch, tmp_path, environ={"SPAWN_NATS_URL": "x://u:s3cret@h"})
    assert "s3cret" not in told


def test_the_environment_of_the_commands() -> None:
    """SPAWN_URL, and the two ways to ask for no colour."""
    assert node_url({"SPAWN_URL": "http://h:1"}) == "http://h:1"
    assert node_url({}) == ""
    assert wants_colour({})
    assert not wants_colour({"NO_COLOR": "1"})
    assert not wants_colour({"TERM": "dumb"})
