"""Who may ask a node: hosts, origins, token (pure).

A browser carries requests of any website to any address that it reaches, loopback included. So the
name in `Host` must be one of ours (a foreign website can have its own name lead here), and `Origin`
one that is allowed. What callers without a browser need is the token.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs
from multidict import CIMultiDictProxy

from spawn.errors import ForeignHost, ForeignOrigin, Unauthorized

__all__ = ["Access", "is_loopback"]

_EVERYBODYS: Final = frozenset(("live", "ready"))
"""Routes for probes, which have neither names nor tokens: what they tell without the token is how
the node is, not why (`Access.knows_token`)."""
_NAMELESS: Final = _EVERYBODYS | {"metrics"}
"""Routes that do not look at Host and Origin: scrapers name pods as they like."""
_TOKENLESS: Final = _EVERYBODYS | {"docs", "home", "error"}
"""Pages that are the same in every node; the page to try the API asks for the token itself."""
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([0-9a-z\-._~%!$&'()*+,;=]+))(?::[0-9]{1,5})?")
"""`Host` (RFC 9110, 7.2): an address in brackets, or a name; and a port."""
_LOCALHOST: Final = re.compile(r"(?:[0-9a-z\-_]+\.)*localhost")
_JUDGED_MAX: Final = 1_000
"""Values of `Host` that are remembered as ours."""

_ALLOWED_HEADERS: Final = (
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Spawn-Request, Spawn-Timeout"
)
_EXPOSED_HEADERS: Final = "Retry-After, Spawn-Owner, Spawn-Position, Spawn-Revision, Spawn-Time"
_PREFLIGHT_S: Final = "600"


class Access:
    """Judges requests by their headers."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        token: str = "",
        allowed_hosts: Iterable[str] = (),
        allowed_origins: Iterable[str] = (),
    ) -> None:
        """`host` is what the node listens on; allowed hosts are names without ports."""
        self._hosts = {_bare(name) for name in allowed_hosts}
        self._any_address = _is_any(host)
        if not self._any_address:
            self._hosts.add(_bare(host))
        self._origins = {origin.rstrip("/").lower() for origin in allowed_origins}
        self._token = hashlib.sha256(token.encode()).digest() if token else b""
        self._ours: set[str] = set()
        """Values of `Host` as they came that were found to be ours."""

    def check(self, route: str, headers: CIMultiDictProxy[str]) -> None:
        """Raise ForeignHost, ForeignOrigin or Unauthorized unless the request may be answered."""
        host = headers.get(hdrs.HOST)
        if host is not None and host not in self._ours and route not in _NAMELESS:
            self._check_host(host)
        if hdrs.ORIGIN in headers and route not in _NAMELESS:
            self._check_origin(headers)
        if self._token and route not in _TOKENLESS:
            self._check_token(headers.getall(hdrs.AUTHORIZATION, ()))

    def check_authority(self, route: str, authority: str) -> None:
        """Raise ForeignHost unless a request line's `http://authority/...` names this node."""
        if route not in _NAMELESS:
            self._check_host(authority, "request line")

    def knows_token(self, headers: CIMultiDictProxy[str]) -> bool:
        """Tell whether the caller may be told what happens inside, on a route for everybody."""
        try:
            if self._token:
                self._check_token(headers.getall(hdrs.AUTHORIZATION, ()))
        except Unauthorized:
            return False
        return True

    def cors_headers(self, headers: CIMultiDictProxy[str]) -> tuple[tuple[str, str], ...]:
        """Return what lets a browser hand an answer to the website that asked, if it may."""
        origins = headers.getall(hdrs.ORIGIN, ())
        if len(origins) != 1 or not self._is_allowed(origins[0], headers.get(hdrs.HOST, "")):
            return ()
        return (
            (hdrs.ACCESS_CONTROL_ALLOW_ORIGIN, origins[0]),
            (hdrs.VARY, hdrs.ORIGIN),
            (hdrs.ACCESS_CONTROL_EXPOSE_HEADERS, _EXPOSED_HEADERS),
        )

    def preflight_headers(
        self, headers: CIMultiDictProxy[str], methods: Iterable[str]
    ) -> tuple[tuple[str, str], ...]:
        """Return the answer to a browser's question before a request. Raises: as `check`.

        The question has no token: browsers send none with it.
        """
        if (host := headers.get(hdrs.HOST)) is not None and host not in self._ours:
            self._check_host(host)
        self._check_origin(headers)
        return (
            *self.cors_headers(headers),
            (hdrs.ACCESS_CONTROL_ALLOW_METHODS, ", ".join(methods)),
            (hdrs.ACCESS_CONTROL_ALLOW_HEADERS, _ALLOWED_HEADERS),
            (hdrs.ACCESS_CONTROL_MAX_AGE, _PREFLIGHT_S),
        )

    def _check_host(self, value: str, at: str = "header Host") -> None:
        name = _name_of(value)
        if not name or not self._is_our_name(name):
            raise ForeignHost(
                f"this node is not {_shown(value)}",
                at=at,
                hint="if that name is to lead here, add it to http.allowed_hosts "
                "(SPAWN_HTTP_ALLOWED_HOSTS)",
            )
        if len(self._ours) < _JUDGED_MAX:
            self._ours.add(value)

    def _check_origin(self, headers: CIMultiDictProxy[str]) -> None:
        values = headers.getall(hdrs.ORIGIN)
        if len(values) != 1 or not self._is_allowed(values[0], headers.get(hdrs.HOST, "")):
            raise ForeignOrigin(
                f"a website at {_shown(values[0])} may not call this node",
                at="header Origin",
                hint="if it is yours, add it to http.allowed_origins (SPAWN_HTTP_ALLOWED_ORIGINS)",
            )

    def _check_token(self, values: Iterable[str]) -> None:
        given = [value.partition(" ") for value in values]
        right = [
            hmac.compare_digest(
                hashlib.sha256(token.strip().encode(errors="replace")).digest(), self._token
            )
            for scheme, _, token in given
            if scheme.lower() == "bearer"
        ]
        if right != [True]:
            raise Unauthorized(
                "the token is not this node's" if right else "this node asks for a token",
                at="header Authorization",
                hint="send Authorization: Bearer TOKEN; commands take it from SPAWN_HTTP_TOKEN, "
                "programs give spawn.Client(url, token=...)",
            )

    def _is_our_name(self, name: str) -> bool:
        if name in self._hosts or is_loopback(name):
            return True
        return self._any_address and _is_address(name)

    def _is_allowed(self, origin: str, host: str) -> bool:
        """Tell whether pages of `origin` may call by the name `host`, which was checked before."""
        if origin.lower() in self._origins:
            return True
        try:
            parts = urlsplit(origin)
            name = parts.hostname or ""
        except ValueError:
            return False
        # Not every address, as for Host: a website may be served from any. Ours is by this one.
        name = name.rstrip(".")
        is_ours = name in self._hosts or is_loopback(name) or parts.netloc.lower() == host.lower()
        return parts.scheme in ("http", "https") and is_ours


def is_loopback(name: str) -> bool:
    """Tell whether a host name or address stays on this machine, whatever resolves it."""
    if _LOCALHOST.fullmatch(name):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _name_of(value: str) -> str:
    """Return the name in a `Host`, in lower case; empty where it is none that is written right."""
    found = _HOST.fullmatch(value.strip().lower())
    return "" if found is None else found[1] or found[2].removesuffix(".")


def _bare(value: str) -> str:
    """Return a name that the settings hold without its port, in lower case."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    name = value.partition(":")[0] if value.count(":") == 1 else value
    return name.rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_any(host: str) -> bool:
    """Tell whether a node that listens on `host` does so on all addresses of its machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _shown(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:60]}...")
