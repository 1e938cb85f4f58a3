"""TLS and login of the connections to the brokers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiokafka.abc import AbstractTokenProvider

from eventstore.tls_files import TlsFiles

__all__ = ["PasswordLogin", "Security", "TokenLogin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordLogin:
    """SASL with a name and a password."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    username: str
    password: Callable[[], str] = field(repr=False)
    """Asked for each connection, so that one from a file may change."""

    @property
    def who(self) -> str:
        """For people."""
        return f"user {self.username}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogin:
    """SASL with a token of an identity provider (KIP-255)."""

    token: Callable[[], Awaitable[str]] = field(repr=False)
    """Asked for each connection. Raises: TokenRefused, OSError."""
    forget: Callable[[], None] = field(default=lambda: None, repr=False)
    """Told when a broker has refused the token."""
    extensions: Mapping[str, str] = field(default_factory=dict)
    """SASL extensions that some providers want (KIP-342)."""
    who: str = "the token"
    mechanism: Literal["OAUTHBEARER"] = "OAUTHBEARER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How connections are secured; the default is not at all."""

    tls: TlsFiles | None = None
    login: PasswordLogin | TokenLogin | None = None

    @property
    def protocol(self) -> str:
        """Kafka's name for it."""
        transport = "PLAINTEXT" if self.tls is None else "SSL"
        return transport if self.login is None else f"SASL_{transport}"

    def options(self) -> dict[str, Any]:
        """Return aiokafka's options for a connection, with passwords and files as they are now.

        Raises: OSError - a file can't be read.
        """
        options: dict[str, Any] = {
            "security_protocol": self.protocol,
            "sasl_mechanism": "PLAIN" if self.login is None else self.login.mechanism,
        }
        if self.tls is not None:
            options["ssl_context"] = self.tls.context()
        if isinstance(self.login, PasswordLogin):
            options["sasl_plain_username"] = self.login.username
            options["sasl_plain_password"] = self.login.password()
        elif self.login is not None:
            options["sasl_oauth_token_provider"] = _Provider(self.login)
        return options


class _Provider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, login: TokenLogin) -> None:
        self._login = login

    async def token(self) -> str:
        return await self._login.token()

    def extensions(self) -> Mapping[str, str]:
        return self._login.extensions
