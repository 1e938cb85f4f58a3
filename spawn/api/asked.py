"""What both lanes know of a request before its body is read (pure)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web
from multidict import CIMultiDictProxy

__all__ = ["Asked", "asked_of", "caller_of", "request_line"]

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
