"""What happens with a request: from HTTP to a `Call` and from an `Answer` to HTTP.

Two lanes come here: aiohttp's handler, for every request (`handle`), and a `Connection`'s express
lane, for calls in the plainest form (`express_call`, `invoke`, `outcome`). What a request means and
how it is answered is the same code for both.

Every way out is an answer of ours: errors become problems (`problems`), and what nobody foresaw a
500 with an id under which the log has the traceback. A client that leaves cancels nothing: its
command goes on, for it may be on its way into the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestPayloadError
from multidict import CIMultiDictProxy, istr

from spawn.api import metrics
from spawn.api.headers import parse_key, parse_timeout
from spawn.api.paths import METHODS, Match, check_method, match_target
from spawn.api.problems import CONTENT_TYPE, RETRY_AFTER_S, STATUSES, problem_of
from spawn.api.responses import Response, json_response, reply_response, to_aiohttp
from spawn.api.suggestions import action_hint, type_hint
from spawn.core.ingress import Call, Ingress, PendingAnswer
from spawn.errors import (
    BodyTooLarge,
    InvalidHeader,
    InvalidRequest,
    MethodNotAllowed,
    SpawnError,
    UnknownAction,
    UnknownType,
)

__all__ = ["Asked", "HttpLimits", "Routes", "caller_of"]

KEY: Final = istr("Idempotency-Key")
TIMEOUT: Final = istr("Spawn-Timeout")

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


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What both lanes know of a request before its body is read."""

    method: str
    target: str
    """As it stands in the request line."""
    headers: CIMultiDictProxy[str]
    caller: str


