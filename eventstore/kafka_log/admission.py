"""Why a broker and we do not come together: said by it, by TLS, or found out by asking otherwise.

A listener that is spoken to in the wrong way says nothing: it ends the connection, or is silent. So
after such an end we ask once more, in the other ways, before anybody is told to look for a broker
that is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Final

from aiokafka import errors as kafka
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.admin import SaslHandShakeRequest

from eventstore.errors import LogNotAdmitted
from eventstore.kafka_log.failures import FAILURES, reason
from eventstore.kafka_log.security import Security
from eventstore.kafka_log.tokens import TokenRefused
from eventstore.tls_files import TlsFiles
from eventstore.tls_refusals import certificate_refusal

__all__ = ["found_out", "told"]

_PROBE_S: Final = 2.0


def told(error: BaseException, host: str, port: int, security: Security) -> LogNotAdmitted | None:
    """Return what an error says of login and TLS; None: nothing, so far nobody was reached."""
    where, chain = _place(host, port), list(_chain(error))
    return _put_into_words(chain, where, security) or certificate_refusal(
        chain, where, LogNotAdmitted
    )


async def found_out(
    error: BaseException, host: str, port: int, security: Security
) -> LogNotAdmitted | None:
    """Ask once more, without TLS or with it, and whether a login is wanted; takes 4 s at most."""
    if not _may_be_misunderstood(list(_chain(error))):
        return None
    where = _place(host, port)
    if security.tls is not None:
        if await _mechanisms(host, port, None) is not None:
            return LogNotAdmitted(f"{where} speaks no TLS on this port", "protocol")
    elif await _speaks_tls(host, port):
        return LogNotAdmitted(f"{where} wants TLS on this port", "protocol")
    if security.login is None and (wanted := await _mechanisms(host, port, security.tls)):
        mechanisms = ", ".join(wanted)
        return LogNotAdmitted(
            f"{where} wants a login on this port (it takes {mechanisms})", "protocol"
        )
    return None


def _place(host: str, port: int) -> str:
    return f"the broker at {host}:{port}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _put_into_words(
    chain: list[BaseException], where: str, security: Security
) -> LogNotAdmitted | None:
    """Return a refusal that somebody put into words."""
    login = security.login
    for error in chain:
        if isinstance(error, TokenRefused):
            return LogNotAdmitted(f"no token for {where}: {error}", "login")
        if isinstance(error, kafka.SaslAuthenticationFailed) and login is not None:
            said = error.args[0] if error.args and error.args[0] else "it gave no reason"
            return LogNotAdmitted(
                f"{where} refused the login of {login.who} by {login.mechanism} ({said})", "login"
            )
        if isinstance(error, kafka.UnsupportedSaslMechanismError) and login is not None:
            return LogNotAdmitted(f"{where} takes no login by {login.mechanism}", "protocol")
        if isinstance(error, kafka.IllegalSaslStateError):
            return LogNotAdmitted(f"{where} takes no logins: its listener has no SASL", "protocol")
        if isinstance(error, ValueError) and "wrong signature" in str(error):
            return LogNotAdmitted(
                f"{where} does not know the password itself: it is not who it says", "login"
            )
    return None


def _may_be_misunderstood(chain: list[BaseException]) -> bool:
    """Whether a listener that wants to be spoken to otherwise may have ended it, or be silent.

    Not when nobody listens, or when the name does not resolve.
    """
    if any(isinstance(error, ConnectionRefusedError) for error in chain):
        return False
    return any(
        isinstance(
            error,
            kafka.KafkaConnectionError
            | kafka.CorrelationIdError
            | ConnectionResetError
            | ConnectionAbortedError
            | BrokenPipeError
            | EOFError
            | TimeoutError
            | ssl.SSLError,
        )
        for error in chain
    )


async def _speaks_tls(host: str, port: int) -> bool:
    """Whether somebody answers a TLS handshake; whoever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PROBE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, EOFError):
        return False
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _mechanisms(host: str, port: int, tls: TlsFiles | None) -> list[str] | None:
    """Return the kinds of login that a listener takes; None: there is no Kafka broker so."""
    connection = None
    try:
        connection = AIOKafkaConnection(
            host,
            port,
            request_timeout_ms=int(_PROBE_S * 1000),
            security_protocol="PLAINTEXT" if tls is None else "SSL",
            ssl_context=None if tls is None else tls.context(),
        )
        async with asyncio.timeout(_PROBE_S):
            await connection.connect()
            answer = await connection.send(SaslHandShakeRequest("PLAIN"))
    except FAILURES as error:
        # It answered the version lookup, then ended the connection: a broker without SASL may.
        connected = connection is not None and connection._versions  # noqa: SLF001 - untold else
        return [] if connected and reason(error) else None
    finally:
        if connection is not None:
            closed = connection.close()
            # Without one nothing was opened, and what `close` gives back never ends.
            if connection._protocol is not None:  # noqa: SLF001 - untold else
                await asyncio.wait([closed], timeout=1)
    illegal = kafka.for_code(answer.error_code) is kafka.IllegalSaslStateError
    return [] if illegal else list(answer.enabled_mechanisms)
