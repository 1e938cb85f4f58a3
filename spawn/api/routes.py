"""What happens with a request: from HTTP to a `Call` and from an `Answer` to HTTP.

Two lanes come here: aiohttp's handler, for every request (`handle`), and a `Connection`'s express
lane, for calls in the plainest form (`express_call`, `invoke`, `outcome`). What a request means and
how it is answered is the same code for both.

Every way out is an answer of ours: errors become problems (`problems`), and what nobody foresaw a
500 with an id under which the log has the traceback. A client that leaves cancels nothing: its
command goes on, for it may be on its way into the log.

Over 400 lines: each route is a few lines, and all share checks, counts and errors.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy, istr

from eventstore.records import RequestNumber
from spawn.api import metrics
from spawn.api.access import Access
from spawn.api.asked import Asked, asked_of, check_form, request_line
from spawn.api.batch import parse_batch, run_batch
from spawn.api.bodies import read_body
from spawn.api.commits import Streams, commits_response
from spawn.api.headers import parse_key, parse_request, parse_timeout
from spawn.api.limits import HttpLimits
from spawn.api.pages import Pages
from spawn.api.paths import (
    ACTOR_ROUTES,
    METHODS,
    Match,
    authority_of,
    check_method,
    match_target,
)
from spawn.api.problems import CONTENT_TYPE, RETRY_AFTER_S, STATUSES, Problem, problem_of
from spawn.api.queries import REVISION_MAX, parse_query, whole_number
from spawn.api.responses import (
    LINE_END,
    OWNER,
    TIME,
    Response,
    json_response,
    reply_response,
    to_aiohttp,
)
from spawn.api.suggestions import action_hint, type_hint
from spawn.api.system_pages import ROUTES as SYSTEM_ROUTES
from spawn.api.system_pages import SystemPages
from spawn.core.commands import Answer
from spawn.core.ingress import Call, Ingress, PendingAnswer
from spawn.core.system_view import SystemView
from spawn.errors import (
    ForeignHost,
    ForeignOrigin,
    InvalidRequest,
    MethodNotAllowed,
    RequestTooSlow,
    SpawnError,
    Unauthorized,
    UnknownAction,
    UnknownType,
)

__all__ = ["Routes"]

KEY: Final = istr("Idempotency-Key")
TIMEOUT: Final = istr("Spawn-Timeout")
REQUEST: Final = istr("Spawn-Request")
_WITHOUT_QUERY: Final = frozenset(("invoke", "delete", "batch"))
"""Routes where a parameter was meant for something, and would be lost; `state` and `events` have
their own."""
_NOWHERE: Final = Match("none")
_LATE: Final = STATUSES[RequestTooSlow.code].status
_NO_HEADERS: Final = CIMultiDictProxy[str](CIMultiDict())
_BEFORE_ALL: Final = (ForeignHost, ForeignOrigin, Unauthorized)
"""Who is refused so is told nothing of the node."""

_logger = logging.getLogger("spawn.api")


class Routes:
    """Answers requests; `handle` is the one handler of aiohttp's server."""

    def __init__(
        self,
        ingress: Ingress,
        limits: HttpLimits,
        access: Access,
        new_error_id: Callable[[], str],
        view: SystemView | None = None,
    ) -> None:
        self.counts = metrics.HttpCounts()
        self.closing = False
        """Answers ask their client to close the connection; set when the server stops."""
        self.streams = Streams(ingress)
        self._idle: asyncio.Event | None = None
        self._ingress = ingress
        self.limits = limits
        self._access = access
        self._new_error_id = new_error_id
        self._registry = metrics.new_registry(ingress, self.counts, view)
        self._pages = Pages(ingress)
        self._system = SystemPages(ingress, view)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Only cancellation gets out."""
        asked = asked_of(request)
        match = _NOWHERE
        is_broken = False
        now = asyncio.get_running_loop().time
        began = now()
        self.begin()
        try:
            try:
                check_form(request)
                match = self._find(asked)
                if is_preflight := _is_preflight(asked):
                    response = self._preflight(asked, match)
                else:
                    self.check(asked, match)
                    if match.route == "events" and self.streams.is_asked(asked):
                        return await self._stream(request, asked, match)
                    response = await self._answer(request, asked, match)
            except SpawnError as error:
                is_preflight = False
                is_broken = isinstance(error, InvalidRequest)
                response = self._problem(asked, match, error)
            except Exception as error:  # noqa: BLE001 - the edge: a caller is always answered
                is_preflight = False
                response = self._unforeseen(asked, error)
            self.counts.answered[match.route, response.status] += 1
            self.counts.observe(match.route, now() - began)
            sent = to_aiohttp(response)
            if hdrs.ORIGIN in asked.headers and not is_preflight:
                sent.headers.update(self._access.cors_headers(asked.headers))
            if self.closing or response.status == _LATE or is_broken:
                sent.force_close()
            return sent
        finally:
            self.end()

    def answer_error(self, request: web.BaseRequest, error: SpawnError) -> web.StreamResponse:
        """Answer what did not get as far as `handle`."""
        response = self._problem(asked_of(request), _NOWHERE, error)
        self.counts.answered["none", response.status] += 1
        return to_aiohttp(response)

    def refuse(self, caller: str, error: SpawnError) -> Response:
        """Return the answer to what is no whole request."""
        asked = Asked("", "", _NO_HEADERS, caller)
        response = self._problem(asked, _NOWHERE, error)
        self.counts.answered["none", response.status] += 1
        return response

    def check(self, asked: Asked, match: Match) -> None:
        """Raise for what no route answers, whatever is in its body; both lanes ask here."""
        self._access.check(match.route, asked.headers)
        if asked.method not in METHODS[match.route]:
            check_method(match.route, asked.method)
        if "?" in asked.target and match.route in _WITHOUT_QUERY:
            parse_query(asked.target, ())

    # --- for the express lane ---------------------------------------------------------------------

    def express_call(self, asked: Asked, payload: bytes, body_bytes: int) -> Call | None:
        """Return the call that is asked for; None: it is none, or `handle` has to refuse it."""
        if body_bytes > self.limits.body_bytes_max:
            return None
        headers = asked.headers
        try:
            match = match_target(asked.target, asked.method)
            if match.route != "invoke" or hdrs.ORIGIN in headers:
                return None
            self.check(asked, match)
            return self._call(asked, match, payload)
        except Exception:  # noqa: BLE001 - `handle` meets it again, and answers
            return None

    def invoke(self, call: Call) -> PendingAnswer:
        """Start a call's action; errors, also of the ingress itself, come with the answer."""
        try:
            return self._ingress.invoke(call)
        except Exception as error:  # noqa: BLE001 - the edge: a caller is always answered
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    def outcome(self, asked: Asked, call: Call, pending: PendingAnswer) -> Response:
        """Return what a call that came to its end is answered with."""
        error = pending.exception()
        if error is None:
            answer = pending.result()
            time_us = self._ingress.log_time_us(call.type, call.id)
            owner = self._system.owner_url(call.type, call.id, answer.position)
            response = reply_response(
                answer.reply, answer.revision, answer.position, time_us, owner
            )
        elif isinstance(error, SpawnError):
            match = Match("invoke", call.type, call.id, call.action)
            response = self._problem(asked, match, error)
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

    def _find(self, asked: Asked) -> Match:
        authority = authority_of(asked.target)
        try:
            match = match_target(asked.target, asked.method)
        except SpawnError:
            # Who may not ask is not told what there is.
            if authority is not None:
                self._access.check_authority("none", authority)
            self._access.check("none", asked.headers)
            raise
        if authority is not None:
            self._access.check_authority(match.route, authority)
        return match

    async def _answer(self, request: web.BaseRequest, asked: Asked, match: Match) -> Response:
        route = match.route
        if route == "invoke":
            payload = await self._body(request)
            call = self._call(asked, match, payload)
            return self._reply(match, await self._ingress.invoke(call))
        if route == "state":
            return await self._state(asked, match)
        if route == "delete":
            return self._reply(match, await self._delete(asked, match))
        if route == "events":
            timeout_s = self._timeout_s(asked)
            body = await commits_response(self._ingress, asked, match, timeout_s)
            time_us = self._ingress.log_time_us(match.type, match.id)
            headers = [(str(TIME), str(time_us)), *self._owner_headers(match)]
            return json_response(200, body, headers=headers)
        if route == "batch":
            return await self._batch(request, asked)
        if route == "live":
            return json_response(200, {"live": True}, headers=self._system.live_headers())
        if route == "ready":
            statistics = self._ingress.statistics()
            told: dict[str, object] = {"ready": statistics.ready}
            if self._access.knows_token(asked.headers):
                told["reasons"] = list(statistics.reasons)
            return json_response(200 if statistics.ready else 503, told)
        if route == "metrics":
            return Response(200, metrics.render(self._registry), metrics.CONTENT_TYPE)
        if route in SYSTEM_ROUTES:
            return self._system.answer(asked, route)
        return self._pages.answer(match)

    def _call(self, asked: Asked, match: Match, payload: bytes) -> Call:
        headers = asked.headers
        return Call(
            match.type,
            match.id,
            match.action,
            payload,
            self._timeout_s(asked),
            parse_key(headers.getall(KEY)) if KEY in headers else None,
            asked.caller,
            None,
            self._request(asked),
        )

    async def _delete(self, asked: Asked, match: Match) -> Answer:
        headers = asked.headers
        key = parse_key(headers.getall(KEY)) if KEY in headers else None
        return await self._ingress.delete(
            match.type,
            match.id,
            self._timeout_s(asked),
            key,
            asked.caller,
            request=self._request(asked),
        )

    def _reply(self, match: Match, answer: Answer) -> Response:
        time_us = self._ingress.log_time_us(match.type, match.id)
        owner = self._system.owner_url(match.type, match.id, answer.position)
        return reply_response(answer.reply, answer.revision, answer.position, time_us, owner)

    def _owner_headers(self, match: Match) -> Iterable[tuple[str, str]]:
        owner = self._system.owner_url(match.type, match.id)
        return ((OWNER, owner),) if owner else ()

    async def _state(self, asked: Asked, match: Match) -> Response:
        query = parse_query(asked.target, ("revision",))
        revision = None
        if "revision" in query:
            revision = whole_number("revision", query["revision"], 0, REVISION_MAX)
        state = await self._ingress.state(match.type, match.id, self._timeout_s(asked), revision)
        body = msgspec.json.encode(
            {
                "type": match.type,
                "id": match.id,
                "revision": state.revision,
                "state": msgspec.Raw(state.state),
            }
        )
        time_us = self._ingress.log_time_us(match.type, match.id)
        owner = self._system.owner_url(match.type, match.id, state.position)
        return reply_response(body, state.revision, state.position, time_us, owner)

    async def _batch(self, request: web.BaseRequest, asked: Asked) -> Response:
        timeout_s = self._timeout_s(asked)
        calls = parse_batch(await self._body(request))

        def failure(index: int, error: BaseException) -> Problem:
            if not isinstance(error, SpawnError):
                return self._logged(asked, error)
            called = calls[index]
            self._suggest(Match("invoke", called.type, called.id, called.action), error)
            return problem_of(error, f"call {index} of {request_line(asked)}")

        body = await run_batch(self._ingress, calls, timeout_s, asked.caller, failure)
        return Response(200, body + LINE_END)

    async def _stream(
        self, request: web.BaseRequest, asked: Asked, match: Match
    ) -> web.StreamResponse:
        headers = self._access.cors_headers(asked.headers)

        def failure(error: BaseException) -> Problem:
            if isinstance(error, SpawnError):
                return problem_of(error, request_line(asked))
            return self._logged(asked, error)

        stream = self.streams.begin(asked, match)
        self.counts.answered["events", 200] += 1
        return await stream.send(request, headers, failure)

    def _preflight(self, asked: Asked, match: Match) -> Response:
        headers = self._access.preflight_headers(asked.headers, METHODS[match.route])
        return Response(204, b"", "", headers)

    async def _body(self, request: web.BaseRequest) -> bytes:
        limits = self.limits
        size = request.content_length or limits.body_bytes_max
        return await read_body(request, limits.body_bytes_max, limits.body_within_s(size))

    def _timeout_s(self, asked: Asked) -> float:
        if TIMEOUT in asked.headers:
            return parse_timeout(asked.headers.getall(TIMEOUT), self.limits.timeout_max_s)
        return self.limits.timeout_default_s

    def _request(self, asked: Asked) -> RequestNumber | None:
        if REQUEST in asked.headers:
            return parse_request(asked.headers.getall(REQUEST))
        return None

    # --- errors -----------------------------------------------------------------------------------

    def _problem(self, asked: Asked, match: Match, error: SpawnError) -> Response:
        self._suggest(match, error)
        problem = problem_of(error, request_line(asked))
        headers: list[tuple[str, str]] = []
        if problem.status in (429, 503):
            headers.append((hdrs.RETRY_AFTER, str(RETRY_AFTER_S)))
        if isinstance(error, MethodNotAllowed):
            headers.append((hdrs.ALLOW, ", ".join(METHODS[match.route])))
        if isinstance(error, Unauthorized):
            headers.append((hdrs.WWW_AUTHENTICATE, "Bearer"))
        if match.route in ACTOR_ROUTES and not isinstance(error, _BEFORE_ALL):
            headers.append((TIME, str(self._ingress.log_time_us(match.type, match.id))))
            headers += self._owner_headers(match)
        return json_response(problem.status, problem, CONTENT_TYPE, headers)

    def _suggest(self, match: Match, error: SpawnError) -> None:
        """Say in the hint what was probably meant."""
        if error.hint or not isinstance(error, UnknownType | UnknownAction):
            return
        types = self._ingress.types()
        if isinstance(error, UnknownType):
            error.hint = type_hint(match.type, types)
        else:
            error.hint = action_hint(match.action, types.get(match.type, ()))

    def _unforeseen(self, asked: Asked, error: BaseException) -> Response:
        problem = self._logged(asked, error)
        return json_response(problem.status, problem, CONTENT_TYPE)

    def _logged(self, asked: Asked, error: BaseException) -> Problem:
        """Log what nobody foresaw, and return what its caller is told."""
        error_id = self._new_error_id()
        line = request_line(asked)
        fields = {"error_id": error_id}
        _logger.error("error %s at %s", error_id, line, exc_info=error, extra=fields)
        ours = SpawnError(
            f"this node failed in a way that nobody foresaw ({type(error).__name__})",
            hint=f"the node's log has the traceback under error_id {error_id}; please report it",
        )
        return msgspec.structs.replace(problem_of(ours, line), error_id=error_id)


def _is_preflight(asked: Asked) -> bool:
    """Tell whether a browser asks beforehand whether it may send a request (CORS)."""
    return (
        asked.method == hdrs.METH_OPTIONS
        and hdrs.ORIGIN in asked.headers
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in asked.headers
    )