class Routes:
    """Answers requests; `handle` is the one handler of aiohttp's server."""

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
        asked = _asked(request)
        route = "none"
        self.begin()
        try:
            try:
                match = match_target(asked.target)
                route = match.route
                check(asked, match)
                response = await self._answer(request, asked, match)
            except SpawnError as error:
                response = self._problem(asked, route, error)
            except Exception as error:  # noqa: BLE001 - the edge: a caller is always answered
                response = self._unforeseen(asked, error)
            self.counts.answered[route, response.status] += 1
            sent = to_aiohttp(response)
            if self.closing:
                sent.force_close()
            return sent
        finally:
            self.end()

    def answer_error(self, request: web.BaseRequest, error: SpawnError) -> web.StreamResponse:
        """Answer what did not get as far as `handle`."""
        response = self._problem(_asked(request), "none", error)
        self.counts.answered["none", response.status] += 1
        return to_aiohttp(response)

    # --- for the express lane ---------------------------------------------------------------------

    def express_call(self, asked: Asked, payload: bytes, body_bytes: int) -> Call | None:
        """Return the call that is asked for; None: it is none, or `handle` has to refuse it."""
        if body_bytes > self._limits.body_bytes_max:
            return None
        try:
            match = match_target(asked.target)
            if match.route != "invoke":
                return None
            check(asked, match)
            key, timeout_s = self._key(asked), self._timeout_s(asked)
        except Exception:  # noqa: BLE001 - `handle` meets it again, and answers
            return None
        return _call(asked, match, payload, key, timeout_s)

    def invoke(self, call: Call) -> PendingAnswer:
        """Start a call's action; errors, also of the ingress itself, come with the answer."""
        try:
            return self._ingress.invoke(call)
        except Exception as error:  # noqa: BLE001 - the edge: a caller is always answered
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    def outcome(self, asked: Asked, pending: PendingAnswer) -> Response:
        """Return what a call that came to its end is answered with."""
        error = pending.exception()
        if error is None:
            answer = pending.result()
            response = reply_response(answer.reply, answer.revision, answer.position)
        elif isinstance(error, SpawnError):
            response = self._problem(asked, "invoke", error)
        else:
            response = self._unforeseen(asked, error)
        self.counts.answered["invoke", response.status] += 1
        return response

    def begin(self) -> None:
        """Count a request that is being answered from now on, until `end`."""
        self.counts.in_progress += 1

    def end(self) -> None:
        """Count a request that needs no answer any more."""
        self.counts.in_progress -= 1
        if self._idle is not None and self.counts.in_progress == 0:
            self._idle.set()

    def count_broken_off(self) -> None:
        """Count a call whose client left within the body, as `handle` counts the others."""
        self.counts.answered["invoke", STATUSES[InvalidRequest.code].status] += 1

    async def wait_idle(self) -> None:
        """Return once no request is being answered."""
        self._idle = asyncio.Event()
        if self.counts.in_progress:
            await self._idle.wait()

    # --- routes -----------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest, asked: Asked, match: Match) -> Response:
        route = match.route
        if route == "invoke":
            return await self._invoke(request, asked, match)
        if route == "state":
            return await self._state(asked, match)
        if route == "live":
            return json_response(200, {"live": True})
        if route == "ready":
            statistics = self._ingress.statistics()
            status = 200 if statistics.ready else 503
            reasons = list(statistics.reasons)
            return json_response(status, {"ready": statistics.ready, "reasons": reasons})
        return Response(200, metrics.render(self._registry), metrics.CONTENT_TYPE)

    async def _invoke(self, request: web.BaseRequest, asked: Asked, match: Match) -> Response:
        key, timeout_s = self._key(asked), self._timeout_s(asked)
        payload = await self._body(request)
        answer = await self._ingress.invoke(_call(asked, match, payload, key, timeout_s))
        return reply_response(answer.reply, answer.revision, answer.position)

    async def _state(self, asked: Asked, match: Match) -> Response:
        state = await self._ingress.state(match.type, match.id, self._timeout_s(asked))
        body = msgspec.json.encode(
            {
                "type": match.type,
                "id": match.id,
                "revision": state.revision,
                "state": msgspec.Raw(state.state),
            }
        )
        return reply_response(body, state.revision, state.position)

    @staticmethod
    def _key(asked: Asked) -> str | None:
        return parse_key(asked.headers.getall(KEY)) if KEY in asked.headers else None

    def _timeout_s(self, asked: Asked) -> float:
        if TIMEOUT in asked.headers:
            return parse_timeout(asked.headers.getall(TIMEOUT), self._limits.timeout_max_s)
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

    # --- errors -----------------------------------------------------------------------------------

    def _problem(self, asked: Asked, route: str, error: SpawnError) -> Response:
        if isinstance(error, UnknownType | UnknownAction) and not error.hint:
            error.hint = self._nearest(asked, error)
        problem = problem_of(error, _request_line(asked))
        headers: list[tuple[str, str]] = []
        if problem.status in (429, 503):
            headers.append((hdrs.RETRY_AFTER, str(RETRY_AFTER_S)))
        if isinstance(error, MethodNotAllowed):
            headers.append((hdrs.ALLOW, ", ".join(METHODS[route])))
        return json_response(problem.status, problem, CONTENT_TYPE, headers)

    def _nearest(self, asked: Asked, error: SpawnError) -> str:
        types = self._ingress.types()
        match = match_target(asked.target)
        if isinstance(error, UnknownType):
            return type_hint(match.type, types)
        return action_hint(match.action, types.get(match.type, ()))

    def _unforeseen(self, asked: Asked, error: BaseException) -> Response:
        error_id = self._new_error_id()
        request_line = _request_line(asked)
        _logger.error("error %s at %s", error_id, request_line, exc_info=error)
        ours = SpawnError(
            f"this node failed in a way that nobody foresaw ({type(error).__name__})",
            hint=f"the node's log has the traceback under error_id {error_id}; please report it",
        )
        problem = msgspec.structs.replace(problem_of(ours, request_line), error_id=error_id)
        return json_response(problem.status, problem, CONTENT_TYPE)


def check(asked: Asked, match: Match) -> None:
    """Raise for what no route answers, whatever is in its body; both lanes ask here."""
    if asked.method not in METHODS[match.route]:
        check_method(match.route, asked.method)


def caller_of(peername: Any) -> str:
    """Return who calls, for the record: `peername` is the other end's address of a socket."""
    host = peername[0] if isinstance(peername, tuple | list) else peername
    return f"http {host}" if host else "http socket"


def _asked(request: web.BaseRequest) -> Asked:
    return Asked(request.method, request.raw_path, request.headers, caller_of(request.remote))


def _call(asked: Asked, match: Match, payload: bytes, key: str | None, timeout_s: float) -> Call:
    return Call(
        type=match.type,
        id=match.id,
        action=match.action,
        payload=payload,
        timeout_s=timeout_s,
        key=key,
        caller=asked.caller,
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


def _request_line(asked: Asked) -> str:
    path = asked.target
    if len(path) > _PATH_SHOWN_MAX:
        path = f"{path[:_PATH_SHOWN_MAX]}..."
    # Bytes that are no UTF-8 came as surrogates, which JSON can't hold.
    return f"{asked.method} {path.encode(errors='replace').decode()}"
