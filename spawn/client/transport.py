"""One request of a client: sent, and sent again, until its outcome is known or its time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from spawn.client.problems import error_of_problem, no_node, reason_of
from spawn.client.trust import untrusted
from spawn.core.numbering import Drawn, Numbers
from spawn.core.told_errors import RECORDED
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

__all__ = ["Request", "Transport", "open_session"]

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


class Request(msgspec.Struct, gc=False):
    """What is sent, and how far its copies came."""

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
    is_sent: bool = False
    """The copy under way has a connection: its node may have received it."""
    maybe_executed: bool = False
    """An earlier copy changed something, or still may."""

    def given_up(self, told: SpawnError) -> SpawnError:
        """Return the error of a request that is not sent again after `told`."""
        if (self.maybe_executed or self.is_sent) and not self.is_read:
            return OutcomeUnknown(
                f"the outcome of {self.name} is unknown: {told}",
                at=told.at or self.name,
                hint="it may have taken effect, or take effect within 15 minutes; with an "
                "idempotency_key it is safe to call again",
            )
        if isinstance(told, Unavailable | OutcomeUnknown):
            return told
        return NotStarted(f"{self.name} was not executed before the deadline: {told}", at=told.at)


class Transport:
    """Sends requests to one node over a bounded number of connections."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, shown_url: str, new_id: Callable[[], bytes]
    ) -> None:
        """`session` is of `open_session`; `shown_url` is the address without its password."""
        self._session = session
        self._url = url
        self.url = shown_url
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
        wait_s = _FIRST_WAIT_S
        while True:
            told: SpawnError
            least_s = 0.0
            try:
                status, body, headers = await self._send(request, drawn)
            except NodeUntrusted as error:
                if not request.maybe_executed:
                    raise  # It will not be trusted later either.
                told = error
            except _NoAnswer as error:
                told = error.told
            else:
                request.is_sent = False
                if numbers is not None:
                    numbers.learn(_number(headers.get("Spawn-Time", "")))
                problem = self._problem(request, status, body, headers)
                if problem is None:
                    return body
                told = problem
                if _is_final(told, request.maybe_executed):
                    raise told
                if isinstance(told, OutcomeUnknown) or (
                    # A proxy's own words: it may have handed the request on before.
                    isinstance(told, NodeUnreachable) and (status >= 500 or status == 200)
                ):
                    request.maybe_executed = True
                least_s = float(_number(headers.get("Retry-After", "")))
            request.maybe_executed = request.maybe_executed or request.is_sent
            left_s = request.deadline - self._loop.time()
            if left_s <= _LAST_S or not repeated:
                raise request.given_up(told)
            jitter = int.from_bytes(self._new_id()[:4]) / 2**32
            pause_s = max(wait_s * (0.5 + jitter), least_s * (1 + jitter / 4))
            # Shortly before the deadline once more: what was busy may have become free.
            await asyncio.sleep(min(pause_s, left_s - _LAST_S))
            wait_s = min(wait_s * 2, _WAIT_MAX_S)

    def _problem(
        self, request: Request, status: int, body: bytes, headers: Mapping[str, str]
    ) -> SpawnError | None:
        """Return the error that an answer tells; None: it is the reply."""
        if status != 200:
            return error_of_problem(status, body)
        kind = headers.get("Content-Type", "")
        if kind.partition(";")[0].strip().lower() == "application/json":
            return None
        return no_node(self.url, f"status 200 with {kind[:60] or 'no Content-Type'}", request.name)

    async def _send(
        self, request: Request, drawn: Drawn | None
    ) -> tuple[int, bytes, CIMultiDictProxy[str]]:
        """Send one copy. Raises: _NoAnswer, NodeUntrusted."""
        import aiohttp
        from yarl import URL

        left_s = max(request.deadline - self._loop.time(), 0.001)
        timeout_ms = max(1, int(min(left_s * 1000, _TIMEOUT_MAX_MS)))
        headers = {"Spawn-Timeout": str(timeout_ms)}
        if request.key:
            headers["Idempotency-Key"] = request.key
        if drawn is not None:
            session, n, low, issued_us = msgspec.structs.astuple(drawn.number)
            headers["Spawn-Request"] = (
                f"session={session.hex()}, n={n}, low={low}, issued={issued_us}"
            )
        timeout = aiohttp.ClientTimeout(total=timeout_ms / 1000 + _MARGIN_S)
        request.is_sent = False
        try:
            async with self._session.request(
                request.method,
                # Encoded already; yarl would take `%2E%2E` for a way up.
                URL(self._url + request.path, encoded=True),
                data=request.body or None,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                trace_request_ctx=request,
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
            raise _NoAnswer(told) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told = NodeUnreachable(
                f"the answer of {self.url} did not come ({reason_of(error)})", at=request.name
            )
            raise _NoAnswer(told) from error


def open_session(
    connections_max: int, headers: Mapping[str, str], trust: Any
) -> aiohttp.ClientSession:
    """Return a session that marks a request as sent as soon as it has a connection."""
    import aiohttp

    async def mark(_session: object, context: Any, _params: object) -> None:
        context.trace_request_ctx.is_sent = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(mark)
    trace.on_connection_reuseconn.append(mark)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections_max, ssl=trust),
        headers=headers,
        trace_configs=[trace],
    )


class _NoAnswer(Exception):
    """A copy was not answered; whether it was sent stands in the request."""

    def __init__(self, told: SpawnError) -> None:
        super().__init__(str(told))
        self.told = told


def _is_final(told: SpawnError, maybe_executed: bool) -> bool:
    """Tell whether a refusal is the request's outcome.

    One without a record says nothing of other copies (log protocol 7).
    """
    if isinstance(told, Rejected | RequestTooOld) or told.code in RECORDED:
        return True
    if isinstance(told, OutcomeUnknown) or told.retryable:
        return False
    return not maybe_executed


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 19 else 0
