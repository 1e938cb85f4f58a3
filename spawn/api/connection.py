"""A connection of a client: aiohttp's, with an express lane for calls, and our errors.

**The express lane.** Nearly all requests to a node are calls in HTTP's plainest form, and aiohttp
costs each of them two tasks and an object for everything that a request may have. A `Connection`
reads such calls itself (`heads`) and answers them by a callback on the pending answer. Everything
else it hands to aiohttp as it came, whole and in order: aiohttp alone judges what is not plain.

**Limits.** A request's head and body have their time (`HttpLimits`), in both lanes: whoever is late
is answered 408. `Patience` knows when. A call that waits for its outcome and a stream are not late:
then nothing is expected of the client, but that it takes what it gets.

One lane is at work at a time. Bytes are read here only while aiohttp waits for a request and its
parser holds none of the last one (`_at_boundary`); what comes while a call is being answered waits
in `_held`.

**Errors.** aiohttp answers what is no HTTP itself, in plain text or HTML and with a traceback in
its log. Callers get problem bodies instead, and scanners of ports fill no log.

Over 400 lines: the two lanes share one connection's state, which has to be looked at in one place.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError, _ErrInfo

from spawn.api.asked import Asked, caller_of
from spawn.api.heads import Head, are_requests, heads_apart, is_begun_call, parse_head
from spawn.api.patience import Patience
from spawn.api.refusing import Refusing
from spawn.api.responses import Response, encode
from spawn.api.routes import Routes
from spawn.core.ingress import Call, PendingAnswer
from spawn.errors import InvalidRequest, RequestTooSlow, TooManyWaiting

__all__ = ["Connection", "ConnectionFactory"]

_HELD_BYTES_MAX: Final = 64 * 1024
"""Behind a call that is being answered; from then on the client's writes wait. At most one read of
the event loop (256 KiB) comes on top."""
_REFUSALS_MAX: Final = 100
"""Connections over the cap that are told so at once; more are closed without a word."""


class Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = (
        "_routes",
        "_express",
        "_caller",
        "_head",
        "_at_boundary",
        "_held",
        "_wanted",
        "_body_awaited",
        "_pending",
        "_asked",
        "_call",
        "_began",
        "_held_back",
        "_is_last",
        "_factory",
        "_patience",
    )

    def __init__(self, factory: ConnectionFactory, **kwargs: Any) -> None:
        super().__init__(factory, **kwargs)
        self._routes = factory.routes
        self._express = factory.express
        self._caller = ""
        self._head: Head | None = None
        """The last plain one."""
        self._at_boundary = True
        """aiohttp's parser has seen whole requests only; False also where that is not certain."""
        self._held = bytearray()
        """Bytes that no lane has taken yet."""
        self._wanted = 0
        """Bytes of `_held` from which on it is worth looking at them again."""
        self._body_awaited = False
        """`_held` begins with a call whose body is not whole yet; it counts as being answered."""
        self._pending: PendingAnswer | None = None
        """Of the call that the express lane is answering."""
        self._asked: Asked
        self._call: Call
        self._began: float
        self._held_back = False
        """Reading is paused until `_held` has become small."""
        self._is_last = False
        """The connection ends with the answer to the call at work."""
        self._factory = factory
        self._patience = Patience(self._loop, factory.limits, self._give_up)

    @property
    def answering(self) -> bool:
        """Whether a request of this connection is being answered or about to be."""
        return (
            self._pending is not None
            or self._body_awaited
            or self._request_in_progress
            or bool(self._messages)
        )

    # --- what comes -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client; aiohttp calls it with none, to have its parser go on."""
        if not self._express:
            self._to_aiohttp(data)
            return
        if self._pending is None and not self._held:
            if not (self._is_idle() and data):
                self._hand_over(data)
                return
            if not self._paused:
                taken = self._take(data)
                if taken < len(data):
                    self._held += data[taken:]
                    self._hold_back()
                return
        self._held += data
        self._proceed()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._factory.is_full:
            self._patience.end()
            self._factory.turn_away(cast(asyncio.Transport, transport))
            return
        super().connection_made(transport)
        self._caller = caller_of(self.peername)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client sends no more: what was started is answered, then the connection ends.

        A client that has left looks the same. So what waits behind a call is dropped, and what
        changes nothing, like a stream, ends at once. TLS knows no half of a connection.
        """
        self._held.clear()
        if self.ssl_context is not None:
            return None
        if self._pending is not None:
            self._is_last = True
            return True
        waiter = self._waiter
        if self._request_count == 0 or (waiter is not None and not waiter.done()):
            return None  # nothing is being answered
        current = self._current_request
        payload = current.content if current is not None else None
        if payload is None and self._messages:
            payload = self._messages[0][1]
        is_read = current is not None and current.method in ("GET", "HEAD")
        if is_read or (payload is not None and not payload.is_eof()):
            return None
        self.close()
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._patience.watch_taking(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._patience.end_taking()
        self._proceed()

    def connection_lost(self, exc: BaseException | None) -> None:
        """A call that is being answered goes on; only its answer has nobody to go to."""
        super().connection_lost(exc)
        self._patience.end()
        self._held.clear()
        if self._body_awaited:
            self._await_body(False)
            self._routes.count_broken_off()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's
        """Cut off: the grace has passed (`HttpServer.stop`)."""
        if self._pending is not None:
            self._pending.cancel()
        await super().shutdown(timeout)

    def _is_idle(self) -> bool:
        """Return whether aiohttp has nothing of this connection to do and to remember."""
        waiter = self._waiter
        return (
            waiter is not None
            and not waiter.done()
            and self._at_boundary
            and not self._upgraded
            and not self._reading_paused
            and not self._buffer_paused
        )

    def _proceed(self) -> None:
        """Look at what is held, unless it has to wait."""
        held = self._held
        if held and (self.transport is None or self.transport.is_closing()):
            held.clear()
        if held and self._pending is None and not self._paused and len(held) >= self._wanted:
            del held[: self._take(held)]
        self._hold_back()

    def _hold_back(self) -> None:
        """Let the client wait while too much is held behind a call, and no longer."""
        much = len(self._held) > _HELD_BYTES_MAX
        waits = much and (self._pending is not None or self._paused)
        if waits != self._held_back:
            self._held_back = waits
            if waits:
                self._pause_transport_reading()
            elif not (self._reading_paused or self._buffer_paused):
                self._resume_transport_reading()

    def _take(self, data: bytes | bytearray) -> int:
        """Serve the request that the data begin with; return how many bytes are done with."""
        self._wanted = 0
        head = parse_head(data, 0, self._head)
        if head is None:
            if is_begun_call(data):
                self._wanted = len(data) + 1
                self._patience.expect_head()
                return 0
            return self._hand_over(data)
        self._head = head
        end = head.end + head.body_bytes
        asked = Asked(head.method, head.target, head.headers, self._caller)
        call = self._routes.express_call(asked, bytes(data[head.end : end]), head.body_bytes)
        if call is None:
            return self._hand_over(data, whole=end == len(data))
        if end > len(data):
            self._wanted = end
            if not self._body_awaited:
                self._await_body(True)
                self._patience.expect_body(head.body_bytes)
            return 0
        self._patience.due = 0.0
        self._start(asked, call)
        if self._body_awaited:
            self._await_body(False)
        return end

    def _await_body(self, awaited: bool) -> None:
        self._body_awaited = awaited
        if awaited:
            self._routes.begin()
        else:
            self._routes.end()

    def _hand_over(self, data: bytes | bytearray, *, whole: bool = False) -> int:
        """Give all of it to aiohttp, and see whether its parser holds part of a request then.

        `whole`: it is known that the data are one plain request.
        """
        seen = self._request_count
        data = bytes(data)
        self._to_aiohttp(data)
        if self._body_awaited:
            self._await_body(False)
        if self._upgraded or self._reading_paused or self._buffer_paused:
            self._at_boundary = False
        elif not (self._at_boundary and (whole or are_requests(data, self._head))):
            # An empty line that ends the data ends a request, when one came whole: whatever began
            # behind that request would be whole with the empty line, too.
            self._at_boundary = (
                self._request_count > seen
                and data.endswith(b"\r\n\r\n")
                and bool(self._messages)
                and self._messages[-1][1].is_eof()
            )
        return len(data)

    def _to_aiohttp(self, data: bytes) -> None:
        """Have aiohttp's parser take bytes, and see whether a head has begun and not ended.

        It forgets the requests of bytes that go on with what is no HTTP. So it gets each head by
        itself, and what came before the fault is answered.
        """
        seen = self._request_count
        for part in heads_apart(data):
            super().data_received(part)
            if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
                self._break_off()
                break
        waiter = self._waiter
        if self._request_count > seen or waiter is None or waiter.done():
            self._patience.due = 0.0  # a whole head came, or one is being answered
        elif data.strip(b"\r\n"):  # empty lines before a request are none
            self._patience.expect_head()

    def _break_off(self) -> None:
        """What came is no HTTP any more: a body that was on the way does not come to its end."""
        current = self._current_request
        bodies = [payload for _, payload in self._messages]
        for body in bodies if current is None else [current.content, *bodies]:
            if not body.is_eof():
                body.set_exception(RequestPayloadError("its chunks are broken"))

    def _give_up(self) -> None:
        """Answer a head or body that did not come in its time; the connection ends with it."""
        transport = self.transport
        if transport is None:
            return
        part = "body" if self._body_awaited else "head"
        if self._body_awaited:
            self._await_body(False)
        self._held.clear()
        refusal = self._routes.refuse(self._caller, RequestTooSlow.of(part))
        transport.write(encode(refusal, close=True))
        self.force_close()

    # --- what is answered -------------------------------------------------------------------------

    def _start(self, asked: Asked, call: Call) -> None:
        self._routes.begin()
        self._asked, self._call = asked, call
        self._began = self._loop.time()
        self._pending = pending = self._routes.invoke(call)
        pending.add_done_callback(self._ended)

    def _ended(self, pending: PendingAnswer) -> None:
        """Answer the call that came to its end."""
        self._pending = None
        try:
            if not pending.cancelled():
                self._answer(self._routes.outcome(self._asked, self._call, pending))
                self._routes.counts.observe("invoke", self._loop.time() - self._began)
        finally:
            self._routes.end()
        if self._held:
            self._proceed()

    def _answer(self, response: Response) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        closing = self._routes.closing or self._is_last
        transport.write(encode(response, close=closing))
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if closing:
            self.force_close()

    def _process_keepalive(self) -> None:
        """Close the connection on which nothing happened; a call that takes long is something."""
        if self._pending is not None or self._patience.due:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        transport = self.transport
        super()._process_keepalive()
        if transport is not None and self.transport is None and transport.get_write_buffer_size():
            transport.abort()  # all the time it did not take its answer: closing would wait for it

    # --- what is no HTTP --------------------------------------------------------------------------

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that are no HTTP; the connection ends with it.

        aiohttp also calls this when a handler raises, which `routes` never does.
        """
        reason, hint = _said(message or "")
        error = InvalidRequest(
            f"this is no valid HTTP request: {reason}", at="request line or headers", hint=hint
        )
        response = self._routes.answer_error(request, error)
        response.force_close()
        return response


