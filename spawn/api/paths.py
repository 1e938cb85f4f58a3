"""From the request target to a route and its names (pure).

The target is split while it is still percent-encoded: an id may hold any character, a `/` as
`%2F`, and ids like `.` or `..` stay what they are. Routers of the decoded path lose that.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from spawn.errors import InvalidId, MethodNotAllowed, UnknownPath

__all__ = [
    "ACTORS_PREFIX",
    "ACTOR_ROUTES",
    "FIXED_PATHS",
    "METHODS",
    "Match",
    "authority_of",
    "check_method",
    "match_target",
]

ACTORS_PREFIX: Final = "/v1/actors/"
_ERRORS_PREFIX: Final = "/errors/"
_READ: Final = ("GET", "HEAD")
METHODS: Final = {
    "invoke": ("POST",),
    "events": (*_READ, "POST"),
    "state": (*_READ, "DELETE"),
    "delete": (*_READ, "DELETE"),
    "batch": ("POST",),
    "types": _READ,
    "nodes": _READ,
    "partitions": _READ,
    "owners": _READ,
    "openapi": _READ,
    "docs": _READ,
    "home": _READ,
    "error": _READ,
    "live": _READ,
    "ready": _READ,
    "metrics": _READ,
}
"""Routes and the methods that their paths answer."""
ACTOR_ROUTES: Final = frozenset(("invoke", "events", "state", "delete"))
"""Those of one actor."""
FIXED_PATHS: Final = {
    "/v1/batch": "batch",
    "/v1/types": "types",
    "/v1/nodes": "nodes",
    "/v1/partitions": "partitions",
    "/v1/owners": "owners",
    "/openapi.json": "openapi",
    "/docs": "docs",
    "/": "home",
    "/docs/": "home",
    "/health/live": "live",
    "/health/ready": "ready",
    "/metrics": "metrics",
}

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ROUTES_HINT = (
    "there are POST /v1/actors/{type}/{id}/{action}, GET and DELETE /v1/actors/{type}/{id}, "
    "GET /v1/actors/{type}/{id}/events, POST /v1/batch, GET /v1/types, and what /docs shows"
)


class Match(NamedTuple):
    """A route, and for the routes of actors the names in its path, decoded."""

    route: str
    type: str = ""
    id: str = ""
    action: str = ""
    """Of an error's page: its code."""


def match_target(target: str, method: str = "") -> Match:
    """Return the route of a request target, as it stands in the request line.

    The method decides where one path is several routes.

    Raises:
        UnknownPath: there is no such route.
        InvalidId: a part of an actor's path is not percent-encoded UTF-8.
    """
    if not target.startswith("/"):
        target = _path_of_absolute_form(target)
    if "?" in target:
        target = target.partition("?")[0]
    if target.startswith(ACTORS_PREFIX):
        parts = target[len(ACTORS_PREFIX) :].split("/")
        if "%" in target or not target.isascii():
            parts = [_decode(part) for part in parts]
        if len(parts) == 3:
            # An action may have that name too: it is called by POST.
            is_events = parts[2] == "events" and method != "POST"
            return Match("events" if is_events else "invoke", parts[0], parts[1], parts[2])
        if len(parts) == 2:
            return Match("delete" if method == "DELETE" else "state", parts[0], parts[1])
        raise UnknownPath(
            "an actor's path has two parts, type and id, and with an action three; "
            f"this one has {len(parts)}",
            hint="a `/` inside an id is written %2F" if len(parts) > 3 else _ROUTES_HINT,
        )
    if target.startswith(_ERRORS_PREFIX):
        return Match("error", action=target[len(_ERRORS_PREFIX) :])
    route = FIXED_PATHS.get(target)
    if route is None:
        raise UnknownPath("nothing is at this path", hint=_ROUTES_HINT)
    return Match(route)


def check_method(route: str, method: str) -> None:
    """Raise MethodNotAllowed unless the route answers the method."""
    allowed = METHODS[route]
    if method not in allowed:
        *first, last = allowed
        names = f"{', '.join(first)} and {last} are" if first else f"{last} is"
        raise MethodNotAllowed(f"{method} is not answered here, {names}", hint=_ROUTES_HINT)


def authority_of(target: str) -> str | None:
    """Return the authority of `http://authority/path`; None: the target is of another form."""
    if target.startswith("/"):
        return None
    _, separator, rest = target.partition("://")
    return re.split("[/?#]", rest, maxsplit=1)[0] if separator else None


def _path_of_absolute_form(target: str) -> str:
    """Return the path of `http://host/path`, the form that a request to a proxy has."""
    _, separator, rest = target.partition("://")
    slash = rest.find("/")
    return rest[slash:] if separator and slash >= 0 else target


def _decode(part: str) -> str:
    """Decode one part strictly: what is no escape or no UTF-8 is an error, never guessed at."""
    broken = _BROKEN_ESCAPE.search(part)
    if broken:
        raise InvalidId(
            f"`{part[broken.start() : broken.start() + 3]}` in the path is no percent-encoding",
            hint="a `%` in an id is written %25",
        )
    try:
        # aiohttp hands raw bytes that are no UTF-8 on as surrogates; encoding refuses them.
        return unquote_to_bytes(part.encode()).decode()
    except UnicodeError:
        raise InvalidId(
            "a part of the path is not UTF-8", hint="percent-encode the id's UTF-8 bytes"
        ) from None
