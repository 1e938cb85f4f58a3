"""One request of a client: sent, and sent again, until its outcome is known or its time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from spawn.client.problems import RECORDED, error_of_problem, reason_of
from spawn.client.trust import untrusted
from spawn.core.numbering import Drawn, Numbers
from spawn.errors import (
    NodeUnreachable,
    NodeUntrusted,
    NotStarted,
    OutcomeUnknown,
    Rejected,
    RequestTooOld,
    SpawnError,
    Unavailable,
)

if TYPE_CHECKING:
    import aiohttp
    from multidict import CIMultiDictProxy

__all__ = ["Request", "Transport"]

_FIRST_WAIT_S: Final = 0.05
_WAIT_MAX_S: Final = 2.0
"""Between two copies of a request; each wait is twice the one before."""
_LAST_S: Final = 0.1
"""Before the deadline: for the last copy; with less left none is sent."""
_MARGIN_S: Final = 2.0
"""A node answers at the deadline that it was told; a little later it counts as gone."""
_TIMEOUT_MAX_MS: Final = 60_000
"""What a node is told to wait at most; whoever waits longer asks again."""


_TRUST: Final = (
    "name the authority that signed it: spawn.Client(url, ca=FILE), or SSL_CERT_FILE in the "
    "environment"
)


class Request(msgspec.Struct, frozen=True, gc=False):
    """What is sent."""

    method: str
    path: str
    """Percent-encoded."""
    body: bytes
    deadline: float
    """On the event loop's clock."""
    name: str
    """For people, e.g. `Counter/a.add`."""
    key: str = ""
    is_read: bool = False


class Transport:
    """Sends requests to one node over a bounded number of connections."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, new_id: Callable[[], bytes]
    ) -> None:
        self._session = session
        self.url = url
        self._new_id = new_id
        self._loop = asyncio.get_running_loop()

    async def get(self, path: str, deadline: float) -> bytes:
        """Return what a path of the node's own answers. Raises: SpawnError."""
        request = Request("GET", path, b"", deadline, path, is_read=True)
        return await self.execute(request, None, None)

    async def execute(
        self, request: Request, drawn: Drawn | None, numbers: Numbers | None
    ) -> bytes:
        """Return the reply.

        A request without a number that changes something is sent once.

        Raises: the error that the node tells, NodeUnreachable, NodeUntrusted, NotStarted,
        OutcomeUnknown.
        """
        repeated = request.is_read or drawn is not None or bool(request.key)
        maybe_executed = False
        wait_s = _FIRST_WAIT_S
        while True:
            told: SpawnError
            least_s = 0.0
            try:
                status, body, headers = await self._send(request, drawn)
            except NodeUntrusted as error:
                if not maybe_executed:
                    raise  # It will not be trusted later either.
                told = error
            except _NotSent as error:
                told = error.told
            except _Lost as error:
                told = error.told
                maybe_executed = not request.is_read
            else:
                if numbers is not None:
                    numbers.learn(_number(headers.get("Spawn-Time", "")))
                if status == 200:
                    return body
                told = error_of_problem(status, body)
                if _is_final(told, maybe_executed):
                    raise told
                if isinstance(told, OutcomeUnknown):
                    maybe_executed = True
                elif isinstance(told, NodeUnreachable) and status >= 500:
                    # A proxy's own words: it may have handed the request on before.
                    maybe_executed = maybe_executed or not request.is_read
                least_s = float(_number(headers.get("Retry-After", "")))
            left_s = request.deadline - self._loop.time()
            if left_s <= _LAST_S or not repeated:
                raise _given_up(request, told, maybe_executed)
            jitter = int.from_bytes(self._new_id()[:4]) / 2**32
            pause_s = max(wait_s * (0.5 + jitter), least_s * (1 + jitter / 4))
            # Shortly before the deadline once more: what was busy may have become free.
            await asyncio.sleep(min(pause_s, left_s - _LAST_S))
            wait_s = min(wait_s * 2, _WAIT_MAX_S)

    async def _send(
        self, request: Request, drawn: Drawn | None
    ) -> tuple[int, bytes, CIMultiDictProxy[str]]:
        """Send one copy. Raises: _NotSent, _Lost, NodeUntrusted."""
        import aiohttp
        from yarl import URL

        left_s = max(request.deadline - self._loop.time(), 0.001)
        timeout_ms = min(max(1, int(left_s * 1000)), _TIMEOUT_MAX_MS)
        headers = {"Spawn-Timeout": str(timeout_ms)}
        if request.key:
            headers["Idempotency-Key"] = request.key
        if drawn is not None:
            session, n, low, issued_us = msgspec.structs.astuple(drawn.number)
            headers["Spawn-Request"] = (
                f"session={session.hex()}, n={n}, low={low}, issued={issued_us}"
            )
        timeout = aiohttp.ClientTimeout(total=timeout_ms / 1000 + _MARGIN_S)
        try:
            async with self._session.request(
                request.method,
                # Encoded already; yarl would take `%2E%2E` for a way up.
                URL(self.url + request.path, encoded=True),
                data=request.body or None,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                return response.status, await response.read(), response.headers
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            if distrust := untrusted(error, self.url, request.name, _TRUST):
                raise distrust from error
            told = NodeUnreachable(
                f"no node answers at {self.url} ({reason_of(error)})",
                at=request.name,
                hint="check the address, and that the node runs",
            )
            raise _NotSent(told) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told = NodeUnreachable(
                f"the answer of {self.url} did not come ({reason_of(error)})", at=request.name
            )
            raise _Lost(told) from error


class _NotSent(Exception):
    """No node has received the copy."""

    def __init__(self, told: SpawnError) -> None:
        super().__init__(str(told))
        self.told = told


class _Lost(_NotSent):
    """A node may have received the copy."""


def _is_final(told: SpawnError, maybe_executed: bool) -> bool:
    """Tell whether a refusal is the request's outcome.

    One without a record says nothing of other copies (log protocol 7).
    """
    if isinstance(told, Rejected | RequestTooOld) or told.code in RECORDED:
        return True
    if isinstance(told, OutcomeUnknown) or told.retryable:
        return False
    return not maybe_executed


def _given_up(request: Request, told: SpawnError, maybe_executed: bool) -> SpawnError:
    if maybe_executed and not request.is_read:
        return OutcomeUnknown(
            f"the outcome of {request.name} is unknown: {told}",
            at=told.at or request.name,
            hint="it may have taken effect, or take effect within 15 minutes; with an "
            "idempotency_key it is safe to call again",
        )
    if isinstance(told, Unavailable | OutcomeUnknown):
        return told
    return NotStarted(f"{request.name} was not executed before the deadline: {told}", at=told.at)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 19 else 0
