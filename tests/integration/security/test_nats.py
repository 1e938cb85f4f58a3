"""NATS with TLS and logins, by the settings: the check that `spawn doctor` makes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spawn.config import Settings, load_settings
from spawn.nats_client import nats_problem
from tests.services.certificates import Authority, Pair
from tests.services.ports import free_port
from tests.services.secure_nats import nats_server

_WITHIN_S = 5.0

Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers; all end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(nats_server(tmp_path, **options))


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """A server's certificate."""
    return authority.sign("nats", hosts="DNS:localhost,IP:127.0.0.1")


def settings(url: str, **given: object) -> Settings:
    """Return settings as an environment gives them."""
    environ = {f"SPAWN_NATS_{name.upper()}": str(value) for name, value in given.items()}
    return load_settings(environ={"SPAWN_NATS_URL": url, **environ})


async def test_user_and_password_over_tls(
    serve: Serve, authority: Authority, pair: Pair, secret_file: Path
) -> None:
    """From the settings and from a file."""
    login = {"user": "spawn", "password": "s3cret-of-nats"}
    url = f"tls://{serve(pair=pair, authorization=login)}"
    secret_file.write_text("s3cret-of-nats\n")
    for given in ({"password": "s3cret-of-nats"}, {"password_file": secret_file}):
        told = settings(url, tls_ca=authority.cert, username="spawn", **given)
        assert await nats_problem(told, _WITHIN_S) == ("", "")
        assert "s3cret" not in repr(told)
    wrong = settings(url, tls_ca=authority.cert, username="spawn", password="s3cret-wrong")
    problem, mend = await nats_problem(wrong, _WITHIN_S)
    assert problem == "it refused the login"
    assert "nats.password" in mend


async def test_a_token(serve: Serve, secret_file: Path) -> None:
    """It is no user's."""
    url = f"nats://{serve(authorization={'token': 's3cret-token'})}"
    secret_file.write_text("s3cret-token\n")
    assert await nats_problem(settings(url, token="s3cret-token"), _WITHIN_S) == ("", "")
    assert await nats_problem(settings(url, token_file=secret_file), _WITHIN_S) == ("", "")
    problem, _ = await nats_problem(settings(url, token="s3cret-wrong"), _WITHIN_S)
    assert problem == "it refused the login"
    problem, _ = await nats_problem(settings(url), _WITHIN_S)
    assert problem == "it refused the login"


async def test_a_certificate_of_ours(serve: Serve, authority: Authority, pair: Pair) -> None:
    """Where the server wants one, without is said to be wrong."""
    ours = authority.sign("spawn")
    url = f"tls://{serve(pair=pair, clients_of=authority)}"
    told = settings(url, tls_ca=authority.cert, tls_cert=ours.cert, tls_key=ours.key)
    assert await nats_problem(told, _WITHIN_S) == ("", "")
    problem, mend = await nats_problem(settings(url, tls_ca=authority.cert), _WITHIN_S)
    assert problem
    assert "nats.tls_cert" in mend


async def test_what_is_wrong_is_named(
    serve: Serve, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    """Authority, host, TLS on one side only, nobody there."""
    other = Authority(tmp_path / "other", "other authority")
    secure = serve(pair=pair)
    problem, mend = await nats_problem(settings(f"tls://{secure}", tls_ca=other.cert), _WITHIN_S)
    assert "certificate is not accepted" in problem
    assert "nats.tls_ca" in mend
    elsewhere = serve(pair=authority.sign("elsewhere", hosts="DNS:nats.example.com"))
    problem, mend = await nats_problem(
        settings(f"tls://{elsewhere}", tls_ca=authority.cert), _WITHIN_S
    )
    assert "not accepted" in problem
    assert "nats.url names the host" in mend
    plain = serve()
    problem, _ = await nats_problem(settings(f"tls://{plain}", tls_ca=authority.cert), _WITHIN_S)
    assert "TLS" in problem
    nobody = f"127.0.0.1:{free_port()}"
    problem, mend = await nats_problem(settings(f"nats://{nobody}"), _WITHIN_S)
    assert nobody in problem
    assert "host and port" in mend


async def test_credentials_need_a_package(tmp_path: Path) -> None:
    """It is named, where it is not installed."""
    creds = tmp_path / "spawn.creds"
    creds.write_text("x")
    pytest.importorskip("nats")
    problem, mend = await nats_problem(settings("nats://127.0.0.1:1", creds=creds), _WITHIN_S)
    assert "nats.creds needs a package" in problem or "127.0.0.1:1" in problem
    assert mend
