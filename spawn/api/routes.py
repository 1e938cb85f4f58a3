"""What happens with a request: from HTTP to a `Call` and from an `Answer` to HTTP.

Every way out is an answer of ours: errors become problems (`problems`), and what nobody foresaw a
500 with an id under which the log has the traceback. A client that leaves cancels nothing: its
command goes on, for it may be on its way into the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestPayloadError
from multidict import istr

from spawn.api import metrics
from spawn.api.headers import parse_key, parse_timeout
from spawn.api.paths import METHODS, Match, check_method, match_target
from spawn.api.problems import CONTENT_TYPE, RETRY_AFTER_S, problem_of
from spawn.api.suggestions import action_hint, type_hint
from spawn.core.ingress import Call, Ingress
from spawn.errors import (
    BodyTooLarge,
    InvalidHeader,
    InvalidRequest,
    MethodNotAllowed,
    SpawnError,
    UnknownAction,
    UnknownType,
)

__all__ = ["HttpLimits", "Routes"]

KEY: Final = istr("Idempotency-Key")
TIMEOUT: Final = istr("Spawn-Timeout")
REVISION: Final = istr("Spawn-Revision")
POSITION: Final = istr("Spawn-Position")

_JSON: Final = "application/json"
_SERVER: Final = "spawn"
"""Set, so that aiohttp does not name itself and its version there."""
_PATH_SHOWN_MAX: Final = 200
"""Characters of a path in `at`; what is longer is cut."""

_logger = logging.getLogger("spawn.api")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one request may ask for."""

    body_bytes_max: int = 1024 * 1024
    """Of a request's body, unpacked; more is answered 413 before an actor sees it."""
    timeout_default_s: float = 60.0
    """How long a call waits that has no `Spawn-Timeout`."""
    timeout_max_s: float = 600.0
    """The largest `Spawn-Timeout`: a wait holds memory and a connection."""


