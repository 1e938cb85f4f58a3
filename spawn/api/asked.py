"""What is known of a request before its body is read, and what no request may be (pure)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from spawn.errors import InvalidRequest

__all__ = ["Asked", "asked_of", "caller_of", "check_form", "request_line"]

_PATH_SHOWN_MAX: Final = 200
"""Characters of a path in `at`; what is longer is cut."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request's head."""

    method: str
    target: str
    """As it stands in the request line."""
    headers: CIMultiDictProxy[str]
    caller: str


def asked_of(request: web.BaseRequest) -> Asked:
    """Return what aiohttp read."""
    return Asked(request.method, request.raw_path, request.headers, caller_of(request.remote))


def check_form(request: web.BaseRequest) -> None:
    """Refuse what aiohttp's parser takes for HTTP/1.1, but may be something else.

    The express lane's heads have none of it. Raises: InvalidRequest.
    """
    if request.version not in ((1, 0), (1, 1)):
        raise InvalidRequest(
            f"here is HTTP/1.1, the request says HTTP/{request.version.major}."
            f"{request.version.minor}",
            at="request line",
        )
    codings = request.headers.getall(hdrs.TRANSFER_ENCODING, ())
    if codings and [coding.strip().lower() for coding in codings] != ["chunked"]:
        raise InvalidRequest(
            f"Transfer-Encoding must be chunked, got {', '.join(codings)[:40]!r}",
            at="header Transfer-Encoding",
            hint="what is packed has Content-Encoding: gzip",
        )


def caller_of(peername: Any) -> str:
    """Return who calls, for the record: `peername` is the other end's address of a socket."""
    host = peername[0] if isinstance(peername, tuple | list) else peername
    return f"http {host}" if host else "http socket"


def request_line(asked: Asked) -> str:
    """Return method and path, for `at` of errors."""
    path = asked.target
    if len(path) > _PATH_SHOWN_MAX:
        path = f"{path[:_PATH_SHOWN_MAX]}..."
    # Bytes that are no UTF-8 came as surrogates, which JSON can't hold.
    return f"{asked.method} {path.encode(errors='replace').decode()}"
