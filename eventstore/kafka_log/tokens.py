"""Where tokens for SASL OAUTHBEARER come from: a file, or an identity provider."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

from eventstore.tls_files import TlsFiles

__all__ = ["ClientCredentials", "FileToken", "TokenRefused"]

_TIMEOUT_S: Final = 5.0
_ANSWER_BYTES_MAX: Final = 64 * 1024
_FRESH: Final = 0.8
"""A token is used for this part of its life, so that it does not run out on its way."""
_LIFE_S: Final = 300.0
"""Of a token whose provider does not say."""


class TokenRefused(ValueError):
    """There is no token for us: the provider said no, or what it gave is none.

    A ValueError, as all that aiokafka's logins raise of themselves.
    """


class FileToken:
    """A token that somebody else keeps fresh in a file: Kubernetes, a sidecar, a cron job."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def __call__(self) -> str:
        """Read it. Raises: OSError, TokenRefused."""
        return _checked(_read(self._path), self._path)

    def forget(self) -> None:
        """Nothing: the file is read each time."""


class ClientCredentials:
    """Tokens from a provider's token endpoint, by client id and secret (RFC 6749, 4.4)."""

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: Callable[[], str],
        *,
        scope: str = "",
        tls: TlsFiles | None = None,
    ) -> None:
        self._url = url
        self._client_id = client_id
        self._client_secret = client_secret
        self._scope = scope
        self._tls = tls or TlsFiles()
        self._token = ""
        self._fresh_until = 0.0
        self._asking: asyncio.Lock | None = None

    async def __call__(self) -> str:
        """Return a token, a new one when the last is no longer fresh.

        Raises: TokenRefused; OSError - the provider does not answer.
        """
        self._asking = self._asking or asyncio.Lock()
        async with self._asking:  # many connections begin at once; one asks
            if asyncio.get_running_loop().time() >= self._fresh_until:
                await self._ask()
            return self._token

    def forget(self) -> None:
        """Ask for a new token next time."""
        self._fresh_until = 0.0

    async def _ask(self) -> None:
        import aiohttp  # only where it is needed: it takes 100 ms

        form = {"grant_type": "client_credentials"}
        if self._scope:
            form["scope"] = self._scope
        # RFC 6749, 2.3.1: each is encoded as in a form.
        login = f"{quote_plus(self._client_id)}:{quote_plus(self._client_secret())}"
        basic = base64.b64encode(login.encode()).decode()
        asked_at = asyncio.get_running_loop().time()
        is_tls = self._url.startswith("https:")
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
                session.post(
                    self._url,
                    data=form,
                    allow_redirects=False,  # the secret goes nowhere else
                    ssl=self._tls.context() if is_tls else True,
                    headers={"Accept": "application/json", "Authorization": f"Basic {basic}"},
                ) as answer,
            ):
                status = answer.status
                body = await answer.content.read(_ANSWER_BYTES_MAX)
        except aiohttp.ClientConnectorCertificateError as error:
            raise TokenRefused(
                f"the certificate of {self._where} is not accepted ({error.certificate_error})"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise OSError(f"no token: {self._where} does not answer ({why})") from error
        self._take(status, body, asked_at)

    @property
    def _where(self) -> str:
        return f"the token endpoint {urlsplit(self._url).netloc}"

    def _take(self, status: int, body: bytes, asked_at: float) -> None:
        try:
            told = json.loads(body)
        except ValueError:
            told = {}
        if not isinstance(told, dict):
            told = {}
        if status >= 500 or status == 429:
            raise OSError(f"no token: {self._where} answered {status}")
        if status != 200:
            raise TokenRefused(
                f"{self._where} refused client {self._client_id} ({status}{_said(told)})"
            )
        token = told.get("access_token")
        self._token = _checked(token if isinstance(token, str) else "", self._where)
        life_s = told.get("expires_in")
        if isinstance(life_s, bool) or not isinstance(life_s, int | float) or life_s <= 0:
            life_s = _LIFE_S
        self._fresh_until = asked_at + life_s * _FRESH


def _read(path: str) -> str:
    return Path(path).read_text(encoding="ascii", errors="replace").strip()


def _said(told: dict[str, Any]) -> str:
    """Return what an OAuth error says of itself, if it does."""
    parts = [told.get("error"), told.get("error_description")]
    text = ", ".join(part for part in parts if isinstance(part, str))
    return f": {text[:200]}" if text else ""


def _checked(token: str, where: str) -> str:
    """Return a token that can stand in a SASL message (RFC 6750, 2.1)."""
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token):
        raise TokenRefused(f"what {where} holds is no token")
    return token
