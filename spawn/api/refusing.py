"""What a connection over the cap gets: a refusal, for a moment, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

__all__ = ["Refusing"]

_LINGER_S: Final = 1.0
"""How long the refused one may take to send its request; the refusal is the answer to that."""


class Refusing(asyncio.Protocol):
    """Answers the first bytes with a refusal and closes; nothing else is read.

    Not at once: some clients take an answer that comes before their request for a broken one.
    """

    def __init__(self, refusal: Callable[[], bytes], on_end: Callable[[], None]) -> None:
        self._refusal = refusal
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(self._refusal())
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._on_end()
