"""An actor's events over HTTP: a list of past ones, or a stream of those that come.

`GET .../events` answers a JSON list; `?follow` is answered with server-sent events (WHATWG HTML,
9.2): one message for each commit, its id the actor's revision, so that who connects again with
`Last-Event-ID` misses nothing. The last message says why a stream ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from spawn.api.asked import Asked
from spawn.api.paths import Match
from spawn.api.problems import Problem
from spawn.api.queries import REVISION_MAX, parse_query, whole_number
from spawn.core.ingress import ActorCommit, CommitsAsked, Follower, Ingress
from spawn.errors import Draining, InvalidHeader, InvalidQuery, TooManyWaiting

__all__ = ["LIMIT_MAX", "STREAMS_MAX", "Streams", "commits_response"]

LIMIT_MAX: Final = 1_000
"""Commits in one list."""
_LIMIT: Final = 100
STREAMS_MAX: Final = 1_000
"""Streams of a node; one more is refused."""

_WRITE_S: Final = 30.0
"""For the client to take what the connection holds; then it is cut off."""
_LISTED: Final = ("limit", "from_revision", "order")
_FOLLOWED: Final = ("follow", "from_revision")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Failure = Callable[[BaseException], Problem]


async def commits_response(
    ingress: Ingress, asked: Asked, match: Match, timeout_s: float
) -> Sequence[Any]:
    """Return the list that is asked for. Raises: InvalidQuery, and as `Ingress.commits`."""
    query = parse_query(asked.target, (*_LISTED, "follow"))
    limit = whole_number("limit", query.get("limit", str(_LIMIT)), 1, LIMIT_MAX)
    from_revision = whole_number("from_revision", query.get("from_revision", "1"), 1, REVISION_MAX)
    order = query.get("order", "newest")
    if order not in ("newest", "oldest"):
        raise InvalidQuery(f"order must be newest or oldest, got {order[:40]!r}")
    wanted = CommitsAsked(from_revision, limit, order == "newest")
    return [
        _shown(commit) for commit in await ingress.commits(match.type, match.id, wanted, timeout_s)
    ]


class Streams:
    """The streams that a server has open."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress
        self._open: set[Follower] = set()
        self._closing = False

    @staticmethod
    def is_asked(asked: Asked) -> bool:
        """Tell whether a request for an actor's events is one for a stream."""
        query = asked.target.partition("?")[2]
        return asked.method == hdrs.METH_GET and any(
            part.partition("=")[0] == "follow" for part in query.split("&")
        )

    def begin(self, asked: Asked, match: Match) -> Stream:
        """Begin a stream.

        Raises: InvalidQuery, InvalidHeader, TooManyWaiting, Draining, and as `Ingress.follow`.
        """
        query = parse_query(asked.target, _FOLLOWED)
        if query["follow"] not in ("", "1", "true"):
            raise InvalidQuery(f"follow has no value, got {query['follow'][:40]!r}")
        after: int | None = None
        if "from_revision" in query:
            after = whole_number("from_revision", query["from_revision"], 1, REVISION_MAX) - 1
        if last := asked.headers.getall("Last-Event-ID", ()):
            after = _last_event(last)
        if self._closing:
            raise Draining("the node is stopping", hint="follow again: another node answers")
        if len(self._open) >= STREAMS_MAX:
            raise TooManyWaiting(f"the node has {STREAMS_MAX} streams open, as many as it may")
        follower = self._ingress.follow(match.type, match.id, after)
        self._open.add(follower)
        return Stream(follower, self._open)

    def close(self) -> None:
        """End all of them: the node stops."""
        self._closing = True
        for follower in list(self._open):
            follower.close()


class Stream:
    """One client that follows an actor."""

    def __init__(self, follower: Follower, opened: set[Follower]) -> None:
        self._follower = follower
        self._opened = opened

    async def send(
        self,
        request: web.BaseRequest,
        headers: Sequence[tuple[str, str]],
        failure: Failure,
    ) -> web.StreamResponse:
        """Send commits until the follower ends or the client leaves."""
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: "text/event-stream",
                hdrs.CACHE_CONTROL: "no-store",
                hdrs.SERVER: "spawn",
                "X-Accel-Buffering": "no",
                **dict(headers),
            }
        )
        response.force_close()
        try:
            await response.prepare(request)
            try:
                # At once, so that the client knows that it is heard.
                await _write(request, response, b": following\n\n")
                async for commit in self._follower.commits():
                    await _write(
                        request, response, b":\n\n" if commit is None else _message(commit)
                    )
                ended: Exception = Draining("the node is stopping", hint="follow again")
            except (ConnectionError, TimeoutError):
                raise
            except Exception as error:  # noqa: BLE001 - the edge: a caller is always answered
                ended = error
            problem = msgspec.json.encode(failure(ended))
            await _write(request, response, b"event: end\ndata: " + problem + b"\n\n")
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            pass  # Who left, or takes nothing any more, is told nothing.
        finally:
            self._opened.discard(self._follower)
            self._follower.close()
        return response


async def _write(request: web.BaseRequest, response: web.StreamResponse, data: bytes) -> None:
    """Raises: ConnectionError - the client left; TimeoutError - it takes nothing: it is cut off."""
    try:
        async with asyncio.timeout(_WRITE_S):
            await response.write(data)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise


def _last_event(values: Sequence[str]) -> int:
    text = values[0]
    if len(values) > 1 or not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidHeader(
            f"Last-Event-ID must be the revision of the last event that came, got {text[:40]!r}",
            at="header Last-Event-ID",
        )
    return int(text)


def _message(commit: ActorCommit) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (commit.revision, msgspec.json.encode(_shown(commit)))


def _shown(commit: ActorCommit) -> dict[str, Any]:
    """Return a commit as it is shown; JSON has no line breaks, so it is one line."""
    shown: dict[str, Any] = {
        "revision": commit.revision,
        "time": _EPOCH + timedelta(microseconds=commit.time_us),
        "position": str(commit.position),
        "action": commit.action,
        "caller": commit.caller,
        "events": [{"name": name, "fields": msgspec.Raw(fields)} for name, fields in commit.events],
    }
    if commit.state is not None:
        shown["state"] = msgspec.Raw(commit.state)
    if commit.deleted:
        shown["deleted"] = True
    return shown
