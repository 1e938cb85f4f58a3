"""The connection to NATS, with TLS and login by the settings; nats-py does the rest."""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import Error as NatsError

from spawn.config import Settings
from spawn.connections import to_nats

__all__ = ["NatsClient", "nats_problem"]

_NO_TLS: Final = "the server has no TLS, and the settings want it"


class NatsClient(Client):
    """nats-py's client; with `requires_tls` nothing is sent to a server that has none.

    By itself nats-py leaves it to the server: `tls://` makes no difference, and the password goes
    out in the clear where the server (or somebody between) does not ask for TLS.
    """

    def __init__(self, *, requires_tls: bool) -> None:
        super().__init__()
        self._requires_tls = requires_tls

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if self._requires_tls and not info.get("tls_required"):
            if not info.get("tls_available"):
                raise NatsError(_NO_TLS)
            info["tls_required"] = True  # the login follows in it
        await super()._process_info(info, initial_connection)

    def drop(self) -> None:
        """End what nats-py leaves open: after a failure all, after TLS the socket below."""
        for name in ("_io_writer", "_bare_io_writer"):
            writer = getattr(self._transport, name, None)
            if writer is not None:
                writer.transport.abort()


async def nats_problem(settings: Settings, timeout_s: float) -> tuple[str, str]:
    """Connect to NATS once; return what is wrong and its mend, both empty if nothing is."""
    if settings.nats.creds and importlib.util.find_spec("nkeys") is None:
        return "nats.creds needs a package that is not installed", "pip install nkeys"
    seen: list[BaseException] = []

    async def note(error: Exception) -> None:
        seen.append(error)

    whole_s = max(int(timeout_s), 1)
    client = None
    try:
        options = to_nats(settings)
        client = NatsClient(requires_tls="tls" in options)
        async with asyncio.timeout(timeout_s):
            await client.connect(
                **options,
                connect_timeout=whole_s,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                error_cb=note,
            )
            try:
                await client.flush(timeout=whole_s)
            finally:
                await client.close()
    except TimeoutError as error:
        return _words([*seen, error], settings) or (
            f"{settings.nats.url} did not answer within {timeout_s:g} s",
            "check host and port, and that a firewall lets us through",
        )
    except (NatsError, OSError, ValueError) as error:
        return _words([*seen, error], settings) or (
            f"{settings.nats.url}: {str(error) or type(error).__name__}",
            "check host and port, and that NATS runs there",
        )
    finally:
        if client is not None:
            client.drop()
    return "", ""


def _words(errors: list[BaseException], settings: Settings) -> tuple[str, str] | None:
    for error in errors:
        text = str(error).lower()
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not accepted ({error.verify_message})",
                "check nats.tls_ca, and that nats.url names the host of the certificate",
            )
        if "authorization violation" in text or "authentication" in text:
            return (
                "it refused the login",
                "check nats.username and nats.password, nats.token or nats.creds",
            )
        if isinstance(error, ssl.SSLError) or "tls" in text or "certificate" in text:
            return (
                f"TLS failed ({error})",
                "check tls:// in nats.url, and nats.tls_cert where the server wants one",
            )
        if _is_broken(error) and "tls" in to_nats(settings):
            return (
                f"it ended the connection in the TLS handshake ({text or 'without a word'})",
                "check nats.tls_cert and nats.tls_key: the server may want a certificate of ours",
            )
    return None


def _is_broken(error: BaseException) -> bool:
    """Tell whether a connection ended that had begun; which error says so is a race."""
    if isinstance(error, ConnectionError):
        return not isinstance(error, ConnectionRefusedError)
    text = str(error).lower()
    return isinstance(error, EOFError) or "eof" in text or "connection closed" in text
