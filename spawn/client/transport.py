"""One request of a client: sent, and sent again, until its outcome is known or its time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from spawn.client.fleet import Address, Fleet, Place
from spawn.client.problems import error_of_problem, no_node, reason_of
from spawn.client.trust import untrusted
from spawn.core.numbering import Drawn, Numbers
from spawn.core.told_errors import RECORDED
from spawn.errors import (
    Draining,
    Fenced,
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
_CONNECT_S: Final = 2.0
"""Where there are other nodes, one that does not take a connection counts as gone after this."""
_LEAVING: Final = (Draining, Fenced)
"""Told by a node that goes: another one is asked at once."""


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
    place: Place | None = None
    """The partition of its actor, where that is known."""
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
    """Sends requests to the nodes of a fleet over a bounded number of connections."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        fleet: Fleet,
        new_id: Callable[[], bytes],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`session` is of `open_session`; `headers` go with each request."""
        self._session = session
        self._fleet = fleet
        self._new_id = new_id
        self._headers = dict(headers or {})
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[asyncio.Timeout, tuple[str, float]] = {}
        """Copies without an answer: where they went, and when."""
        self.moved: Callable[[], None] = lambda: None
        """Called when a node does not answer, or is not the owner that it was taken for."""

    def slow(self, after_s: float) -> Collection[str]:
        """Return the addresses that have not answered a request for so long."""
        since = self._loop.time() - after_s
        return {url for url, began in self._under_way.values() if began < since}

    def abandon(self, urls: Collection[str]) -> None:
        """Wait no longer for these nodes: what was sent there is sent elsewhere."""
        for scope, (url, _) in list(self._under_way.items()):
            if url in urls and self._fleet.has_others:
                scope.reschedule(self._loop.time())

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
        tried: set[str] = set()
        while True:
            told: SpawnError
            least_s = 0.0
            address = self._fleet.choose(request.place, tried, self._loop.time())
            if address is None:
                tried.clear()
                address = self._fleet.choose(request.place, (), self._loop.time())
                assert address is not None, "a fleet has an address"
            try:
                status, body, headers = await self._send(address, request, drawn)
            except NodeUntrusted as error:
                told = error
                self._failed(address, tried)
                # Where it is the only one: it will not be trusted later either.
                if not (request.maybe_executed or self._fleet.has_others):
                    raise
            except _NoAnswer as error:
                told = error.told
                self._failed(address, tried)
            else:
                request.is_sent = False
                self._answered(address, request, headers)
                if numbers is not None:
                    numbers.learn(_number(headers.get("Spawn-Time", "")))
                problem = self._problem(address, request, status, body, headers)
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
                if isinstance(told, _LEAVING):
                    self._failed(address, tried)
                else:
                    tried.clear()
            request.maybe_executed = request.maybe_executed or request.is_sent
            left_s = request.deadline - self._loop.time()
            if left_s <= _LAST_S or not repeated:
                raise request.given_up(told)
            if tried and self._fleet.choose(request.place, tried, self._loop.time()) is not None:
                continue  # another node may answer at once
            tried.clear()
            jitter = int.from_bytes(self._new_id()[:4]) / 2**32
            pause_s = max(wait_s * (0.5 + jitter), least_s * (1 + jitter / 4))
            # Shortly before the deadline once more: what was busy may have become free.
            await asyncio.sleep(min(pause_s, left_s - _LAST_S))
            wait_s = min(wait_s * 2, _WAIT_MAX_S)

    def _failed(self, address: Address, tried: set[str]) -> None:
        tried.add(address.url)
        self._fleet.failed(address.url, self._loop.time())
        self.moved()

    def _answered(self, address: Address, request: Request, headers: Mapping[str, str]) -> None:
        self._fleet.answered(address.url)
        owner = headers.get("Spawn-Owner", "")
        if owner and request.place is not None and self._fleet.moved(request.place, owner):
            self.moved()

    def _problem(
        self,
        address: Address,
        request: Request,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
    ) -> SpawnError | None:
        """Return the error that an answer tells; None: it is the reply."""
        if status != 200:
            return error_of_problem(status, body)
        kind = headers.get("Content-Type", "")
        if kind.partition(";")[0].strip().lower() == "application/json":
            return None
        reason = f"status 200 with {kind[:60] or 'no Content-Type'}"
        return no_node(address.shown, reason, request.name)

    async def _send(
        self, address: Address, request: Request, drawn: Drawn | None
    ) -> tuple[int, bytes, CIMultiDictProxy[str]]:
        """Send one copy. Raises: _NoAnswer, NodeUntrusted."""
        import aiohttp
        from yarl import URL

        left_s = max(request.deadline - self._loop.time(), 0.001)
        timeout_ms = max(1, int(min(left_s * 1000, _TIMEOUT_MAX_MS)))
        headers = {"Spawn-Timeout": str(timeout_ms), **self._headers}
        if request.key:
            headers["Idempotency-Key"] = request.key
        if drawn is not None:
            session, n, low, issued_us = msgspec.structs.astuple(drawn.number)
            headers["Spawn-Request"] = (
                f"session={session.hex()}, n={n}, low={low}, issued={issued_us}"
            )
        timeout = aiohttp.ClientTimeout(
            total=timeout_ms / 1000 + _MARGIN_S,
            sock_connect=_CONNECT_S if self._fleet.has_others else None,
        )
        request.is_sent = False
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._under_way[scope] = address.url, self._loop.time()
                async with self._session.request(
                    request.method,
                    # Encoded already; yarl would take `%2E%2E` for a way up.
                    URL(address.url + request.path, encoded=True),
                    data=request.body or None,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                    trace_request_ctx=request,
                ) as response:
                    return response.status, await response.read(), response.headers
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            if distrust := untrusted(error, address.shown, request.name, _TRUST):
                raise distrust from error
            told = NodeUnreachable(
                f"no node answers at {address.shown} ({reason_of(error)})",
                at=request.name,
                hint="check the address, and that the node runs",
            )
            raise _NoAnswer(told) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told = NodeUnreachable(
                f"the answer of {address.shown} did not come ({reason_of(error)})",
                at=request.name,
            )
            raise _NoAnswer(told) from error
        finally:
            self._under_way.pop(scope, None)


def open_session(connections_max: int, trust: Any) -> aiohttp.ClientSession:
    """Return a session that marks a request as sent as soon as it has a connection."""
    import aiohttp

    async def mark(_session: object, context: Any, _params: object) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx.is_sent = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(mark)
    trace.on_connection_reuseconn.append(mark)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections_max, ssl=trust),
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
