"""Tokens from a file and from an identity provider (a real HTTP server on loopback)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from eventstore.kafka_log.tokens import ClientCredentials, FileToken, TokenRefused


class Provider:
    """A token endpoint that answers as a test says."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.status = 200
        self.answer: object = {"access_token": "a.b.c", "expires_in": 3600}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Note what came, and answer."""
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.asked.append((request.headers["Authorization"], form))
        if self.status == 302:
            raise web.HTTPFound("/elsewhere")
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The endpoint, serving."""
    provider = Provider()
    app = web.Application()
    app.router.add_post("/token", provider.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    provider.url = f"http://{host}:{port}/token"
    yield provider
    await runner.cleanup()


def credentials(provider: Provider, scope: str = "") -> ClientCredentials:
    """Return a client of the provider."""
    return ClientCredentials(provider.url, "a client", lambda: "s3cret:&", scope=scope)


async def test_a_token_is_asked_for_once_while_it_is_fresh(provider: Provider) -> None:
    """Many connections at once share it; id and secret come as RFC 6749 has them."""
    tokens = credentials(provider, "kafka")
    assert set(await asyncio.gather(*(tokens() for _ in range(20)))) == {"a.b.c"}
    [(header, form)] = provider.asked
    assert base64.b64decode(header.removeprefix("Basic ")) == b"a+client:s3cret%3A%26"
    assert form == {"grant_type": "client_credentials", "scope": "kafka"}


async def test_a_token_that_runs_out_or_was_refused_is_replaced(provider: Provider) -> None:
    """At four fifths of its life."""
    provider.answer = {"access_token": "one", "expires_in": 0.05}
    tokens = credentials(provider)
    assert await tokens() == "one"
    await asyncio.sleep(0.06)
    provider.answer = {"access_token": "two"}
    assert await tokens() == "two"
    provider.answer = {"access_token": "three"}
    assert await tokens() == "two"
    tokens.forget()
    assert await tokens() == "three"


@pytest.mark.parametrize(
    ("status", "answer", "text"),
    [
        (401, {"error": "invalid_client", "error_description": "no such"}, "invalid_client, no"),
        (400, "nonsense", "refused client a client (400)"),
        (200, {"access_token": ""}, "is no token"),
        (200, {"access_token": "a\x01auth=b"}, "is no token"),
        (200, ["a"], "is no token"),
        (302, None, "refused client a client (302)"),
    ],
)
async def test_a_no_of_the_provider_is_told(
    provider: Provider, status: int, answer: object, text: str
) -> None:
    """With what it says, and without the secret; redirects are not followed."""
    provider.status, provider.answer = status, answer
    with pytest.raises(TokenRefused) as caught:
        await credentials(provider)()
    assert text in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_a_provider_that_is_down_is_another_matter(provider: Provider) -> None:
    """An OSError: worth another try."""
    provider.status = 503
    with pytest.raises(OSError, match="answered 503"):
        await credentials(provider)()
    provider.url = "http://127.0.0.1:1/token"
    with pytest.raises(OSError, match="does not answer"):
        await credentials(provider)()


async def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    """Somebody else keeps it fresh."""
    file = tmp_path / "token"
    tokens = FileToken(str(file))
    with pytest.raises(FileNotFoundError):
        await tokens()
    for text in ("one\n", "two"):
        file.write_text(text)
        assert await tokens() == text.strip()