class Routes:
    """Answers requests; `handle` is the one handler of the server."""

    def __init__(
        self, ingress: Ingress, limits: HttpLimits, new_error_id: Callable[[], str]
    ) -> None:
        self.counts = metrics.HttpCounts()
        self.closing = False
        """Answers ask their client to close the connection; set when the server stops."""
        self._idle: asyncio.Event | None = None
        self._ingress = ingress
        self._limits = limits
        self._new_error_id = new_error_id
        self._registry = metrics.new_registry(ingress, self.counts)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Only cancellation gets out."""
        counts = self.counts
        counts.in_progress += 1
        route = "none"
        try:
            try:
                match = match_target(request.raw_path)
                route = match.route
                if request.method not in METHODS[route]:
                    check_method(route, request.method)
                response = await self._answer(request, match)
            except SpawnError as error:
                response = self._problem(request, route, error)
            except Exception as error:  # noqa: BLE001 - the edge: a caller is always answered
                response = self._unforeseen(request, error)
            counts.answered[route, response.status] += 1
            if self.closing:
                response.force_close()
            return response
        finally:
            counts.in_progress -= 1
            if self._idle is not None and counts.in_progress == 0:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Return once no request is being answered."""
        self._idle = asyncio.Event()
        if self.counts.in_progress:
            await self._idle.wait()

    def answer_error(self, request: web.BaseRequest, error: SpawnError) -> web.StreamResponse:
        """Answer what did not get as far as `handle`."""
        response = self._problem(request, "none", error)
        self.counts.answered["none", response.status] += 1
        return response

    async def _answer(self, request: web.BaseRequest, match: Match) -> web.Response:
        route = match.route
        if route == "invoke":
            return await self._invoke(request, match)
        if route == "state":
            return await self._state(request, match)
        if route == "live":
            return _json(200, {"live": True})
        if route == "ready":
            statistics = self._ingress.statistics()
            status = 200 if statistics.ready else 503
            return _json(status, {"ready": statistics.ready, "reasons": list(statistics.reasons)})
        page = metrics.render(self._registry)
        return web.Response(
            body=page, headers={"Content-Type": metrics.CONTENT_TYPE, "Server": _SERVER}
        )

    async def _invoke(self, request: web.BaseRequest, match: Match) -> web.Response:
        headers = request.headers
        key = parse_key(headers.getall(KEY)) if KEY in headers else None
        timeout_s = self._timeout_s(request)
        payload = await self._body(request)
        answer = await self._ingress.invoke(
            Call(
                type=match.type,
                id=match.id,
                action=match.action,
                payload=payload,
                timeout_s=timeout_s,
                key=key,
                caller=_caller(request),
            )
        )
        return _reply(answer.reply, answer.revision, answer.position)

    async def _state(self, request: web.BaseRequest, match: Match) -> web.Response:
        timeout_s = self._timeout_s(request)
        state = await self._ingress.state(match.type, match.id, timeout_s)
        body = msgspec.json.encode(
            {
                "type": match.type,
                "id": match.id,
                "revision": state.revision,
                "state": msgspec.Raw(state.state),
            }
        )
        return _reply(body, state.revision, state.position)

    def _timeout_s(self, request: web.BaseRequest) -> float:
        headers = request.headers
        if TIMEOUT in headers:
            return parse_timeout(headers.getall(TIMEOUT), self._limits.timeout_max_s)
        return self._limits.timeout_default_s

    async def _body(self, request: web.BaseRequest) -> bytes:
        """Read the body as it came. Raises: BodyTooLarge, InvalidHeader, InvalidRequest."""
        limit = self._limits.body_bytes_max
        content = request.content
        try:
            if content.is_eof():
                # The usual case: all of it came with the headers (or there is none), so no task
                # switch is needed.
                if content.total_bytes > limit:
                    raise _too_large(limit)
                return content.read_nowait()
            # A length that is too large is answered before the body is sent (Expect) or read.
            if (request.content_length or 0) > limit:
                raise _too_large(limit)
            if hdrs.EXPECT in request.headers:
                await _continue(request)
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise _too_large(limit) from None
        except (RequestPayloadError, ConnectionError) as error:
            # The client left or sent bytes that are no chunk; who left never sees this answer.
            raise InvalidRequest(f"the body did not arrive whole: {error}") from error

    def _problem(self, request: web.BaseRequest, route: str, error: SpawnError) -> web.Response:
        if isinstance(error, UnknownType | UnknownAction) and not error.hint:
            error.hint = self._nearest(request, error)
        problem = problem_of(error, _request_line(request))
        response = _json(problem.status, problem, CONTENT_TYPE)
        if problem.status in (429, 503):
            response.headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_S)
        if isinstance(error, MethodNotAllowed):
            response.headers[hdrs.ALLOW] = ", ".join(METHODS[route])
        return response

    def _nearest(self, request: web.BaseRequest, error: SpawnError) -> str:
        types = self._ingress.types()
        match = match_target(request.raw_path)
        if isinstance(error, UnknownType):
            return type_hint(match.type, types)
        return action_hint(match.action, types.get(match.type, ()))

    def _unforeseen(self, request: web.BaseRequest, error: Exception) -> web.Response:
        error_id = self._new_error_id()
        request_line = _request_line(request)
        _logger.error("error %s at %s", error_id, request_line, exc_info=error)
        ours = SpawnError(
            f"this node failed in a way that nobody foresaw ({type(error).__name__})",
            hint=f"the node's log has the traceback under error_id {error_id}; please report it",
        )
        problem = msgspec.structs.replace(problem_of(ours, request_line), error_id=error_id)
        return _json(problem.status, problem, CONTENT_TYPE)


def _reply(body: bytes, revision: int, position: object) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: _JSON, hdrs.SERVER: _SERVER, REVISION: str(revision)}
    if position is not None:
        headers[POSITION] = str(position)
    return web.Response(body=body, headers=headers)


def _json(status: int, value: object, content_type: str = _JSON) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(value),
        headers={hdrs.CONTENT_TYPE: content_type, hdrs.SERVER: _SERVER},
    )


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body has more than {limit:,} bytes",
        hint="the limit is http.body_limit (SPAWN_HTTP_BODY_LIMIT) of the node",
    )


async def _continue(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send its body. Raises: InvalidHeader."""
    expectation = request.headers[hdrs.EXPECT]
    if expectation.lower() != "100-continue":
        raise InvalidHeader(
            f"Expect must be 100-continue, got {expectation[:40]!r}", at="header Expect"
        )
    if request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It is no part of the answer that follows.
        request.writer.output_size = 0


def _caller(request: web.BaseRequest) -> str:
    remote = request.remote
    return f"http {remote}" if remote else "http socket"


def _request_line(request: web.BaseRequest) -> str:
    path = request.raw_path
    if len(path) > _PATH_SHOWN_MAX:
        path = f"{path[:_PATH_SHOWN_MAX]}..."
    # Bytes that are no UTF-8 came as surrogates, which JSON can't hold.
    return f"{request.method} {path.encode(errors='replace').decode()}"
