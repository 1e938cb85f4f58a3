"""Who reaches a node: what is refused at the start, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from spawn.config import load_settings
from spawn.errors import InvalidSettings, SpawnError, Unauthorized
from spawn.exposure import (
    access_of,
    advertised_url,
    base_url,
    check_exposure,
    check_mesh_exposure,
    mesh_tls_of,
    tls_of,
)
from tests.unit.api.test_access import headers

OPEN = {"http.host": "10.0.0.5"}
TLS = {"http.tls_cert": "c.pem", "http.tls_key": "k.pem"}
MESH_PAIR = {"mesh.tls_cert": "c.pem", "mesh.tls_key": "k.pem"}
MESH_TLS = {"mesh.tls_ca": "a.pem", **MESH_PAIR}
TOKEN = {"SPAWN_HTTP_TOKEN": "right-token"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_loopback_needs_nothing(host: str) -> None:
    """Nobody else reaches it."""
    check_exposure(load_settings(flags={"http.host": host}, environ={}))


@pytest.mark.parametrize(
    ("flags", "environ", "missing"),
    [
        ({}, {}, "not a token .* and not TLS files"),
        (TLS, {}, "not a token"),
        ({}, TOKEN, "not TLS files"),
        ({"http.host": "0.0.0.0"}, TOKEN, "not TLS files"),
        ({"http.host": "node.example.com"}, TOKEN, "not TLS files"),
    ],
)
def test_an_open_node_does_not_start(
    flags: dict[str, str], environ: dict[str, str], missing: str
) -> None:
    """Unless it is told to."""
    given = {**OPEN, **flags}
    with pytest.raises(InvalidSettings, match=missing) as refused:
        check_exposure(load_settings(flags=given, environ=environ))
    assert refused.value.at == "--http-host (flag)"
    assert "--insecure" in refused.value.hint
    check_exposure(load_settings(flags={**given, "http.insecure": True}, environ=environ))


def test_with_token_and_tls_it_starts() -> None:
    """The token by variable or file."""
    check_exposure(load_settings(flags={**OPEN, **TLS}, environ=TOKEN))
    given = {**OPEN, **TLS, "http.token_file": "t"}
    settings = load_settings(flags=given, environ={})
    check_exposure(settings)
    assert base_url(settings, 7) == "https://10.0.0.5:7"
    assert base_url(load_settings(flags={"http.host": "::1"}, environ={}), 7) == "http://[::1]:7"


@pytest.mark.parametrize(
    ("flags", "environ", "text"),
    [
        ({"http.tls_cert": "c.pem"}, {}, "http.tls_cert is set, but http.tls_key is not"),
        ({"http.tls_key": "k.pem"}, {}, "http.tls_key is set, but http.tls_cert is not"),
        ({"mesh.tls_key": "k.pem"}, {}, "mesh.tls_ca and mesh.tls_cert are not"),
        (MESH_PAIR, {}, "mesh.tls_ca is not"),
        ({"mesh.advertise": "10.0.0.5"}, {}, "must be host:port"),
        ({"mesh.advertise": "a:70000"}, {}, "must be host:port"),
        ({"mesh.advertise": "a:1,b:2"}, {}, "must be one host:port"),
        ({"http.token_file": "t"}, TOKEN, "http.token and http.token_file are both set"),
        ({}, {"SPAWN_HTTP_TOKEN": "short"}, "http.token must have 8 to 500"),
        ({}, {"SPAWN_HTTP_TOKEN": "two words here"}, "without blanks"),
        ({}, {"SPAWN_HTTP_INSECURE": "maybe"}, "must be true or false"),
        ({}, {"SPAWN_HTTP_ALLOWED_HOSTS": "a.example:80"}, "without port"),
        ({}, {"SPAWN_HTTP_ALLOWED_ORIGINS": "shop.example"}, "must be origins like"),
        ({}, {"SPAWN_HTTP_ALLOWED_ORIGINS": "https://a/b"}, "must be origins like"),
    ],
)
def test_wrong_settings_are_named(
    flags: dict[str, str], environ: dict[str, str], text: str
) -> None:
    """A token is never shown."""
    with pytest.raises(InvalidSettings, match=text) as wrong:
        load_settings(flags=flags, environ=environ)
    for value in TOKEN.values():
        assert value not in str(wrong.value)


def test_a_token_is_never_shown() -> None:
    """However the settings are printed."""
    settings = load_settings(environ=TOKEN)
    assert "right-token" not in repr(settings) + str(settings.http.token)
    assert settings.http.token.reveal() == "right-token"


def test_lists_come_with_commas_or_as_lists(tmp_path: Path) -> None:
    """By variable, or in the file."""
    environ = {"SPAWN_HTTP_ALLOWED_HOSTS": "a.example, b.example"}
    assert load_settings(environ=environ).http.allowed_hosts == ("a.example", "b.example")
    file = tmp_path / "s.toml"
    file.write_text('[http]\nallowed_origins = ["https://a.example", "https://b.example"]\n')
    origins = load_settings(config=file, environ={}).http.allowed_origins
    assert origins == ("https://a.example", "https://b.example")


def test_a_token_comes_from_its_file(tmp_path: Path) -> None:
    """White space around it is left out."""
    file = tmp_path / "token"
    settings = load_settings(flags={"http.token_file": str(file)}, environ={})
    for content in (None, "", "short", "two words here"):
        if content is not None:
            file.write_text(content)
        with pytest.raises(InvalidSettings, match="the token in"):
            access_of(settings)
    file.write_text("right-token\n")
    access = access_of(settings)
    access.check("invoke", headers(Authorization="Bearer right-token"))
    with pytest.raises(Unauthorized):
        access.check("invoke", headers(Authorization="Bearer wrong-token"))


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    """With both settings."""
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("no PEM")
    flags = {key: str(tmp_path / name) for key, name in TLS.items()}
    with pytest.raises(SpawnError, match="can't be used") as refused:
        tls_of(load_settings(flags=flags, environ={}))
    assert refused.value.at == "--http-tls-cert (flag), --http-tls-key (flag)"
    assert tls_of(load_settings(environ={})) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_nodes_of_one_machine_need_no_certificates(host: str) -> None:
    """Nobody else reaches them."""
    settings = load_settings(flags={"mesh.host": host}, environ={})
    check_mesh_exposure(settings)
    assert mesh_tls_of(settings) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "node.example.com"])
def test_a_mesh_open_to_a_network_does_not_start(host: str) -> None:
    """Without certificates, unless it is told to."""
    given = {"mesh.host": host, "mesh.advertise": "10.0.0.5:9101"}
    with pytest.raises(InvalidSettings, match="no TLS files for other nodes") as refused:
        check_mesh_exposure(load_settings(flags=given, environ={}))
    assert refused.value.at == "--mesh-host (flag)"
    assert "--mesh-insecure" in refused.value.hint
    check_mesh_exposure(load_settings(flags={**given, "mesh.insecure": True}, environ={}))
    check_mesh_exposure(load_settings(flags={**given, **MESH_TLS}, environ={}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_node_that_others_cannot_find_does_not_start(host: str) -> None:
    """It says where to call, or listens at one address."""
    given = {"mesh.host": host, **MESH_TLS}
    with pytest.raises(InvalidSettings, match="no other node can call"):
        check_mesh_exposure(load_settings(flags=given, environ={}))


def test_unusable_files_of_the_mesh_are_named(tmp_path: Path) -> None:
    """gRPC would say nothing until a peer calls."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    names = {key: str(empty) for key in MESH_TLS}
    with pytest.raises(InvalidSettings, match=r"empty\.pem") as refused:
        mesh_tls_of(load_settings(flags=names, environ={}))
    assert "--mesh-tls-key (flag)" in refused.value.at
    with pytest.raises(InvalidSettings, match="No such file"):
        mesh_tls_of(load_settings(flags=MESH_TLS, environ={}))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({}, "http://127.0.0.1:9005"),
        ({"http.host": "10.0.0.5"}, "http://10.0.0.5:9005"),
        ({"http.advertise": "node-a:80"}, "http://node-a:80"),
        ({"http.advertise": "node-a:443", **TLS}, "https://node-a:443"),
        ({"http.host": "0.0.0.0"}, "http://0.0.0.0:9005"),
        ({"http.host": "0.0.0.0", "mesh.advertise": "node-a:9101"}, "http://node-a:9005"),
        ({"http.host": "::", "mesh.advertise": "[::9]:9101"}, "http://[::9]:9005"),
        ({"mesh.advertise": "node-a:9101"}, "http://127.0.0.1:9005"),
    ],
)
def test_a_node_tells_programs_where_they_reach_it(flags: dict[str, str], told: str) -> None:
    """The setting, else where it listens; if that is everywhere, where other nodes reach it."""
    settings = load_settings(flags=flags, environ={})
    assert advertised_url(settings, 9005) == told


def test_a_node_answers_to_the_name_that_it_tells() -> None:
    """Without being told twice."""
    settings = load_settings(
        flags={"http.host": "0.0.0.0", "mesh.advertise": "node-a:9101"}, environ={}
    )
    access_of(settings).check("invoke", headers(Host="node-a:9001"))
    with pytest.raises(SpawnError):
        access_of(settings).check("invoke", headers(Host="node-b:9001"))
