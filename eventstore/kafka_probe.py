"""Does a Kafka broker answer at an address, and in which versions: for diagnosis only.

Written by hand, since a client library tells only that it found nobody: here each step fails by
itself, with its own reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Mapping
from typing import Final

from eventstore.errors import LogRefused, LogUnavailable

__all__ = ["api_versions"]

_API_VERSIONS: Final = 18
_CLIENT: Final = b"spawn-doctor"
_ANSWER_BYTES_MAX: Final = 1024 * 1024


async def api_versions(
    host: str, port: int, timeout_s: float, tls: ssl.SSLContext | None = None
) -> Mapping[int, tuple[int, int]]:
    """Ask a broker which versions of each request it knows: key -> lowest, highest.

    Raises: LogUnavailable (nobody listens, or no answer came), LogRefused (what answered is no
    Kafka broker, wants TLS, or its certificate is not accepted).
    """
    body = struct.pack(f">hhih{len(_CLIENT)}s", _API_VERSIONS, 0, 1, len(_CLIENT), _CLIENT)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            try:
                writer.write(struct.pack(">i", len(body)) + body)
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                if not 10 <= size <= _ANSWER_BYTES_MAX:
                    raise LogRefused(f"{host}:{port} does not speak the Kafka protocol")
                answer = await reader.readexactly(size)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError as error:
        raise LogUnavailable(f"{host}:{port} did not answer within {timeout_s:g} s") from error
    except asyncio.IncompleteReadError as error:
        raise LogRefused(f"{host}:{port} ended the connection without an answer") from error
    except ssl.SSLError as error:
        raise LogRefused(f"{host}:{port}: TLS failed ({error})") from error
    except OSError as error:
        raise LogUnavailable(f"{host}:{port}: {error.strerror or error}") from error
    return _decode(answer, f"{host}:{port}")


def _decode(answer: bytes, where: str) -> Mapping[int, tuple[int, int]]:
    try:
        correlation, error, count = struct.unpack_from(">ihi", answer)
        entries = struct.iter_unpack(">hhh", answer[10 : 10 + 6 * count])
        found = {key: (lowest, highest) for key, lowest, highest in entries}
    except struct.error as wrong:
        raise LogRefused(f"{where} does not speak the Kafka protocol") from wrong
    if correlation != 1 or error != 0 or not found:
        raise LogRefused(f"{where} does not speak the Kafka protocol (error {error})")
    return found
