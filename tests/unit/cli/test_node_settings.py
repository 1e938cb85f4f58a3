"""Which servers `spawn run` takes where a `spawn dev` runs in the folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spawn.cli.settings_flags import SettingsFlags
from spawn.cli.sources import node_settings
from spawn.dev import dev_file
from spawn.errors import InvalidSettings

DEV = Path(".spawn")


@pytest.fixture
def running() -> Iterator[None]:
    """This process counts as a `spawn dev`."""
    dev_file.write(
        DEV,
        dev_file.DevFile(
            system="shop",
            http_url="http://127.0.0.1:9001",
            started="now",
            kafka_bootstrap="127.0.0.1:43111",
            postgres_dsn="postgresql://spawn@/spawn?host=/x",
            nats_url="nats://127.0.0.1:43113",
        ),
    )
    yield
    dev_file.remove(DEV)


@pytest.mark.usefixtures("running")
def test_without_servers_of_its_own_it_joins() -> None:
    """All of the session: its system too, and nothing that is for other servers."""
    Path("spawn.toml").write_text("[kafka]\nsecurity_protocol = 'SSL'\npartitions = 4\n")
    settings = node_settings(SettingsFlags(), None)
    assert settings.system == "shop"
    assert settings.kafka.bootstrap_servers == "127.0.0.1:43111"
    assert settings.nats.url
    assert (settings.kafka.security_protocol, settings.kafka.partitions) == ("PLAINTEXT", 4)
    assert settings.source("postgres.dsn").kind == "development"


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("place", ["file", "environment", "flag", "database"])
def test_servers_that_are_named_are_taken(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever: a node that writes into another log than was meant is worse than one more flag."""
    monkeypatch.setenv("SPAWN_POSTGRES_DSN", "postgresql://mine/x")
    given = {}
    if place == "file":
        Path("spawn.toml").write_text("[kafka]\nbootstrap_servers = 'mine:9092'\n")
    elif place == "environment":
        monkeypatch.setenv("SPAWN_KAFKA_BOOTSTRAP_SERVERS", "mine:9092")
    elif place == "flag":
        given["kafka_bootstrap_servers"] = "mine:9092"
    else:
        with pytest.raises(InvalidSettings, match=r"kafka\.bootstrap_servers is not set"):
            node_settings(SettingsFlags(), None)
        return
    settings = node_settings(SettingsFlags(**given), None)
    assert settings.kafka.bootstrap_servers == "mine:9092"
    assert settings.system != "shop"


def test_without_any_it_says_what_is_missing() -> None:
    """As ever."""
    with pytest.raises(InvalidSettings, match=r"kafka\.bootstrap_servers is not set"):
        node_settings(SettingsFlags(), None)