class ConnectionFactory(web.Server):
    """aiohttp's low-level server: no router, no middlewares, every request to one handler."""

    def __init__(self, routes: Routes, *, express: bool, **kwargs: Any) -> None:
        super().__init__(routes.handle, keepalive_timeout=routes.limits.keep_alive_s, **kwargs)
        self.routes = routes
        self.limits = routes.limits
        self._refused = 0
        """Connections that are being turned away."""
        self.express = express
        """Whether its connections have an express lane."""

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    @property
    def is_full(self) -> bool:
        """Whether there are as many connections as may be."""
        return len(self._connections) >= self.limits.connections_max

    def turn_away(self, transport: asyncio.Transport) -> None:
        """Refuse a connection over the cap."""
        if self._refused >= _REFUSALS_MAX:
            transport.abort()
            return
        self._refused += 1
        refusing = Refusing(self._refusal, self._turned_away)
        transport.set_protocol(refusing)
        refusing.connection_made(transport)

    def _refusal(self) -> bytes:
        error = TooManyWaiting(
            f"{self.limits.connections_max} connections are open, as many as may be",
            hint="keep connections open and use them again; http.connections_max raises the limit",
        )
        return encode(self.routes.refuse("", error), close=True)

    def _turned_away(self) -> None:
        self._refused -= 1


_HINTS: Final = (
    ("Invalid char in url", "percent-encode the path: an `ü` is %C3%BC, a space %20"),
    ("Got more than", "the request line and each header field have at most 8,190 bytes"),
    ("HTTPS traffic", "use http:// here, no TLS"),
)
"""By what aiohttp's messages hold."""


def _said(message: str) -> tuple[str, str]:
    """Return what aiohttp's message says without its excerpt of the bytes, and a hint."""
    first = message.strip().split("\n")[0]
    reason = first.partition(": bytearray(")[0].strip(" :.")
    hint = next((hint for part, hint in _HINTS if part in reason), "")
    return reason[:100] or "it can't be read", hint
