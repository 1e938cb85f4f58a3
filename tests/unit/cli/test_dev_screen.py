"""What `spawn dev` proposes to try."""

from __future__ import annotations

from pathlib import Path

import pytest

from spawn.config import load_settings
from spawn.core.behavior import ActionInfo
from spawn.dev.command import curl, screen
from spawn.dev.endpoints import Endpoints
from spawn.dev.node_child import Served
from spawn.dev.session import Shown
from tests.unit.cli.running import spawn

_TLS = {"http.tls_cert": "my cert.pem", "http.tls_key": "key.pem"}


@pytest.mark.parametrize(
    ("flags", "environ", "words"),
    [
        ({}, {}, "curl"),
        (_TLS, {}, "curl --cacert 'my cert.pem'"),
        (
            {},
            {"SPAWN_HTTP_TOKEN": "secret-token"},
            'curl -H "Authorization: Bearer $SPAWN_HTTP_TOKEN"',
        ),
    ],
)
def test_the_call_has_what_token_and_certificate_need(
    flags: dict[str, str], environ: dict[str, str], words: str
) -> None:
    """And never the token itself."""
    assert curl(load_settings(flags=flags, environ=environ)) == words


def test_an_actor_without_actions_is_pointed_at() -> None:
    """Its author forgot @action, mostly."""
    read = ActionInfo("get_state", read_only=True, is_async=False, signature="get_state() -> S")
    add = ActionInfo("add", read_only=False, is_async=False, signature="add(n: int) -> int")
    served = Served(
        system="s", origin="a.py", actors=(("A", "", (read,)), ("Counter", "", (read, add)))
    )
    endpoints = Endpoints(
        kafka_bootstrap="k:1",
        postgres_dsn="",
        nats_url="nats://n:1",
        pids={},
        logs={},
        data_folder=Path("data"),
    )
    shown = screen(Shown(served, "http://127.0.0.1:9001", 7, 0), endpoints, 1.0)
    assert "warning: A has no action: write @action above what may be called" in shown
    assert "Counter has no action" not in shown
    assert "  docs      http://127.0.0.1:9001/docs\n" in shown
    assert "try  curl -d 5 127.0.0.1:9001/v1/actors/Counter/a/add\n" in shown


def test_a_missing_file_is_told_before_anything_is_started(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not that another one has the folder, or the port."""
    code, out, err = spawn(capsys, "dev", "nope.py")
    assert (code, out) == (1, "")
    assert err.startswith("error: nope.py is not a file [invalid-target]")
    assert not Path(".spawn").exists()
